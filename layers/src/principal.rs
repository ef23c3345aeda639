//! The verified caller.

use std::fmt;
use std::sync::{Arc, OnceLock};

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use crate::challenge::{Answer, ChallengeRequired, StepUp};
use crate::claims::{ClaimsRequest, check_context};
use crate::facts::{Facts, Piece, TokenKind};
use crate::json;
use crate::resource::Resource;
use crate::scope::Scope;
use crate::token::{PresentedToken, TokenHash};

/// Deepest nesting of a token's JSON.
pub(crate) const MAX_DEPTH: usize = 32;

/// The caller, as a verified token describes it. Cheap to clone.
///
/// There is no public constructor: in request extensions means verified. Tests get one from
/// [`jwt::verify`](crate::jwt::verify) with a token that they signed themselves, or that the package `local-authority` issued to measure.
#[derive(Clone)]
pub struct Principal(Arc<Inner>);

struct Inner {
    token: PresentedToken,
    verified: Arc<Verified>,
    /// Decoded from the token when a handler first asks for more than the facts.
    claims: OnceLock<Map<String, Value>>,
}

/// That a token was verified, for whom, and what it says: all that is kept of it in the cache of verified tokens.
pub(crate) struct Verified {
    pub(crate) facts: Facts,
    pub(crate) resource: Resource,
    /// Which of the authority's issuers signed it.
    pub(crate) issuer: usize,
    /// Only middle tiers need it; the cache of verified tokens holds many of these, hence the box.
    assertion_hash: OnceLock<Box<TokenHash>>,
}

impl Verified {
    pub(crate) fn new(facts: Facts, resource: Resource, issuer: usize) -> Self {
        Self {
            facts,
            resource,
            issuer,
            assertion_hash: OnceLock::new(),
        }
    }
}

impl Principal {
    pub(crate) fn new(token: PresentedToken, verified: Arc<Verified>) -> Self {
        Self(Arc::new(Inner {
            token,
            verified,
            claims: OnceLock::new(),
        }))
    }

    /// One claim by its exact name. The first use decodes the token's payload; the methods below do not need that.
    #[must_use]
    pub fn claim(&self, name: &str) -> Option<&Value> {
        self.all_claims().get(name)
    }

    /// All claims as a type of yours.
    ///
    /// # Errors
    /// Claims that do not fit the type.
    pub fn claims<T: DeserializeOwned>(&self) -> Result<T, serde_json::Error> {
        T::deserialize(self.all_claims())
    }

    fn all_claims(&self) -> &Map<String, Value> {
        self.0.claims.get_or_init(|| {
            // The verifier has read the same bytes by the same rules, so this cannot fail.
            let payload = self.0.token.expose().split('.').nth(1).unwrap_or_default();
            BASE64_URL_SAFE_NO_PAD
                .decode(payload)
                .ok()
                .and_then(|text| json::parse_object(&text, MAX_DEPTH).ok())
                .unwrap_or_default()
        })
    }

    fn facts(&self) -> &Facts {
        &self.0.verified.facts
    }

    /// `iss`.
    #[must_use]
    pub fn issuer(&self) -> &str {
        let only = self.resource().authority().name();
        self.facts().get(Piece::Issuer).unwrap_or(only)
    }

    /// `sub`: unique within the issuer (in Entra pairwise: different for each application).
    #[must_use]
    pub fn subject(&self) -> Option<&str> {
        self.facts().get(Piece::Subject)
    }

    /// `oid`: the user's or service principal's object id, the same for every application of the tenant.
    #[must_use]
    pub fn object_id(&self) -> Option<&str> {
        self.facts().get(Piece::ObjectId)
    }

    /// `tid`: the tenant.
    #[must_use]
    pub fn tenant_id(&self) -> Option<&str> {
        self.facts().get(Piece::Tenant)
    }

    /// The client that the token was issued to: `azp` (v2.0), `appid` (v1.0) or `client_id` (RFC 9068).
    #[must_use]
    pub fn client_id(&self) -> Option<&str> {
        self.facts().get(Piece::Client)
    }

    /// `sid`: the session at the authority.
    #[must_use]
    pub fn session_id(&self) -> Option<&str> {
        self.facts().get(Piece::Session)
    }

    /// `acr`: the class of the authentication.
    #[must_use]
    pub fn authentication_class(&self) -> Option<&str> {
        self.facts().get(Piece::AuthenticationClass)
    }

    /// `auth_time`: when the user last authenticated, in seconds since the epoch.
    #[must_use]
    pub fn authenticated_at(&self) -> Option<u64> {
        Some(self.facts().authenticated_at).filter(|seconds| *seconds > 0)
    }

    /// `iat`, in seconds since the epoch.
    #[must_use]
    pub fn issued_at(&self) -> Option<u64> {
        Some(self.facts().issued_at).filter(|seconds| *seconds > 0)
    }

    /// `exp`, in seconds since the epoch.
    #[must_use]
    pub fn expires_at(&self) -> u64 {
        self.facts().expires_at
    }

    /// The granted scopes of a delegated token (`scp`, or `scope` of RFC 9068; where a token has both, those that stand in
    /// both).
    pub fn scopes(&self) -> impl Iterator<Item = &str> {
        let list = self.facts().get(Piece::Scopes).unwrap_or_default();
        list.split(' ').filter(|scope| !scope.is_empty())
    }

    /// Is this scope granted?
    #[must_use]
    pub fn has_scope(&self, scope: &str) -> bool {
        self.facts().lists(Piece::Scopes, scope)
    }

    /// Is this app role assigned, to the user or to the application? Not for values with a space in them: Entra has none.
    #[must_use]
    pub fn has_role(&self, role: &str) -> bool {
        self.facts().lists(Piece::Roles, role)
    }

    /// Is this a token of an application on its own behalf? By `idtyp`, the only direct mark; without it, a token with
    /// no scope whose `oid` is its `sub` (Entra), or one whose `sub` is the client itself (RFC 9068 2.2).
    ///
    /// An authority that gives applications a `sub` of their own and a `scope`, and no `idtyp`, does not let us tell them
    /// from users.
    #[must_use]
    pub fn is_app(&self) -> bool {
        let marks = self.facts().marks();
        match marks.kind {
            TokenKind::App => true,
            TokenKind::User | TokenKind::Other => false,
            TokenKind::Unmarked => {
                let subject = self.subject();
                let is_client = subject.is_some() && subject == self.client_id();
                let is_object = subject.is_some() && subject == self.object_id();
                is_client || (is_object && !marks.scope_claim)
            }
        }
    }

    /// Is this a token of a signed-in user? Not the opposite of [`is_app`](Self::is_app): a token that says neither is
    /// neither.
    #[must_use]
    pub fn is_user(&self) -> bool {
        self.may_be_user() && self.facts().marks().scope_claim
    }

    fn may_be_user(&self) -> bool {
        let kind = self.facts().marks().kind;
        !self.is_app() && matches!(kind, TokenKind::Unmarked | TokenKind::User)
    }

    /// Was this authentication context (`c1` to `c99`) satisfied?
    #[must_use]
    pub fn has_auth_context(&self, context: &str) -> bool {
        self.facts().lists(Piece::Contexts, context)
    }

    /// Can the caller's client answer a claims challenge (`xms_cc` holds `cp1`, in any case, or the resource assumes it)?
    #[must_use]
    pub fn accepts_claims_challenge(&self) -> bool {
        self.is_user() && (self.resource().assumes_cp1() || self.facts().marks().claims_capable)
    }

    /// The resource that the token was verified for.
    #[must_use]
    pub fn resource(&self) -> &Resource {
        &self.0.verified.resource
    }

    /// The token itself, to be exchanged On-Behalf-Of (RFC 7523 4: the *assertion*).
    pub(crate) fn assertion(&self) -> &str {
        self.0.token.expose()
    }

    /// What stands for the token in cache keys. Computed once for all requests that present it.
    pub(crate) fn assertion_hash(&self) -> TokenHash {
        let hash = &self.0.verified.assertion_hash;
        **hash.get_or_init(|| Box::new(TokenHash::of(self.assertion())))
    }

    /// Demands a scope inside a handler, for services whose routes are not layers (gRPC methods).
    ///
    /// # Errors
    /// The refusal, to be returned through `?`.
    pub fn require_scope(&self, scope: &str) -> Result<(), ChallengeRequired> {
        let checked = match Scope::new(scope) {
            Ok(scope) => self.check_scopes(&[scope], false),
            Err(_) => Err(Answer::Internal),
        };
        checked.map_err(ChallengeRequired::new)
    }

    /// Demands an authentication context inside a handler.
    ///
    /// # Errors
    /// The refusal or the claims challenge, to be returned through `?`.
    pub fn require_auth_context(&self, context: &str) -> Result<(), ChallengeRequired> {
        self.check_auth_context(context)
            .map_err(ChallengeRequired::new)
    }

    /// Demands one of these authentication classes (`acr`), an authentication at most `max_age` seconds old, or both
    /// (RFC 9470), inside a handler.
    ///
    /// # Errors
    /// The refusal or the step-up challenge, to be returned through `?`.
    pub fn require_authentication(
        &self,
        acr_values: &[&str],
        max_age: Option<u64>,
    ) -> Result<(), ChallengeRequired> {
        let checked = match StepUp::new(acr_values.iter().copied(), max_age) {
            Ok(demand) => self.check_authentication(&demand),
            Err(_) => Err(Answer::Internal),
        };
        checked.map_err(ChallengeRequired::new)
    }

    /// Demands a token issued at or after a time, in seconds since the epoch: a user or session revoked then must get a
    /// new one (Continuous Access Evaluation).
    ///
    /// # Errors
    /// The claims challenge if the caller's client can answer one, else `invalid_token`; to be returned through `?`.
    pub fn require_issued_after(&self, seconds: u64) -> Result<(), ChallengeRequired> {
        self.check_issued_after(seconds)
            .map_err(ChallengeRequired::new)
    }

    pub(crate) fn check_issued_after(&self, seconds: u64) -> Result<(), Answer> {
        if self.issued_at().is_some_and(|issued| issued >= seconds) {
            return Ok(());
        }
        Err(match self.accepts_claims_challenge() {
            true => Answer::InsufficientClaims(ClaimsRequest::not_before(seconds)),
            false => Answer::InvalidToken,
        })
    }

    pub(crate) fn check_scopes(&self, scopes: &[Scope], all: bool) -> Result<(), Answer> {
        if !self.may_be_user() {
            return Err(Answer::Forbidden);
        }
        let has = |scope: &Scope| self.has_scope(scope.as_str());
        if holds(scopes, all, has) {
            return Ok(());
        }
        let wanted: Vec<&str> = scopes.iter().map(Scope::as_str).collect();
        Err(Answer::InsufficientScope(wanted.join(" ")))
    }

    pub(crate) fn check_roles(&self, roles: &[Scope], of_app: bool) -> Result<(), Answer> {
        let right_kind = if of_app {
            self.is_app()
        } else {
            self.is_user()
        };
        let has = |role: &Scope| self.has_role(role.as_str());
        match (right_kind, holds(roles, false, has)) {
            (true, true) => Ok(()),
            (true, false) => Err(Answer::InsufficientScope(String::new())),
            (false, _) => Err(Answer::Forbidden),
        }
    }

    pub(crate) fn check_client(&self, clients: &[Scope]) -> Result<(), Answer> {
        match self.client_id() {
            Some(id) if clients.iter().any(|client| client.as_str() == id) => Ok(()),
            _ => Err(Answer::Forbidden),
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

    /// RFC 9470 4. An `auth_time` in the future is none.
    pub(crate) fn check_authentication(&self, demand: &StepUp) -> Result<(), Answer> {
        if !self.is_user() {
            return Err(Answer::Forbidden);
        }
        let strong = demand.acr_values.as_deref().is_none_or(|accepted| {
            self.authentication_class()
                .is_some_and(|class| accepted.split(' ').any(|one| one == class))
        });
        let fresh = demand.max_age.is_none_or(|max_age| {
            let now = self.resource().authority().now();
            let latest = now.saturating_add(self.resource().leeway_seconds());
            self.authenticated_at()
                .filter(|at| *at <= latest)
                .is_some_and(|at| now.saturating_sub(at) <= max_age)
        });
        if strong && fresh {
            Ok(())
        } else {
            Err(Answer::StepUp(demand.clone()))
        }
    }
}

/// Any or all of at least one.
fn holds<T>(wanted: &[T], all: bool, has: impl Fn(&T) -> bool) -> bool {
    !wanted.is_empty()
        && if all {
            wanted.iter().all(has)
        } else {
            wanted.iter().any(has)
        }
}

impl fmt::Debug for Principal {
    /// Shows no claim.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Principal")
            .field("resource", self.resource())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::LazyLock;

    use serde_json::json;

    use super::*;
    use crate::authority::AuthorityBuilder;
    use crate::challenge::RefusalKind;
    use crate::clock::ManualClock;
    use crate::signer;

    const NOW: u64 = 1_800_000_000;
    const TENANT: &str = "11111111-2222-3333-4444-555555555555";

    static RESOURCE: LazyLock<Resource> = LazyLock::new(|| {
        let authority = AuthorityBuilder::entra(TENANT).clock(ManualClock::new(NOW));
        authority.build().unwrap().resource("api://x").unwrap()
    });

    /// A caller with these claims beside those that every token has, whose token was really verified.
    fn principal(claims: &Value) -> Principal {
        signer::caller(&RESOURCE, claims)
    }

    #[test]
    fn scope_of_a_user() {
        let scope = [Scope::new("read").unwrap()];
        let rows = [
            (json!({"scp": "read"}), None),
            (json!({"scp": "a read b"}), None),
            (json!({"scope": "read"}), None),
            (json!({"idtyp": "user", "scp": "read"}), None),
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
            (
                json!({"azp": "daemon", "sub": "daemon", "scope": "read"}),
                Some(RefusalKind::Forbidden),
            ),
            (
                json!({"azp": "daemon", "sub": "daemon2", "scope": "read"}),
                None,
            ),
        ];
        for (claims, expected) in rows {
            let answer = principal(&claims)
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
            let caller = principal(&json!({"scp": list}));
            assert_eq!(caller.check_scopes(&scopes, false).is_ok(), any, "{list}");
            assert_eq!(caller.check_scopes(&scopes, true).is_ok(), all, "{list}");
        }
        assert!(
            principal(&json!({"scp": "a"}))
                .check_scopes(&[], true)
                .is_err(),
            "nothing demanded is nothing granted"
        );
    }

    #[test]
    fn role_of_an_app_is_not_the_role_of_a_user() {
        let role = [Scope::new("Task.Run").unwrap()];
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
            let caller = principal(&claims);
            assert_eq!(caller.check_roles(&role, true).is_ok(), of_app, "{claims}");
            assert_eq!(
                caller.check_roles(&role, false).is_ok(),
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
                principal(&json!({"idtyp": "app", "roles": roles}))
                    .check_roles(&role, true)
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
                json!({"scp": "x", "xms_cc": ["cp1"]}),
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
            let refused = principal(&claims).require_issued_after(100).err();
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
            let answer = principal(&claims)
                .check_auth_context("c1")
                .err()
                .map(|answer| answer.kind());
            assert_eq!(answer, expected, "{claims}");
        }
    }

    #[test]
    fn debug_shows_no_claim() {
        let shown = format!("{:?}", principal(&json!({"name": "Alice", "scp": "x"})));
        assert!(!shown.contains("Alice"), "{shown}");
    }

    #[test]
    fn authentication_of_rfc_9470() {
        let rows = [
            (
                json!({"scp": "x", "acr": "2", "auth_time": NOW - 300}),
                None,
            ),
            (
                json!({"scp": "x", "acr": "3", "auth_time": NOW - 300}),
                None,
            ),
            (json!({"scp": "x", "acr": "2", "auth_time": NOW + 60}), None),
            (
                json!({"scp": "x", "acr": "2", "auth_time": NOW - 301}),
                Some(RefusalKind::StepUp),
            ),
            (
                json!({"scp": "x", "acr": "2", "auth_time": NOW + 61}),
                Some(RefusalKind::StepUp),
            ),
            (json!({"scp": "x", "acr": "2"}), Some(RefusalKind::StepUp)),
            (
                json!({"scp": "x", "acr": "2", "auth_time": (NOW - 300).to_string()}),
                Some(RefusalKind::StepUp),
            ),
            (
                json!({"scp": "x", "acr": "1", "auth_time": NOW}),
                Some(RefusalKind::StepUp),
            ),
            (
                json!({"scp": "x", "acr": "2 3", "auth_time": NOW}),
                Some(RefusalKind::StepUp),
            ),
            (
                json!({"scp": "x", "acr": ["2"], "auth_time": NOW}),
                Some(RefusalKind::StepUp),
            ),
            (
                json!({"scp": "x", "auth_time": NOW}),
                Some(RefusalKind::StepUp),
            ),
            (
                json!({"idtyp": "app", "acr": "2", "auth_time": NOW}),
                Some(RefusalKind::Forbidden),
            ),
        ];
        for (claims, expected) in rows {
            let refused = principal(&claims).require_authentication(&["2", "3"], Some(300));
            assert_eq!(
                refused.err().map(|challenge| challenge.kind()),
                expected,
                "{claims}"
            );
        }
        let caller = principal(&json!({"scp": "x", "acr": "2"}));
        assert!(caller.require_authentication(&["2"], None).is_ok());
        for empty in [&[][..], &[""], &["2", ""], &["2 3"]] {
            let refused = caller.require_authentication(empty, None).unwrap_err();
            assert_eq!(refused.kind(), RefusalKind::Internal, "{empty:?}");
        }
        let nothing = caller.require_authentication(&[], None).unwrap_err();
        assert_eq!(
            nothing.kind(),
            RefusalKind::Internal,
            "an empty demand is a mistake, not a pass"
        );
    }

    #[test]
    fn what_a_token_says_and_what_it_leaves_open() {
        let caller = principal(&json!({
            "sub": "s", "oid": "o", "azp": "c", "sid": "session", "acr": "1", "auth_time": NOW - 5, "iat": NOW - 3,
            "exp": NOW + 7, "scp": "a b", "roles": ["r"], "acrs": ["c7"],
        }));
        assert_eq!(caller.subject(), Some("s"));
        assert_eq!(caller.object_id(), Some("o"));
        assert_eq!(caller.tenant_id(), Some(TENANT));
        assert_eq!(caller.client_id(), Some("c"));
        assert_eq!(caller.session_id(), Some("session"));
        assert_eq!(caller.authentication_class(), Some("1"));
        assert_eq!(caller.authenticated_at(), Some(NOW - 5));
        assert_eq!(caller.issued_at(), Some(NOW - 3));
        assert_eq!(caller.expires_at(), NOW + 7);
        assert_eq!(caller.scopes().collect::<Vec<_>>(), ["a", "b"]);
        assert!(caller.has_role("r") && !caller.has_role("R"));
        assert!(caller.has_auth_context("c7") && !caller.has_auth_context("c"));
        let silent = principal(&json!({}));
        assert_eq!(silent.subject(), None);
        assert_eq!(silent.object_id(), None);
        assert_eq!(silent.session_id(), None);
        assert_eq!(silent.authentication_class(), None);
        assert_eq!(silent.authenticated_at(), None);
        assert_eq!(silent.issued_at(), None);
        assert_eq!(silent.scopes().count(), 0);
        assert!(!silent.is_app() && !silent.is_user());
    }

    #[test]
    fn demands_inside_a_handler() {
        let caller = principal(&json!({"scp": "read", "acrs": ["c1"], "xms_cc": ["cp1"]}));
        let kind =
            |demanded: Result<(), ChallengeRequired>| demanded.err().map(|demand| demand.kind());
        assert_eq!(kind(caller.require_scope("read")), None);
        assert_eq!(
            kind(caller.require_scope("write")),
            Some(RefusalKind::InsufficientScope)
        );
        assert_eq!(kind(caller.require_scope("")), Some(RefusalKind::Internal));
        assert_eq!(kind(caller.require_auth_context("c1")), None);
        assert_eq!(
            kind(caller.require_auth_context("c2")),
            Some(RefusalKind::InsufficientClaims)
        );
        assert_eq!(
            kind(caller.require_auth_context("")),
            Some(RefusalKind::Internal)
        );
    }

    #[test]
    fn client_is_compared_whole() {
        let clients = ["spa", "daemon"].map(|id| Scope::new(id).unwrap());
        for (id, admitted) in [
            ("spa", true),
            ("daemon", true),
            ("SPA", false),
            ("spa2", false),
            ("", false),
        ] {
            let checked = principal(&json!({"scp": "x", "azp": id})).check_client(&clients);
            assert_eq!(checked.is_ok(), admitted, "{id}");
        }
        let v1 = principal(&json!({"scp": "x", "azp": 7, "appid": "daemon"}));
        assert!(v1.check_client(&clients).is_ok());
    }

    #[test]
    fn claims_are_decoded_when_they_are_asked_for() {
        #[derive(serde::Deserialize)]
        struct Named {
            name: String,
            groups: Vec<String>,
        }
        let caller =
            principal(&json!({"name": "Alice \u{1f600}", "groups": ["a", "b"], "sub": "s\"\\"}));
        assert_eq!(caller.claim("name").unwrap(), "Alice \u{1f600}");
        assert_eq!(caller.subject(), Some("s\"\\"));
        let named: Named = caller.claims().unwrap();
        assert_eq!(
            (named.name.as_str(), named.groups.len()),
            ("Alice \u{1f600}", 2)
        );
        assert!(caller.claim("Name").is_none());
        assert_eq!(
            caller.issuer(),
            format!("https://login.microsoftonline.com/{TENANT}/v2.0")
        );
    }
}
