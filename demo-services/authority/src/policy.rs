//! Conditional Access: evaluated at every issuance, from what the grant at hand has proven and from nothing else.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::demands::Demands;
use crate::directory::{App, Directory, Policy, Require, User};
use crate::errors::Refusal;

/// What a user has proven, carried by sessions, codes, refresh tokens and grant records.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Authentication {
    pub(crate) user: Uuid,
    /// The browser session, by its public id.
    pub(crate) sid: Uuid,
    pub(crate) auth_time: u64,
    pub(crate) mfa: bool,
    /// Contexts that were asked for interactively and satisfied.
    pub(crate) contexts: BTreeSet<String>,
    /// How often the user's sessions had been revoked at sign-in.
    pub(crate) generation: u64,
}

/// Where the question comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Setting {
    /// `/authorize`: a context that is asked for and whose policies are met becomes satisfied here.
    Interactive,
    /// `/token`: only contexts that the grant already holds count.
    Token,
}

/// What stands between a grant and a token.
#[derive(Clone, Debug)]
pub(crate) enum Verdict {
    /// Nothing. The contexts to put on record.
    Satisfied(BTreeSet<String>),
    /// A policy that nothing can meet.
    Blocked,
    /// Something that the user can do.
    Unmet(Unmet),
}

/// What the user must do, and how a client asks for it.
#[derive(Clone, Debug)]
pub(crate) struct Unmet {
    pub(crate) step: Step,
    pub(crate) claims: Value,
}

/// An interaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// A second factor.
    Mfa,
    /// The sign-in is too old for a policy.
    SignIn,
    /// The sign-in is older than the claims request (`nbf`) allows.
    SignInSince(u64),
    /// Nothing but to ask for the context at `/authorize`.
    Visit,
}

/// The question to the policies.
#[derive(Clone, Copy)]
pub(crate) struct Question<'a> {
    pub(crate) directory: &'a Directory,
    pub(crate) user: &'a User,
    pub(crate) resource: &'a App,
    pub(crate) demands: &'a Demands,
    pub(crate) setting: Setting,
    pub(crate) now: u64,
}

/// What stands in the way of one policy.
enum Obstacle {
    /// Nothing will do.
    Blocked,
    /// Something that the user can do.
    Step(Step),
}

impl Question<'_> {
    pub(crate) fn decide(&self, proven: &Authentication) -> Verdict {
        self.decide_age(proven)
            .or_else(|| self.decide_app(proven))
            .unwrap_or_else(|| self.decide_contexts(proven))
    }

    /// The `nbf` of the claims request.
    fn decide_age(&self, proven: &Authentication) -> Option<Verdict> {
        let not_before = self.demands.not_before?;
        // A sign-in that happens now is as late as a sign-in can be, whatever the clock of the API says.
        let reachable = match self.setting {
            Setting::Interactive => not_before.min(self.now),
            Setting::Token => not_before,
        };
        (proven.auth_time < reachable).then(|| {
            let value = json!({ "essential": true, "value": not_before.to_string() });
            Verdict::unmet(Step::SignInSince(not_before), "nbf", value)
        })
    }

    /// Policies on the API, and policies that the claims request names.
    fn decide_app(&self, proven: &Authentication) -> Option<Verdict> {
        let concerned = |policy: &&Policy| {
            self.demands.policies.contains(&policy.id) || policy.protects(self.resource)
        };
        let mut ids = Vec::new();
        let mut step = Step::Mfa;
        for policy in self.policies().filter(concerned) {
            match self.obstacle(policy, proven) {
                None => {}
                Some(Obstacle::Blocked) => return Some(Verdict::Blocked),
                Some(Obstacle::Step(needed)) => {
                    ids.push(policy.id.to_string());
                    // The sign-in page comes first; a second factor is asked for after it.
                    step = if needed == Step::SignIn { needed } else { step };
                }
            }
        }
        let value = json!({ "essential": true, "values": ids });
        (!ids.is_empty()).then(|| Verdict::unmet(step, "capolids", value))
    }

    /// One of the demanded contexts must be satisfied (OpenID Connect Core 5.5.1: `values` is a set to choose from).
    fn decide_contexts(&self, proven: &Authentication) -> Verdict {
        let demanded = &self.demands.contexts;
        let asked: &[String] = match self.setting {
            Setting::Interactive => demanded,
            Setting::Token => &[],
        };
        let candidates = proven.contexts.iter().chain(asked);
        let satisfied: BTreeSet<_> = candidates
            .filter(|context| self.context_obstacle(context, proven).is_none())
            .cloned()
            .collect();
        if demanded.is_empty() || demanded.iter().any(|context| satisfied.contains(context)) {
            return Verdict::Satisfied(satisfied);
        }
        let possible =
            demanded
                .iter()
                .find_map(|context| match self.context_obstacle(context, proven) {
                    None => Some((context, Step::Visit)),
                    Some(Obstacle::Step(step)) => Some((context, step)),
                    Some(Obstacle::Blocked) => None,
                });
        possible.map_or(Verdict::Blocked, |(context, step)| {
            let value = json!({ "essential": true, "value": context });
            Verdict::unmet(step, "acrs", value)
        })
    }

    fn policies(&self) -> impl Iterator<Item = &Policy> {
        let policies = self.directory.policies.iter();
        policies.filter(|policy| policy.applies_to(self.user))
    }

    fn context_obstacle(&self, context: &str, proven: &Authentication) -> Option<Obstacle> {
        self.policies()
            .filter(|policy| policy.protects_context(context))
            .find_map(|policy| self.obstacle(policy, proven))
    }

    fn obstacle(&self, policy: &Policy, proven: &Authentication) -> Option<Obstacle> {
        let age = self.now.saturating_sub(proven.auth_time);
        match policy.require {
            Require::Block => Some(Obstacle::Blocked),
            Require::Mfa if policy.sign_in_frequency.is_some_and(|limit| age > limit) => {
                Some(Obstacle::Step(Step::SignIn))
            }
            Require::Mfa if !proven.mfa => Some(Obstacle::Step(Step::Mfa)),
            Require::Mfa => None,
        }
    }
}

impl Verdict {
    fn unmet(step: Step, claim: &str, value: Value) -> Self {
        let claims = json!({ "access_token": { claim: value } });
        Self::Unmet(Unmet { step, claims })
    }
}

impl Unmet {
    /// The refusal of the token endpoint, and of `prompt=none`.
    pub(crate) fn refusal(self, user: &User, resource: &App) -> Refusal {
        let resource = resource.client_id;
        let refusal = match self.step {
            Step::SignInSince(not_before) => return Refusal::revoked(not_before),
            Step::SignIn => Refusal::invalid_grant(70_043, "The refresh token has expired or is invalid due to sign-in frequency checks by conditional access.").suberror("bad_token"),
            Step::Mfa if !user.can_mfa() => not_registered("interaction_required", resource),
            Step::Mfa | Step::Visit => Refusal::new(
                "interaction_required",
                50_076,
                format!("Due to a configuration change made by your administrator, or because you moved to a new location, you must use multi-factor authentication to access '{resource}'."),
            )
            .suberror("basic_action"),
        };
        refusal.claims(self.claims)
    }
}

/// AADSTS50079: a second factor is needed and the user has none.
pub(crate) fn not_registered(error: &'static str, resource: Uuid) -> Refusal {
    let text = format!(
        "Due to a configuration change made by your administrator, or because you moved to a new location, you must enroll in multi-factor authentication to access '{resource}'."
    );
    Refusal::new(error, 50_079, text).suberror("basic_action")
}

/// AADSTS53003: access is blocked, whatever the user does.
pub(crate) fn blocked(error: &'static str) -> Refusal {
    Refusal::new(error, 53_003, "Access has been blocked by Conditional Access policies. The access policy does not allow token issuance.").suberror("message_only")
}

/// AADSTS530035: the request is of a kind that the tenant takes from nobody.
pub(crate) fn blocked_by_security_defaults(error: &'static str) -> Refusal {
    Refusal::new(error, 530_035, "Access has been blocked by security defaults. The request is deemed unsafe by security defaults policies.")
        .suberror("message_only")
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: u64 = 1_000_000;

    fn proven(directory: &Directory, mfa: bool) -> Authentication {
        Authentication {
            user: directory.user("alice").unwrap().oid,
            sid: Uuid::nil(),
            auth_time: NOW - 100,
            mfa,
            contexts: BTreeSet::new(),
            generation: 0,
        }
    }

    fn decide(
        directory: &Directory,
        api: &str,
        claims: Option<&str>,
        setting: Setting,
        proven: &Authentication,
    ) -> Verdict {
        let demands = Demands::parse(claims).unwrap();
        let question = Question {
            directory,
            user: directory.user("alice").unwrap(),
            resource: directory.app(api).unwrap(),
            demands: &demands,
            setting,
            now: NOW,
        };
        question.decide(proven)
    }

    fn claims(verdict: Verdict) -> String {
        match verdict {
            Verdict::Unmet(unmet) => unmet.claims.to_string(),
            other => panic!("{other:?}"),
        }
    }

    const C1: Option<&str> = Some(r#"{"access_token":{"acrs":{"essential":true,"value":"c1"}}}"#);

    #[test]
    fn a_policy_on_an_app_answers_capolids_and_never_acrs() {
        let directory = Directory::demo();
        let id = directory.policy("MFA for the downstream API").unwrap().id;
        for demand in [None, C1] {
            let verdict = decide(
                &directory,
                "downstream-api",
                demand,
                Setting::Token,
                &proven(&directory, false),
            );
            assert_eq!(
                claims(verdict),
                format!(
                    r#"{{"access_token":{{"capolids":{{"essential":true,"values":["{id}"]}}}}}}"#
                )
            );
        }
        assert!(matches!(
            decide(
                &directory,
                "downstream-api",
                None,
                Setting::Token,
                &proven(&directory, true)
            ),
            Verdict::Satisfied(_)
        ));
        assert!(matches!(
            decide(
                &directory,
                "middle-tier",
                None,
                Setting::Token,
                &proven(&directory, false)
            ),
            Verdict::Satisfied(_)
        ));
    }

    #[test]
    fn a_context_counts_only_after_it_was_asked_for_interactively() {
        let directory = Directory::demo();
        let mut strong = proven(&directory, true);
        assert_eq!(
            claims(decide(
                &directory,
                "downstream-api",
                C1,
                Setting::Token,
                &strong
            )),
            r#"{"access_token":{"acrs":{"essential":true,"value":"c1"}}}"#
        );
        let Verdict::Satisfied(contexts) = decide(
            &directory,
            "downstream-api",
            C1,
            Setting::Interactive,
            &strong,
        ) else {
            panic!()
        };
        assert!(contexts.contains("c1"));
        strong.contexts = contexts;
        assert!(matches!(
            decide(&directory, "downstream-api", C1, Setting::Token, &strong),
            Verdict::Satisfied(_)
        ));
    }

    #[test]
    fn a_context_is_not_satisfied_interactively_without_its_policy() {
        let directory = Directory::demo();
        let weak = proven(&directory, false);
        assert!(matches!(
            decide(&directory, "middle-tier", C1, Setting::Interactive, &weak),
            Verdict::Unmet(Unmet {
                step: Step::Mfa,
                ..
            })
        ));
    }

    #[test]
    fn a_policy_that_the_claims_name_is_evaluated_for_another_resource() {
        let directory = Directory::demo();
        let demand = format!(
            r#"{{"access_token":{{"capolids":{{"essential":true,"values":["{}"]}}}}}}"#,
            directory.policy("MFA for the downstream API").unwrap().id
        );
        let ask = |mfa| {
            decide(
                &directory,
                "middle-tier",
                Some(&demand),
                Setting::Interactive,
                &proven(&directory, mfa),
            )
        };
        assert!(matches!(
            ask(false),
            Verdict::Unmet(Unmet {
                step: Step::Mfa,
                ..
            })
        ));
        assert!(matches!(ask(true), Verdict::Satisfied(_)));
    }

    #[test]
    fn a_disabled_policy_and_a_policy_for_others_do_nothing() {
        let mut directory = Directory::demo();
        directory.policies[0].enabled = false;
        assert!(matches!(
            decide(
                &directory,
                "downstream-api",
                None,
                Setting::Token,
                &proven(&directory, false)
            ),
            Verdict::Satisfied(_)
        ));
        directory.policies[0].enabled = true;
        directory.policies[0].users = Some(vec!["bob@contoso.example".into()]);
        assert!(matches!(
            decide(
                &directory,
                "downstream-api",
                None,
                Setting::Token,
                &proven(&directory, false)
            ),
            Verdict::Satisfied(_)
        ));
        directory.policies[0].users = Some(vec!["staff".into()]);
        directory.users[0].groups = vec!["staff".into()];
        assert!(matches!(
            decide(
                &directory,
                "downstream-api",
                None,
                Setting::Token,
                &proven(&directory, false)
            ),
            Verdict::Unmet(_)
        ));
    }

    #[test]
    fn a_context_without_a_policy_is_met_by_asking_for_it() {
        let mut directory = Directory::demo();
        directory.policies[1].enabled = false;
        let weak = proven(&directory, false);
        assert!(matches!(
            decide(&directory, "middle-tier", C1, Setting::Token, &weak),
            Verdict::Unmet(Unmet {
                step: Step::Visit,
                ..
            })
        ));
        let met = decide(&directory, "middle-tier", C1, Setting::Interactive, &weak);
        assert!(matches!(met, Verdict::Satisfied(_)));
    }

    #[test]
    fn a_context_on_record_ends_when_its_policy_is_no_longer_met() {
        let mut directory = Directory::demo();
        let mut strong = proven(&directory, true);
        strong.contexts.insert("c1".into());
        for (limit, kept) in [(100, true), (99, false)] {
            directory.policies[1].sign_in_frequency = Some(limit);
            let verdict = decide(&directory, "middle-tier", None, Setting::Token, &strong);
            let Verdict::Satisfied(contexts) = verdict else {
                panic!()
            };
            assert_eq!(contexts.contains("c1"), kept);
        }
    }

    #[test]
    fn a_block_is_a_block() {
        let mut directory = Directory::demo();
        directory.policies[0].require = Require::Block;
        assert!(matches!(
            decide(
                &directory,
                "downstream-api",
                None,
                Setting::Interactive,
                &proven(&directory, true)
            ),
            Verdict::Blocked
        ));
        directory.policies[1].require = Require::Block;
        assert!(matches!(
            decide(
                &directory,
                "middle-tier",
                C1,
                Setting::Interactive,
                &proven(&directory, true)
            ),
            Verdict::Blocked
        ));
    }

    #[test]
    fn an_old_sign_in_is_asked_for_again() {
        let mut directory = Directory::demo();
        for (limit, fresh) in [(99, false), (100, true)] {
            directory.policies[0].sign_in_frequency = Some(limit);
            let verdict = decide(
                &directory,
                "downstream-api",
                None,
                Setting::Token,
                &proven(&directory, true),
            );
            assert_eq!(matches!(verdict, Verdict::Satisfied(_)), fresh);
            assert_eq!(
                matches!(
                    verdict,
                    Verdict::Unmet(Unmet {
                        step: Step::SignIn,
                        ..
                    })
                ),
                !fresh
            );
        }
    }

    #[test]
    fn nbf_wants_a_later_sign_in() {
        let directory = Directory::demo();
        let ask = |nbf: u64, setting| {
            let demand =
                format!(r#"{{"access_token":{{"nbf":{{"essential":true,"value":"{nbf}"}}}}}}"#);
            decide(
                &directory,
                "middle-tier",
                Some(&demand),
                setting,
                &proven(&directory, false),
            )
        };
        assert!(matches!(
            ask(NOW - 100, Setting::Token),
            Verdict::Satisfied(_)
        ));
        assert!(matches!(
            ask(NOW - 99, Setting::Token),
            Verdict::Unmet(Unmet {
                step: Step::SignInSince(_),
                ..
            })
        ));
        assert!(matches!(
            ask(NOW - 99, Setting::Interactive),
            Verdict::Unmet(Unmet {
                step: Step::SignInSince(_),
                ..
            })
        ));
        let mut fresh = proven(&directory, false);
        fresh.auth_time = NOW;
        let demands = Demands {
            not_before: Some(NOW + 60),
            ..Demands::default()
        };
        let question = Question {
            directory: &directory,
            user: &directory.users[0],
            resource: &directory.apps[1],
            demands: &demands,
            setting: Setting::Interactive,
            now: NOW,
        };
        assert!(matches!(question.decide(&fresh), Verdict::Satisfied(_)));
    }
}
