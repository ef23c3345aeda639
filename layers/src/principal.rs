//! The verified caller.

use std::fmt;
use std::sync::Arc;

use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use crate::challenge::{Answer, ChallengeRequired};
use crate::claims::{CP1, ClaimsRequest, check_context};
use crate::json::numeric_date;
use crate::resource::Resource;
use crate::scope::{Scope, list_contains};
use crate::token::Assertion;

/// The caller, as a verified token describes it. Cheap to clone.
///
/// There is no public constructor: in request extensions means verified. Tests get one from
/// [`jwt::verify`](crate::jwt::verify) with a token that they signed themselves.
#[derive(Clone)]
pub struct Principal(Arc<Inner>);

struct Inner {
    assertion: Assertion,
    claims: Map<String, Value>,
    resource: Resource,
}

impl Principal {
    pub(crate) fn new(
        assertion: Assertion,
        claims: Map<String, Value>,
        resource: Resource,
    ) -> Self {
        Self(Arc::new(Inner {
            assertion,
            claims,
            resource,
        }))
    }

    /// One claim by its exact name.
    #[must_use]
    pub fn claim(&self, name: &str) -> Option<&Value> {
        self.0.claims.get(name)
    }

    /// All claims as a type of yours.
    ///
    /// # Errors
    /// Claims that do not fit the type.
    pub fn claims<T: DeserializeOwned>(&self) -> Result<T, serde_json::Error> {
        T::deserialize(&self.0.claims)
    }

    fn text(&self, name: &str) -> Option<&str> {
        self.claim(name).and_then(Value::as_str)
    }

    fn lists(&self, name: &str, wanted: &str) -> bool {
        self.claim(name)
            .and_then(Value::as_array)
            .is_some_and(|values| values.iter().any(|value| value == wanted))
    }

    /// `iss`.
    #[must_use]
    pub fn issuer(&self) -> &str {
        self.text("iss").unwrap_or_default()
    }

    /// `sub`: unique within the issuer (in Entra pairwise: different for each application).
    #[must_use]
    pub fn subject(&self) -> Option<&str> {
        self.text("sub")
    }

    /// `oid`: the user's or service principal's object id, the same for every application of the tenant.
    #[must_use]
    pub fn object_id(&self) -> Option<&str> {
        self.text("oid")
    }

    /// `tid`: the tenant.
    #[must_use]
    pub fn tenant_id(&self) -> Option<&str> {
        self.text("tid")
    }

    /// The client that the token was issued to: `azp` (v2.0), `appid` (v1.0) or `client_id` (RFC 9068).
    #[must_use]
    pub fn client_id(&self) -> Option<&str> {
        self.text("azp")
            .or_else(|| self.text("appid"))
            .or_else(|| self.text("client_id"))
    }

    /// The scopes of a delegated token (`scp`, or `scope` of RFC 9068).
    pub fn scopes(&self) -> impl Iterator<Item = &str> {
        let list = self
            .text("scp")
            .or_else(|| self.text("scope"))
            .unwrap_or_default();
        list.split(' ')
            .filter(|scope| !scope.is_empty() && self.has_scope(scope))
    }

    /// Is this scope granted? Where a token has both `scp` and `scope`, it must stand in both.
    #[must_use]
    pub fn has_scope(&self, scope: &str) -> bool {
        let granted = |claim: Option<&Value>| {
            claim.map(|list| list.as_str().is_some_and(|list| list_contains(list, scope)))
        };
        match (granted(self.claim("scp")), granted(self.claim("scope"))) {
            (Some(scp), Some(scope)) => scp && scope,
            (Some(granted), None) | (None, Some(granted)) => granted,
            (None, None) => false,
        }
    }

    /// Is this app role assigned, to the user or to the application?
    #[must_use]
    pub fn has_role(&self, role: &str) -> bool {
        self.lists("roles", role)
    }

    /// Is this a token of an application on its own behalf? By `idtyp`, the only direct mark; without it, a token with
    /// no scope whose `oid` is its `sub`.
    #[must_use]
    pub fn is_app(&self) -> bool {
        match self.claim("idtyp") {
            Some(kind) => kind == "app",
            None => {
                !self.has_scope_claim()
                    && self.object_id().is_some()
                    && self.object_id() == self.subject()
            }
        }
    }

    /// Is this a token of a signed-in user? Not the opposite of [`is_app`](Self::is_app): a token that says neither is
    /// neither.
    #[must_use]
    pub fn is_user(&self) -> bool {
        self.may_be_user() && self.has_scope_claim()
    }

    fn may_be_user(&self) -> bool {
        !self.is_app() && self.claim("idtyp").is_none_or(|kind| kind == "user")
    }

    /// `exp`, in seconds since the epoch.
    #[must_use]
    pub fn expires_at(&self) -> u64 {
        self.claim("exp").and_then(numeric_date).unwrap_or_default()
    }

    fn has_scope_claim(&self) -> bool {
        self.claim("scp").is_some() || self.claim("scope").is_some()
    }

    /// Was this authentication context (`c1` to `c99`) satisfied?
    #[must_use]
    pub fn has_auth_context(&self, context: &str) -> bool {
        self.lists("acrs", context)
    }

    /// Can the caller's client answer a claims challenge (`xms_cc` holds `cp1`, in any case, or the resource assumes it)?
    #[must_use]
    pub fn accepts_claims_challenge(&self) -> bool {
        let declared = || {
            let capabilities = self.claim("xms_cc").and_then(Value::as_array)?;
            Some(
                capabilities
                    .iter()
                    .filter_map(Value::as_str)
                    .any(|capability| capability.eq_ignore_ascii_case(CP1)),
            )
        };
        self.is_user() && (self.resource().assumes_cp1() || declared().unwrap_or(false))
    }

    /// The resource that the token was verified for.
    #[must_use]
    pub fn resource(&self) -> &Resource {
        &self.0.resource
    }

    /// The token itself, to be exchanged On-Behalf-Of.
    pub(crate) fn assertion(&self) -> &Assertion {
        &self.0.assertion
    }

    /// Demands a scope inside a handler, for services whose routes are not layers (gRPC methods).
    ///
    /// # Errors
    /// The refusal, to be returned through `?`.
    pub fn require_scope(&self, scope: &str) -> Result<(), ChallengeRequired> {
        let answer = match Scope::new(scope) {
            Ok(scope) => self.check_scopes(&[scope], false).err(),
            Err(_) => Some(Answer::Internal),
        };
        answer.map_or(Ok(()), |answer| Err(ChallengeRequired::new(answer)))
    }

    /// Demands an authentication context inside a handler.
    ///
    /// # Errors
    /// The refusal or the claims challenge, to be returned through `?`.
    pub fn require_auth_context(&self, context: &str) -> Result<(), ChallengeRequired> {
        self.check_auth_context(context)
            .map_err(ChallengeRequired::new)
    }

    /// Demands a token issued at or after a time, in seconds since the epoch: a user or session revoked then must get a
    /// new one (Continuous Access Evaluation).
    ///
    /// # Errors
    /// The claims challenge if the caller's client can answer one, else `invalid_token`; to be returned through `?`.
    pub fn require_issued_after(&self, seconds: u64) -> Result<(), ChallengeRequired> {
        let issued = self.claim("iat").and_then(numeric_date);
        if issued.is_some_and(|issued| issued >= seconds) {
            return Ok(());
        }
        Err(ChallengeRequired::new(
            match self.accepts_claims_challenge() {
                true => Answer::InsufficientClaims(ClaimsRequest::not_before(seconds)),
                false => Answer::InvalidToken,
            },
        ))
    }

    pub(crate) fn check_scopes(&self, scopes: &[Scope], all: bool) -> Result<(), Answer> {
        if !self.may_be_user() {
            return Err(Answer::Forbidden);
        }
        let has = |scope: &Scope| self.has_scope(scope.as_str());
        let enough = if all {
            scopes.iter().all(has)
        } else {
            scopes.iter().any(has)
        };
        let wanted = || {
            scopes
                .iter()
                .map(Scope::as_str)
                .collect::<Vec<_>>()
                .join(" ")
        };
        if enough && !scopes.is_empty() {
            Ok(())
        } else {
            Err(Answer::InsufficientScope(wanted()))
        }
    }

    pub(crate) fn check_role(&self, role: &str, of_app: bool) -> Result<(), Answer> {
        let right_kind = if of_app {
            self.is_app()
        } else {
            self.is_user()
        };
        match (right_kind, self.has_role(role)) {
            (true, true) => Ok(()),
            (true, false) => Err(Answer::InsufficientScope(String::new())),
            (false, _) => Err(Answer::Forbidden),
        }
    }

    pub(crate) fn check_auth_context(&self, context: &str) -> Result<(), Answer> {
        if check_context(context).is_err() {
            return Err(Answer::Internal);
        }
        if self.is_user() && self.has_auth_context(context) {
            return Ok(());
        }
        match ClaimsRequest::acrs(context) {
            Ok(claims) if self.accepts_claims_challenge() => {
                Err(Answer::InsufficientClaims(claims))
            }
            _ => Err(Answer::Forbidden),
        }
    }
}

impl fmt::Debug for Principal {
    /// Shows no claim.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Principal")
            .field("resource", &self.0.resource)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::authority::Authority;
    use crate::challenge::RefusalKind;

    fn principal(claims: Value) -> Principal {
        let authority = Authority::entra("11111111-2222-3333-4444-555555555555").unwrap();
        let Value::Object(claims) = claims else {
            panic!("an object")
        };
        Principal::new(
            Assertion::new("t"),
            claims,
            authority.resource("api://x").unwrap(),
        )
    }

    #[test]
    fn scope_of_a_user() {
        let scope = [Scope::new("read").unwrap()];
        let rows = [
            (json!({"scp": "read"}), None),
            (json!({"scp": "a read b"}), None),
            (json!({"scope": "read"}), None),
            (json!({"scp": "read", "scope": "read"}), None),
            (
                json!({"scp": "read", "scope": "write"}),
                Some(RefusalKind::InsufficientScope),
            ),
            (
                json!({"scp": "write", "scope": "read"}),
                Some(RefusalKind::InsufficientScope),
            ),
            (
                json!({"scp": "reads"}),
                Some(RefusalKind::InsufficientScope),
            ),
            (json!({"scp": "READ"}), Some(RefusalKind::InsufficientScope)),
            (
                json!({"scp": "a\tread"}),
                Some(RefusalKind::InsufficientScope),
            ),
            (
                json!({"scp": ["read"]}),
                Some(RefusalKind::InsufficientScope),
            ),
            (
                json!({"scp": {"read": 1}}),
                Some(RefusalKind::InsufficientScope),
            ),
            (
                json!({"scp": 1, "scope": "read"}),
                Some(RefusalKind::InsufficientScope),
            ),
            (
                json!({"roles": ["read"]}),
                Some(RefusalKind::InsufficientScope),
            ),
            (
                json!({"scopes": "read", "SCP": "read", "groups": ["read"]}),
                Some(RefusalKind::InsufficientScope),
            ),
            (json!({}), Some(RefusalKind::InsufficientScope)),
            (
                json!({"idtyp": "app", "scp": "read"}),
                Some(RefusalKind::Forbidden),
            ),
            (
                json!({"idtyp": 1, "scp": "read"}),
                Some(RefusalKind::Forbidden),
            ),
            (
                json!({"oid": "o", "sub": "o", "roles": ["read"]}),
                Some(RefusalKind::Forbidden),
            ),
        ];
        for (claims, expected) in rows {
            let answer = principal(claims.clone())
                .check_scopes(&scope, false)
                .err()
                .map(|answer| answer.kind());
            assert_eq!(answer, expected, "{claims}");
        }
    }

    #[test]
    fn any_and_all_of_several_scopes() {
        let scopes = [Scope::new("a").unwrap(), Scope::new("b").unwrap()];
        for (list, any, all) in [
            ("a", true, false),
            ("b", true, false),
            ("a b", true, true),
            ("c", false, false),
        ] {
            let caller = principal(json!({"scp": list}));
            assert_eq!(caller.check_scopes(&scopes, false).is_ok(), any, "{list}");
            assert_eq!(caller.check_scopes(&scopes, true).is_ok(), all, "{list}");
        }
        assert!(
            principal(json!({"scp": "a"}))
                .check_scopes(&[], true)
                .is_err(),
            "nothing demanded is nothing granted"
        );
    }

    #[test]
    fn role_of_an_app_is_not_the_role_of_a_user() {
        let app = json!({"idtyp": "app", "roles": ["Task.Run"]});
        let unmarked_app = json!({"oid": "o", "sub": "o", "roles": ["Task.Run"]});
        let user = json!({"scp": "x", "roles": ["Task.Run"]});
        let neither = json!({"roles": ["Task.Run"]});
        let device = json!({"idtyp": "device", "scp": "x", "roles": ["Task.Run"]});
        let cased = json!({"idtyp": "App", "oid": "o", "sub": "o", "roles": ["Task.Run"]});
        for (claims, of_app, of_user) in [
            (app, true, false),
            (unmarked_app, true, false),
            (user, false, true),
            (neither, false, false),
            (device, false, false),
            (cased, false, false),
        ] {
            let caller = principal(claims.clone());
            assert_eq!(
                caller.check_role("Task.Run", true).is_ok(),
                of_app,
                "{claims}"
            );
            assert_eq!(
                caller.check_role("Task.Run", false).is_ok(),
                of_user,
                "{claims}"
            );
        }
        for roles in [
            json!("Task.Run"),
            json!({"Task.Run": 1}),
            json!([["Task.Run"]]),
            json!(["task.run"]),
            json!(["Task.Run x"]),
        ] {
            assert!(
                principal(json!({"idtyp": "app", "roles": roles}))
                    .check_role("Task.Run", true)
                    .is_err(),
                "{roles}"
            );
        }
    }

    #[test]
    fn revocation_is_answered_by_those_who_can() {
        let rows = [
            (json!({"scp": "x", "iat": 100, "xms_cc": ["cp1"]}), None),
            (
                json!({"scp": "x", "iat": 99, "xms_cc": ["cp1"]}),
                Some(RefusalKind::InsufficientClaims),
            ),
            (
                json!({"scp": "x", "iat": "100", "xms_cc": ["cp1"]}),
                Some(RefusalKind::InsufficientClaims),
            ),
            (
                json!({"scp": "x", "iat": 99}),
                Some(RefusalKind::InvalidToken),
            ),
            (
                json!({"idtyp": "app", "iat": 99, "xms_cc": ["cp1"]}),
                Some(RefusalKind::InvalidToken),
            ),
        ];
        for (claims, expected) in rows {
            let refused = principal(claims.clone()).require_issued_after(100).err();
            assert_eq!(
                refused.map(|challenge| challenge.kind()),
                expected,
                "{claims}"
            );
        }
    }

    #[test]
    fn auth_context() {
        let rows = [
            (json!({"scp": "x", "acrs": ["c1"]}), None),
            (
                json!({"scp": "x", "acrs": ["c2"], "xms_cc": ["cp1"]}),
                Some(RefusalKind::InsufficientClaims),
            ),
            (
                json!({"scp": "x", "xms_cc": ["CP1"]}),
                Some(RefusalKind::InsufficientClaims),
            ),
            (
                json!({"scp": "x", "acrs": "c1", "xms_cc": ["cp1"]}),
                Some(RefusalKind::InsufficientClaims),
            ),
            (
                json!({"scp": "x", "acr": "c1", "xms_cc": ["cp1"]}),
                Some(RefusalKind::InsufficientClaims),
            ),
            (
                json!({"scp": "x", "acrs": ["c11"], "xms_cc": ["cp1"]}),
                Some(RefusalKind::InsufficientClaims),
            ),
            (
                json!({"scp": "x", "acrs": ["C1"], "xms_cc": ["cp1"]}),
                Some(RefusalKind::InsufficientClaims),
            ),
            (json!({"scp": "x"}), Some(RefusalKind::Forbidden)),
            (
                json!({"scp": "x", "xms_cc": ["cp2"]}),
                Some(RefusalKind::Forbidden),
            ),
            (
                json!({"scp": "x", "xms_cc": "cp1"}),
                Some(RefusalKind::Forbidden),
            ),
            (
                json!({"idtyp": "app", "xms_cc": ["cp1"]}),
                Some(RefusalKind::Forbidden),
            ),
            (
                json!({"idtyp": "app", "acrs": ["c1"]}),
                Some(RefusalKind::Forbidden),
            ),
        ];
        for (claims, expected) in rows {
            let answer = principal(claims.clone())
                .check_auth_context("c1")
                .err()
                .map(|answer| answer.kind());
            assert_eq!(answer, expected, "{claims}");
        }
    }

    #[test]
    fn debug_shows_no_claim() {
        let shown = format!("{:?}", principal(json!({"name": "Alice", "scp": "x"})));
        assert!(!shown.contains("Alice"), "{shown}");
    }
}
