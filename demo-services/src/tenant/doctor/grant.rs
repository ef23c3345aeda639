//! A token request with a service's own credential, and what the authority makes of it.

use http::header::ACCEPT;
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::Value;
use tower_bearer::client_capabilities;

use super::Options;
use super::codes;
use super::probe::Probe;
use super::subject::{Client, endpoint};

/// What came of a token request.
pub(super) enum Granted {
    /// A token; it goes no further than to its own check.
    Token(SecretString),
    /// The authority says no.
    Refused {
        /// `AADSTS<number>`.
        number: Option<u32>,
        /// It wants the person to come: `claims` came along, or `interaction_required`.
        interaction: bool,
    },
    /// The authority cannot be asked.
    NoAnswer(String),
    /// There is no credential to ask with.
    NoCredential,
}

/// RFC 6749 4.4: an app-only token for `scope`, which ends in `/.default`.
pub(super) async fn client_credentials(
    client: &Client<'_>,
    scope: &str,
    options: &Options,
) -> Granted {
    let form = [("grant_type", "client_credentials"), ("scope", scope)];
    request(client, &form, options).await
}

/// The exchange that the middle tier makes of its caller's token.
pub(super) async fn on_behalf_of(
    client: &Client<'_>,
    assertion: &SecretString,
    options: &Options,
) -> Granted {
    let form = [
        ("grant_type", "urn:ietf:params:oauth:grant-type:jwt-bearer"),
        ("requested_token_use", "on_behalf_of"),
        ("assertion", assertion.expose_secret()),
        ("scope", client.scope),
    ];
    request(client, &form, options).await
}

async fn request(client: &Client<'_>, form: &[(&str, &str)], options: &Options) -> Granted {
    let Some(credential) = client.credential() else {
        return Granted::NoCredential;
    };
    let probe = Probe::new(&client.authority.instance, client.trust, options.deadline);
    let (Some(probe), Some(url)) = (probe, endpoint(client.authority, "/oauth2/v2.0/token")) else {
        return Granted::NoAnswer("cannot be asked".into());
    };
    let Ok(proof) = credential
        .prove(client.client_id, &url, options.clock.now())
        .await
    else {
        return Granted::NoCredential;
    };
    let claims = client_capabilities(&["cp1"]);
    let mut form = form.to_vec();
    form.extend([("client_id", client.client_id), ("claims", &claims)]);
    for (name, value) in proof.fields() {
        form.push((name, value));
    }
    let answer = probe
        .ask(|http| {
            http.post(url)
                .header(ACCEPT, "application/json")
                .form(&form)
        })
        .await;
    let answer = match answer {
        Ok(answer) => answer,
        Err(error) => return Granted::NoAnswer(error.words().to_owned()),
    };
    let text =
        |value: &Value, name: &str| value.get(name).and_then(Value::as_str).map(str::to_owned);
    let Some(body) = answer.json() else {
        return Granted::NoAnswer(format!("answers {} without JSON", answer.status.as_u16()));
    };
    match text(&body, "access_token") {
        Some(token) if answer.status.is_success() => Granted::Token(token.into()),
        _ => Granted::Refused {
            number: text(&body, "error_description")
                .as_deref()
                .and_then(codes::find),
            interaction: body.get("claims").is_some()
                || text(&body, "error").as_deref() == Some("interaction_required"),
        },
    }
}
