//! Requests per second of a server with these layers, beside a bare hyper server and one that verifies by hand.
//!
//! The program starts itself again as each server, on one core, and loads it from another: a closed loop over connections that
//! stay open. Contestants take turns, and each ratio is that of one round; what is printed is the median over rounds.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_precision_loss,
    clippy::disallowed_methods,
    clippy::print_stdout,
    reason = "a benchmark reads the clock, prints what it measured and fails by panicking"
)]

mod authority;
mod client;
mod contest;
mod process;
mod report;
mod scenario;
mod server;
#[path = "../support/mod.rs"]
mod support;

use std::env;
use std::fmt::Display;
use std::str::FromStr;

use authority::Authority;
use client::Load;
use contest::Contest;
use process::Server;
use server::Contestant;

const CORE_OF_CLIENT: &str = "1";
const CORE_OF_SERVER: &str = "0";

fn main() {
    if let Some(contestant) = Contestant::of_this_process() {
        return server::run(contestant);
    }
    let arguments: Vec<String> = env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    // `cargo test --all-targets` starts benchmarks too, without `--bench`.
    match arguments[..] {
        ["--bench"] => compare(),
        ["--requests", requests, contestant, "--bench"] => {
            send(
                requests.parse().unwrap(),
                Contestant::named(contestant).unwrap(),
            );
        }
        _ => {}
    }
}

fn compare() {
    let authority = Authority::new();
    let material = scenario::Material::sign(&authority);
    let contest = Contest {
        rounds: setting("LOAD_ROUNDS", 5),
        seconds: setting("LOAD_SECONDS", 0.5),
        authority: &authority,
        warm_up: Load::again(&material.tokens[0]),
    };
    process::pin(CORE_OF_CLIENT);
    client::runtime().block_on(async {
        authority.serve().await;
        report::head();
        let scenarios = material.scenarios();
        for scenario in &scenarios {
            let records = contest.run(scenario, Contestant::RESOURCE_SERVERS).await;
            report::row(scenario, &records);
        }
        let records = contest.run(&scenarios[0], Contestant::MIDDLE_TIERS).await;
        report::on_behalf_of(&records, authority.exchanges());
    });
}

/// For a tool that counts a server's instructions: `requests` requests with one token, the command that `LOAD_BETWEEN` names with
/// the server's process as argument, and as many requests again.
fn send(requests: usize, contestant: Contestant) {
    let authority = Authority::new();
    let load = Load::again(&authority.token(0)).first(requests);
    process::pin(CORE_OF_CLIENT);
    client::runtime().block_on(async {
        authority.serve().await;
        let server = Server::start(contestant, &authority);
        load.send(server.address, None).await;
        server.tell(&env::var("LOAD_BETWEEN").unwrap_or_default());
        load.send(server.address, None).await;
    });
}

fn setting<T: FromStr + Display>(name: &str, default: T) -> T {
    env::var(name).map_or(default, |text| {
        text.parse()
            .unwrap_or_else(|_| panic!("{name} is no number: {text}"))
    })
}
