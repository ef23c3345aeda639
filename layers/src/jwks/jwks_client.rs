//! Any `JwksSource` of `jwks_client_rs` as a [`KeySource`].

use jwks_client_rs::JsonWebKey;
use jwks_client_rs::source::JwksSource;
use serde_json::{Map, Value, json};

use super::{FetchError, FetchFuture, Fetched, KeySet, KeySource};

/// Adapts a source of the package `jwks_client_rs`.
///
/// Its key model has no `issuer` member, so Entra's rule that a key signs only for its own issuer cannot be applied to such keys;
/// an authority of Entra's kind takes none of them: see [`AuthorityBuilder::key_source`](crate::AuthorityBuilder::key_source).
#[derive(Clone, Debug)]
pub struct JwksClientSource<S>(S);

impl<S: JwksSource + Send + Sync + 'static> JwksClientSource<S> {
    /// Adapts `source`.
    pub fn new(source: S) -> Self {
        Self(source)
    }
}

impl<S: JwksSource + Send + Sync + 'static> KeySource for JwksClientSource<S> {
    fn fetch(&self) -> FetchFuture<'_> {
        Box::pin(async {
            let set = self.0.fetch_keys().await.map_err(|_| FetchError::Source)?;
            let entries: Vec<Map<String, Value>> = set.keys().iter().filter_map(to_jwk).collect();
            let text = serde_json::to_vec(&entries).map_err(|_| FetchError::Source)?;
            let keys = KeySet::from_entries(&text, entries.iter());
            if keys.is_empty() {
                Err(FetchError::NoKeys)
            } else {
                Ok(Fetched::keys(keys))
            }
        })
    }
}

fn to_jwk(key: &JsonWebKey) -> Option<Map<String, Value>> {
    let mut jwk = match key {
        JsonWebKey::Rsa(rsa) => {
            // The enum `Use` is not exported, so its variants cannot be matched.
            let usage = if rsa
                .r#use()
                .is_some_and(|usage| format!("{usage:?}") == "Enc")
            {
                "enc"
            } else {
                "sig"
            };
            json!({"kty": "RSA", "use": usage, "n": rsa.modulus(), "e": rsa.exponent()})
        }
        JsonWebKey::Ec(ec) => json!({"kty": "EC", "crv": ec.curve(), "x": ec.x(), "y": ec.y()}),
        JsonWebKey::Okp(okp) => json!({"kty": "OKP", "crv": okp.curve(), "x": okp.x()}),
    };
    let members = jwk.as_object_mut()?;
    members.insert("kid".to_owned(), key.key_id().into());
    if let Some(algorithm) = key.alg() {
        members.insert("alg".to_owned(), algorithm.into());
    }
    Some(std::mem::take(members))
}

#[cfg(test)]
mod tests {
    use jwks_client_rs::{JsonWebKeySet, JwksClientError};

    use super::*;

    struct Published(&'static str);

    #[async_trait::async_trait]
    impl JwksSource for Published {
        async fn fetch_keys(&self) -> Result<JsonWebKeySet, JwksClientError> {
            Ok(serde_json::from_str(self.0).unwrap())
        }
    }

    #[tokio::test]
    async fn keys_of_a_jwks_source_are_adapted() {
        let source = JwksClientSource::new(Published(
            r#"{"keys":[{"kty":"OKP","crv":"Ed25519","kid":"a","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]}"#,
        ));
        let keys = source.fetch().await.unwrap().keys.unwrap();
        assert!(keys.key(Some("a")).is_some());
    }

    #[tokio::test]
    async fn a_source_without_usable_keys_is_an_error() {
        let encryption = JwksClientSource::new(Published(
            r#"{"keys":[{"kty":"RSA","kid":"a","use":"enc","n":"AQAB","e":"AQAB"}]}"#,
        ));
        assert_eq!(encryption.fetch().await.unwrap_err(), FetchError::NoKeys);
    }
}
