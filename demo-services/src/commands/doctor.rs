//! `demo-services doctor`: its arguments, and where its words go.

use std::ffi::OsString;
use std::io::{self, Read as _};
use std::path::PathBuf;

use clap::{ArgGroup, Args};
use demo_services::tenant::doctor::{
    Configurations, GraphAccess, LONGEST_TOKEN, Options, Report, Severity, Sources, examine,
    explain,
};
use demo_services::tenant::sign_in::ACCESS_TOKEN;
use secrecy::SecretString;
use url::Url;

use super::{Told, Usage};
use crate::{Failure, say};

#[derive(Args, Debug)]
#[command(group = ArgGroup::new("configurations").required(true).args(["config_dir", "config"]))]
pub(crate) struct DoctorArgs {
    /// Folder of spa-backend.toml, middle-tier.toml and downstream-api.toml, as `register` writes it
    #[arg(long, value_name = "DIR")]
    config_dir: Option<PathBuf>,
    /// Configurations of the services, one each; which is which is told by their names or keys
    #[arg(long, value_name = "FILE", num_args = 1..)]
    config: Vec<PathBuf>,
    /// `--token -` explains why the access token on standard input would be refused, instead of checking the configurations
    #[arg(
        long,
        value_name = "STDIN",
        value_parser = ["-"],
        hide_possible_values = true
    )]
    token: Option<String>,
    /// Send the token in GRAPH_ACCESS_TOKEN to this Microsoft Graph, whatever the configurations and the token say. Without it the
    /// token goes to the Graph of the configurations' authority, if it is of that authority
    #[arg(long, value_name = "URL")]
    graph: Option<Url>,
    /// JSON instead of lines
    #[arg(long)]
    json: bool,
}

/// Prints what is found. Where something is wrong the process ends with 1, and has no more to say.
pub(crate) async fn run(args: DoctorArgs) -> Result<(), Failure> {
    let sources = match args.config_dir {
        Some(directory) => Sources::Directory(directory),
        None => Sources::Files(args.config),
    };
    let environment: Vec<(OsString, OsString)> = std::env::vars_os().collect();
    let (configurations, mut findings) = Configurations::read(&sources, &environment);
    let mut options = Options::default();
    let report = if args.token.is_some() {
        let token = token()?;
        explain(&configurations, &token, &options).await
    } else {
        let token = std::env::var(ACCESS_TOKEN)
            .ok()
            .filter(|token| !token.trim().is_empty());
        if let Some(token) = token {
            let graph = GraphAccess::new(token.trim().into(), args.graph);
            options.graph = Some(graph.map_err(|error| Usage(error.to_string()))?);
        }
        examine(&configurations, &options).await
    };
    findings.extend(report.findings);
    let report = Report::new(findings);
    let text = match args.json {
        true => report.json(),
        false => report.text(),
    };
    say(&mut io::stdout(), &text);
    match report.count(Severity::Error) {
        0 => Ok(()),
        _ => Err(Told.into()),
    }
}

/// One more byte than a token may have, so that a longer one is refused and not cut.
fn token() -> Result<SecretString, Failure> {
    let most = u64::try_from(LONGEST_TOKEN)?.saturating_add(1);
    let mut text = Vec::new();
    io::stdin().take(most).read_to_end(&mut text)?;
    // What is not UTF-8 is no token either, and is told as such.
    Ok(String::from_utf8_lossy(&text).into_owned().into())
}
