//! `/v1.0/me`: the profile of the token's user, and of nobody else.

use http::Method;
use serde_json::{Map, Value, json};

use super::body::short;
use super::error::GraphError;
use super::{Answered, Call, Reply, wrong_method};
use crate::directory::{Directory, User};

/// Properties of one text: name and longest value (`user` resource type).
const TEXTS: &[(&str, usize)] = &[
    ("displayName", 256),
    ("givenName", 64),
    ("surname", 64),
    ("jobTitle", 128),
    ("mobilePhone", 64),
    ("officeLocation", 128),
    ("preferredLanguage", 64),
    ("department", 64),
    ("companyName", 64),
    ("streetAddress", 1024),
    ("postalCode", 40),
    ("city", 128),
    ("state", 128),
    ("country", 128),
];

/// What Graph answers without `$select`.
const USUAL: &[&str] = &[
    "id",
    "displayName",
    "givenName",
    "surname",
    "mail",
    "userPrincipalName",
    "businessPhones",
    "jobTitle",
    "mobilePhone",
    "officeLocation",
    "preferredLanguage",
];

/// Properties that a user with `User.ReadWrite` has no right to change.
const DENIED: &[&str] = &[
    "accountEnabled",
    "mail",
    "mailNickname",
    "otherMails",
    "passwordPolicies",
    "passwordProfile",
    "userPrincipalName",
    "userType",
];

pub(super) fn me(call: &Call<'_>, method: &Method) -> Answered {
    let Some(oid) = call.caller.user else {
        return Err(GraphError::protocol(
            "/me request is only valid with delegated authentication flow.",
        ));
    };
    let gone = || GraphError::not_found(&oid.to_string());
    match *method {
        Method::GET => {
            call.caller
                .require(&["User.Read", "User.ReadWrite", "User.Read.All"])?;
            let user = find(call.directory, oid).ok_or_else(gone)?;
            let object = if call.query.selects() {
                all(user)
            } else {
                usual(user)
            };
            call.one("users", "user", object)
        }
        Method::PATCH => {
            call.caller.require(&["User.ReadWrite"])?;
            let changes = call.object()?;
            call.authority.change(|directory| {
                let user = directory
                    .users
                    .iter_mut()
                    .find(|user| user.oid == oid)
                    .ok_or_else(gone)?;
                apply(user, &changes)
            })?;
            Ok(Reply::Done)
        }
        _ => Err(wrong_method()),
    }
}

fn find(directory: &Directory, oid: uuid::Uuid) -> Option<&User> {
    directory.users.iter().find(|user| user.oid == oid)
}

/// A user as a list or a plain `GET` shows it.
pub(super) fn usual(user: &User) -> Value {
    let Value::Object(object) = all(user) else {
        return Value::Null;
    };
    let usual = USUAL.iter().map(|name| {
        let value = object.get(*name).cloned().unwrap_or_default();
        ((*name).to_owned(), value)
    });
    Value::Object(usual.collect())
}

/// All properties of a user that are known here.
pub(super) fn all(user: &User) -> Value {
    let profile = &user.profile;
    json!({
        "id": user.oid.to_string(),
        "displayName": user.display_name,
        "givenName": user.given_name,
        "surname": user.surname,
        "mail": user.mail,
        "userPrincipalName": user.username,
        "businessPhones": profile.business_phones,
        "jobTitle": profile.job_title,
        "mobilePhone": profile.mobile_phone,
        "officeLocation": profile.office_location,
        "preferredLanguage": profile.preferred_language,
        "department": profile.department,
        "companyName": profile.company_name,
        "streetAddress": profile.street_address,
        "postalCode": profile.postal_code,
        "city": profile.city,
        "state": profile.state,
        "country": profile.country,
        "accountEnabled": true,
        "userType": "Member",
    })
}

/// On a copy of the directory: what stands before a bad property is not kept either.
fn apply(user: &mut User, changes: &Map<String, Value>) -> Result<(), GraphError> {
    for (name, value) in changes {
        if name == "businessPhones" {
            user.profile.business_phones = phones(value)?;
            continue;
        }
        if name == "id" {
            return Err(GraphError::read_only(name));
        }
        if DENIED.contains(&name.as_str()) {
            return Err(GraphError::denied());
        }
        let (_, longest) = TEXTS
            .iter()
            .find(|(known, _)| known == name)
            .ok_or_else(|| GraphError::unknown_property(name))?;
        let text = match value {
            Value::Null => None,
            Value::String(text) => Some(text.clone()),
            _ => {
                return Err(GraphError::bad(format!(
                    "Cannot convert the value of property '{name}' to the expected type 'Edm.String'."
                )));
            }
        };
        short(text.as_deref().unwrap_or_default(), *longest, name, "User")?;
        if name == "displayName" {
            user.display_name = text
                .filter(|text| !text.trim().is_empty())
                .ok_or_else(|| GraphError::invalid_value(name, "User"))?;
            continue;
        }
        if text.as_ref().is_some_and(String::is_empty) {
            return Err(GraphError::invalid_value(name, "User"));
        }
        let place = place(user, name).ok_or_else(|| GraphError::unknown_property(name))?;
        *place = text;
    }
    Ok(())
}

fn phones(value: &Value) -> Result<Vec<String>, GraphError> {
    let invalid = || GraphError::invalid_value("businessPhones", "User");
    let phones: Vec<String> = value
        .as_array()
        .ok_or_else(invalid)?
        .iter()
        .map(|phone| phone.as_str().map(str::to_owned).ok_or_else(invalid))
        .collect::<Result<_, _>>()?;
    let good = |phone: &String| !phone.is_empty() && phone.chars().count() <= 64;
    if phones.len() <= 1 && phones.iter().all(good) {
        Ok(phones)
    } else {
        Err(invalid())
    }
}

fn place<'a>(user: &'a mut User, name: &str) -> Option<&'a mut Option<String>> {
    let profile = &mut user.profile;
    Some(match name {
        "givenName" => &mut user.given_name,
        "surname" => &mut user.surname,
        "jobTitle" => &mut profile.job_title,
        "mobilePhone" => &mut profile.mobile_phone,
        "officeLocation" => &mut profile.office_location,
        "preferredLanguage" => &mut profile.preferred_language,
        "department" => &mut profile.department,
        "companyName" => &mut profile.company_name,
        "streetAddress" => &mut profile.street_address,
        "postalCode" => &mut profile.postal_code,
        "city" => &mut profile.city,
        "state" => &mut profile.state,
        "country" => &mut profile.country,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_text_has_a_place_and_is_told() {
        let mut user = Directory::demo().users[0].clone();
        for (name, _) in TEXTS {
            let change = Map::from_iter([((*name).to_owned(), json!("x"))]);
            apply(&mut user, &change).unwrap();
            assert_eq!(all(&user)[name], "x", "{name}");
        }
    }
}
