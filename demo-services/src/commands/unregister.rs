//! `unregister`: removes exactly what `register` has made, by its record.

use std::{
    io::{self, BufRead, IsTerminal},
    path::PathBuf,
    sync::Arc,
};

use clap::Args;
use demo_services::tenant::{
    cloud::Place,
    graph::{Graph, TokenSource},
    record::{DEFAULT_FILE, Record, StateFile},
    stop::Stop,
    unregister::{Removal, permissions},
};
use url::Url;

use super::stopping::stoppable;
use super::{Lines, Nothing, SignInArgs, Usage};
use crate::{Failure, say};

#[derive(Args, Debug)]
pub(crate) struct UnregisterArgs {
    /// The record that register has written
    #[arg(long, default_value = DEFAULT_FILE, value_name = "FILE")]
    state: PathBuf,
    /// Do not ask first
    #[arg(long)]
    yes: bool,
    /// Answer in JSON; what stands in the way is {"error": "...", "causes": ["..."]}
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    sign_in: SignInArgs,
    /// Base URL of the authority that the record must be of; needed if that is neither a cloud's nor on this machine
    #[arg(long, value_name = "URL")]
    authority: Option<Url>,
    /// Base URL of the Graph that the record must be of, if that is not the authority itself
    #[arg(long, requires = "authority", value_name = "URL")]
    graph: Option<Url>,
}

pub(crate) async fn run(args: UnregisterArgs) -> Result<(), Failure> {
    let (state, record) = StateFile::open(&args.state)?;
    let record = match record {
        Some(record) => record,
        // With the words for that.
        None => Record::read(&args.state)?,
    };
    let place = Place::of(&record, args.authority.as_ref(), args.graph.as_ref())
        .map_err(|error| Usage(error.to_string()))?;
    let removal = Removal::of(record);
    if !args.yes && !confirmed(&removal)? {
        return Err(Nothing("Nothing was removed.").into());
    }
    let record = removal.record();
    let http = args.sign_in.http(&place)?;
    let tokens: Arc<dyn TokenSource> = match removal.needs_graph() {
        true => {
            let permissions = permissions(record);
            args.sign_in
                .tokens(&place, &record.tenant, &permissions, &http)?
        }
        // Only files are left.
        false => Arc::new(()),
    };
    let stop = Stop::new();
    let graph = Graph::new(record.graph.clone(), http, tokens)
        .progress(Arc::new(Lines {
            left_out_later: false,
        }))
        .stopping(stop.clone());
    let run = removal.run(&graph, state);
    let at_once = || -> Failure {
        format!(
            "stopped at once. What may be left is recorded in {}: the same command goes on with it",
            args.state.display()
        )
        .into()
    };
    let removed = stoppable(run, &stop, at_once).await??;
    let text = match args.json {
        true => serde_json::json!({
            "removed": removed.removed,
            "gone": removed.gone,
            "others": removed.others,
            "files": removed.files,
        })
        .to_string(),
        false => format!(
            "{} objects were removed, {} were gone already{}; {} files were removed or put back.\n\
             The tenant is as it was, but for what Entra keeps: applications that were deleted are in its bin for 30 days, and consent that\n\
             was given to the client of the sign-in stays.",
            removed.removed,
            removed.gone,
            others(removed.others),
            removed.files
        ),
    };
    say(&mut io::stdout(), &text);
    Ok(())
}

/// What was in the record and does not carry its run's mark.
fn others(others: usize) -> String {
    match others {
        0 => String::new(),
        1 => ", 1 is somebody else's and stays".to_owned(),
        others => format!(", {others} are somebody else's and stay"),
    }
}

/// Shows everything that would be removed, and asks.
fn confirmed(removal: &Removal) -> Result<bool, Failure> {
    let mut input = io::stdin().lock();
    if !input.is_terminal() {
        return Err(Usage(
            "nobody is there to be asked: add --yes to remove everything in the record".into(),
        )
        .into());
    }
    let record = removal.record();
    let mut text = format!(
        "In the tenant {} at {}, through the Graph at {}:\n",
        record.tenant, record.authority, record.graph
    );
    for line in removal.lines() {
        text.push_str(&format!("  {line}\n"));
    }
    text.push_str("Remove all of this? [y/N]");
    say(&mut io::stderr(), &text);
    let mut answer = String::new();
    input.read_line(&mut answer)?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}
