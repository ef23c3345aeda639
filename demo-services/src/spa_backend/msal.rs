//! The page of the other way to be a client: MSAL.js in the browser, which holds the tokens and calls the middle tier itself.
//!
//! The library is not ours and not shipped: its two files are read at start from where npm put them.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use askama::Template;
use axum::Router;
use axum::extract::{Path as Segment, State};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, X_FRAME_OPTIONS};
use http::{HeaderName, HeaderValue, StatusCode};

use super::message::Message;
use super::pages::draw;
use super::settings::{ConfigError, service_url, text};
use super::{App, DemoUser};
use crate::config::SpaBackendConfig;

/// The version whose files are known to work here.
const PACKAGE: &str = "@azure/msal-browser@5.30.0";
const LIBRARY: &str = "lib/msal-browser.min.js";
const BRIDGE: &str = "lib/redirect-bridge/msal-redirect-bridge.min.js";
/// Thrice as large as they are.
const MAX_FILE: u64 = 1024 * 1024;

const SCRIPT: &str = "text/javascript; charset=utf-8";
const STYLE: &str = "text/css; charset=utf-8";
const COOP: HeaderName = HeaderName::from_static("cross-origin-opener-policy");

/// Of the page that answers silent requests: it runs in a frame of the page below, and as a popup.
const REDIRECT_POLICY: &str = "default-src 'none'; script-src 'self'; base-uri 'none'; frame-ancestors 'self'; form-action 'none'";

/// Why the page of MSAL.js cannot be served.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MsalError {
    /// The directory does not hold the package.
    #[error(
        "no {PACKAGE} in {}: run `npm install --prefix {} {PACKAGE}` and name that directory",
        directory.display(),
        crate::how_to_trust::shell_word(&directory.display().to_string())
    )]
    NoBundle {
        /// Where it was looked for.
        directory: PathBuf,
    },
    /// A file of the package cannot be read, or is none of its own.
    #[error("cannot use {}", path.display())]
    Unreadable {
        /// Which one.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The authority is not https.
    #[error("msal needs https: MSAL.js insists on an https authority")]
    PlainHttp,
}

/// What the page's script is told.
struct Client {
    client_id: String,
    authority: String,
    scope: String,
    middle_tier: String,
}

/// What is served.
struct Msal {
    client: Client,
    policy: HeaderValue,
    library: Bytes,
    bridge: Bytes,
}

#[derive(Template)]
#[template(path = "spa/msal.html")]
struct Page<'a> {
    client: &'a Client,
    demo_users: &'a [DemoUser],
}

#[derive(Template)]
#[template(path = "spa/msal_redirect.html")]
struct Redirected;

/// `/msal` and what is below it, where it is configured; no routes where it is not.
pub(super) fn routes(config: &SpaBackendConfig) -> Result<Router<Arc<App>>, ConfigError> {
    let Some(msal) = Msal::new(config)?.map(Arc::new) else {
        return Ok(Router::new());
    };
    let assets = Arc::clone(&msal);
    Ok(Router::new()
        .route(
            "/msal",
            get(move |State(app): State<Arc<App>>| std::future::ready(msal.page(&app.demo_users))),
        )
        .route("/msal/redirect", get(redirected))
        .route(
            "/msal/{name}",
            get(move |Segment(name): Segment<String>| std::future::ready(assets.asset(&name))),
        ))
}

impl Msal {
    fn new(config: &SpaBackendConfig) -> Result<Option<Self>, ConfigError> {
        let Some(msal) = &config.msal else {
            return Ok(None);
        };
        let instance = service_url("authority.instance", &config.authority.instance)?;
        if instance.scheme() != "https" {
            return Err(MsalError::PlainHttp.into());
        }
        let middle_tier = service_url("msal.middle_tier", &msal.middle_tier)?;
        let [api, authority] =
            [&middle_tier, &instance].map(|url| url.origin().ascii_serialization());
        // The frame of a silent request begins at the authority and ends at our own page of redirects.
        let policy = format!(
            "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self' {api} {authority}; \
             frame-src 'self' {authority}; base-uri 'none'; frame-ancestors 'none'; form-action 'none'"
        );
        let package = package(&msal.bundle)?;
        Ok(Some(Self {
            client: Client {
                client_id: text("msal.client_id", &msal.client_id)?.to_owned(),
                authority: format!(
                    "{}/{}",
                    instance.as_str().trim_end_matches('/'),
                    text("authority.tenant", &config.authority.tenant)?
                ),
                scope: text("msal.scope", &msal.scope)?.to_owned(),
                middle_tier: middle_tier.as_str().trim_end_matches('/').to_owned(),
            },
            policy: HeaderValue::from_str(&policy)
                .map_err(|_| ConfigError::NotPlain("msal.middle_tier"))?,
            library: read(&package.join(LIBRARY))?,
            bridge: read(&package.join(BRIDGE))?,
        }))
    }

    /// `GET /msal`.
    fn page(&self, demo_users: &[DemoUser]) -> Response {
        let page = Page {
            client: &self.client,
            demo_users,
        };
        let headers = [
            (CONTENT_SECURITY_POLICY, self.policy.clone()),
            // A popup at the authority stays this page's own.
            (COOP, HeaderValue::from_static("same-origin-allow-popups")),
        ];
        (headers, draw(StatusCode::OK, &page)).into_response()
    }

    /// `GET /msal/{name}`: scripts and style.
    fn asset(&self, name: &str) -> Response {
        let (kind, content) = match name {
            "msal-browser.min.js" => (SCRIPT, self.library.clone()),
            "msal-redirect-bridge.min.js" => (SCRIPT, self.bridge.clone()),
            _ => match own(name) {
                Some((kind, content)) => (kind, Bytes::from_static(content.as_bytes())),
                None => return Message::not_found().into_response(),
            },
        };
        let headers = [(CONTENT_TYPE, kind), (CACHE_CONTROL, "no-cache")];
        (headers, content).into_response()
    }
}

/// `GET /msal/redirect`.
async fn redirected() -> Response {
    let headers = [
        (CONTENT_SECURITY_POLICY, REDIRECT_POLICY),
        (X_FRAME_OPTIONS, "SAMEORIGIN"),
        (COOP, "unsafe-none"),
    ];
    (headers, draw(StatusCode::OK, &Redirected)).into_response()
}

/// Compiled in.
fn own(name: &str) -> Option<(&'static str, &'static str)> {
    Some(match name {
        "answers.js" => (SCRIPT, include_str!("../../assets/spa/msal/answers.js")),
        "challenge.js" => (SCRIPT, include_str!("../../assets/spa/msal/challenge.js")),
        "page.js" => (SCRIPT, include_str!("../../assets/spa/msal/page.js")),
        "redirect.js" => (SCRIPT, include_str!("../../assets/spa/msal/redirect.js")),
        "screen.js" => (SCRIPT, include_str!("../../assets/spa/msal/screen.js")),
        "waiting.js" => (SCRIPT, include_str!("../../assets/spa/msal/waiting.js")),
        "msal.css" => (STYLE, include_str!("../../assets/spa/msal/msal.css")),
        _ => return None,
    })
}

/// Looks whether `directory` holds the package, before anything is started for it.
///
/// # Errors
/// [`MsalError::NoBundle`], which says how to install it.
pub fn find_msal(directory: &Path) -> Result<(), MsalError> {
    package(directory).map(drop)
}

/// The package's own directory: the one given, or below it where npm puts it.
fn package(directory: &Path) -> Result<PathBuf, MsalError> {
    let below = [
        "",
        "@azure/msal-browser",
        "node_modules/@azure/msal-browser",
    ];
    let mut places = below.map(|below| directory.join(below)).into_iter();
    // An older version has the first of the two files only.
    let whole = |place: &PathBuf| place.join(LIBRARY).is_file() && place.join(BRIDGE).is_file();
    places.find(whole).ok_or_else(|| MsalError::NoBundle {
        directory: directory.to_owned(),
    })
}

fn read(path: &Path) -> Result<Bytes, MsalError> {
    let failed = |source| MsalError::Unreadable {
        path: path.to_owned(),
        source,
    };
    let mut content = Vec::new();
    let file = File::open(path).map_err(failed)?;
    file.take(MAX_FILE + 1)
        .read_to_end(&mut content)
        .map_err(failed)?;
    if content.len() as u64 > MAX_FILE {
        return Err(failed(io::Error::other("it is larger than 1 MiB")));
    }
    Ok(content.into())
}

#[cfg(test)]
mod tests {
    use std::fs;

    use axum::body::{Body, to_bytes};
    use http::Request;
    use tower::ServiceExt as _;

    use super::*;
    use crate::config::MsalConfig;
    use crate::spa_backend::{doubles, router};

    /// A directory as npm leaves it, gone when the test ends.
    struct Installed(PathBuf);

    impl Installed {
        fn new(name: &str) -> Self {
            let name = format!("msal-{name}-{}", std::process::id());
            let directory = std::env::temp_dir().join(name);
            let package = directory.join("node_modules/@azure/msal-browser");
            fs::create_dir_all(package.join("lib/redirect-bridge")).unwrap();
            fs::write(package.join(LIBRARY), "the library").unwrap();
            fs::write(package.join(BRIDGE), "the bridge").unwrap();
            fs::write(package.join("package.json"), "{}").unwrap();
            Self(directory)
        }

        fn config(&self, below: &str) -> SpaBackendConfig {
            let mut config = doubles::config("https://localhost:8080", "https://localhost:5000");
            config.base_url = "https://localhost:3000".parse().unwrap();
            config.msal = Some(MsalConfig {
                bundle: self.0.join(below),
                client_id: "public".into(),
                scope: "api://middle/user_impersonation".into(),
                middle_tier: "https://localhost:5000".parse().unwrap(),
            });
            config
        }
    }

    impl Drop for Installed {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    async fn get(config: &SpaBackendConfig, path: &str) -> Response {
        let request = Request::get(path).header("host", "localhost:3000");
        let request = request.body(Body::empty()).unwrap();
        router(config).unwrap().oneshot(request).await.unwrap()
    }

    async fn body(response: Response) -> String {
        let body = to_bytes(response.into_body(), 1 << 20).await.unwrap();
        String::from_utf8(body.to_vec()).unwrap()
    }

    #[tokio::test]
    async fn the_two_files_of_the_package_are_served_and_no_other() {
        let installed = Installed::new("files");
        for below in ["", "node_modules", "node_modules/@azure/msal-browser"] {
            let config = installed.config(below);
            for (name, content) in [
                ("msal-browser.min.js", "the library"),
                ("msal-redirect-bridge.min.js", "the bridge"),
            ] {
                let response = get(&config, &format!("/msal/{name}")).await;
                assert_eq!(response.status(), 200, "{below}/{name}");
                assert_eq!(response.headers()[CONTENT_TYPE], SCRIPT, "{below}/{name}");
                assert_eq!(body(response).await, content, "{below}/{name}");
            }
        }
        let config = installed.config("");
        for path in [
            "/msal/package.json",
            "/msal/lib",
            "/msal/lib/msal-browser.min.js",
            "/msal/..%2fpackage.json",
            "/msal/%2e%2e%2fpackage.json",
            "/msal/../msal.rs",
            "/msal/",
        ] {
            assert_eq!(get(&config, path).await.status(), 404, "{path}");
        }
    }

    #[tokio::test]
    async fn the_page_may_reach_authority_and_middle_tier_only() {
        let installed = Installed::new("policy");
        let response = get(&installed.config(""), "/msal").await;
        assert_eq!(response.status(), 200);
        let policy = response.headers()[CONTENT_SECURITY_POLICY]
            .to_str()
            .unwrap();
        for part in [
            "default-src 'none'",
            "script-src 'self';",
            "style-src 'self';",
            "connect-src 'self' https://localhost:5000 https://localhost:8080;",
            "frame-src 'self' https://localhost:8080;",
            "frame-ancestors 'none'",
            "form-action 'none'",
        ] {
            assert!(policy.contains(part), "{part} in {policy}");
        }
        assert!(!policy.contains("unsafe"), "{policy}");
        assert_eq!(response.headers()[X_FRAME_OPTIONS], "DENY");
        assert_eq!(response.headers()[COOP], "same-origin-allow-popups");
        let page = body(response).await;
        for part in [
            "data-client-id=\"public\"",
            "data-middle-tier=\"https://localhost:5000\"",
        ] {
            assert!(page.contains(part), "{part} in {page}");
        }
        assert!(!page.contains("test-secret"), "{page}");
    }

    #[tokio::test]
    async fn the_page_of_redirects_may_be_framed_by_its_own_origin() {
        let installed = Installed::new("redirect");
        let response = get(&installed.config(""), "/msal/redirect").await;
        let headers = response.headers();
        assert_eq!(headers[X_FRAME_OPTIONS], "SAMEORIGIN");
        assert_eq!(headers[CONTENT_SECURITY_POLICY], REDIRECT_POLICY);
        assert_eq!(headers.get_all(CONTENT_TYPE).iter().count(), 1);
        assert_eq!(headers.get_all(CONTENT_SECURITY_POLICY).iter().count(), 1);
    }

    #[tokio::test]
    async fn without_a_configuration_there_is_no_page() {
        let config = doubles::config("https://localhost:8080", "https://localhost:5000");
        for path in ["/msal", "/msal/redirect", "/msal/page.js"] {
            assert_eq!(get(&config, path).await.status(), 404, "{path}");
        }
    }

    #[test]
    fn what_cannot_be_served_is_refused_at_start() {
        let installed = Installed::new("refused");
        let refused =
            |config: &SpaBackendConfig| Msal::new(config).err().map(|error| error.to_string());
        assert_eq!(refused(&installed.config("")), None);

        let mut plain = installed.config("");
        plain.authority.instance = "http://localhost:8080".parse().unwrap();
        assert!(refused(&plain).unwrap().contains("needs https"));

        let mut foreign = installed.config("");
        foreign.msal.as_mut().unwrap().middle_tier = "http://api.example".parse().unwrap();
        assert!(refused(&foreign).unwrap().contains("msal.middle_tier"));

        let elsewhere = installed.config("elsewhere");
        let said = refused(&elsewhere).unwrap();
        let directory = installed.0.join("elsewhere");
        let command = format!(
            "npm install --prefix {} @azure/msal-browser@5.30.0",
            directory.display()
        );
        assert!(said.contains(&command), "{said}");

        let package = installed.0.join("node_modules/@azure/msal-browser");
        fs::write(package.join(BRIDGE), vec![b' '; MAX_FILE as usize + 1]).unwrap();
        assert!(
            refused(&installed.config(""))
                .unwrap()
                .contains("cannot use")
        );
        fs::remove_file(package.join(BRIDGE)).unwrap();
        let older = refused(&installed.config("")).unwrap();
        assert!(older.contains("npm install"), "{older}");
    }
}
