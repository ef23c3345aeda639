//! The authority's metadata: whether they can be had, whose they are, and what time it is there.

use http::header::DATE;
use serde_json::Value;
use url::Url;

use super::Options;
use super::codes;
use super::dates::{self, how_long};
use super::finding::{Check, Finding, Service};
use super::probe::{Answer, Probe};
use super::subject::{base, endpoint};
use crate::config::AuthorityConfig;
use crate::tame::tame;
use crate::trust::Trust;

const WARN_AFTER: u64 = 60;
const FAIL_AFTER: u64 = 300;
/// An address that is longer is shown in part, in characters.
const LONGEST_URL: usize = 200;

/// What is known of an authority afterwards.
pub(super) struct Discovered {
    pub(super) findings: Vec<Finding>,
    /// It is the one that the configuration names, so that it is worth asking further.
    pub(super) usable: bool,
}

/// `service` is the first that names this authority; what is found holds for all that do.
pub(super) async fn check(
    service: Service,
    authority: &AuthorityConfig,
    trust: &Trust,
    options: &Options,
) -> Discovered {
    let fail = |finding| Discovered {
        findings: vec![finding],
        usable: false,
    };
    let probe = Probe::new(&authority.instance, trust, options.deadline);
    let url = endpoint(authority, "/v2.0/.well-known/openid-configuration");
    let (Some(probe), Some(url)) = (probe, url) else {
        return fail(Check::Discovery.error(
            service,
            "`authority.tenant` is no tenant id",
            "put the directory (tenant) id there, a GUID: Entra ID > Overview",
        ));
    };
    match probe.ask(|http| http.get(url)).await {
        Err(error) => fail(Check::Discovery.error(
            service,
            format!("the authority {} {}", authority.instance, error.words()),
            error.mend("authority.instance"),
        )),
        Ok(answer) => {
            let clock = clock(&answer, options);
            let finding = metadata(service, authority, &answer);
            Discovered {
                usable: finding.mend.is_none(),
                findings: [finding].into_iter().chain(clock).collect(),
            }
        }
    }
}

fn metadata(service: Service, authority: &AuthorityConfig, answer: &Answer) -> Finding {
    let error = |says: String, mend: String| Check::Discovery.error(service, says, mend);
    if let Some(number) = codes::find(&answer.text()) {
        let (meaning, mend) = codes::explain(number);
        return error(
            format!("the authority gives no metadata for this tenant: {meaning}"),
            mend,
        );
    }
    let document = answer.json().filter(|_| answer.status.is_success());
    let text = |name: &str| {
        let value = document.as_ref().and_then(|document| document.get(name));
        value.and_then(Value::as_str).unwrap_or_default()
    };
    let issuer = text("issuer");
    if issuer.is_empty() {
        return error(
            format!(
                "{} answers {} without the metadata of an authority",
                authority.instance,
                answer.status.as_u16()
            ),
            "set `authority.instance` to https://login.microsoftonline.com, your cloud's or External ID's host (docs/entra.md), \
             without a path"
                .into(),
        );
    }
    // Entra answers for tenants of other clouds as well, with that cloud's addresses.
    let endpoint: Option<Url> = text("token_endpoint").parse().ok();
    let other_host = endpoint
        .as_ref()
        .filter(|url| url.host_str() != authority.instance.host_str());
    let expected = format!("{}/v2.0", base(authority));
    if issuer == expected && other_host.is_none() {
        return Check::Discovery.ok(
            service,
            format!(
                "the authority of {} answers as it should",
                authority.instance
            ),
        );
    }
    let tenant = Url::parse(issuer).ok();
    let tenant = tenant
        .as_ref()
        .and_then(|url| url.path_segments()?.next())
        .unwrap_or_default();
    if issuer.contains('{') {
        return error(
            "`authority.tenant` is none: common and organizations stand for every tenant".into(),
            "put the directory (tenant) id there, a GUID: Entra ID > Overview".into(),
        );
    }
    if uuid::Uuid::try_parse(&authority.tenant).is_err() && uuid::Uuid::try_parse(tenant).is_ok() {
        return error(
            "`authority.tenant` is a name, and tokens carry the tenant's id".into(),
            format!("set `authority.tenant` to {tenant}"),
        );
    }
    let ciam = authority
        .instance
        .host_str()
        .is_some_and(|host| host.ends_with(".ciamlogin.com"));
    if ciam && tenant.eq_ignore_ascii_case(&authority.tenant) {
        return error(
            "tokens of this External ID tenant have an issuer with the tenant's id as the host's name".into(),
            format!("set `authority.instance` to https://{tenant}.ciamlogin.com"),
        );
    }
    match other_host {
        Some(url) => error(
            format!("the tenant is in another cloud, whose tokens come from {}", url.host_str().unwrap_or_default()),
            format!("set `authority.instance` to {}", url.origin().ascii_serialization()),
        ),
        None => error(
            "the authority's issuer is not the one that the service expects: its tokens would be refused".into(),
            format!(
                "the metadata say {}, the configuration makes {}: correct `authority.instance` or `authority.tenant`",
                tame(issuer, LONGEST_URL),
                tame(&expected, LONGEST_URL)
            ),
        ),
    }
}

/// None if the authority does not tell the time.
fn clock(answer: &Answer, options: &Options) -> Option<Finding> {
    let there = answer.header(DATE).and_then(dates::http)?;
    let here = i64::try_from(options.clock.now()).ok()?;
    let apart = here.abs_diff(there);
    let way = if here > there { "ahead of" } else { "behind" };
    let says = || {
        format!(
            "this machine's clock is {} {way} the authority's",
            how_long(apart)
        )
    };
    let mend =
        "set the clock by NTP (timedatectl set-ntp true, or the host of the virtual machine)";
    Some(match apart {
        0..=WARN_AFTER => Check::Clock.ok(None, "this machine's clock agrees with the authority's"),
        61..=FAIL_AFTER => Check::Clock.warning(None, says(), mend),
        _ => Check::Clock.error(
            None,
            format!("{}: new tokens count as expired or not yet valid", says()),
            mend,
        ),
    })
}
