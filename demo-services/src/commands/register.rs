//! `register`: everything that the demo needs, made in a tenant.

use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use clap::Args;
use demo_services::{
    how_to_trust::shell_word,
    spa_backend::find_msal,
    tenant::{
        cloud::{Cloud, Place},
        configure::{Configuration, DEFAULT_FOLDER, TenantFiles},
        graph::Graph,
        plan::{Choices, CredentialKind, DEFAULT_PREFIX, Plan, permissions},
        record::{DEFAULT_FILE, Record, RecordError, StateFile},
        register::{RegisterError, goes_on, register},
        report::Report,
        stop::Stop,
        tenant_id::{TenantError, tenant_id},
    },
};
use local_authority::{SystemClock, Tls};
use url::Url;

use super::line::Line;
use super::stopping::stoppable;
use super::{Lines, SignInArgs, Usage, absolute, in_full};
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
    /// Show what would be made, and make nothing; nobody signs in
    #[arg(long)]
    dry_run: bool,
    /// Answer in JSON; what stands in the way is {"error": "...", "causes": ["..."]}
    #[arg(long)]
    pub(crate) json: bool,
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
    let mut choices = args.choices(&place);
    choices.check().map_err(|error| Usage(error.to_string()))?;
    args.check_files()?;
    let http = args.sign_in.http(&place)?;
    choices.tenant = match tenant_id(&place, &http, &args.tenant).await {
        Err(error @ TenantError::Name) => return Err(Usage(error.to_string()).into()),
        other => other?,
    };
    let files = TenantFiles::new(
        args.configuration(place.clone(), &choices)?,
        Arc::new(SystemClock),
    )
    .lasting(args.credential_days);
    if args.dry_run {
        return args.show(&choices, &files);
    }
    let permissions = permissions(&choices);
    let tokens = args
        .sign_in
        .tokens(&place, &choices.tenant, &permissions, &http)?;
    let stop = Stop::new();
    let graph = Graph::new(place.graph, http, tokens)
        .progress(Arc::new(Lines {
            left_out_later: true,
        }))
        .stopping(stop.clone());
    let (state, known) = StateFile::open(&args.state)?;
    let run = register(&graph, &state, known, &choices, &files);
    let stopped = || args.stopped(&choices);
    let report = match stoppable(run, &stop, stopped).await? {
        Err(RegisterError::Stopped) => return Err(stopped()),
        other => other?,
    };
    let text = match args.json {
        true => report.json(),
        false => report.table(),
    };
    say(&mut io::stdout(), text.trim_end());
    if !args.json {
        say(
            &mut io::stderr(),
            &args.what_next(&choices, &files, &report),
        );
    }
    Ok(())
}

impl RegisterArgs {
    /// With the tenant as it was named.
    fn choices(&self, place: &Place) -> Choices {
        Choices {
            tenant: self.tenant.clone(),
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

    /// The services would not start with what is refused here.
    fn check_files(&self) -> Result<(), Usage> {
        if self.base_url.scheme() != "https" {
            for (option, given) in [("--msal", &self.msal), ("--tls-cert", &self.tls_cert)] {
                if given.is_some() {
                    return Err(Usage(format!("{option} needs an https --base-url")));
                }
            }
        }
        if let (Some(certificate), Some(key)) = (&self.tls_cert, &self.tls_key) {
            let pair = Tls::from_files(certificate, key);
            pair.map_err(|error| Usage(format!("--tls-cert and --tls-key: {}", in_full(&error))))?;
        }
        if let Some(directory) = &self.msal {
            let package = find_msal(directory);
            package.map_err(|error| Usage(format!("--msal: {}", in_full(&error))))?;
        }
        Ok(())
    }

    fn configuration(&self, place: Place, choices: &Choices) -> Result<Configuration, Failure> {
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

    /// The plan and the files, with what the record has of them, and what the sign-in would ask for.
    fn show(&self, choices: &Choices, files: &TenantFiles) -> Result<(), Failure> {
        let record = match Record::read(&self.state) {
            Err(RecordError::Missing(_)) => choices.record(),
            other => {
                let record = other?;
                goes_on(&record, choices, &choices.tenant, &self.state)?;
                record
            }
        };
        let plan = Plan::new(choices, &record).lines(&record);
        let (permissions, files) = (permissions(choices), files.paths());
        if self.json {
            let answer = serde_json::json!({
                "dry_run": true,
                "plan": plan,
                "files": files,
                "permissions": permissions,
            });
            say(&mut io::stdout(), &answer.to_string());
            return Ok(());
        }
        let mut text =
            String::from("Nothing is made now. A run with these choices would come to:\n");
        for line in plan {
            text.push_str(&format!("{line}\n"));
        }
        let written = record.paths();
        for file in files {
            let sign = match written.contains(&file) {
                true => '=',
                false => '+',
            };
            text.push_str(&format!("{sign} file {}\n", file.display()));
        }
        text.push_str("It would sign in with these permissions of Microsoft Graph:");
        for permission in permissions {
            text.push_str(&format!("\n  {permission}"));
        }
        if choices.names_people() {
            text.push_str("\nWhether the tenant has everybody who is named, only a run can see. The first run draws the (mark) in the names of policies.");
        }
        say(&mut io::stdout(), &text);
        Ok(())
    }

    fn what_next(&self, choices: &Choices, files: &TenantFiles, report: &Report) -> String {
        let folder = &self.out;
        let mut text = String::from("\nStart the three services, each in a terminal of its own:\n");
        for service in ["downstream-api", "middle-tier", "spa-backend"] {
            let file = folder.join(format!("{service}.toml"));
            let line = Line::new(service).with("--config", file.display());
            text.push_str(&format!("  {line}\n"));
        }
        text.push_str(&format!("Then open {}.\n", choices.base_url));
        let check = Line::new("doctor").with("--config-dir", folder.display());
        text.push_str(&format!(
            "Check all of it, best while they run:\n  {check}\n"
        ));
        if let Some(daemon) = self.daemon(choices, report) {
            text.push_str(&format!("A call without a user:\n  {daemon}\n"));
        }
        text.push_str(&format!(
            "Take everything back:\n  {}\nKeys and secrets are in {}: keep it to yourself.",
            self.unregister(choices),
            folder.display()
        ));
        if let Some(in_front) = files.in_front() {
            text.push_str(&format!("\n{in_front}"));
        }
        text
    }

    /// The call that the daemon's registration is for.
    fn daemon(&self, choices: &Choices, report: &Report) -> Option<String> {
        let api = report.client_id("downstream-api")?;
        let url = match self.tls_cert {
            Some(_) => "https://localhost:7000/admin",
            None => "http://localhost:7000/admin",
        };
        let mut line = Line::new("daemon")
            .with("--authority", choices.authority.as_str())
            .with("--tenant", &choices.tenant)
            .with("--client-id", report.client_id("daemon")?)
            .with("--scope", format!("api://{api}/.default"))
            .with("--url", url);
        let file = |name: &str| self.out.join(name).display().to_string();
        if !self.secret {
            line = line
                .with("--certificate", file("daemon.pem"))
                .with("--private-key", file("daemon-key.pem"));
        }
        if let Some(ca_file) = &self.sign_in.ca_file {
            line = line.with("--ca-file", ca_file.display());
        }
        Some(match self.secret {
            // Not sourced: a secret may have letters that a shell would expand.
            true => format!(
                "CLIENT_SECRET=$(sed -n 's/^CLIENT_SECRET=//p' {}) {line}",
                shell_word(&file("daemon.env"))
            ),
            false => line.to_string(),
        })
    }

    /// The command that takes all of it back, with what it cannot know by itself.
    fn unregister(&self, choices: &Choices) -> Line {
        let mut line = Line::new("unregister");
        if self.state != Path::new(DEFAULT_FILE) {
            line = line.with("--state", self.state.display());
        }
        // Of a place that the record alone does not vouch for.
        if Place::of(&choices.record(), None, None).is_err() {
            for (option, url) in [("--authority", &self.authority), ("--graph", &self.graph)] {
                if let Some(url) = url {
                    line = line.with(option, url);
                }
            }
        }
        if let Some(ca_file) = &self.sign_in.ca_file {
            line = line.with("--ca-file", ca_file.display());
        }
        self.sign_in.again(line)
    }

    /// Ctrl-C in the middle of it.
    fn stopped(&self, choices: &Choices) -> Failure {
        if !self.state.exists() {
            return "stopped. Nothing was made".into();
        }
        format!(
            "stopped. What is there so far is recorded in {}: the same command goes on with it, and `{}` removes it",
            self.state.display(),
            self.unregister(choices)
        )
        .into()
    }
}
