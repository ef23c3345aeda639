//! From a form of the admin page to the command that `POST /control` takes, by way of the same JSON.

use serde_json::{Map, Value};

use crate::control::Command;
use crate::directory::{Consent, Mfa, Require, Target};
use crate::form::Form;

/// Fields that are no text in the command.
const NUMBERS: [&str; 5] = ["delay_ms", "n", "retry_after", "seconds", "status"];
const TEXTS: [&str; 9] = [
    "app", "body", "consent", "endpoint", "kid", "mfa", "name", "otp", "user",
];
/// Fields of a policy, which stand in an object of their own.
const POLICY: [&str; 4] = ["app", "auth_context", "require", "sign_in_frequency"];

/// The command that a form stands for.
///
/// # Errors
///
/// Why it is none, in words for the person who sent it.
pub(super) fn command(form: &Form) -> Result<Command, String> {
    let mut command = Map::new();
    let verb = form.get("do").unwrap_or_default();
    command.insert("do".into(), verb.into());
    if verb == "require" {
        command.insert("policy".into(), policy(form)?);
    } else {
        for name in TEXTS {
            if let Some(text) = form.get(name) {
                command.insert(name.into(), text.into());
            }
        }
        for name in NUMBERS {
            if let Some(text) = form.get(name) {
                let number: i64 = text
                    .trim()
                    .parse()
                    .map_err(|_| format!("`{name}` is not a whole number"))?;
                command.insert(name.into(), number.into());
            }
        }
        if let Some(text) = form.get("enabled") {
            command.insert("enabled".into(), (text == "true").into());
        }
    }
    serde_json::from_value(Value::Object(command)).map_err(|error| error.to_string())
}

/// A policy with the keys of the directory file; without a name it is called after what it does.
fn policy(form: &Form) -> Result<Value, String> {
    let mut policy = Map::new();
    for name in POLICY {
        if let Some(text) = form.get(name) {
            policy.insert(name.into(), text.trim().into());
        }
    }
    let target = form.get("app").or_else(|| form.get("auth_context"));
    let target = target.ok_or("a policy protects an API or an authentication context")?;
    let name = form.get("name").map_or_else(
        || match form.get("require") {
            Some("block") => format!("Block {target}"),
            _ => format!("MFA for {target}"),
        },
        |name| name.trim().to_owned(),
    );
    policy.insert("name".into(), name.into());
    let users: Vec<_> = form
        .get("users")
        .unwrap_or_default()
        .split(',')
        .map(str::trim)
        .filter(|name| !name.is_empty())
        .collect();
    if !users.is_empty() && users != ["all"] {
        policy.insert("users".into(), users.into());
    }
    Ok(Value::Object(policy))
}

/// What the command did, for the person who gave it.
pub(super) fn words(command: &Command) -> String {
    match command {
        Command::Consent { app, consent } => match consent {
            Consent::Granted => format!("{app}: an administrator has consented for everybody."),
            Consent::Required => format!("{app}: each user is asked for what nobody has granted."),
        },
        Command::Counters {} | Command::Requests {} => "Nothing was changed.".to_owned(),
        Command::FailNext { endpoint, n: 0, .. } => {
            format!("{endpoint}: no failure is waiting any more.")
        }
        Command::FailNext { endpoint, n, .. } => {
            format!("{endpoint}: told to fail or to be late, {}.", times(*n))
        }
        Command::Policy { name, enabled } => {
            format!("Policy {name} is {}.", if *enabled { "on" } else { "off" })
        }
        Command::RemovePolicy { name } => format!("Policy {name} was removed."),
        Command::Require { policy } => {
            let what = match policy.require {
                Require::Block => "blocks",
                Require::Mfa => "asks for a second factor for",
            };
            let (Target::App(of) | Target::AuthContext(of)) = &policy.target;
            format!("Policy {} now {what} {of}.", policy.name)
        }
        Command::Revoke { user } => {
            format!("All sessions, refresh tokens and grants of {user} have ended.")
        }
        Command::RotateKeys {} => {
            "A new key signs from now on; the old one stays published.".to_owned()
        }
        Command::Skew { seconds } => format!("The clock is {seconds} seconds off."),
        Command::User { user, mfa, .. } => match mfa {
            Mfa::NotRegistered => format!("{user} has no second factor any more."),
            Mfa::Registered => format!("The second factor of {user} is registered."),
        },
        Command::WithdrawConsent { user } => {
            format!("All that {user} had consented to was taken back.")
        }
        Command::WithdrawKey { kid } => format!("Key {kid} is not published any more."),
    }
}

pub(super) fn times(n: u32) -> String {
    match n {
        1 => "once".to_owned(),
        n => format!("{n} times"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Command, String> {
        command(&Form::parse(text.as_bytes()).unwrap())
    }

    fn require(text: &str) -> crate::directory::Policy {
        match parse(&format!("do=require&{text}")) {
            Ok(Command::Require { policy }) => policy,
            Ok(_) => panic!("another command"),
            Err(reason) => panic!("{reason}"),
        }
    }

    #[test]
    fn fields_become_what_the_command_wants() {
        assert!(matches!(
            parse("do=policy&name=x&enabled=false"),
            Ok(Command::Policy { enabled: false, .. })
        ));
        assert!(matches!(
            parse("do=skew&seconds=-120"),
            Ok(Command::Skew { seconds: -120 })
        ));
        assert!(matches!(
            parse("do=fail_next&endpoint=token&n=2&status=503&delay_ms=&body=&form_token=x"),
            Ok(Command::FailNext {
                n: 2,
                status: Some(503),
                delay_ms: 0,
                ..
            })
        ));
        for (text, part) in [
            ("do=skew&seconds=soon", "`seconds` is not a whole number"),
            ("do=skew", "missing field `seconds`"),
            ("do=fail_next&endpoint=token&n=-1", "invalid value"),
            ("do=nothing", "unknown variant"),
            ("", "unknown variant"),
        ] {
            let reason = parse(text).err().unwrap();
            assert!(reason.contains(part), "{text}: {reason}");
        }
    }

    #[test]
    fn a_policy_has_a_name_and_its_users() {
        let policy = require("app=my-api&require=mfa");
        assert_eq!(
            (policy.name.as_str(), policy.users),
            ("MFA for my-api", None)
        );
        let policy = require(
            "auth_context=c1&require=block&users=+a%40b+,+staff,&name=+N+&sign_in_frequency=1h",
        );
        assert_eq!(policy.name, "N");
        assert_eq!(policy.users.unwrap(), ["a@b", "staff"]);
        assert_eq!(policy.sign_in_frequency, Some(3600));
        assert_eq!(require("app=x&require=block").name, "Block x");
        for text in [
            "require=mfa",
            "app=x&auth_context=c1&require=mfa",
            "app=x",
            "app=x&require=mfa&sign_in_frequency=soon",
        ] {
            assert!(parse(&format!("do=require&{text}")).is_err(), "{text}");
        }
    }
}
