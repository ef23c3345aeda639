//! Whether a Conditional Access policy that demands a second factor stands before what the services guard.

use serde_json::Value;

use super::array;
use super::asked::Guarded;
use super::reader::Told;
use crate::tenant::doctor::finding::{Check, Finding};

/// `principals` are what `guarded` are in this tenant, in the same order; `context` is the one that the downstream API demands.
pub(super) fn check(
    guarded: &[Guarded<'_>],
    principals: &[Told<Vec<Value>>],
    policies: &Told<Vec<Value>>,
    context: Option<&str>,
) -> Vec<Finding> {
    let policies = match policies {
        Ok(policies) => policies,
        Err(untold) => {
            let reason = untold.reason("Policy.Read.All");
            return [Check::MfaPolicy, Check::StepUpPolicy]
                .map(|check| check.skipped(None, format!("not looked at: {reason}")))
                .into();
        }
    };
    let mut findings = Vec::new();
    for (guarded, principal) in guarded.iter().zip(principals) {
        let what = guarded.what;
        let id = match principal {
            Ok(found) => found.first().and_then(|found| found.get("appId")?.as_str()),
            Err(untold) => {
                let reason = untold.reason("Application.Read.All");
                let says = format!("{what}: not looked at: {reason}");
                findings.push(Check::MfaPolicy.skipped(None, says));
                continue;
            }
        };
        findings.push(match id {
            Some(id) => state(Check::MfaPolicy, what, policies, |policy| {
                let applications = applications(policy);
                let included = texts(applications, "includeApplications");
                let excluded = texts(applications, "excludeApplications");
                let is_it = |one: &&str| one.eq_ignore_ascii_case(id);
                included.iter().any(|one| *one == "All" || is_it(one))
                    && !excluded.iter().any(is_it)
            }),
            None => Check::MfaPolicy.skipped(None, format!("{what}: its application is not found")),
        });
    }
    if let Some(context) = context {
        let what = format!("the authentication context {context}");
        findings.push(state(Check::StepUpPolicy, &what, policies, |policy| {
            texts(
                applications(policy),
                "includeAuthenticationContextClassReferences",
            )
            .contains(&context)
        }));
    }
    findings
}

fn applications(policy: &Value) -> &Value {
    policy
        .pointer("/conditions/applications")
        .unwrap_or(&Value::Null)
}

/// Of all policies that are about it and demand a second factor, the strictest counts.
fn state(check: Check, what: &str, policies: &[Value], about: impl Fn(&Value) -> bool) -> Finding {
    let demands_mfa = |policy: &Value| {
        let controls = policy.get("grantControls").unwrap_or(&Value::Null);
        texts(controls, "builtInControls").contains(&"mfa")
            || controls
                .get("authenticationStrength")
                .is_some_and(|strength| !strength.is_null())
    };
    let states: Vec<&str> = policies
        .iter()
        .filter(|policy| about(policy) && demands_mfa(policy))
        .filter_map(|policy| policy.get("state")?.as_str())
        .collect();
    if states.contains(&"enabled") {
        check.ok(
            None,
            format!("{what}: a policy demands a second factor and is enforced"),
        )
    } else if states.contains(&"enabledForReportingButNotEnforced") {
        check.warning(
            None,
            format!("{what}: the policy that demands a second factor only reports: no challenge will come"),
            "set the policy to On under Entra ID > Conditional Access > Policies, when its report shows what you expect",
        )
    } else {
        check.warning(
            None,
            format!("{what}: no policy that is on demands a second factor: no challenge will come"),
            "create one under Entra ID > Conditional Access > Policies, for test users (`register` does, with --mfa-user or --mfa-group; it takes Microsoft Entra ID P1)",
        )
    }
}

fn texts<'a>(value: &'a Value, name: &str) -> Vec<&'a str> {
    array(value, name)
        .iter()
        .filter_map(Value::as_str)
        .collect()
}
