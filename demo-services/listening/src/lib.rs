//! How the demo services and the local authority listen: one port on both loopback addresses, HTTP/1.1 and HTTP/2, TLS where it is
//! asked for, bounded heads, deadlines, graceful stop.
//!
//! ```
//! use std::convert::Infallible;
//!
//! use bytes::Bytes;
//! use http_body_util::Full;
//! use listening::{Listeners, LocalCa, Reach, serve};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let ca = LocalCa::in_memory(1_795_000_000)?;
//! let listeners = Listeners::bind("localhost:0", Reach::Loopback).await?.tls(ca.tls()?);
//! println!("https://localhost:{}", listeners.port());
//! let hello = tower::service_fn(|_| async { Ok::<_, Infallible>(http::Response::new(Full::<Bytes>::from("hello"))) });
//! serve(listeners, hello, async {}).await;
//! # Ok(())
//! # }
//! ```

mod bind;
mod local_ca;
mod serve;
mod tls;

pub use bind::{BindError, Listeners, Reach};
pub use local_ca::{LocalCa, LocalCaError};
pub use serve::{ConnectedFrom, serve};
pub use tls::{Tls, TlsError};
