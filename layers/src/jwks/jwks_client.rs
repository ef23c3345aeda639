//! Any `JwksSource` of `jwks_client_rs` as a [`KeySource`].

use jwks_client_rs::JsonWebKey;
use jwks_client_rs::source::JwksSource;
use serde_json::{Map, Value, json};

use super::{FetchError, FetchFuture, Fetched, KeySet, KeySource};

/// Adapts a source of the package `jwks_client_rs`.
///
/// Its key model has no `use` for elliptic curves: publish no key of that kind for another purpose. And it has no `issuer` member, so Entra's rule that a key signs only for its own issuer cannot be applied to such keys;
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
            let keys = KeySet::from_entries(entries.iter());
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
            // The enum `Use` is not exported, so its variants cannot be matched. What is not known to sign does not.
            let signs = rsa
                .r#use()
                .is_none_or(|usage| format!("{usage:?}") == "Sig");
            let usage = if signs { "sig" } else { "enc" };
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

    struct Published(String);

    #[async_trait::async_trait]
    impl JwksSource for Published {
        async fn fetch_keys(&self) -> Result<JsonWebKeySet, JwksClientError> {
            Ok(serde_json::from_str(&self.0).unwrap())
        }
    }

    #[tokio::test]
    async fn keys_of_a_jwks_source_are_adapted() {
        let source = JwksClientSource::new(Published(
            r#"{"keys":[{"kty":"OKP","crv":"Ed25519","kid":"a","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]}"#.to_owned(),
        ));
        let keys = source.fetch().await.unwrap().keys.unwrap();
        assert!(keys.key(Some("a")).is_some());
    }

    /// An RSA key of 2048 bits, for this use.
    fn rsa(usage: &str) -> JwksClientSource<Published> {
        let modulus = format!("w{}", "8PDw".repeat(85) + "w");
        JwksClientSource::new(Published(format!(
            r#"{{"keys":[{{"kty":"RSA","kid":"a",{usage}"n":"{modulus}","e":"AQAB"}}]}}"#
        )))
    }

    #[tokio::test]
    async fn only_a_key_that_signs_is_taken() {
        for usage in ["", r#""use":"sig","#] {
            let keys = rsa(usage).fetch().await.unwrap().keys.unwrap();
            assert!(keys.key(Some("a")).is_some(), "{usage}");
        }
        let encryption = rsa(r#""use":"enc","#).fetch().await;
        assert_eq!(encryption.unwrap_err(), FetchError::NoKeys);
    }
}
