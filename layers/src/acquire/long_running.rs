//! Work that outlives the token of the user for whom it is done: the refresh token is kept, which plain On-Behalf-Of never asks for.

use std::fmt;
use std::sync::{Arc, Weak};

use aws_lc_rs::rand;
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use secrecy::SecretString;
use tokio::sync::{Mutex, MutexGuard};

use super::answer::{ExchangeError, Identity};
use super::client::{ConfidentialClient, Inner as Client};
use super::error::{OnBehalfOfError, OnBehalfOfErrorKind};
use super::grant::Grant;
use super::wanted::{Requested, Subject, Wanted};
use crate::principal::Principal;
use crate::refusal::BoxError;
use crate::token::TokenHash;

/// A long-running session of one user: what an export, a queue's worker or a subscription acts with after the user's own token has run
/// out. Begun with [`ConfidentialClient::begin_long_running`], named in each request by
/// [`OnBehalfOfExt::in_long_running`](crate::OnBehalfOfExt::in_long_running).
///
/// It holds a refresh token, so it is worth as much as the user's consent: keep it where the work is, and drop it with the work. It
/// ends when the authority says so: the user's sessions are revoked, a policy wants the user, or it was not used for long. Then
/// calls fail with the demand ([`ChallengeRequired`](crate::ChallengeRequired)), which only the user can meet.
///
/// Cheap to clone. Of several scopes that are asked for at once each is asked for in turn, since a refresh token may be good
/// for one use only.
#[derive(Clone)]
pub struct LongRunning(Arc<Inner>);

struct Inner {
    hash: TokenHash,
    tenant: String,
    identity: Identity,
    claims_capable: bool,
    refresh_token: Mutex<SecretString>,
    client: Weak<Client>,
}

impl ConfidentialClient {
    /// Exchanges the caller's token once more, now with `offline_access`, and keeps the refresh token. Do it while the
    /// caller's request is served.
    ///
    /// # Errors
    /// [`ChallengeRequired`](crate::ChallengeRequired) where the user must act, [`OnBehalfOfError`] otherwise; an authority that returns no
    /// refresh token is [`Misconfigured`](OnBehalfOfErrorKind::Misconfigured).
    pub async fn begin_long_running<'a>(
        &self,
        caller: &Principal,
        scopes: impl IntoIterator<Item = &'a str>,
    ) -> Result<LongRunning, BoxError> {
        self.check_caller(caller).map_err(OnBehalfOfError::new)?;
        let requested = Arc::new(Requested::scopes(scopes)?);
        let wanted = Wanted::new(Subject::Caller(caller.clone()), &requested);
        let inner = self.inner();
        let grant = Grant::Exchange {
            assertion: caller.assertion(),
            offline: true,
        };
        let identity = inner.identity_of(caller);
        let exchanged = inner.exchange(&wanted, grant, &identity, inner.is_expired(caller));
        let mut issued = exchanged.await.map_err(|error| match error {
            ExchangeError::Challenge { challenge, .. } => BoxError::from(challenge),
            ExchangeError::Other(error) => error.into(),
        })?;
        let Some(refresh_token) = issued.refresh_token.take() else {
            tracing::error!(
                kind = "no_refresh_token",
                "the authority returned no refresh token: is offline_access granted to this client?"
            );
            return Err(OnBehalfOfError::new(OnBehalfOfErrorKind::Misconfigured).into());
        };
        let mut id = [0; 32];
        rand::fill(&mut id)?;
        let session = LongRunning(Arc::new(Inner {
            hash: TokenHash::of(&BASE64_URL_SAFE_NO_PAD.encode(id)),
            tenant: caller.tenant_id().unwrap_or_default().to_owned(),
            identity,
            claims_capable: caller.accepts_claims_challenge(),
            refresh_token: Mutex::new(refresh_token),
            client: Arc::downgrade(inner),
        }));
        let wanted = Wanted::new(Subject::Session(session.clone()), &requested);
        inner.keep(&wanted, &issued);
        Ok(session)
    }
}

impl LongRunning {
    /// Was it begun with this client?
    pub(crate) fn is_of(&self, client: &ConfidentialClient) -> bool {
        Weak::ptr_eq(&self.0.client, &Arc::downgrade(client.inner()))
    }

    pub(crate) fn accepts_claims_challenge(&self) -> bool {
        self.0.claims_capable
    }

    pub(super) fn hash(&self) -> TokenHash {
        self.0.hash
    }

    pub(super) fn tenant(&self) -> &str {
        &self.0.tenant
    }

    pub(super) fn identity(&self) -> &Identity {
        &self.0.identity
    }

    /// Whoever holds it may use it and put the next one there.
    pub(super) async fn refresh_token(&self) -> MutexGuard<'_, SecretString> {
        self.0.refresh_token.lock().await
    }
}

impl fmt::Debug for LongRunning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LongRunning").finish_non_exhaustive()
    }
}
