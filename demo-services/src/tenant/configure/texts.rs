//! What the configuration of each service says.

use secrecy::{ExposeSecret as _, SecretString};
use toml::Value;
use url::Url;

use super::{ConfigureError, TenantFiles};
use crate::loopback::is_loopback;
use crate::tenant::plan::{CONTEXT, CredentialKind};
use crate::tenant::record::{FileName, ForeignName, Record};

/// The port of the SPA backend where browsers reach it through a proxy.
const SPA_PORT: u16 = 3000;
const MIDDLE_TIER: &str = "localhost:5000";
const DOWNSTREAM: &str = "localhost:7000";

impl TenantFiles {
    /// All three, with the names of their files.
    pub(super) fn texts(
        &self,
        record: &Record,
    ) -> Result<[(FileName, SecretString); 3], ConfigureError> {
        let name = |name: &str| FileName::of(name).ok_or(ForeignName);
        Ok([
            (name("downstream-api.toml")?, self.downstream_api(record)?),
            (name("middle-tier.toml")?, self.middle_tier(record)?),
            (name("spa-backend.toml")?, self.spa_backend(record)?),
        ])
    }

    fn downstream_api(&self, record: &Record) -> Result<SecretString, ConfigureError> {
        let id = client_id(record, "downstream-api")?;
        let mut text = Text::new(record, "The downstream API", "downstream-api", self);
        text.set("listen", DOWNSTREAM);
        text.set("client_id", id);
        text.set("app_id_uri", &format!("api://{id}"));
        text.set("required_scope", "user_impersonation");
        text.set("public_url", &self.service_url(DOWNSTREAM));
        text.set("admin_role", "Task.Run");
        text.set("secure_context", CONTEXT);
        text.end(self, record);
        Ok(text.0.into())
    }

    fn middle_tier(&self, record: &Record) -> Result<SecretString, ConfigureError> {
        let id = client_id(record, "middle-tier")?;
        let downstream = client_id(record, "downstream-api")?;
        let gate = client_id(record, "mfa-app")?;
        let place = &self.configuration.place;
        let mut text = Text::new(record, "The middle tier", "middle-tier", self);
        text.set("listen", MIDDLE_TIER);
        text.set("client_id", id);
        text.set("app_id_uri", &format!("api://{id}"));
        text.credential(self, record, "middle-tier")?;
        text.set("required_scope", "user_impersonation");
        text.set("public_url", &self.service_url(MIDDLE_TIER));
        text.set("downstream", &self.service_url(DOWNSTREAM));
        text.set(
            "downstream_scope",
            &format!("api://{downstream}/user_impersonation"),
        );
        if self.is_https() {
            text.line("# The page /msal of the SPA backend calls this service from the browser.");
            let origin = self.configuration.base_url.origin().ascii_serialization();
            let origins = Value::Array(vec![Value::String(origin)]);
            text.line(&format!("allowed_origins = {origins}"));
        }
        text.end(self, record);
        text.line("\n# The person's own profile; its edit needs a token for the application that carries `gate_scope`.\n[profile]");
        text.set("graph", place.graph.as_str().trim_end_matches('/'));
        for (key, permission) in [
            ("read_scope", "User.Read"),
            ("write_scope", "User.ReadWrite"),
        ] {
            text.set(key, &format!("{}/{permission}", place.graph_resource));
        }
        text.set("gate_scope", &format!("api://{gate}/User.MFA"));
        Ok(text.0.into())
    }

    fn spa_backend(&self, record: &Record) -> Result<SecretString, ConfigureError> {
        let id = client_id(record, "spa-backend")?;
        let msal_id = client_id(record, "msal-spa")?;
        let scope = format!(
            "api://{}/user_impersonation",
            client_id(record, "middle-tier")?
        );
        let base_url = &self.configuration.base_url;
        let [middle_tier, downstream] = [MIDDLE_TIER, DOWNSTREAM].map(|at| self.service_url(at));
        let mut text = Text::new(record, "The SPA backend", "spa-backend", self);
        text.set("listen", &listen(base_url));
        text.set("base_url", base_url.as_str().trim_end_matches('/'));
        text.set("client_id", id);
        text.credential(self, record, "spa-backend")?;
        text.set("scope", &scope);
        text.set("middle_tier", &middle_tier);
        if self.is_local() {
            let sources = [&middle_tier, &downstream].map(|url| Value::String(url.clone()));
            text.line(&format!("flow_sources = {}", Value::Array(sources.into())));
        }
        text.end(self, record);
        if self.is_https() {
            text.line("\n# The page /msal: MSAL.js in the browser, a public client that calls the middle tier itself.");
            // Without the package in its place the service would not start.
            let (hash, bundle) = match &self.configuration.msal {
                Some(bundle) => ("", bundle.display().to_string()),
                None => {
                    text.line("# Run `npm install @azure/msal-browser@5.30.0`, name its place, and take the `#` away.");
                    ("# ", "node_modules/@azure/msal-browser".to_owned())
                }
            };
            let middle_tier = format!("https://{MIDDLE_TIER}");
            text.line(&format!("{hash}[msal]"));
            for (key, value) in [
                ("bundle", bundle.as_str()),
                ("client_id", msal_id),
                ("scope", &scope),
                ("middle_tier", &middle_tier),
            ] {
                text.line(&format!("{hash}{key} = {}", quoted(value)));
            }
        }
        Ok(text.0.into())
    }

    /// What must be in front of the SPA backend so that browsers reach it at its address, in a line for whoever starts it. Nothing where
    /// it speaks for itself.
    #[must_use]
    pub fn in_front(&self) -> Option<String> {
        if !self.is_https() || self.configuration.tls.is_some() {
            return None;
        }
        let base_url = self.configuration.base_url.as_str().trim_end_matches('/');
        let listen = listen(&self.configuration.base_url);
        Some(match self.is_local() {
            // Two cannot listen at one address.
            true => format!(
                "The services speak http, and {base_url} is https: run this again with --tls-cert and --tls-key, or let the SPA backend \
                 listen at another port (`listen`), with a proxy in front that speaks TLS as in docs/deployment.md."
            ),
            false => format!(
                "The SPA backend itself speaks http, at {listen}: a proxy in front of it must speak TLS for {base_url}, as in \
                 docs/deployment.md."
            ),
        })
    }

    fn is_local(&self) -> bool {
        is_loopback(&self.configuration.base_url)
    }

    fn is_https(&self) -> bool {
        self.configuration.base_url.scheme() == "https"
    }

    fn service_url(&self, at: &str) -> String {
        let scheme = match self.configuration.tls {
            Some(_) => "https",
            None => "http",
        };
        format!("{scheme}://{at}")
    }
}

/// A configuration in the making.
struct Text(String);

impl Text {
    fn new(record: &Record, name: &str, command: &str, files: &TenantFiles) -> Self {
        let path = files.path(&format!("{command}.toml"));
        Self(format!(
            "# {name} against the tenant {}:\n#   cargo run -- {command} --config {}\n\n",
            record.tenant,
            crate::how_to_trust::shell_word(&path.display().to_string()),
        ))
    }

    fn line(&mut self, line: &str) {
        self.0.push_str(line);
        self.0.push('\n');
    }

    fn set(&mut self, key: &str, value: &str) {
        self.line(&format!("{key} = {}", quoted(value)));
    }

    fn credential(
        &mut self,
        files: &TenantFiles,
        record: &Record,
        key: &'static str,
    ) -> Result<(), ConfigureError> {
        let missing = || ConfigureError::NoCredential {
            key,
            folder: files.configuration.folder.clone(),
        };
        match files.configuration.credential {
            CredentialKind::Secret => {
                let secret = files.secret(record, key).ok_or_else(missing)?;
                self.set("client_secret", secret.expose_secret());
            }
            CredentialKind::Certificate => {
                if files.certificate_in_place(record, key).is_none() {
                    return Err(missing());
                }
                let [certificate, private_key] = [format!("{key}.pem"), format!("{key}-key.pem")]
                    .map(|name| quoted(&files.path(&name).display().to_string()));
                self.line(&format!(
                    "client_certificate = {{ certificate = {certificate}, private_key = {private_key} }}"
                ));
            }
        }
        Ok(())
    }

    /// What all three have in common.
    fn end(&mut self, files: &TenantFiles, record: &Record) {
        if files.is_local() {
            self.line("# The picture of each call on the page; for services that listen on this machine only.");
            self.line("flow_events = true");
        } else {
            self.line("# Without flow_events, the picture of each call: it is for services that this machine alone reaches, and this");
            self.line("# registration is for another address. What else that takes is in docs/deployment.md.");
        }
        if let Some(ca_file) = &files.configuration.ca_file {
            self.set("ca_file", &ca_file.display().to_string());
        }
        self.line("\n[authority]");
        let instance = files.configuration.place.authority.as_str();
        self.set("instance", instance.trim_end_matches('/'));
        self.set("tenant", &record.tenant);
        match &files.configuration.tls {
            Some((certificate, private_key)) => {
                self.line("\n[tls]");
                self.set("certificate", &certificate.display().to_string());
                self.set("private_key", &private_key.display().to_string());
            }
            None => {
                self.line("\n# The service's own certificate; without it plain http, on this machine only (docs/deployment.md).");
                self.line("# [tls]\n# certificate = \"chain.pem\"\n# private_key = \"key.pem\"");
            }
        }
    }
}

fn client_id<'a>(record: &'a Record, key: &'static str) -> Result<&'a str, ConfigureError> {
    let app = record.app(key).and_then(|app| app.app_id.as_deref());
    app.ok_or(ConfigureError::Incomplete(key))
}

/// At the port of the URL where that is this machine; behind a proxy at our own.
fn listen(base_url: &Url) -> String {
    match (base_url.host_str(), base_url.port_or_known_default()) {
        (Some(host), Some(port)) if is_loopback(base_url) => format!("{host}:{port}"),
        _ => format!("localhost:{SPA_PORT}"),
    }
}

fn quoted(value: &str) -> String {
    Value::String(value.to_owned()).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_port_of_a_local_address_is_listened_on() {
        for (base_url, expected) in [
            ("http://localhost:3100", "localhost:3100"),
            ("http://127.0.0.1", "127.0.0.1:80"),
            ("https://localhost:3000", "localhost:3000"),
            ("https://shop.example", "localhost:3000"),
        ] {
            assert_eq!(listen(&base_url.parse().unwrap()), expected);
        }
    }
}
