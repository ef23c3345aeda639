//! What one writes without this crate: `jsonwebtoken`, which verifies each token anew.

use std::collections::HashMap;

use jsonwebtoken::{Algorithm, DecodingKey, Validation, decode, decode_header};
use serde::Deserialize;
use serde_json::Value;

use super::{CLIENT, SCOPE};

pub(crate) struct ByHand {
    keys: HashMap<String, DecodingKey>,
    validation: Validation,
}

#[derive(Deserialize)]
pub(crate) struct Claims {
    pub(crate) sub: String,
    scp: String,
}

impl ByHand {
    /// For the RSA keys of a JWK set.
    pub(crate) fn new(jwks: &Value, issuer: &str) -> Self {
        let mut validation = Validation::new(Algorithm::RS256);
        validation.set_audience(&[CLIENT]);
        validation.set_issuer(&[issuer]);
        validation.set_required_spec_claims(&["exp", "iss", "aud"]);
        validation.validate_nbf = true;
        let text = |key: &Value, name: &str| key[name].as_str().unwrap().to_owned();
        let keys = jwks["keys"].as_array().unwrap().iter().map(|key| {
            let decoding = DecodingKey::from_rsa_components(&text(key, "n"), &text(key, "e"));
            (text(key, "kid"), decoding.unwrap())
        });
        Self {
            keys: keys.collect(),
            validation,
        }
    }

    /// The caller, or the status of the refusal.
    pub(crate) fn caller(&self, token: &str) -> Result<Claims, u16> {
        let kid = decode_header(token).ok().and_then(|header| header.kid);
        let key = kid.and_then(|kid| self.keys.get(&kid)).ok_or(401_u16)?;
        let token = decode::<Claims>(token, key, &self.validation).map_err(|_| 401_u16)?;
        if token.claims.scp.split(' ').any(|scope| scope == SCOPE) {
            Ok(token.claims)
        } else {
            Err(403)
        }
    }
}
