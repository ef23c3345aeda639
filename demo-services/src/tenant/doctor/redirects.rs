//! The sign-in request as far as it goes without a person: `prompt=none` to the authority, once for each redirect URI.
//!
//! An authority redirects to a registered URI only, so that the answer tells whether it is one. Of which platform it is shows when a
//! code is redeemed, and there is no code without a person.

use futures_util::future::join_all;
use http::header::LOCATION;
use url::Url;

use super::Options;
use super::codes;
use super::files::Configurations;
use super::finding::{Check, Finding, Service};
use super::probe::{Answer, Probe};
use super::subject::endpoint;
use crate::config::SpaBackendConfig;

/// Nobody is signed in: what `prompt=none` must come to.
const NOBODY: u32 = 50_058;
/// SHA-256 of something, as PKCE wants it; no code comes back that it could be needed for.
const CHALLENGE: &str = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM";

/// A redirect URI and who needs it.
struct Wanted<'a> {
    client_id: &'a str,
    scope: &'a str,
    uri: String,
    platform: &'static str,
    /// Signing in does not work without it.
    needed: bool,
}

pub(super) async fn check(configurations: &Configurations, options: &Options) -> Vec<Finding> {
    let Some(config) = &configurations.spa else {
        return Vec::new();
    };
    let wanted = wanted(config);
    let asked = wanted.iter().map(|wanted| ask(config, wanted, options));
    let mut findings: Vec<Finding> = Vec::new();
    for finding in join_all(asked).await.into_iter().flatten() {
        // What is wrong with client or scope comes once, though each URI meets it.
        if !findings.contains(&finding) {
            findings.push(finding);
        }
    }
    findings
}

fn wanted(config: &SpaBackendConfig) -> Vec<Wanted<'_>> {
    let base = config.base_url.origin().ascii_serialization();
    let of_backend = [("/auth/callback", true), ("/", false)].map(|(path, needed)| Wanted {
        client_id: &config.client_id,
        scope: &config.scope,
        uri: format!("{base}{path}"),
        platform: "Web",
        needed,
    });
    let of_page = config.msal.iter().flat_map(|msal| {
        ["/msal", "/msal/redirect"].map(|path| Wanted {
            client_id: &msal.client_id,
            scope: &msal.scope,
            uri: format!("{base}{path}"),
            platform: "Single-page application",
            needed: true,
        })
    });
    of_backend.into_iter().chain(of_page).collect()
}

async fn ask(config: &SpaBackendConfig, wanted: &Wanted<'_>, options: &Options) -> Vec<Finding> {
    let service = Service::SpaBackend;
    let probe = Probe::new(&config.authority.instance, &config.trust, options.deadline);
    let (Some(probe), Some(mut url)) =
        (probe, endpoint(&config.authority, "/oauth2/v2.0/authorize"))
    else {
        return Vec::new();
    };
    let scope = format!("openid {}", wanted.scope);
    url.query_pairs_mut().extend_pairs([
        ("client_id", wanted.client_id),
        ("response_type", "code"),
        ("response_mode", "query"),
        ("redirect_uri", &wanted.uri),
        ("scope", &scope),
        ("prompt", "none"),
        ("state", "doctor"),
        ("nonce", "doctor"),
        ("code_challenge", CHALLENGE),
        ("code_challenge_method", "S256"),
    ]);
    match probe.ask(|http| http.get(url)).await {
        Ok(answer) => judge(wanted, &answer),
        Err(error) => vec![Check::RedirectUri.skipped(
            service,
            format!("the authority's sign-in page {}", error.words()),
        )],
    }
}

fn judge(wanted: &Wanted<'_>, answer: &Answer) -> Vec<Finding> {
    let service = Service::SpaBackend;
    let uri = &wanted.uri;
    let registered = Check::RedirectUri.ok(
        service,
        format!(
            "{uri} is registered; that its platform is {} shows at a sign-in or with GRAPH_ACCESS_TOKEN",
            wanted.platform
        ),
    );
    if let Some(back) = returned_to(answer, uri) {
        let text: Vec<(String, String)> = back.query_pairs().into_owned().collect();
        let description = text.iter().find(|(name, _)| name == "error_description");
        let number = description.and_then(|(_, text)| codes::find(text));
        return match number {
            None | Some(NOBODY) => vec![registered],
            Some(number) => {
                let (meaning, mend) = codes::explain(number);
                let check = match number {
                    65_001 | 65_004 => Check::Consent,
                    _ => Check::SignInRequest,
                };
                vec![
                    registered,
                    check.error(
                        service,
                        format!("the authority refuses the sign-in request: {meaning}"),
                        mend,
                    ),
                ]
            }
        };
    }
    match codes::find(&answer.text()) {
        Some(50_011 | 500_113) => {
            let mend = format!(
                "add it to the application's redirect URIs, platform {}: Authentication, Add a platform",
                wanted.platform
            );
            vec![match wanted.needed {
                true => Check::RedirectUri.error(service, format!("{uri} is not registered (AADSTS50011)"), mend),
                false => Check::RedirectUri.warning(
                    service,
                    format!("{uri} is not registered (AADSTS50011): after signing out nobody comes back"),
                    mend,
                ),
            }]
        }
        Some(number) => {
            let (meaning, mend) = codes::explain(number);
            let says = format!("the authority refuses the sign-in request: {meaning}");
            vec![Check::SignInRequest.error(service, says, mend)]
        }
        None => vec![Check::RedirectUri.skipped(
            service,
            format!(
                "the authority answers {} to a sign-in without a page: whether {uri} is registered shows at a sign-in",
                answer.status.as_u16()
            ),
        )],
    }
}

/// Where it redirects to, if that is the redirect URI with a query.
fn returned_to(answer: &Answer, uri: &str) -> Option<Url> {
    let location = answer
        .header(LOCATION)
        .filter(|_| answer.status.is_redirection())?;
    let location = Url::parse(location).ok()?;
    let mut bare = location.clone();
    bare.set_query(None);
    bare.set_fragment(None);
    (Url::parse(uri).ok()? == bare).then_some(location)
}
