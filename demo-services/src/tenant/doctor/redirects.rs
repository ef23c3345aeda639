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
use super::subject::{RedirectUri, endpoint};
use crate::config::SpaBackendConfig;

/// Nobody is signed in: what `prompt=none` must come to.
const NOBODY: u32 = 50_058;
/// SHA-256 of something, as PKCE wants it; no code comes back that it could be needed for.
const CHALLENGE: &str = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM";

/// A finding, and the redirect URI that it is about; `None` for what all of them meet.
pub(super) struct About {
    pub(super) uri: Option<String>,
    pub(super) finding: Finding,
}

pub(super) async fn check(configurations: &Configurations, options: &Options) -> Vec<About> {
    let Some(config) = &configurations.spa else {
        return Vec::new();
    };
    let wanted = configurations.redirect_uris();
    let asked = wanted.iter().map(|wanted| ask(config, wanted, options));
    let mut all: Vec<About> = Vec::new();
    for about in join_all(asked).await.into_iter().flatten() {
        // What is wrong with client or scope comes once, though each URI meets it.
        if !all.iter().any(|known| known.finding == about.finding) {
            all.push(about);
        }
    }
    all
}

async fn ask(config: &SpaBackendConfig, wanted: &RedirectUri<'_>, options: &Options) -> Vec<About> {
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
        Err(error) => {
            let says = format!("the authority's sign-in page {}", error.words());
            vec![general(Check::RedirectUri.skipped(service, says))]
        }
    }
}

fn general(finding: Finding) -> About {
    About { uri: None, finding }
}

fn judge(wanted: &RedirectUri<'_>, answer: &Answer) -> Vec<About> {
    let service = Service::SpaBackend;
    let (uri, platform) = (&wanted.uri, wanted.platform.name());
    let about = |finding| About {
        uri: Some(uri.clone()),
        finding,
    };
    let refused = |check: Check, number| {
        let (meaning, mend) = codes::explain(number);
        let says = format!("the authority refuses the sign-in request: {meaning}");
        general(check.error(service, says, mend))
    };
    if let Some(back) = returned_to(answer, uri) {
        let registered = about(Check::RedirectUri.ok(
            service,
            format!("{uri} is registered; that its platform is {platform} shows at a sign-in or with GRAPH_ACCESS_TOKEN"),
        ));
        let text: Vec<(String, String)> = back.query_pairs().into_owned().collect();
        let description = text.iter().find(|(name, _)| name == "error_description");
        let number = description.and_then(|(_, text)| codes::find(text));
        return match number {
            None | Some(NOBODY) => vec![registered],
            Some(number @ (65_001 | 65_004)) => vec![registered, refused(Check::Consent, number)],
            Some(number) => vec![registered, refused(Check::SignInRequest, number)],
        };
    }
    match codes::find(&answer.text()) {
        Some(50_011 | 500_113) => vec![about(not_registered(wanted))],
        Some(number) => vec![refused(Check::SignInRequest, number)],
        None => vec![about(Check::RedirectUri.skipped(
            service,
            format!(
                "the authority answers {} to a sign-in without a page: whether {uri} is registered shows at a sign-in",
                answer.status.as_u16()
            ),
        ))],
    }
}

/// The same words, whoever has told it.
pub(super) fn not_registered(wanted: &RedirectUri<'_>) -> Finding {
    let (service, uri) = (Service::SpaBackend, &wanted.uri);
    let mend = format!(
        "add it to the application's redirect URIs, platform {}: Authentication, Add a platform",
        wanted.platform.name()
    );
    match wanted.needed {
        true => Check::RedirectUri.error(
            service,
            format!("{uri} is not registered (AADSTS50011)"),
            mend,
        ),
        false => Check::RedirectUri.warning(
            service,
            format!("{uri} is not registered (AADSTS50011): after signing out nobody comes back"),
            mend,
        ),
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
