//! An access token that somebody else has obtained. Graph alone decides whether it is good; what it says of itself is read only to tell
//! early, and in words, that it will not do.

use std::collections::BTreeSet;
use std::sync::Arc;

use async_trait::async_trait;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use local_authority::Clock;
use secrecy::{ExposeSecret as _, SecretString};
use serde::Deserialize;

use super::{MARGIN, NoToken};
use crate::tenant::cloud::Place;
use crate::tenant::graph::{SignInError, TokenSource};

/// Longer than any token of Entra.
const MAX_TOKEN: usize = 64 * 1024;

/// The token of `GRAPH_ACCESS_TOKEN`.
pub struct EnvironmentToken {
    token: SecretString,
    ends: u64,
    clock: Arc<dyn Clock>,
}

/// What an access token says of itself.
#[derive(Deserialize)]
struct Said {
    iss: String,
    aud: String,
    exp: u64,
    #[serde(default)]
    tid: Option<String>,
    /// Delegated permissions.
    #[serde(default)]
    scp: Option<String>,
    /// Application permissions.
    #[serde(default)]
    roles: Vec<String>,
}

impl EnvironmentToken {
    /// Takes the token for Graph's calls in `tenant` that need `permissions`.
    ///
    /// # Errors
    ///
    /// It is no token, was issued by somebody else than the place's authority, is for another API or tenant, has ended, or lacks a permission.
    pub fn new(
        token: SecretString,
        place: &Place,
        tenant: &str,
        permissions: &[&'static str],
        clock: Arc<dyn Clock>,
    ) -> Result<Self, NoToken> {
        let said = read(token.expose_secret()).ok_or(NoToken::NotAToken)?;
        if !place.is_issuer(&said.iss) {
            return Err(NoToken::Issuer {
                authority: place.authority.to_string(),
                graph: place.graph.to_string(),
            });
        }
        if !place.is_graph(&said.aud) {
            return Err(NoToken::Audience {
                wanted: place.graph_resource.clone(),
            });
        }
        if said
            .tid
            .is_some_and(|tid| !tid.eq_ignore_ascii_case(tenant))
        {
            return Err(NoToken::Tenant);
        }
        let delegated = said.scp.as_deref().unwrap_or_default().split(' ');
        let held: BTreeSet<&str> = delegated
            .chain(said.roles.iter().map(String::as_str))
            .collect();
        let lacks: Vec<&'static str> = permissions
            .iter()
            .filter(|wanted| !covered(wanted, &held))
            .copied()
            .collect();
        if !lacks.is_empty() {
            return Err(NoToken::Lacks(lacks));
        }
        let token = Self {
            token,
            ends: said.exp,
            clock,
        };
        token.check_time()?;
        Ok(token)
    }

    fn check_time(&self) -> Result<(), NoToken> {
        match self.ends > self.clock.now().saturating_add(MARGIN) {
            true => Ok(()),
            false => Err(NoToken::Ended),
        }
    }
}

impl EnvironmentToken {
    async fn obtain(&self, refused: Option<&SecretString>) -> Result<SecretString, NoToken> {
        self.check_time()?;
        match refused {
            Some(_) => Err(NoToken::Refused),
            None => Ok(self.token.clone()),
        }
    }
}

#[async_trait]
impl TokenSource for EnvironmentToken {
    async fn token(&self, refused: Option<&SecretString>) -> Result<SecretString, SignInError> {
        Ok(self.obtain(refused).await?)
    }
}

/// Whether one that is held includes the one that is wanted ("Microsoft Graph permissions reference").
fn covered(wanted: &str, held: &BTreeSet<&str>) -> bool {
    let broader: &[&str] = match wanted {
        "Application.ReadWrite.All" => &["Directory.ReadWrite.All"],
        "User.Read.All" => &[
            "User.ReadWrite.All",
            "Directory.Read.All",
            "Directory.ReadWrite.All",
        ],
        "Group.Read.All" => &[
            "Group.ReadWrite.All",
            "GroupMember.Read.All",
            "Directory.Read.All",
            "Directory.ReadWrite.All",
        ],
        _ => &[],
    };
    held.contains(wanted) || broader.iter().any(|name| held.contains(name))
}

/// The middle part of a JWT, whose signature only Graph can judge.
fn read(token: &str) -> Option<Said> {
    let mut parts = token.split('.');
    let (_, claims, _, None) = (parts.next()?, parts.next()?, parts.next()?, parts.next()) else {
        return None;
    };
    if token.len() > MAX_TOKEN || token.contains(|letter: char| !letter.is_ascii_graphic()) {
        return None;
    }
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(claims).ok()?).ok()
}

#[cfg(test)]
mod tests {
    use local_authority::ManualClock;
    use serde_json::{Value, json};

    use super::*;
    use crate::tenant::cloud::Cloud;

    const NOW: u64 = 1_000_000;
    const TENANT: &str = "11111111-2222-3333-4444-555555555555";

    fn good() -> Value {
        json!({
            "iss": format!("https://login.microsoftonline.com/{TENANT}/v2.0"),
            "aud": "https://graph.microsoft.com",
            "exp": NOW + 61,
            "tid": TENANT,
            "scp": "A.Read B.Write",
        })
    }

    fn text(claims: &Value) -> String {
        let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        format!("{}.{}.c2ln", part(&json!({ "alg": "none" })), part(claims))
    }

    fn take(token: String, clock: &ManualClock) -> Result<EnvironmentToken, NoToken> {
        let place = Place::new(Cloud::Global, None, None).unwrap();
        let clock = Arc::new(clock.clone());
        EnvironmentToken::new(token.into(), &place, TENANT, &["A.Read", "B.Write"], clock)
    }

    #[tokio::test]
    async fn it_is_passed_on_while_it_lasts_and_until_it_is_refused() {
        let clock = ManualClock::at(NOW);
        let token = text(&good());
        let source = take(token.clone(), &clock).unwrap();
        let given = source.obtain(None).await.unwrap();
        assert_eq!(given.expose_secret(), token);
        let refused = source.obtain(Some(&given)).await;
        assert!(matches!(refused, Err(NoToken::Refused)));
        clock.advance(1);
        assert!(matches!(source.obtain(None).await, Err(NoToken::Ended)));
    }

    #[test]
    fn application_permissions_count_as_well() {
        let mut claims = good();
        claims["scp"] = Value::Null;
        claims["roles"] = json!(["A.Read", "B.Write"]);
        claims["aud"] = "00000003-0000-0000-c000-000000000000".into();
        assert!(take(text(&claims), &ManualClock::at(NOW)).is_ok());
    }

    #[test]
    fn a_broader_permission_includes_a_narrower_one() {
        let covered = |wanted, held| covered(wanted, &BTreeSet::from([held]));
        assert!(covered("User.Read.All", "Directory.Read.All"));
        assert!(covered("Policy.Read.All", "Policy.Read.All"));
        assert!(!covered("Application.ReadWrite.All", "Directory.Read.All"));
    }

    #[test]
    fn what_it_says_of_itself_is_told_in_words() {
        let with = |name: &str, value: Value| {
            let mut claims = good();
            claims[name] = value;
            text(&claims)
        };
        let plain = text(&good());
        for (token, said) in [
            (
                with("aud", "https://management.azure.com".into()),
                "for another API than https://graph.microsoft.com: sign in with --sign-in browser",
            ),
            (
                with("tid", "22222222-2222-3333-4444-555555555555".into()),
                "another tenant",
            ),
            (with("exp", (NOW + 60).into()), "has ended"),
            (
                with("scp", "A.Read".into()),
                "lacks B.Write. Sign in with --sign-in browser",
            ),
            (
                with("iss", format!("http://localhost:8080/{TENANT}/v2.0").into()),
                "was not issued by",
            ),
            (with("iss", Value::Null), "holds no access token"),
            (with("exp", "soon".into()), "holds no access token"),
            (format!("Bearer {plain}"), "holds no access token"),
            (format!("{plain}.x"), "holds no access token"),
            (format!("{plain}\n"), "holds no access token"),
            (String::new(), "holds no access token"),
            ("a.b.c".into(), "holds no access token"),
        ] {
            let error = take(token.clone(), &ManualClock::at(NOW)).err().unwrap();
            let text = error.to_string();
            assert!(text.contains(said), "{said}: {text}");
            assert!(token.is_empty() || !text.contains(&token), "{text}");
        }
    }
}
