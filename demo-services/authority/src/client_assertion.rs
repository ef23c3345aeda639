//! Client assertions: `private_key_jwt` with a registered certificate (RFC 7521 section 4.2, RFC 7523 section 3).

use base64::Engine;
use base64::alphabet::URL_SAFE;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use serde_json::{Map, Value};
use uuid::Uuid;

use crate::certificate::{Algorithm, Certificate};
use crate::directory::{App, Tenant};
use crate::errors::Refusal;
use crate::form;

/// The one value of `client_assertion_type`.
pub(crate) const TYPE: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";

const MAX_LENGTH: usize = 8 * 1024;
/// Seconds by which the clocks of client and authority may differ; MSAL for JavaScript rounds its own up.
const LEEWAY: f64 = 300.0;
/// Seconds between `iat` and `exp`.
const MAX_LIFETIME: f64 = 86_400.0;

/// MSAL for Python pads thumbprints, others do not.
const THUMBPRINT: GeneralPurpose = GeneralPurpose::new(
    &URL_SAFE,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// A JWT that says who the client is; nothing of it is verified yet.
pub(crate) struct ClientAssertion<'a> {
    input: &'a str,
    signature: Vec<u8>,
    header: Map<String, Value>,
    claims: Map<String, Value>,
}

/// The names by which a header calls its certificate. All that are there must be right.
struct Names<'a> {
    sha256: Option<&'a str>,
    sha1: Option<&'a str>,
    /// Counts only where there is no thumbprint.
    key_id: Option<&'a str>,
}

impl<'a> ClientAssertion<'a> {
    pub(crate) fn parse(text: &'a str) -> Result<Self, Refusal> {
        if text.len() > MAX_LENGTH {
            return Err(malformed());
        }
        let read = || {
            let (input, signature) = text.rsplit_once('.')?;
            let (header, claims) = input.split_once('.')?;
            let object = |part: &str| {
                serde_json::from_slice::<Map<String, Value>>(&URL_SAFE_NO_PAD.decode(part).ok()?)
                    .ok()
            };
            let (header, claims) = (object(header)?, object(claims)?);
            // RFC 7515 section 4.1.11: nothing critical is understood here.
            (!header.contains_key("crit")).then_some(Self {
                input,
                signature: URL_SAFE_NO_PAD.decode(signature).ok()?,
                header,
                claims,
            })
        };
        read().ok_or_else(malformed)
    }

    /// Who the client says it is (RFC 7521 section 4.2).
    pub(crate) fn subject(&self) -> Option<&str> {
        self.claims.get("sub").and_then(Value::as_str)
    }

    /// Whether it is `app` that made this, for one of the audiences that `accepted` knows, and lately.
    pub(crate) fn prove(
        &self,
        app: &App,
        accepted: &Audiences<'_>,
        now: u64,
    ) -> Result<(), Refusal> {
        let algorithm = self.algorithm()?;
        if !self.is_about(app.client_id) {
            return Err(Refusal::invalid_client(
                700_021,
                "Client assertion application identifier doesn't match 'client_id' parameter.",
            ));
        }
        let certificate = self.certificate(app)?;
        if !certificate.is_within_its_time(now) {
            return Err(Refusal::invalid_client(
                700_027,
                "The certificate with identifier used to sign the client assertion is expired on application. [Reason - The key used is expired.]",
            ));
        }
        if !certificate.verifies(algorithm, self.input.as_bytes(), &self.signature) {
            return Err(Refusal::invalid_client(
                700_027,
                "Client assertion contains an invalid signature. [Reason - The provided signature value did not match the expected signature value.]",
            ));
        }
        if !self.is_for(accepted) {
            return Err(Refusal::invalid_client(
                700_023,
                "Client assertion audience claim does not match Realm issuer.",
            ));
        }
        self.check_time(now)
    }

    fn algorithm(&self) -> Result<Algorithm, Refusal> {
        match self.header.get("alg").and_then(Value::as_str) {
            Some("PS256") => Ok(Algorithm::Ps256),
            Some("RS256") => Ok(Algorithm::Rs256),
            _ => Err(Refusal::invalid_client(
                5_002_738,
                "Invalid JWT token. The signature algorithm is not supported. Supported signing algorithms are: 'RS256, PS256'.",
            )),
        }
    }

    fn is_about(&self, client: Uuid) -> bool {
        ["iss", "sub"].iter().all(|name| {
            let id = self.claims.get(*name).and_then(Value::as_str);
            id.and_then(form::guid) == Some(client)
        })
    }

    fn certificate(&self, app: &App) -> Result<Certificate, Refusal> {
        let names = Names {
            sha256: self.name("x5t#S256")?,
            sha1: self.name("x5t")?,
            key_id: self.name("kid")?,
        };
        if names.are_missing() {
            return Err(Refusal::invalid_client(
                5_002_723,
                "Invalid JWT token. No certificate SHA-1 thumbprint, certificate SHA-256 thumbprint, nor keyId specified in token header.",
            ));
        }
        app.certificates
            .iter()
            .filter_map(|text| Certificate::parse(text).ok())
            .find(|certificate| names.mean(certificate))
            .ok_or_else(|| {
                Refusal::invalid_client(
                    700_027,
                    "The certificate with identifier used to sign the client assertion is not registered on application. [Reason - The key was not found.]",
                )
            })
    }

    fn name(&self, name: &str) -> Result<Option<&str>, Refusal> {
        self.header
            .get(name)
            .map(|value| value.as_str().ok_or_else(malformed))
            .transpose()
    }

    fn is_for(&self, accepted: &Audiences<'_>) -> bool {
        let audience = match self.claims.get("aud") {
            Some(Value::Array(list)) => match list.as_slice() {
                [one] => one,
                _ => return false,
            },
            Some(one) => one,
            None => return false,
        };
        audience
            .as_str()
            .is_some_and(|audience| accepted.contain(audience))
    }

    fn check_time(&self, now: u64) -> Result<(), Refusal> {
        let now = now as f64;
        let (begin, issued) = (self.time("nbf")?, self.time("iat")?);
        let end = self.time("exp")?.ok_or_else(malformed)?;
        let started = |moment: f64| moment <= now + LEEWAY;
        let lifetime = end - issued.or(begin).unwrap_or(now);
        let valid = end > now - LEEWAY
            && begin.is_none_or(started)
            && issued.is_none_or(started)
            && lifetime <= MAX_LIFETIME;
        if valid {
            Ok(())
        } else {
            Err(Refusal::invalid_client(
                700_024,
                "Client assertion is not within its valid time range.",
            ))
        }
    }

    /// RFC 7519 section 2: a NumericDate may have a fraction; MSAL for Python writes one.
    fn time(&self, name: &str) -> Result<Option<f64>, Refusal> {
        self.claims
            .get(name)
            .map(|value| value.as_f64().ok_or_else(malformed))
            .transpose()
    }
}

impl Names<'_> {
    fn are_missing(&self) -> bool {
        self.sha256.is_none() && self.sha1.is_none() && self.key_id.is_none()
    }

    fn mean(&self, certificate: &Certificate) -> bool {
        let thumbprint = |text: &str, own: &[u8]| {
            let text = text.replace('+', "-").replace('/', "_");
            THUMBPRINT.decode(text).is_ok_and(|named| named == own)
        };
        match (self.sha256, self.sha1) {
            (None, None) => self
                .key_id
                .is_some_and(|text| is_hex_of(text, certificate.sha1())),
            (sha256, sha1) => {
                sha256.is_none_or(|text| thumbprint(text, certificate.sha256()))
                    && sha1.is_none_or(|text| thumbprint(text, certificate.sha1()))
            }
        }
    }
}

/// What may stand in `aud`: the token endpoint (of this tenant or of all) or the issuer, compared as texts (RFC 7523 section 3).
pub(crate) struct Audiences<'a> {
    /// The authority's URL, without a slash at its end.
    pub(crate) base: &'a str,
    pub(crate) tenant: &'a Tenant,
}

impl Audiences<'_> {
    fn contain(&self, audience: &str) -> bool {
        let Self { base, tenant } = self;
        let id = tenant.id;
        [
            format!("{base}/{id}/oauth2/v2.0/token"),
            format!("{base}/{}/oauth2/v2.0/token", tenant.domain),
            format!("{base}/common/oauth2/v2.0/token"),
            format!("{base}/organizations/oauth2/v2.0/token"),
            format!("{base}/{id}/v2.0"),
        ]
        .iter()
        .any(|known| known == audience)
    }
}

/// RFC 7521 section 4.2.1: whatever is wrong with an assertion of a client, the error is `invalid_client`.
fn malformed() -> Refusal {
    Refusal::invalid_client(50_027, "JWT token is invalid or malformed.")
}

fn is_hex_of(text: &str, bytes: &[u8]) -> bool {
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    text.eq_ignore_ascii_case(&hex)
}

/// Assertions for the tests of this crate.
#[cfg(test)]
pub(crate) mod made {
    use serde_json::json;

    use super::*;
    use crate::certificate::made::Made;

    /// The text of an assertion as MSAL makes it, with changes; `null` removes.
    pub(crate) fn assertion(
        made: &Made,
        client: &str,
        audience: &str,
        now: u64,
        header: &[(&str, Value)],
        claims: &[(&str, Value)],
    ) -> String {
        let certificate = Certificate::parse(&made.pem).unwrap();
        let object = |base: Value, changes: &[(&str, Value)]| {
            let mut object = base.as_object().unwrap().clone();
            for (name, value) in changes {
                object.insert((*name).to_owned(), value.clone());
            }
            object.retain(|_, value| !value.is_null());
            object
        };
        let header = object(
            json!({ "typ": "JWT", "alg": "PS256", "x5t#S256": URL_SAFE_NO_PAD.encode(certificate.sha256()) }),
            header,
        );
        let claims = object(
            json!({ "aud": audience, "iss": client, "sub": client, "jti": "1", "nbf": now, "iat": now, "exp": now + 600 }),
            claims,
        );
        let algorithm = match header.get("alg").and_then(Value::as_str) {
            Some("RS256") => Algorithm::Rs256,
            _ => Algorithm::Ps256,
        };
        let part =
            |object: Map<String, Value>| URL_SAFE_NO_PAD.encode(Value::Object(object).to_string());
        let input = format!("{}.{}", part(header), part(claims));
        let signature = made.sign(algorithm, input.as_bytes());
        format!("{input}.{}", URL_SAFE_NO_PAD.encode(signature))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::LazyLock;

    use base64::engine::general_purpose::{STANDARD, URL_SAFE as PADDED};
    use serde_json::json;

    use super::*;
    use crate::certificate::made::Made;
    use crate::directory::Directory;

    const NOW: u64 = 1_795_319_366;
    const BASE: &str = "http://localhost:8080";
    const CLIENT: Uuid = Uuid::from_u128(0x2222_2222_2222_3333_4444_5555_5555_5555);

    /// Registered, registered but over, registered but not begun, and not registered.
    static MADE: LazyLock<[Made; 4]> = LazyLock::new(|| {
        [(2020, 2060), (2020, 2025), (2030, 2060), (2020, 2060)]
            .map(|(from, to)| Made::between(from, to))
    });

    fn tenant() -> Tenant {
        Directory::demo().tenant
    }

    fn endpoint() -> String {
        format!("{BASE}/{}/oauth2/v2.0/token", tenant().id)
    }

    fn prove(text: &str) -> Result<(), u32> {
        let [good, over, early, _] = &*MADE;
        let mut app = App::new("client", CLIENT);
        app.certificates = [over, early, good].map(|made| made.pem.clone()).into();
        let accepted = Audiences {
            base: BASE,
            tenant: &tenant(),
        };
        ClientAssertion::parse(text)
            .and_then(|assertion| assertion.prove(&app, &accepted, NOW))
            .map_err(|refusal| {
                assert_eq!(
                    (refusal.error, refusal.status.as_u16()),
                    ("invalid_client", 401)
                );
                refusal.code
            })
    }

    fn by(made: &Made, header: &[(&str, Value)], claims: &[(&str, Value)]) -> Result<(), u32> {
        let (client, audience) = (CLIENT.to_string(), endpoint());
        prove(&super::made::assertion(
            made, &client, &audience, NOW, header, claims,
        ))
    }

    fn with_header(header: &[(&str, Value)]) -> Result<(), u32> {
        by(&MADE[0], header, &[])
    }

    fn with_claims(claims: &[(&str, Value)]) -> Result<(), u32> {
        by(&MADE[0], &[], claims)
    }

    #[test]
    fn what_the_clients_send_is_good() {
        let certificate = Certificate::parse(&MADE[0].pem).unwrap();
        let (sha1, sha256) = (certificate.sha1(), certificate.sha256());
        let unnamed = ("x5t#S256", Value::Null);
        assert_eq!(with_header(&[]), Ok(()), "MSAL for JavaScript");
        assert_eq!(
            with_header(&[
                ("alg", json!("RS256")),
                unnamed.clone(),
                ("x5t", json!(URL_SAFE_NO_PAD.encode(sha1)))
            ]),
            Ok(()),
            "MSAL for JavaScript, SHA-1"
        );
        let python = [
            ("nbf", Value::Null),
            ("iat", json!(1_795_319_366.713_226_8)),
            ("exp", json!(1_795_319_966.713_226_8)),
        ];
        let chain = ("x5c", json!([STANDARD.encode(&MADE[3].der)]));
        assert_eq!(
            by(
                &MADE[0],
                &[chain, ("x5t#S256", json!(PADDED.encode(sha256)))],
                &python
            ),
            Ok(()),
            "MSAL for Python"
        );
        let hex: String = sha1.iter().map(|byte| format!("{byte:02X}")).collect();
        for (name, value) in [
            ("x5t", PADDED.encode(sha1)),
            ("x5t", STANDARD.encode(sha1)),
            ("x5t#S256", STANDARD.encode(sha256)),
            ("kid", hex.to_lowercase()),
            ("kid", hex.clone()),
        ] {
            assert_eq!(
                with_header(&[unnamed.clone(), (name, json!(value))]),
                Ok(()),
                "{name} {value}"
            );
        }
        assert_eq!(with_header(&[("kid", json!("a hint"))]), Ok(()));
        assert_eq!(
            with_header(&[("x5t", json!(PADDED.encode(sha1)))]),
            Ok(()),
            "both"
        );
        let domain = format!("{BASE}/{}/oauth2/v2.0/token", tenant().domain);
        let issuer = format!("{BASE}/{}/v2.0", tenant().id);
        let common = format!("{BASE}/common/oauth2/v2.0/token");
        for audience in [
            json!(domain),
            json!(issuer),
            json!([endpoint()]),
            json!(common),
        ] {
            assert_eq!(with_claims(&[("aud", audience)]), Ok(()));
        }
        let upper = CLIENT.to_string().to_uppercase();
        assert_eq!(
            with_claims(&[("iss", json!(upper)), ("jti", Value::Null)]),
            Ok(())
        );
    }

    #[test]
    fn each_rule_of_the_header_has_its_number() {
        let certificate = Certificate::parse(&MADE[0].pem).unwrap();
        let sha1 = certificate.sha1();
        let hex: String = sha1.iter().map(|byte| format!("{byte:02x}")).collect();
        let unnamed = ("x5t#S256", Value::Null);
        let stranger = Certificate::parse(&MADE[3].pem).unwrap();
        for (name, header, number) in [
            ("no algorithm", vec![("alg", Value::Null)], 5_002_738),
            ("none", vec![("alg", json!("none"))], 5_002_738),
            (
                "a secret's algorithm",
                vec![("alg", json!("HS256"))],
                5_002_738,
            ),
            ("a longer digest", vec![("alg", json!("PS512"))], 5_002_738),
            ("no certificate", vec![unnamed.clone()], 5_002_723),
            ("a number", vec![("x5t#S256", json!(1))], 50_027),
            ("something critical", vec![("crit", json!(["exp"]))], 50_027),
            (
                "hex in x5t",
                vec![unnamed.clone(), ("x5t", json!(hex))],
                700_027,
            ),
            (
                "SHA-1 under the other name",
                vec![("x5t#S256", json!(URL_SAFE_NO_PAD.encode(sha1)))],
                700_027,
            ),
            (
                "another kid",
                vec![unnamed.clone(), ("kid", json!("nope"))],
                700_027,
            ),
            (
                "kid in base64",
                vec![
                    unnamed.clone(),
                    ("kid", json!(URL_SAFE_NO_PAD.encode(sha1))),
                ],
                700_027,
            ),
            (
                "two certificates",
                vec![("x5t", json!(URL_SAFE_NO_PAD.encode(stranger.sha1())))],
                700_027,
            ),
            (
                "a chain beside an unknown thumbprint",
                vec![
                    ("x5t#S256", json!(URL_SAFE_NO_PAD.encode(stranger.sha256()))),
                    ("x5c", json!([STANDARD.encode(&MADE[0].der)])),
                ],
                700_027,
            ),
        ] {
            assert_eq!(with_header(&header), Err(number), "{name}");
        }
        assert_eq!(with_header(&[]), Ok(()));
    }

    #[test]
    fn each_rule_of_the_claims_has_its_number() {
        let other = Uuid::from_u128(7).to_string();
        let longer = format!("{}/", endpoint());
        let foreign = endpoint().replace("localhost", "127.0.0.1");
        for (name, claims, number) in [
            ("other issuer", vec![("iss", json!(other))], 700_021),
            ("other subject", vec![("sub", json!(other))], 700_021),
            ("no issuer", vec![("iss", Value::Null)], 700_021),
            ("no subject", vec![("sub", Value::Null)], 700_021),
            ("no audience", vec![("aud", Value::Null)], 700_023),
            ("a longer audience", vec![("aud", json!(longer))], 700_023),
            ("another authority", vec![("aud", json!(foreign))], 700_023),
            (
                "audience of federation",
                vec![("aud", json!("api://AzureADTokenExchange"))],
                700_023,
            ),
            (
                "two audiences",
                vec![("aud", json!([endpoint(), endpoint()]))],
                700_023,
            ),
            ("no audience in the list", vec![("aud", json!([]))], 700_023),
            ("a number as audience", vec![("aud", json!(1))], 700_023),
            ("no end", vec![("exp", Value::Null)], 50_027),
            (
                "an end in words",
                vec![("exp", json!("1795319966"))],
                50_027,
            ),
            ("a beginning in words", vec![("nbf", json!("0"))], 50_027),
            ("over", vec![("exp", json!(NOW - 300))], 700_024),
            ("not begun", vec![("nbf", json!(NOW + 301))], 700_024),
            (
                "issued in the future",
                vec![("iat", json!(NOW + 301)), ("nbf", Value::Null)],
                700_024,
            ),
            (
                "for longer than a day",
                vec![("exp", json!(NOW + 86_401))],
                700_024,
            ),
            ("without end", vec![("exp", json!(1e300))], 700_024),
        ] {
            assert_eq!(with_claims(&claims), Err(number), "{name}");
        }
        for (name, claims) in [
            (
                "over for less than the leeway",
                vec![("exp", json!(NOW - 299))],
            ),
            (
                "begun within the leeway",
                vec![("nbf", json!(NOW + 300)), ("iat", json!(NOW + 300))],
            ),
            ("for a day", vec![("exp", json!(NOW + 86_400))]),
            (
                "an end alone",
                vec![("iat", Value::Null), ("nbf", Value::Null)],
            ),
        ] {
            assert_eq!(with_claims(&claims), Ok(()), "{name}");
        }
    }

    #[test]
    fn the_certificate_must_be_registered_and_good_now() {
        let [good, over, early, stranger] = &*MADE;
        for (made, outcome) in [
            (good, Ok(())),
            (over, Err(700_027)),
            (early, Err(700_027)),
            (stranger, Err(700_027)),
        ] {
            assert_eq!(by(made, &[], &[]), outcome);
        }
        // Signed by another key under the thumbprint of a registered certificate.
        let named = Certificate::parse(&good.pem).unwrap();
        let named = json!(URL_SAFE_NO_PAD.encode(named.sha256()));
        assert_eq!(
            by(stranger, &[("x5t#S256", named.clone())], &[]),
            Err(700_027)
        );
        assert_eq!(by(good, &[("x5t#S256", named)], &[]), Ok(()));
    }

    #[test]
    fn what_was_changed_on_the_way_is_refused() {
        let (client, audience) = (CLIENT.to_string(), endpoint());
        let text = super::made::assertion(&MADE[0], &client, &audience, NOW, &[], &[]);
        assert_eq!(prove(&text), Ok(()));
        let parts: Vec<_> = text.split('.').collect();
        let [header, claims, signature] = parts.as_slice() else {
            panic!("three parts");
        };
        let later = String::from_utf8(URL_SAFE_NO_PAD.decode(claims).unwrap()).unwrap();
        let later = later.replace(&(NOW + 600).to_string(), &(NOW + 601).to_string());
        let later = URL_SAFE_NO_PAD.encode(later);
        // Each with the number of what is wrong with it.
        for (changed, number) in [
            (format!("{header}.{later}.{signature}"), 700_027),
            (format!("{header}.{claims}."), 700_027),
            (format!("{header}.{claims}.{signature}="), 50_027),
            (format!("{header}.{claims}"), 50_027),
            (format!("{text}.{signature}"), 50_027),
            (format!(" {text}"), 50_027),
            (String::new(), 50_027),
            ("..".to_owned(), 50_027),
            ("W10.W10.".to_owned(), 50_027),
        ] {
            assert_eq!(prove(&changed), Err(number), "{changed}");
        }
    }

    #[test]
    fn an_assertion_has_at_most_8_kib() {
        let (client, audience) = (CLIENT.to_string(), endpoint());
        let of = |filler: usize| {
            super::made::assertion(
                &MADE[0],
                &client,
                &audience,
                NOW,
                &[],
                &[("jti", json!("x".repeat(filler)))],
            )
        };
        let (fits, too_long) = (of(5000), of(5900));
        assert!(fits.len() <= 8192 && too_long.len() > 8192);
        assert_eq!((prove(&fits), prove(&too_long)), (Ok(()), Err(50_027)));
    }

    fn anything() -> impl proptest::strategy::Strategy<Value = Value> {
        use proptest::prelude::*;
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<f64>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            ".{0,40}".prop_map(Value::from),
        ];
        leaf.prop_recursive(2, 8, 3, |inner| {
            proptest::collection::vec(inner, 0..3).prop_map(Value::from)
        })
    }

    proptest::proptest! {
        #[test]
        fn no_text_panics(text in ".{0,300}") {
            proptest::prop_assert_eq!(prove(&text), Err(50_027));
        }

        #[test]
        fn no_values_panic(
            name in proptest::sample::select(vec!["alg", "x5t", "x5t#S256", "kid", "x5c", "iss", "sub", "aud", "exp", "nbf", "iat", "jti"]),
            value in anything(),
        ) {
            let header = ["alg", "x5t", "x5t#S256", "kid", "x5c"].contains(&name);
            let changes = [(name, value)];
            let outcome = if header { with_header(&changes) } else { with_claims(&changes) };
            let indifferent = ["kid", "x5c", "jti", "iat", "nbf"].contains(&name);
            proptest::prop_assert!(outcome.is_err() || indifferent || changes[0].1.is_null() || changes[0].1.is_number());
        }
    }
}
