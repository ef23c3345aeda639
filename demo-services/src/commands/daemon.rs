//! `daemon`: one call without a user.

use std::{io, path::PathBuf};

use clap::Args;
use demo_services::{
    config::{ClientCertificateConfig, CredentialError, credential},
    daemon::{DaemonCall, DaemonError},
    outbound::certificate_problem,
};
use secrecy::SecretString;
use tower_bearer::Credential;
use url::Url;

use super::{Usage, in_full, trusted};
use crate::{Failure, say};

#[derive(Args, Debug)]
pub(crate) struct DaemonArgs {
    /// Base URL of the authority
    #[arg(long, default_value = "http://localhost:8080", value_name = "URL")]
    authority: Url,
    /// Directory (tenant) id
    #[arg(
        long,
        default_value = "11111111-2222-3333-4444-555555555555",
        value_name = "ID"
    )]
    tenant: String,
    /// Application (client) id of the daemon
    #[arg(
        long,
        default_value = "dae30000-0000-4000-8000-000000009000",
        value_name = "ID"
    )]
    client_id: String,
    /// Its secret, as the demo prints it; or give --certificate and --private-key
    #[arg(
        long,
        env = "CLIENT_SECRET",
        hide_env_values = true,
        value_name = "SECRET"
    )]
    client_secret: Option<SecretString>,
    /// Its certificate (PEM) instead of a secret, as register writes it
    #[arg(
        long,
        requires = "private_key",
        conflicts_with = "client_secret",
        value_name = "FILE"
    )]
    certificate: Option<PathBuf>,
    /// The private key of --certificate (PEM)
    #[arg(long, requires = "certificate", value_name = "FILE")]
    private_key: Option<PathBuf>,
    /// Certificates (PEM) to trust besides the system's, such as the demo's with --https
    #[arg(long, value_name = "FILE")]
    ca_file: Option<PathBuf>,
    /// What the token is for
    #[arg(
        long,
        default_value = "api://downstream-api/.default",
        value_name = "SCOPE"
    )]
    scope: String,
    /// What to call
    #[arg(
        long,
        default_value = "http://localhost:7000/admin",
        value_name = "URL"
    )]
    url: Url,
}

pub(crate) async fn run(args: DaemonArgs) -> Result<(), Failure> {
    let call = DaemonCall {
        credential: args.credential()?,
        trust: trusted(args.ca_file.as_deref())?,
        authority: args.authority,
        tenant: args.tenant,
        client_id: args.client_id,
        scope: args.scope,
        url: args.url,
    };
    let (status, body) = call.send().await.map_err(told)?;
    say(&mut io::stdout(), &format!("{status}\n{body}"));
    if status.is_success() {
        Ok(())
    } else {
        Err("the call was refused".into())
    }
}

/// With the way on where a certificate stands in the way.
fn told(error: DaemonError) -> Failure {
    match certificate_problem(&error) {
        Some(why) => format!(
            "the authority, or the API, shows a certificate that is not trusted here ({why}): if it is of a private CA, name that one's \
             certificate (PEM) with --ca-file"
        )
        .into(),
        None => error.into(),
    }
}

impl DaemonArgs {
    /// Its errors speak of options where those of a service speak of keys of its configuration.
    fn credential(&self) -> Result<Credential, Usage> {
        let files = self.certificate.clone().zip(self.private_key.clone());
        let files = files.map(|(certificate, private_key)| ClientCertificateConfig {
            certificate,
            private_key,
        });
        if self.client_secret.is_none() && files.is_none() {
            return Err(Usage(
                "the daemon must prove itself: give --client-secret (or set CLIENT_SECRET), as the demo prints it, or --certificate and \
                 --private-key, as register writes them"
                    .into(),
            ));
        }
        credential(self.client_secret.as_ref(), files.as_ref()).map_err(|error| {
            Usage(match &error {
                CredentialError::Secret => "--client-secret (CLIENT_SECRET) is empty".to_owned(),
                CredentialError::Unreadable {
                    key, path, source, ..
                } => {
                    let option = match key.ends_with("private_key") {
                        true => "--private-key",
                        false => "--certificate",
                    };
                    format!("{option} {} cannot be read: {source}", path.display())
                }
                CredentialError::Certificate {
                    certificate,
                    private_key,
                    source,
                } => format!(
                    "--certificate {} and --private-key {} cannot be used together: {}",
                    certificate.display(),
                    private_key.display(),
                    in_full(source)
                ),
                _ => in_full(&error),
            })
        })
    }
}
