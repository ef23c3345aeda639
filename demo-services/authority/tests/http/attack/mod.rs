//! Attacks, each named after the rule that holds against it.

#[cfg(test)]
mod consent;
#[cfg(test)]
mod names;
#[cfg(test)]
mod pages;
#[cfg(test)]
mod service;
#[cfg(test)]
mod tokens;

use std::path::Path;

use local_authority::{
    Consent, Directory, LocalAuthority, ManualClock, Options, Policy, TokenSpec,
};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::admin::Admin;
use crate::control::control;
use crate::graph::{GRAPH, code, text};
use crate::harness::{
    Answer, Browser, C1, DOWNSTREAM, Harness, MFA_POLICY, MIDDLE, REDIRECT, START, claims,
};
use crate::made::{Made, TYPE};

const MIDDLE_DEFAULT: &str = "api://middle-tier/.default openid profile offline_access";
/// Graph's ids of its permission `Application.ReadWrite.All`, delegated.
const WRITE_APPS: &str = "bdfbf15f-ee85-4955-8675-146e8e5296b5";
const HOSTILE: &str =
    "\"><script src=//evil.example></script>\r\nSet-Cookie: a=b\u{0}{{7*7}}\u{202e}'";

/// Sends bytes as they are and reads until the other side closes.
async fn raw(authority: &Harness, request: &str) -> String {
    let address = ("127.0.0.1", authority.running.port());
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer).await;
    String::from_utf8_lossy(&answer).into_owned()
}

async fn by_writer(authority: &Harness, method: &str, path: &str, body: Value) -> Answer {
    let writer = authority.graph_token("bob", &["Application.ReadWrite.All"]);
    let body = (!body.is_null()).then_some(body);
    authority.graph(&writer, method, path, body).await
}

fn app_path(authority: &Harness, name: &str) -> String {
    format!("applications(appId='{}')", authority.id(name))
}
