//! Whom we accept tokens for, and how this resource introduces itself in a challenge.

use std::fmt;
use std::iter;
use std::sync::{Arc, OnceLock};

use http::HeaderValue;

use crate::authority::{Authority, is_guid};
use crate::challenge::{Answer, Challenge};
use crate::error::ConfigError;
use crate::protected_resource::ProtectedResource;

/// Longest token by default. hyper's HTTP/2 server takes 16 KiB of headers in all unless told otherwise.
const MAX_TOKEN_BYTES: usize = 12 * 1024;

/// A protected resource (an API): the audiences that its tokens must name, and what its challenges say. Cheap to clone.
#[derive(Clone)]
pub struct Resource(Arc<Inner>);

#[derive(Clone)]
struct Inner {
    authority: Authority,
    audiences: Vec<String>,
    app_id_uri: Option<String>,
    assume_cp1: bool,
    leeway: u64,
    max_token_bytes: usize,
    strict_rfc9068: bool,
    others: Vec<Resource>,
    described: Option<ProtectedResource>,
    printed: Printed,
}

/// The challenges that are the same for everybody, printed once.
#[derive(Clone, Default)]
struct Printed {
    missing_token: OnceLock<Option<HeaderValue>>,
    invalid_request: OnceLock<Option<HeaderValue>>,
    invalid_token: OnceLock<Option<HeaderValue>>,
}

/// Which of several resources accepted the request's token: set inside by `ValidateBearer`, read outside by
/// `PropagateChallenge`, so that a demand is printed for the authority that the caller knows.
#[derive(Clone, Debug, Default)]
pub(crate) struct AcceptedBy(Arc<OnceLock<Resource>>);

impl AcceptedBy {
    pub(crate) fn set(&self, resource: &Resource) {
        // A second validation inside of the first says the same or is for another resource.
        let _ = self.0.set(resource.clone());
    }

    pub(crate) fn get(&self) -> Option<&Resource> {
        self.0.get()
    }
}

impl Authority {
    /// A resource that accepts this authority's tokens for `audience`: the API's application (client) id in v2.0 tokens of
    /// Entra, or whatever stands in `aud`.
    ///
    /// # Errors
    /// An audience that is empty or not visible ASCII.
    pub fn resource(&self, audience: &str) -> Result<Resource, ConfigError> {
        let inner = Inner {
            authority: self.clone(),
            audiences: vec![checked(audience)?],
            app_id_uri: None,
            assume_cp1: false,
            leeway: 60,
            max_token_bytes: MAX_TOKEN_BYTES,
            strict_rfc9068: false,
            others: Vec::new(),
            described: None,
            printed: Printed::default(),
        };
        Ok(Resource(Arc::new(inner)))
    }
}

impl Resource {
    /// Accepts another audience as well.
    ///
    /// # Errors
    /// An audience that is empty or not visible ASCII.
    pub fn audience(self, audience: &str) -> Result<Self, ConfigError> {
        let audience = checked(audience)?;
        Ok(self.change(|inner| inner.audiences.push(audience)))
    }

    /// The application ID URI (`api://...`), for which clients ask consent; `api://<client id>` by default.
    ///
    /// # Errors
    /// A URI that is empty or not visible ASCII.
    pub fn app_id_uri(self, uri: &str) -> Result<Self, ConfigError> {
        let uri = checked(uri)?;
        Ok(self.change(|inner| inner.app_id_uri = Some(uri)))
    }

    /// Treats every user's client as able to answer claims challenges, for authorities whose tokens do not say so (`xms_cc`).
    #[must_use]
    pub fn assume_claims_capable_clients(self) -> Self {
        self.change(|inner| inner.assume_cp1 = true)
    }

    /// How far the authority's clock may differ from ours, in seconds: 60 by default, at most 300.
    #[must_use]
    pub fn leeway(self, seconds: u64) -> Self {
        self.change(|inner| inner.leeway = seconds.min(300))
    }

    /// The longest token that is looked at, in bytes; 12 KiB by default.
    #[must_use]
    pub fn max_token_bytes(self, bytes: usize) -> Self {
        self.change(|inner| inner.max_token_bytes = bytes)
    }

    /// Accepts only access tokens that follow RFC 9068 to the letter: `typ` is `at+jwt`, and `sub`, `client_id`, `iat` and
    /// `jti` are there.
    ///
    /// # Errors
    /// An authority of Entra's kind, whose tokens do neither.
    pub fn strict_rfc9068(self) -> Result<Self, ConfigError> {
        if self.0.authority.as_entra().is_some() {
            return Err(ConfigError::Rfc9068);
        }
        Ok(self.change(|inner| inner.strict_rfc9068 = true))
    }

    /// Accepts what `other` accepts as well: tokens of another authority, under the rules of `other` and with its keys. Which
    /// one decides is a matter of `iss` alone. Where there is no good token yet, the challenge is that of the first. Settings made
    /// after this are those of the first.
    ///
    /// # Errors
    /// An issuer that both accept: use [`audience`](Self::audience) for a second audience.
    pub fn or(self, other: Self) -> Result<Self, ConfigError> {
        let overlap = self.trusted().any(|one| {
            let mut added = other.trusted();
            added.any(|two| one.authority().overlaps(two.authority()))
        });
        if overlap {
            return Err(ConfigError::SameAuthority);
        }
        Ok(self.change(|inner| {
            let mut added = Arc::unwrap_or_clone(other.0);
            let others = std::mem::take(&mut added.others);
            inner.others.push(Self(Arc::new(added)));
            inner.others.extend(others);
            if let Some(described) = inner.described.clone() {
                inner.describe(&described);
            }
        }))
    }

    /// Describes itself by RFC 9728: every challenge of 401, and of 403 for a scope, names the place of the metadata
    /// (`resource_metadata`, section 5.1), also those for authorities that are accepted beside the first. To serve them is the work of
    /// [`ProtectedResourceMetadataLayer`](crate::ProtectedResourceMetadataLayer).
    #[must_use]
    pub fn metadata(self, described: ProtectedResource) -> Self {
        self.change(|inner| inner.describe(&described))
    }

    fn change(mut self, change: impl FnOnce(&mut Inner)) -> Self {
        let inner = Arc::make_mut(&mut self.0);
        inner.printed = Printed::default();
        change(inner);
        self
    }

    /// The authority whose tokens are accepted.
    #[must_use]
    pub fn authority(&self) -> &Authority {
        &self.0.authority
    }

    /// This resource and those that are accepted beside it.
    pub(crate) fn trusted(&self) -> impl Iterator<Item = &Self> {
        iter::once(self).chain(&self.0.others)
    }

    pub(crate) fn described(&self) -> Option<&ProtectedResource> {
        self.0.described.as_ref()
    }

    pub(crate) fn is_one_of_several(&self) -> bool {
        !self.0.others.is_empty()
    }

    pub(crate) fn is_strict_rfc9068(&self) -> bool {
        self.0.strict_rfc9068
    }

    pub(crate) fn has_audience(&self, audience: &str) -> bool {
        self.0.audiences.iter().any(|ours| ours == audience)
    }

    /// Is it the API of this client: is its id, or the application ID URI that Entra gives it by default, an audience?
    pub(crate) fn is_of_client(&self, client_id: &str) -> bool {
        let mut audiences = self.0.audiences.iter();
        audiences.any(|audience| audience.strip_prefix("api://").unwrap_or(audience) == client_id)
    }

    pub(crate) fn assumes_cp1(&self) -> bool {
        self.0.assume_cp1
    }

    pub(crate) fn leeway_seconds(&self) -> u64 {
        self.0.leeway
    }

    pub(crate) fn max_token_length(&self) -> usize {
        self.0.max_token_bytes
    }

    /// The longest token that any of those accepted side by side takes.
    pub(crate) fn longest_token(&self) -> usize {
        let lengths = self.trusted().map(Self::max_token_length);
        lengths.max().unwrap_or_default()
    }

    fn client_id(&self) -> Option<&str> {
        self.0
            .audiences
            .iter()
            .map(String::as_str)
            .find(|audience| is_guid(audience))
    }

    fn default_scope(&self) -> String {
        match (
            &self.0.app_id_uri,
            self.client_id(),
            self.0.audiences.first(),
        ) {
            (Some(uri), _, _) => format!("{uri}/.default"),
            (None, Some(client_id), _) => format!("api://{client_id}/.default"),
            (None, None, Some(audience)) => format!("{audience}/.default"),
            (None, None, None) => ".default".to_owned(),
        }
    }

    /// The challenge of an answer as it stands in the header; `None` for answers that carry none.
    pub(crate) fn printed_challenge(&self, answer: &Answer) -> Option<HeaderValue> {
        let print = || self.challenge(answer)?.to_header_value();
        let printed = &self.0.printed;
        match answer {
            Answer::MissingToken => printed.missing_token.get_or_init(print).clone(),
            Answer::InvalidRequest => printed.invalid_request.get_or_init(print).clone(),
            Answer::InvalidToken => printed.invalid_token.get_or_init(print).clone(),
            _ => print(),
        }
    }

    fn challenge(&self, answer: &Answer) -> Option<Challenge> {
        let challenge = self.demand(answer)?;
        Some(match (&self.0.described, answer) {
            // The request was wrong, not the token.
            (_, Answer::InvalidRequest) | (None, _) => challenge,
            (Some(described), _) => challenge.with("resource_metadata", described.url()),
        })
    }

    fn demand(&self, answer: &Answer) -> Option<Challenge> {
        let entra = self.0.authority.as_entra();
        let realm = match entra {
            Some(entra) => entra.tenant.as_deref(),
            None => self.0.audiences.first().map(String::as_str),
        };
        let bearer = Challenge::new("Bearer").with("realm", realm.unwrap_or_default());
        Some(match answer {
            Answer::MissingToken => bearer,
            Answer::InvalidRequest => bearer.with("error", "invalid_request"),
            Answer::InvalidToken => bearer.with("error", "invalid_token").with(
                "error_description",
                "The access token is expired or revoked or not valid for this resource",
            ),
            Answer::InsufficientScope(scope) if scope.is_empty() => {
                bearer.with("error", "insufficient_scope")
            }
            Answer::InsufficientScope(scope) => bearer
                .with("error", "insufficient_scope")
                .with("scope", scope.as_str()),
            Answer::ConsentRequired => bearer
                .with("error", "insufficient_scope")
                .with("scope", self.default_scope()),
            Answer::InsufficientClaims(claims) => {
                let located = match entra {
                    Some(entra) => {
                        bearer.with("authorization_uri", entra.authorization_uri.as_str())
                    }
                    None => bearer,
                };
                let named = match self.client_id() {
                    Some(client_id) => located.with("client_id", client_id),
                    None => located,
                };
                named
                    .with("error", "insufficient_claims")
                    .with("claims", claims.to_base64())
            }
            Answer::StepUp(step_up) => {
                let mut challenge = bearer.with("error", "insufficient_user_authentication");
                if let Some(acr_values) = &step_up.acr_values {
                    challenge = challenge.with("acr_values", acr_values.as_str());
                }
                if let Some(max_age) = step_up.max_age {
                    challenge = challenge.with("max_age", max_age.to_string());
                }
                challenge
            }
            Answer::BadGateway
            | Answer::Forbidden
            | Answer::Internal
            | Answer::Unavailable { .. } => return None,
        })
    }
}

impl Inner {
    /// It is one resource, whichever authority its callers come from.
    fn describe(&mut self, described: &ProtectedResource) {
        self.described = Some(described.clone());
        for other in &mut self.others {
            let other = Arc::make_mut(&mut other.0);
            other.printed = Printed::default();
            other.describe(described);
        }
    }
}

impl fmt::Debug for Resource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Resource")
            .field("authority", &self.0.authority)
            .field("audiences", &self.0.audiences)
            .finish_non_exhaustive()
    }
}

fn checked(text: &str) -> Result<String, ConfigError> {
    let printable = !text.is_empty()
        && text
            .bytes()
            .all(|byte| byte.is_ascii_graphic() && byte != b'"' && byte != b'\\');
    if printable {
        Ok(text.to_owned())
    } else {
        Err(ConfigError::Audience)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::algorithm::Algorithm;
    use crate::authority::AuthorityBuilder;
    use crate::challenge::StepUp;
    use crate::claims::ClaimsRequest;

    const TENANT: &str = "11111111-2222-3333-4444-555555555555";
    const CLIENT: &str = "22222222-2222-3333-4444-555555555555";

    fn printed(resource: &Resource, answer: &Answer) -> Option<String> {
        let value = resource.printed_challenge(answer)?;
        Some(value.to_str().unwrap().to_owned())
    }

    #[test]
    fn challenges_of_an_entra_resource_to_the_byte() {
        let resource = Authority::entra(TENANT)
            .unwrap()
            .resource(CLIENT)
            .unwrap()
            .app_id_uri("api://x")
            .unwrap();
        let realm = format!("Bearer realm=\"{TENANT}\"");
        let claims = Answer::InsufficientClaims(ClaimsRequest::acrs("c1").unwrap());
        let step_up = StepUp {
            acr_values: Some("urn:a".to_owned()),
            max_age: Some(5),
        };
        let rows = [
            (Answer::MissingToken, Some(realm.clone())),
            (
                Answer::InvalidRequest,
                Some(format!("{realm}, error=\"invalid_request\"")),
            ),
            (
                Answer::InvalidToken,
                Some(format!(
                    "{realm}, error=\"invalid_token\", \
                     error_description=\"The access token is expired or revoked or not valid for this resource\""
                )),
            ),
            (
                Answer::InsufficientScope("a b".to_owned()),
                Some(format!(
                    "{realm}, error=\"insufficient_scope\", scope=\"a b\""
                )),
            ),
            (
                Answer::ConsentRequired,
                Some(format!(
                    "{realm}, error=\"insufficient_scope\", scope=\"api://x/.default\""
                )),
            ),
            (
                claims,
                Some(format!(
                    "{realm}, authorization_uri=\"https://login.microsoftonline.com/{TENANT}/oauth2/v2.0/authorize\", \
                     client_id=\"{CLIENT}\", error=\"insufficient_claims\", \
                     claims=\"eyJhY2Nlc3NfdG9rZW4iOnsiYWNycyI6eyJlc3NlbnRpYWwiOnRydWUsInZhbHVlIjoiYzEifX19\""
                )),
            ),
            (
                Answer::StepUp(step_up),
                Some(format!(
                    "{realm}, error=\"insufficient_user_authentication\", acr_values=\"urn:a\", max_age=\"5\""
                )),
            ),
            (Answer::Forbidden, None),
            (Answer::Internal, None),
            (Answer::BadGateway, None),
            (Answer::Unavailable { retry_after: 1 }, None),
        ];
        for (answer, expected) in rows {
            assert_eq!(printed(&resource, &answer), expected, "{answer:?}");
        }
    }

    #[test]
    fn a_resource_of_several_tenants_names_none_and_the_common_endpoint() {
        let resource = AuthorityBuilder::entra_tenants([TENANT, CLIENT])
            .build()
            .unwrap()
            .resource(CLIENT)
            .unwrap();
        assert_eq!(
            printed(&resource, &Answer::MissingToken).unwrap(),
            "Bearer realm=\"\""
        );
        let claims = ClaimsRequest::acrs("c1").unwrap();
        let demand = printed(&resource, &Answer::InsufficientClaims(claims)).unwrap();
        assert!(
            demand.starts_with(
                "Bearer realm=\"\", authorization_uri=\"https://login.microsoftonline.com/common/oauth2/v2.0/authorize\", "
            ),
            "{demand}"
        );
    }

    #[test]
    fn a_described_resource_names_its_metadata_in_every_challenge_about_tokens() {
        let described = ProtectedResource::new("https://api.example/v1").unwrap();
        let place =
            "resource_metadata=\"https://api.example/.well-known/oauth-protected-resource/v1\"";
        let of = |issuer: &str| {
            let authority = Authority::issuer(issuer, [Algorithm::Es256]).unwrap();
            authority.resource("api://x").unwrap()
        };
        let after = of("https://a").or(of("https://b")).unwrap();
        // What was printed before it was described is printed again.
        assert!(
            !printed(&after, &Answer::MissingToken)
                .unwrap()
                .contains(place)
        );
        let before = of("https://a").metadata(described.clone());
        for resource in [
            after.metadata(described),
            before.or(of("https://b")).unwrap(),
        ] {
            for trusted in resource.trusted() {
                for answer in [
                    Answer::MissingToken,
                    Answer::InvalidToken,
                    Answer::InsufficientScope("a".to_owned()),
                    Answer::ConsentRequired,
                    Answer::InsufficientClaims(ClaimsRequest::acrs("c1").unwrap()),
                    Answer::StepUp(StepUp {
                        acr_values: None,
                        max_age: Some(5),
                    }),
                ] {
                    let text = printed(trusted, &answer).unwrap();
                    assert!(text.ends_with(&format!("\", {place}")), "{text}");
                    assert_eq!(text.matches("resource_metadata").count(), 1, "{text}");
                }
                let request = printed(trusted, &Answer::InvalidRequest).unwrap();
                assert!(!request.contains("resource_metadata"), "{request}");
                assert_eq!(printed(trusted, &Answer::Forbidden), None);
            }
        }
    }

    #[test]
    fn an_authority_is_accepted_once() {
        let of = |issuer: &str| {
            let authority = Authority::issuer(issuer, [Algorithm::Es256]).unwrap();
            authority.resource("api://x").unwrap()
        };
        let both = of("https://a").or(of("https://b")).unwrap();
        assert_eq!(both.trusted().count(), 2);
        let entra = |tenants: &[&str]| {
            let tenants = AuthorityBuilder::entra_tenants(tenants.iter().copied());
            tenants.build().unwrap().resource(CLIENT).unwrap()
        };
        let v2 = format!("https://login.microsoftonline.com/{TENANT}/v2.0");
        assert!(entra(&[TENANT]).or(entra(&[CLIENT])).is_ok());
        assert!(of("https://a").or(entra(&[TENANT])).is_ok());
        let third = "33333333-2222-3333-4444-555555555555";
        let fourth = "44444444-2222-3333-4444-555555555555";
        let two = || entra(&[TENANT, CLIENT]);
        assert!(two().or(entra(&[third, fourth])).is_ok());
        let external = |tenant: &str| {
            let external = AuthorityBuilder::external_id("https://t.ciamlogin.com", tenant);
            external.build().unwrap().resource(CLIENT).unwrap()
        };
        assert!(external(TENANT).or(external(third)).is_ok());
        for (one, two) in [
            (entra(&[TENANT]), entra(&[TENANT])),
            (entra(&[TENANT]), entra(&[CLIENT, TENANT])),
            (of(&v2), entra(&[TENANT])),
            (entra(&[CLIENT, TENANT]), of(&v2)),
            (two(), entra(&[third, CLIENT])),
            (external(TENANT), external(TENANT)),
        ] {
            assert_eq!(one.or(two).err(), Some(ConfigError::SameAuthority));
        }
        assert_eq!(
            both.clone().or(of("https://b")).err(),
            Some(ConfigError::SameAuthority)
        );
        assert_eq!(of("https://c").or(both).unwrap().trusted().count(), 3);
    }

    #[test]
    fn entra_issues_no_tokens_of_rfc9068() {
        let entra = Authority::entra(TENANT).unwrap().resource(CLIENT).unwrap();
        assert_eq!(entra.strict_rfc9068().err(), Some(ConfigError::Rfc9068));
    }

    #[test]
    fn other_authorities_name_the_resource_as_realm() {
        let resource = Authority::issuer("https://as.example", [Algorithm::Es256])
            .unwrap()
            .resource("api://x")
            .unwrap();
        assert_eq!(
            printed(&resource, &Answer::MissingToken).unwrap(),
            "Bearer realm=\"api://x\""
        );
    }

    #[test]
    fn audience_must_be_printable() {
        let authority = Authority::entra(TENANT).unwrap();
        for bad in ["", " ", "a b", "a\"b", "a\\b", "a\n", "\u{e9}"] {
            assert_eq!(
                authority.resource(bad).unwrap_err(),
                ConfigError::Audience,
                "{bad:?}"
            );
        }
    }
}
