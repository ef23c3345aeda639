//! `register`: everything that the demo needs, made in a tenant.

use std::{io, path::PathBuf, sync::Arc};

use clap::Args;
use demo_services::{
    how_to_trust::shell_word,
    tenant::{
        cloud::{Cloud, Place},
        configure::{Configuration, DEFAULT_FOLDER, TenantFiles},
        graph::Graph,
        plan::{Choices, CredentialKind, DEFAULT_PREFIX, Plan, permissions},
        record::{DEFAULT_FILE, Record, RecordError, StateFile},
        register::{RegisterError, goes_on, register},
        stop::Stop,
        tenant_id::{TenantError, tenant_id},
    },
};
use local_authority::SystemClock;
use url::Url;

use super::stopping::{stoppable, stopped};
use super::{Lines, SignInArgs, Usage, absolute};
use crate::{Failure, say};

#[derive(Args, Debug)]
pub(crate) struct RegisterArgs {
    /// Directory (tenant) id, or one of the tenant's domains
    #[arg(long, value_name = "TENANT")]
    tenant: String,
    /// The cloud of the tenant
    #[arg(long, value_enum, default_value_t, value_name = "CLOUD")]
    cloud: Cloud,
    /// What the names of everything begin with
    #[arg(long, default_value = DEFAULT_PREFIX, value_name = "NAME")]
    prefix: String,
    /// Where browsers will see the SPA backend
    #[arg(long, default_value = "http://localhost:3000", value_name = "URL")]
    base_url: Url,
    /// Where the services' configuration, keys and certificates are written
    #[arg(long, default_value = DEFAULT_FOLDER, value_name = "DIR")]
    out: PathBuf,
    /// The record of what was made, by which it is gone on with and removed
    #[arg(long, default_value = DEFAULT_FILE, value_name = "FILE")]
    state: PathBuf,
    /// Require multifactor authentication of this user (name or object id); may be repeated. Nobody without one
    #[arg(long, value_name = "USER")]
    mfa_user: Vec<String>,
    /// The same of a group (object id); may be repeated
    #[arg(long, value_name = "GROUP")]
    mfa_group: Vec<String>,
    /// Enforce the Conditional Access policies; without this they only report
    #[arg(long)]
    enforce: bool,
    /// Client secrets instead of certificates; they are written into files and shown nowhere
    #[arg(long)]
    secret: bool,
    /// Days that certificates and client secrets are good for [default: 365]
    #[arg(long, value_parser = clap::value_parser!(u16).range(31..=730), value_name = "DAYS")]
    credential_days: Option<u16>,
    /// Show what would be made, and make nothing
    #[arg(long)]
    dry_run: bool,
    /// Answer in JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    sign_in: SignInArgs,
    /// Base URL of a local authority, instead of a cloud's
    #[arg(long, value_name = "URL")]
    authority: Option<Url>,
    /// Base URL of what speaks like Microsoft Graph, if that is not the local authority itself
    #[arg(long, requires = "authority", value_name = "URL")]
    graph: Option<Url>,
    /// Serve https with this certificate (PEM): the written configuration names it
    #[arg(long, requires = "tls_key", value_name = "FILE")]
    tls_cert: Option<PathBuf>,
    /// The private key of --tls-cert (PEM)
    #[arg(long, requires = "tls_cert", value_name = "FILE")]
    tls_key: Option<PathBuf>,
    /// Serve /msal: where `npm install @azure/msal-browser@5.30.0` was run; needs an https --base-url
    #[arg(long, value_name = "DIR")]
    msal: Option<PathBuf>,
}

pub(crate) async fn run(args: RegisterArgs) -> Result<(), Failure> {
    let place = Place::new(args.cloud, args.authority.as_ref(), args.graph.as_ref())
        .map_err(|error| Usage(error.to_string()))?;
    let http = args.sign_in.http(&place)?;
    let tenant = match tenant_id(&place, &http, &args.tenant).await {
        Err(error @ TenantError::Name) => return Err(Usage(error.to_string()).into()),
        other => other?,
    };
    let choices = args.choices(&place, tenant);
    choices.check().map_err(|error| Usage(error.to_string()))?;
    if args.dry_run {
        return args.show(&choices);
    }
    let files = TenantFiles::new(
        args.configuration(place.clone(), &choices)?,
        Arc::new(SystemClock),
    )
    .lasting(args.credential_days);
    let permissions = permissions(&choices);
    let tokens = args
        .sign_in
        .tokens(&place, &choices.tenant, &permissions, &http)?;
    let stop = Stop::new();
    let graph = Graph::new(place.graph, http, tokens)
        .progress(Arc::new(Lines))
        .stopping(stop.clone());
    let (state, known) = StateFile::open(&args.state)?;
    let run = register(&graph, &state, known, &choices, &files);
    let report = match stoppable(run, &stop, &args.state).await? {
        Err(RegisterError::Stopped) => return Err(stopped(&args.state)),
        other => other?,
    };
    let text = match args.json {
        true => report.json(),
        false => report.table(),
    };
    say(&mut io::stdout(), text.trim_end());
    if !args.json {
        say(&mut io::stderr(), &args.what_next(&choices));
    }
    Ok(())
}

impl RegisterArgs {
    fn choices(&self, place: &Place, tenant: String) -> Choices {
        Choices {
            tenant,
            cloud: self.cloud.name().to_owned(),
            authority: place.authority.clone(),
            graph: place.graph.clone(),
            prefix: self.prefix.clone(),
            base_url: self.base_url.clone(),
            mfa_users: self.mfa_user.clone(),
            mfa_groups: self.mfa_group.clone(),
            enforce: self.enforce,
            credential: match self.secret {
                true => CredentialKind::Secret,
                false => CredentialKind::Certificate,
            },
            out: self.out.clone(),
        }
    }

    fn configuration(&self, place: Place, choices: &Choices) -> Result<Configuration, Failure> {
        if choices.base_url.scheme() != "https" {
            for (option, given) in [("--msal", &self.msal), ("--tls-cert", &self.tls_cert)] {
                if given.is_some() {
                    return Err(Usage(format!("{option} needs an https --base-url")).into());
                }
            }
        }
        let path = |path: &Option<PathBuf>| path.as_deref().map(absolute).transpose();
        Ok(Configuration {
            folder: absolute(&self.out)?,
            place,
            prefix: choices.prefix.clone(),
            credential: choices.credential,
            base_url: choices.base_url.clone(),
            tls: path(&self.tls_cert)?.zip(path(&self.tls_key)?),
            ca_file: path(&self.sign_in.ca_file)?,
            msal: path(&self.msal)?,
        })
    }

    /// The plan, with what the record has of it.
    fn show(&self, choices: &Choices) -> Result<(), Failure> {
        let record = match Record::read(&self.state) {
            Err(RecordError::Missing(_)) => choices.record(),
            other => {
                let record = other?;
                goes_on(&record, choices, &choices.tenant, &self.state)?;
                record
            }
        };
        let lines = Plan::new(choices, &record).lines(&record);
        let text = match self.json {
            true => serde_json::json!({ "dry_run": true, "plan": lines }).to_string(),
            false => lines.join("\n"),
        };
        say(&mut io::stdout(), &text);
        Ok(())
    }

    fn what_next(&self, choices: &Choices) -> String {
        let folder = self.out.display();
        let mut text = String::from("\nStart the three services, each in a terminal of its own:\n");
        for service in ["downstream-api", "middle-tier", "spa-backend"] {
            let file = self.out.join(format!("{service}.toml"));
            let file = shell_word(&file.display().to_string());
            text.push_str(&format!("  cargo run -- {service} --config {file}\n"));
        }
        text.push_str(&format!(
            "Then open {}. Keys and secrets are in {folder}: keep it to yourself. `cargo run -- unregister` takes everything back.",
            choices.base_url
        ));
        text
    }
}
