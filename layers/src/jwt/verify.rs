//! The checklist.

use std::sync::Arc;

use base64_simd::URL_SAFE_NO_PAD;

use super::claims::{Claim, Claims};
use super::header::Header;
use super::policy::{Kind, Policy};
use super::signature;
use crate::authority::{Issuer, IssuerRule, fills};
use crate::claims::CP1;
use crate::facts::{Facts, FactsBuilder, Marks, Piece, TokenKind};
use crate::json;
use crate::jwks::{Key, KeySet};
use crate::principal::{MAX_DEPTH, Principal, Verified};
use crate::resource::Resource;
use crate::token::PresentedToken;

/// Why a token is refused. Says which rule, never what the token holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum VerifyError {
    /// The algorithm is none that the policy or the key accepts.
    #[error("the algorithm is not accepted")]
    Algorithm,
    /// `aud` names none of our audiences, or is malformed.
    #[error("the token is for another audience")]
    Audience,
    /// `exp` has passed, or is missing or malformed.
    #[error("the token is expired")]
    Expired,
    /// The JOSE header is not that of a plain signed access token.
    #[error("the token's header is not accepted")]
    Header,
    /// `iss` is none that we accept, the key may not sign for it, or the tenant differs.
    #[error("the token is of another issuer")]
    Issuer,
    /// Keys that might decide cannot be fetched: the token may be good.
    #[error("verification keys cannot be fetched")]
    KeysUnavailable,
    /// Not a compact JWS of strict base64url and JSON, or too long.
    #[error("the token is malformed")]
    Malformed,
    /// An ID token, nothing that says which client it was issued to, or not what RFC 9068 asks for where that is demanded.
    #[error("the token is no access token")]
    NotAccessToken,
    /// `nbf` or `iat` lies in the future, or is malformed.
    #[error("the token is not valid yet")]
    NotYetValid,
    /// The token is bound to a key (`cnf`), which a bearer cannot prove to hold.
    #[error("the token is sender-constrained")]
    SenderConstrained,
    /// The signature does not verify.
    #[error("the signature does not verify")]
    Signature,
    /// No key has this `kid`.
    #[error("the signing key is unknown")]
    UnknownKey,
}

/// Verifies a token (RFC 7519 7.2, RFC 8725): `now` in seconds since the epoch, `keys` those of the token's issuer. For a policy
/// of several authorities they must say whose they are ([`KeySet::of_issuer`]).
///
/// What a [`Principal`] is asked later, such as the age of its authentication, is measured by the clock of its authority
/// ([`AuthorityBuilder::clock`](crate::AuthorityBuilder::clock)), not by `now`.
///
/// In this order: size; three parts of unpadded base64url; header (algorithm accepted, `typ` absent, `JWT` or
/// `at+jwt`, nothing critical, embedded or compressed); claims (`iss` exact, `aud` holds ours, `exp`, `nbf` and
/// `iat` within the leeway, no `cnf`; for Entra `tid` a trusted tenant and the one in `iss` and, in an access token, the
/// client that it was issued to); key by `kid`, its own algorithm, issuer and cloud; signature. A token that no key could
/// save is refused before a key is looked for.
///
/// # Errors
/// The first rule that is broken.
pub fn verify(
    token: &str,
    keys: &KeySet,
    policy: &Policy,
    now: u64,
) -> Result<Principal, VerifyError> {
    // Whose keys these are must be known where several could have signed.
    if policy.resource().is_one_of_several() && keys.issuer().is_none() {
        return Err(VerifyError::Issuer);
    }
    let parts = Parts::new(token, policy)?;
    let header = parts.header()?;
    let body = parts.body()?;
    let accepted = body.accept(header, policy, |_| now)?;
    let verified = accepted.check_signature(keys)?;
    Ok(Principal::new(
        PresentedToken::new(token),
        Arc::new(verified),
    ))
}

/// A token cut into its parts, of which the header alone is decoded.
pub(crate) struct Parts<'a> {
    token: &'a str,
    header: Vec<u8>,
    payload: &'a str,
    signature: &'a str,
}

/// The rest of a token, decoded.
pub(crate) struct Body<'a> {
    token: &'a str,
    message: &'a [u8],
    payload: Vec<u8>,
    signature: Vec<u8>,
}

/// A token that passes every rule but the signature: what is left is a matter of its issuer's keys.
pub(crate) struct Accepted<'a> {
    body: &'a Body<'a>,
    header: Header<'a>,
    claims: Claims<'a>,
    resource: &'a Resource,
    issuer: (usize, &'a Issuer),
}

impl<'a> Parts<'a> {
    pub(crate) fn new(token: &'a str, policy: &Policy) -> Result<Self, VerifyError> {
        if token.len() > policy.resource().longest_token() {
            return Err(VerifyError::Malformed);
        }
        // A third dot would stand in the payload, where it is no base64url.
        let (rest, signature) = token.rsplit_once('.').ok_or(VerifyError::Malformed)?;
        let (header, payload) = rest.split_once('.').ok_or(VerifyError::Malformed)?;
        Ok(Self {
            token,
            header: decode(header)?,
            payload,
            signature,
        })
    }

    pub(crate) fn header(&self) -> Result<Header<'_>, VerifyError> {
        Header::read(&self.header, MAX_DEPTH)
    }

    pub(crate) fn body(&self) -> Result<Body<'a>, VerifyError> {
        let signed = self.token.len() - self.signature.len() - 1;
        Ok(Body {
            token: self.token,
            message: self
                .token
                .as_bytes()
                .get(..signed)
                .ok_or(VerifyError::Malformed)?,
            payload: decode(self.payload)?,
            signature: decode(self.signature)?,
        })
    }
}

impl<'a> Body<'a> {
    /// Checks everything that needs no key.
    pub(crate) fn accept(
        &'a self,
        header: Header<'a>,
        policy: &'a Policy,
        now: impl FnOnce(&Resource) -> u64,
    ) -> Result<Accepted<'a>, VerifyError> {
        // An algorithm that nobody accepts is not worth reading the claims.
        let accepts = |resource: &Resource| resource.authority().accepts(header.algorithm);
        if !policy.resource().trusted().any(accepts) {
            return Err(VerifyError::Algorithm);
        }
        let mut claims = Claims::default();
        json::read_object(&self.payload, MAX_DEPTH, &mut claims)
            .map_err(|_| VerifyError::Malformed)?;
        let find = |known: bool| {
            policy.resource().trusted().find_map(|resource| {
                let issuers = resource.authority().issuers().iter().enumerate();
                let mut issuers = issuers.filter(|(_, issuer)| {
                    issuer.rule.is_known() == known && is_issuer(&claims, &issuer.rule)
                });
                issuers.next().map(|issuer| (resource, issuer))
            })
        };
        // An issuer that only metadata know is recognised by its tenant, which others may name too.
        let (resource, issuer) = find(true)
            .or_else(|| find(false))
            .ok_or(VerifyError::Issuer)?;
        if !accepts(resource) {
            return Err(VerifyError::Algorithm);
        }
        if self.token.len() > resource.max_token_length() {
            return Err(VerifyError::Malformed);
        }
        check_kind(&header, &claims, policy.kind(), resource)?;
        check_claims(&claims, resource, now(resource))?;
        Ok(Accepted {
            body: self,
            header,
            claims,
            resource,
            issuer,
        })
    }
}

impl Accepted<'_> {
    /// Whose keys decide.
    pub(crate) fn issuer(&self) -> &Issuer {
        self.issuer.1
    }

    pub(crate) fn check_signature(&self, keys: &KeySet) -> Result<Verified, VerifyError> {
        let kid = self.header.kid.as_deref();
        let key = match keys.key(kid) {
            Some(key) => key,
            // Newer keys would not say which of them is meant either.
            None if kid.is_none() && !keys.is_empty() => return Err(VerifyError::Header),
            None => return Err(VerifyError::UnknownKey),
        };
        let algorithm = self.header.algorithm;
        let of_this_key = key.algorithm.is_none_or(|only| only == algorithm);
        if !of_this_key || key.key_type != algorithm.key_type() {
            return Err(VerifyError::Algorithm);
        }
        self.check_key(keys, key)?;
        if !signature::verifies(algorithm, key, self.body.message, &self.body.signature) {
            return Err(VerifyError::Signature);
        }
        Ok(Verified::new(
            facts(&self.claims, self.resource.authority().name()),
            self.resource.clone(),
            self.issuer.0,
        ))
    }

    /// Keys sign only for the issuer that their metadata name, and Entra's only for their own issuer and cloud besides, perhaps
    /// with `{tenantid}` in the issuer.
    fn check_key(&self, keys: &KeySet, key: &Key) -> Result<(), VerifyError> {
        let issuer = self.claims.iss.text().unwrap_or_default();
        let tenant = self.claims.tid.text().unwrap_or_default();
        let published = match keys.issuer() {
            Some(template) => fills(template, tenant, issuer),
            None => self.issuer().rule.is_known(),
        };
        let own_issuer = match key.issuer.as_deref() {
            Some(template) => fills(template, tenant, issuer),
            None => !self.issuer().rule.needs_key_issuer(),
        };
        let own_cloud = match (key.cloud_instance.as_deref(), keys.cloud_instance()) {
            (Some(of_key), Some(of_metadata)) => of_key == of_metadata,
            _ => true,
        };
        if published && own_issuer && own_cloud {
            Ok(())
        } else {
            Err(VerifyError::Issuer)
        }
    }
}

fn decode(part: &str) -> Result<Vec<u8>, VerifyError> {
    URL_SAFE_NO_PAD
        .decode_to_vec(part)
        .map_err(|_| VerifyError::Malformed)
}

fn is_issuer(claims: &Claims<'_>, rule: &IssuerRule) -> bool {
    claims
        .iss
        .text()
        .is_some_and(|issuer| rule.admits(issuer, claims.tid.text()))
}

fn check_kind(
    header: &Header<'_>,
    claims: &Claims<'_>,
    kind: Kind,
    resource: &Resource,
) -> Result<(), VerifyError> {
    if kind == Kind::IdToken {
        return check_id_token(header, claims, resource);
    }
    // An ID token for an API's own client id differs from its access tokens in this alone.
    let names_client = claims.azp.text().is_some() || claims.appid.text().is_some();
    if resource.authority().as_entra().is_some() && !names_client {
        return Err(VerifyError::NotAccessToken);
    }
    let complete = header.is_at_jwt
        && claims.iat.is_present()
        && [&claims.sub, &claims.client_id, &claims.jti]
            .into_iter()
            .all(|claim| claim.text().is_some_and(|text| !text.is_empty()));
    if resource.is_strict_rfc9068() && !complete {
        return Err(VerifyError::NotAccessToken);
    }
    Ok(())
}

/// OpenID Connect Core 3.1.3.7, 4 and 5: who else is in the audience may have got the token, we must have asked for it.
fn check_id_token(
    header: &Header<'_>,
    claims: &Claims<'_>,
    resource: &Resource,
) -> Result<(), VerifyError> {
    if header.is_at_jwt {
        return Err(VerifyError::Header);
    }
    let others_too = matches!(&claims.aud, Claim::List(audiences) if audiences.len() > 1);
    match &claims.azp {
        Claim::Absent if !others_too => Ok(()),
        Claim::Text(client) if resource.has_audience(client) => Ok(()),
        _ => Err(VerifyError::Audience),
    }
}

fn check_claims(claims: &Claims<'_>, resource: &Resource, now: u64) -> Result<(), VerifyError> {
    let leeway = resource.leeway_seconds();
    let ours = |audience: &str| resource.has_audience(audience);
    let for_us = match &claims.aud {
        Claim::Text(audience) => ours(audience),
        Claim::List(audiences) => {
            claims.aud.texts().count() == audiences.len() && claims.aud.texts().any(ours)
        }
        _ => false,
    };
    if !for_us {
        return Err(VerifyError::Audience);
    }
    let expires = claims.exp.date().ok_or(VerifyError::Expired)?;
    if now >= expires.saturating_add(leeway) {
        return Err(VerifyError::Expired);
    }
    for claim in [&claims.nbf, &claims.iat] {
        if claim.is_present() {
            let begins = claim.instant().ok_or(VerifyError::NotYetValid)?;
            if begins > now.saturating_add(leeway) {
                return Err(VerifyError::NotYetValid);
            }
        }
    }
    if claims.cnf.is_present() {
        return Err(VerifyError::SenderConstrained);
    }
    Ok(())
}

/// The issuer is kept where it is not the authority's name.
fn facts(claims: &Claims<'_>, authority: &str) -> Facts {
    let issuer = claims.iss.text().filter(|issuer| *issuer != authority);
    let client = [&claims.azp, &claims.appid, &claims.client_id]
        .into_iter()
        .find_map(Claim::text);
    let marks = Marks {
        scope_claim: claims.scp.is_present() || claims.scope.is_present(),
        kind: match &claims.idtyp {
            Claim::Absent => TokenKind::Unmarked,
            Claim::Text(kind) if kind == "app" => TokenKind::App,
            Claim::Text(kind) if kind == "user" => TokenKind::User,
            _ => TokenKind::Other,
        },
        claims_capable: claims
            .xms_cc
            .texts()
            .any(|capability| capability.eq_ignore_ascii_case(CP1)),
    };
    let whole = |entry: &&str| !entry.is_empty() && !entry.contains(' ');
    FactsBuilder::new()
        .text(Piece::Subject, claims.sub.text())
        .text(Piece::ObjectId, claims.oid.text())
        .text(Piece::Tenant, claims.tid.text())
        .text(Piece::Client, client)
        .text(Piece::Session, claims.sid.text())
        .list(Piece::Scopes, granted_scopes(claims))
        .list(Piece::Roles, Some(claims.roles.texts().filter(whole)))
        .list(Piece::Contexts, Some(claims.acrs.texts().filter(whole)))
        .text(Piece::AuthenticationClass, claims.acr.text())
        .text(Piece::Issuer, issuer)
        .build(
            marks,
            claims.exp.date().unwrap_or_default(),
            claims.iat.date().unwrap_or_default(),
            claims.auth_time.date().unwrap_or_default(),
        )
}

/// Only SP separates scopes (RFC 6749 3.3). Where `scp` and `scope` both stand, a scope must stand in both.
fn granted_scopes<'a>(claims: &'a Claims<'_>) -> Option<impl Iterator<Item = &'a str>> {
    let (list, other) = match (&claims.scp, &claims.scope) {
        (Claim::Absent, scope) => (scope.text()?, None),
        (scp, Claim::Absent) => (scp.text()?, None),
        (scp, scope) => (scp.text()?, Some(scope.text()?)),
    };
    let in_both =
        move |scope: &&str| other.is_none_or(|other| other.split(' ').any(|entry| entry == *scope));
    let entries = list.split(' ').filter(|scope| !scope.is_empty());
    Some(entries.filter(in_both))
}

#[cfg(test)]
mod tests;
