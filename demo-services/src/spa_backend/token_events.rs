//! Token requests of this service as flow events.

use super::authority::AuthorityError;
use super::tokens::Tokens;
use crate::flow_events::{Grant, Kind, Lane, Refusal, Source, Trail, claims_of, demanded};

/// Records a token request of the current flow and what came of it.
pub(super) async fn asked(
    grant: Grant,
    scope: &str,
    claims: &str,
    answer: impl Future<Output = Result<Tokens, AuthorityError>>,
) -> Result<Tokens, AuthorityError> {
    let trail = Trail::current();
    if !trail.is_on() {
        return answer.await;
    }
    let (from, to) = (Lane::SpaBackend, Lane::Authority);
    let scopes: Vec<String> = scope.split(' ').map(str::to_owned).collect();
    trail.record(Kind::TokenRequest {
        from,
        to,
        grant,
        scopes: scopes.clone(),
        claims: demanded(claims),
        provisional: false,
    });
    let answer = answer.await;
    trail.record(match &answer {
        Ok(_) => Kind::Token {
            from: to,
            to: from,
            grant,
            source: Source::Authority,
            scopes,
        },
        Err(error) => {
            let (error, claims) = match error {
                AuthorityError::Interaction {
                    claims: Some(claims),
                } => (Refusal::InteractionRequired, claims_of(claims)),
                AuthorityError::Interaction { claims: None } => (Refusal::InvalidGrant, None),
                AuthorityError::Misconfigured => (Refusal::Misconfigured, None),
                AuthorityError::Unusable | AuthorityError::Unavailable => {
                    (Refusal::Unavailable, None)
                }
            };
            Kind::TokenRefused {
                from: to,
                to: from,
                grant,
                error,
                claims,
            }
        }
    });
    answer
}
