//! RFC 6749 section 4.1.3 with PKCE (RFC 7636).

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::Value;

use super::{Beside, TokenRequest};
use crate::errors::Refusal;
use crate::scopes::Requested;

pub(super) fn redeem(request: &TokenRequest<'_>) -> Result<Value, Refusal> {
    let presented = request.required("code")?;
    let (code, expired) = {
        let stores = request.authority.stores();
        (
            stores.codes.get(presented, request.now).cloned(),
            stores.codes.is_expired(presented, request.now),
        )
    };
    if expired {
        return Err(Refusal::invalid_grant(
            70_008,
            "The provided authorization code or refresh token has expired due to inactivity. Send a new interactive authorization request.",
        ));
    }
    let unknown = || {
        Refusal::invalid_grant(
            70_000,
            "The provided value for the 'code' parameter is not valid.",
        )
    };
    // A code that was issued to another client is as good as none, and stays good for its owner.
    let code = code
        .filter(|code| code.request.client.client_id == request.client.app.client_id)
        .ok_or_else(unknown)?;
    request.check_kind(code.redirect.kind)?;
    if request.form.get("redirect_uri") != Some(code.redirect.reply.redirect_uri.as_str()) {
        return Err(Refusal::invalid_grant(
            500_112,
            "The reply URL specified in the request does not match the reply URL that was used when the code was requested.",
        ));
    }
    if !matches_challenge(request.form.get("code_verifier"), &code.redirect.challenge) {
        return Err(Refusal::invalid_grant(
            501_481,
            "The Code_Verifier does not match the code_challenge supplied in the authorization request.",
        ));
    }
    if let Some(family) = code.redeemed {
        return Err(reused(request, family));
    }
    // Read again in any case: the API may have changed since.
    let original = &code.request.requested;
    let scope = request.form.get("scope").unwrap_or(&original.text);
    let requested = within(Requested::parse(request.directory, Some(scope))?, original)?;
    let demands = request
        .demands()?
        .with_capabilities(&code.request.demands.capabilities);
    let approved = request.approve(requested, &code.authentication, demands)?;

    let refresh_token = {
        let mut stores = request.authority.stores();
        if let Some(family) = stores
            .codes
            .get_mut(presented, request.now)
            .ok_or_else(unknown)?
            .redeemed
            .clone()
        {
            drop(stores);
            return Err(reused(request, family));
        }
        let founded = approved.requested.offline_access.then(|| {
            stores.found_family(
                request.client.app.client_id,
                code.redirect.kind,
                approved.authentication.clone(),
                request.now,
            )
        });
        let (token, family) = founded.unzip();
        stores
            .codes
            .get_mut(presented, request.now)
            .ok_or_else(unknown)?
            .redeemed = Some(family);
        token
    };
    request.answer(
        &approved,
        Beside {
            refresh_token,
            nonce: code.redirect.nonce.as_deref(),
            auth_time: code.request.max_age.is_some(),
        },
    )
}

/// RFC 6749 section 4.1.2: a code that is used twice takes the tokens with it that came of it.
fn reused(request: &TokenRequest<'_>, family: Option<String>) -> Refusal {
    if let Some(family) = family {
        request.authority.stores().end_family(&family, request.now);
    }
    Refusal::invalid_grant(
        54_005,
        "OAuth2 Authorization code was already redeemed, please retry with a new valid code or use an existing refresh token.",
    )
}

/// The code is for one resource; scopes of another one are not part of what was asked for.
fn within(requested: Requested, original: &Requested) -> Result<Requested, Refusal> {
    if requested.resource.client_id != original.resource.client_id
        || (requested.offline_access && !original.offline_access)
    {
        return Err(Refusal::invalid_grant(
            70_000,
            "The provided value for the 'scope' parameter is not part of what the code was requested for.",
        ));
    }
    Ok(requested)
}

fn matches_challenge(verifier: Option<&str>, challenge: &str) -> bool {
    // RFC 7636 section 4.1.
    let well_formed = |verifier: &&str| {
        (43..=128).contains(&verifier.len())
            && verifier
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte))
    };
    verifier.filter(well_formed).is_some_and(|verifier| {
        let computed = URL_SAFE_NO_PAD.encode(digest(&SHA256, verifier.as_bytes()));
        verify_slices_are_equal(computed.as_bytes(), challenge.as_bytes()).is_ok()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_verifier_of_rfc_7636_appendix_b_matches_its_challenge() {
        let (verifier, challenge) = (
            "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk",
            "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM",
        );
        assert!(matches_challenge(Some(verifier), challenge));
        assert!(!matches_challenge(Some(challenge), challenge));
        assert!(!matches_challenge(None, challenge));
        assert!(!matches_challenge(Some("short"), challenge));
    }
}
