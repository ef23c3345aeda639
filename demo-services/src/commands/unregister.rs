//! `unregister`: removes exactly what `register` has made, by its record.

use std::{
    io::{self, BufRead, IsTerminal},
    path::PathBuf,
    sync::Arc,
};

use clap::Args;
use demo_services::tenant::{
    cloud::Place,
    graph::Graph,
    plan::PERMISSIONS,
    record::{DEFAULT_FILE, Record, StateFile},
    unregister::Removal,
};

use super::{Lines, SignInArgs, Usage, stopped};
use crate::{Failure, say, stop_signal};

#[derive(Args, Debug)]
pub(crate) struct UnregisterArgs {
    /// The record that register has written
    #[arg(long, default_value = DEFAULT_FILE, value_name = "FILE")]
    state: PathBuf,
    /// Do not ask first
    #[arg(long)]
    yes: bool,
    /// Answer in JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    sign_in: SignInArgs,
}

pub(crate) async fn run(args: UnregisterArgs) -> Result<(), Failure> {
    let (state, record) = StateFile::open(&args.state)?;
    let record = match record {
        Some(record) => record,
        // With the words for that.
        None => Record::read(&args.state)?,
    };
    let place = Place::of(&record)?;
    let removal = Removal::of(record);
    if !args.yes && !confirmed(&removal)? {
        return Err("nothing was removed".into());
    }
    let record = removal.record();
    let http = args.sign_in.http(&place)?;
    let tokens = args
        .sign_in
        .tokens(&place, &record.tenant, PERMISSIONS, &http)?;
    let graph = Graph::new(record.graph.clone(), http, tokens).progress(Arc::new(Lines));
    let stop = stop_signal()?;
    let removed = tokio::select! {
        removed = removal.run(&graph, state) => removed?,
        () = stop => return Err(stopped(&args.state)),
    };
    let text = match args.json {
        true => serde_json::json!({
            "removed": removed.removed,
            "gone": removed.gone,
            "files": removed.files,
        })
        .to_string(),
        false => format!(
            "{} objects were removed, {} were gone already; {} files were removed or put back. The tenant is as it was",
            removed.removed, removed.gone, removed.files
        ),
    };
    say(&mut io::stdout(), &text);
    Ok(())
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
    let mut text = format!("In the tenant {} at {}:\n", record.tenant, record.authority);
    for line in removal.lines() {
        text.push_str(&format!("  {line}\n"));
    }
    text.push_str("Remove all of this? [y/N]");
    say(&mut io::stderr(), &text);
    let mut answer = String::new();
    input.read_line(&mut answer)?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}
