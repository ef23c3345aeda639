//! Secrets and certificates of applications.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde_json::{Value, json};
use uuid::Uuid;

use super::body::short;
use super::dates;
use super::error::GraphError;
use super::{Answered, Call, Key, Reply, applications};
use crate::certificate;
use crate::directory::App;
use crate::directory::registration::CredentialName;
use crate::random;

const MAX_SECRETS: usize = 50;
const MAX_CERTIFICATES: usize = 20;
const MAX_CERTIFICATE: usize = 16 * 1024;
/// Seconds that a secret is good for when nothing is said: two years.
const LIFETIME: u64 = 730 * 86_400;

/// Graph's `passwordCredential` in a request.
#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub(super) struct NewPassword {
    display_name: Option<String>,
    start_date_time: Option<String>,
    end_date_time: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct AddPassword {
    #[serde(default)]
    password_credential: Option<NewPassword>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct RemovePassword {
    key_id: Uuid,
}

/// Graph's `keyCredential` in a request.
#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub(super) struct NewKey {
    custom_key_identifier: Option<String>,
    display_name: Option<String>,
    end_date_time: Option<String>,
    /// DER in base64; null keeps the certificate of the same `keyId`.
    key: Option<String>,
    key_id: Option<Uuid>,
    start_date_time: Option<String>,
    r#type: Option<String>,
    usage: Option<String>,
}

/// `POST /applications/{id}/addPassword`.
pub(super) fn add_password(call: &Call<'_>, key: &Key) -> Answered {
    let body: AddPassword = call.read()?;
    let asked = body.password_credential.unwrap_or_default();
    let mut added = call.authority.change(|directory| {
        let app = applications::find_mut(directory, key)?;
        add(app, asked, call.now)
    })?;
    if let Value::Object(added) = &mut added {
        let context = call.context("microsoft.graph.passwordCredential");
        added.insert("@odata.context".to_owned(), context.into());
    }
    Ok(Reply::Object(added))
}

/// The credential with its secret: the only time that anybody is told.
pub(super) fn add(app: &mut App, asked: NewPassword, now: u64) -> Result<Value, GraphError> {
    if app.secrets.len() >= MAX_SECRETS {
        return Err(GraphError::quota("password credentials"));
    }
    let start = date(asked.start_date_time.as_deref(), "startDateTime")?.unwrap_or(now);
    let end = date(asked.end_date_time.as_deref(), "endDateTime")?
        .unwrap_or(start.saturating_add(LIFETIME));
    if end <= start || end <= now {
        return Err(GraphError::invalid_value(
            "endDateTime",
            "PasswordCredential",
        ));
    }
    let name = asked.display_name.as_deref().unwrap_or_default();
    short(name, 120, "displayName", "PasswordCredential")?;
    let secret = random::secret();
    let name = CredentialName {
        key_id: Uuid::new_v4(),
        display_name: asked.display_name,
        start: Some(start),
        end: Some(end),
    };
    let mut told = password(&name, secret.get(..3));
    if let Value::Object(told) = &mut told {
        told.insert("secretText".to_owned(), secret.as_str().into());
    }
    app.registration.passwords = app.passwords();
    app.registration.passwords.push(name);
    app.secrets.push(secret.into());
    Ok(told)
}

/// `POST /applications/{id}/removePassword`.
pub(super) fn remove_password(call: &Call<'_>, key: &Key) -> Answered {
    let RemovePassword { key_id } = call.read()?;
    call.authority.change(|directory| {
        let app = applications::find_mut(directory, key)?;
        let mut names = app.passwords();
        let index = names
            .iter()
            .position(|name| name.key_id == key_id)
            .ok_or_else(|| GraphError::bad("No password credential found with keyId."))?;
        names.remove(index);
        app.registration.passwords = names;
        app.secrets.remove(index);
        Ok::<_, GraphError>(())
    })?;
    Ok(Reply::Done)
}

/// Replaces all certificates.
pub(super) fn set_keys(app: &mut App, asked: Vec<NewKey>) -> Result<(), GraphError> {
    if asked.len() > MAX_CERTIFICATES {
        return Err(GraphError::quota("key credentials"));
    }
    let known: Vec<(CredentialName, String)> = app
        .keys()
        .into_iter()
        .zip(app.certificates.iter().cloned())
        .collect();
    let (mut names, mut certificates) = (Vec::new(), Vec::new());
    for key in asked {
        let (name, certificate) = one_key(key, &known)?;
        names.push(name);
        certificates.push(certificate);
    }
    app.registration.keys = names;
    app.certificates = certificates;
    Ok(())
}

fn one_key(
    asked: NewKey,
    known: &[(CredentialName, String)],
) -> Result<(CredentialName, String), GraphError> {
    let invalid = |property: &str| GraphError::invalid_value(property, "KeyCredential");
    if asked.r#type.as_deref() != Some("AsymmetricX509Cert") {
        return Err(invalid("type"));
    }
    if asked.usage.as_deref() != Some("Verify") {
        return Err(invalid("usage"));
    }
    let name = asked.display_name.as_deref().unwrap_or_default();
    short(name, 120, "displayName", "KeyCredential")?;
    let thumbprint = asked.custom_key_identifier.as_deref().unwrap_or_default();
    short(thumbprint, 120, "customKeyIdentifier", "KeyCredential")?;
    let before = known
        .iter()
        .find(|(name, _)| Some(name.key_id) == asked.key_id);
    let certificate = match (&asked.key, before) {
        (Some(key), _) => pem(key).ok_or_else(|| invalid("key"))?,
        (None, Some((_, certificate))) => certificate.clone(),
        (None, None) => return Err(invalid("key")),
    };
    let before = before.map(|(name, _)| name);
    let start = date(asked.start_date_time.as_deref(), "startDateTime")?
        .or_else(|| before.and_then(|name| name.start));
    let end = date(asked.end_date_time.as_deref(), "endDateTime")?
        .or_else(|| before.and_then(|name| name.end));
    if start.zip(end).is_some_and(|(start, end)| end <= start) {
        return Err(invalid("endDateTime"));
    }
    let name = CredentialName {
        key_id: asked.key_id.unwrap_or_else(Uuid::new_v4),
        display_name: asked.display_name,
        start,
        end,
    };
    Ok((name, certificate))
}

/// PEM of DER in base64; what the certificate says is for the directory's rules to check.
fn pem(base64: &str) -> Option<String> {
    let der = STANDARD.decode(base64).ok()?;
    // A certificate is a SEQUENCE with a length of two octets or more.
    let plausible = der.len() <= MAX_CERTIFICATE && der.starts_with(&[0x30, 0x82]);
    plausible.then(|| certificate::pem(&der))
}

fn date(text: Option<&str>, property: &str) -> Result<Option<u64>, GraphError> {
    text.map(|text| {
        dates::parse(text).ok_or_else(|| GraphError::invalid_value(property, "Credential"))
    })
    .transpose()
}

pub(super) fn password(name: &CredentialName, hint: Option<&str>) -> Value {
    json!({
        "customKeyIdentifier": null,
        "displayName": name.display_name,
        "endDateTime": dates::value(name.end),
        "hint": hint,
        "keyId": name.key_id.to_string(),
        "secretText": null,
        "startDateTime": dates::value(name.start),
    })
}

pub(super) fn key(name: &CredentialName) -> Value {
    json!({
        "customKeyIdentifier": null,
        "displayName": name.display_name,
        "endDateTime": dates::value(name.end),
        "key": null,
        "keyId": name.key_id.to_string(),
        "startDateTime": dates::value(name.start),
        "type": "AsymmetricX509Cert",
        "usage": "Verify",
    })
}
