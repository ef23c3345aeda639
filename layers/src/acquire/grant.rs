//! The fields of a token request, without the proof of who we are.

use secrecy::{ExposeSecret as _, SecretString};

use super::wanted::Requested;
use crate::claims::{CP1, ClaimsRequest, client_capabilities};

/// How an authority takes an exchange.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Dialect {
    /// Entra: On-Behalf-Of by the JWT bearer grant; client capabilities are declared in `claims`.
    Entra,
    /// RFC 8693 token exchange, RFC 6749 otherwise.
    Standard,
}

/// What is presented for the token.
pub(super) enum Grant<'a> {
    /// The caller's token is exchanged for one of the next tier.
    Exchange { assertion: &'a str, offline: bool },
    /// This client's own right (RFC 6749 4.4).
    ClientCredentials,
    /// What a long-running session was left with (RFC 6749 6).
    Refresh { token: &'a SecretString },
}

/// A field that is sent; the value may be a secret.
pub(super) type Field<'a> = (&'static str, std::borrow::Cow<'a, str>);

impl Grant<'_> {
    /// How it is named in logs and metrics.
    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::Exchange { .. } => "on_behalf_of",
            Self::ClientCredentials => "client_credentials",
            Self::Refresh { .. } => "refresh_token",
        }
    }

    pub(super) fn fields<'a>(
        &'a self,
        dialect: Dialect,
        requested: &'a Requested,
        claims: Option<&ClaimsRequest>,
    ) -> Vec<Field<'a>> {
        let mut fields: Vec<Field<'a>> = Vec::with_capacity(8);
        match (self, dialect) {
            (Self::Exchange { assertion, .. }, Dialect::Entra) => {
                let grant = "urn:ietf:params:oauth:grant-type:jwt-bearer";
                fields.push(("grant_type", grant.into()));
                fields.push(("requested_token_use", "on_behalf_of".into()));
                fields.push(("assertion", (*assertion).into()));
            }
            (Self::Exchange { assertion, .. }, Dialect::Standard) => {
                let access_token = "urn:ietf:params:oauth:token-type:access_token";
                let grant = "urn:ietf:params:oauth:grant-type:token-exchange";
                fields.push(("grant_type", grant.into()));
                fields.push(("subject_token", (*assertion).into()));
                fields.push(("subject_token_type", access_token.into()));
                fields.push(("requested_token_type", access_token.into()));
            }
            (Self::ClientCredentials, _) => {
                fields.push(("grant_type", "client_credentials".into()));
            }
            (Self::Refresh { token }, _) => {
                fields.push(("grant_type", "refresh_token".into()));
                fields.push(("refresh_token", token.expose_secret().into()));
            }
        }
        let offline = matches!(
            self,
            Self::Exchange { offline: true, .. } | Self::Refresh { .. }
        );
        match (requested.scope.as_str(), offline) {
            ("", false) => {}
            ("", true) => fields.push(("scope", "offline_access".into())),
            (scope, false) => fields.push(("scope", scope.into())),
            (scope, true) => fields.push(("scope", format!("{scope} offline_access").into())),
        }
        if let Some(audience) = &requested.audience {
            fields.push(("audience", audience.into()));
        }
        if let Some(resource) = &requested.resource {
            fields.push(("resource", resource.into()));
        }
        let claims = match (dialect, claims) {
            (Dialect::Entra, Some(claims)) => Some(claims.with_client_capabilities(&[CP1])),
            (Dialect::Entra, None) => Some(client_capabilities(&[CP1])),
            (Dialect::Standard, claims) => claims.map(|claims| claims.as_str().to_owned()),
        };
        fields.extend(claims.map(|claims| ("claims", claims.into())));
        fields
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn fields(
        grant: &Grant<'_>,
        dialect: Dialect,
        requested: &Requested,
        claims: Option<&str>,
    ) -> Vec<(&'static str, String)> {
        let claims = claims.map(|claims| ClaimsRequest::from_json(claims).unwrap());
        let fields = grant.fields(dialect, requested, claims.as_ref());
        let owned = fields
            .into_iter()
            .map(|(name, value)| (name, value.into_owned()));
        owned.collect()
    }

    fn orders() -> Requested {
        Requested::scopes(["b", "a"]).unwrap()
    }

    const CP1_ONLY: &str = r#"{"access_token":{"xms_cc":{"values":["cp1"]}}}"#;
    const JWT_BEARER: &str = "urn:ietf:params:oauth:grant-type:jwt-bearer";
    const EXCHANGE: &str = "urn:ietf:params:oauth:grant-type:token-exchange";
    const ACCESS_TOKEN: &str = "urn:ietf:params:oauth:token-type:access_token";

    #[test]
    fn each_grant_in_each_dialect_to_the_field() {
        let refresh = SecretString::from("R");
        let exchange = Grant::Exchange {
            assertion: "A",
            offline: false,
        };
        let offline = Grant::Exchange {
            assertion: "A",
            offline: true,
        };
        let refresh = Grant::Refresh { token: &refresh };
        type Sent = &'static [(&'static str, &'static str)];
        let rows: [(&Grant<'_>, Dialect, Sent); 6] = [
            (
                &exchange,
                Dialect::Entra,
                &[
                    ("grant_type", JWT_BEARER),
                    ("requested_token_use", "on_behalf_of"),
                    ("assertion", "A"),
                    ("scope", "a b"),
                    ("claims", CP1_ONLY),
                ],
            ),
            (
                &offline,
                Dialect::Entra,
                &[
                    ("grant_type", JWT_BEARER),
                    ("requested_token_use", "on_behalf_of"),
                    ("assertion", "A"),
                    ("scope", "a b offline_access"),
                    ("claims", CP1_ONLY),
                ],
            ),
            (
                &exchange,
                Dialect::Standard,
                &[
                    ("grant_type", EXCHANGE),
                    ("subject_token", "A"),
                    ("subject_token_type", ACCESS_TOKEN),
                    ("requested_token_type", ACCESS_TOKEN),
                    ("scope", "a b"),
                ],
            ),
            (
                &Grant::ClientCredentials,
                Dialect::Entra,
                &[
                    ("grant_type", "client_credentials"),
                    ("scope", "a b"),
                    ("claims", CP1_ONLY),
                ],
            ),
            (
                &Grant::ClientCredentials,
                Dialect::Standard,
                &[("grant_type", "client_credentials"), ("scope", "a b")],
            ),
            (
                &refresh,
                Dialect::Entra,
                &[
                    ("grant_type", "refresh_token"),
                    ("refresh_token", "R"),
                    ("scope", "a b offline_access"),
                    ("claims", CP1_ONLY),
                ],
            ),
        ];
        for (grant, dialect, expected) in rows {
            let sent = fields(grant, dialect, &orders(), None);
            let sent: Vec<(&str, &str)> = sent.iter().map(|(n, v)| (*n, v.as_str())).collect();
            assert_eq!(sent, expected, "{} {dialect:?}", grant.name());
        }
    }

    #[test]
    fn audience_and_resource_are_named_where_they_are_given() {
        let requested = Requested {
            audience: Some("orders".into()),
            resource: Some("https://orders.example".into()),
            ..Requested::default()
        };
        let exchange = Grant::Exchange {
            assertion: "A",
            offline: false,
        };
        let sent = fields(&exchange, Dialect::Standard, &requested, None);
        assert!(sent.contains(&("audience", "orders".into())));
        assert!(sent.contains(&("resource", "https://orders.example".into())));
        assert!(sent.iter().all(|(name, _)| *name != "scope"));
    }

    #[test]
    fn demanded_claims_are_merged_with_capabilities_where_those_exist() {
        let demanded = r#"{"access_token":{"a&b=c%+":{"essential":true}}}"#;
        let exchange = Grant::Exchange {
            assertion: "A",
            offline: false,
        };
        let claims = |dialect| {
            let sent = fields(&exchange, dialect, &orders(), Some(demanded));
            let found = sent.into_iter().find(|(name, _)| *name == "claims");
            serde_json::from_str::<Value>(&found.unwrap().1).unwrap()
        };
        assert_eq!(
            claims(Dialect::Entra),
            json!({"access_token": {"a&b=c%+": {"essential": true}, "xms_cc": {"values": ["cp1"]}}})
        );
        assert_eq!(
            claims(Dialect::Standard),
            serde_json::from_str::<Value>(demanded).unwrap()
        );
    }
}
