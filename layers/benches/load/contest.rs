//! Rounds in which the contestants take turns.

use std::time::{Duration, Instant};

use super::authority::Authority;
use super::client::{Load, Sent};
use super::process::Server;
use super::scenario::Scenario;
use super::server::Contestant;

pub(crate) struct Contest<'a> {
    pub(crate) rounds: usize,
    pub(crate) seconds: f64,
    pub(crate) authority: &'a Authority,
    /// One token, for a server's first requests.
    pub(crate) warm_up: Load,
}

/// What was measured of one contestant, a value per round.
pub(crate) struct Record {
    pub(crate) contestant: Contestant,
    pub(crate) rates: Vec<f64>,
    pub(crate) cpu_seconds: f64,
    pub(crate) seconds: f64,
    pub(crate) requests: usize,
    /// Before the scenario's first request, and after its last.
    pub(crate) rss_mib: (f64, f64),
    pub(crate) fetches: usize,
    /// From the start of its last server to the end.
    pub(crate) alive: Duration,
}

struct Runner<'a> {
    contest: &'a Contest<'a>,
    scenario: &'a Scenario,
    load: Load,
    server: Option<Server>,
    started: Instant,
    record: Record,
}

impl Contest<'_> {
    pub(crate) async fn run<const N: usize>(
        &self,
        scenario: &Scenario,
        contestants: [Contestant; N],
    ) -> [Record; N] {
        let mut runners = contestants.map(|contestant| Runner::new(self, scenario, contestant));
        for round in 0..self.rounds {
            // Nobody is always the first or always after the same other.
            for turn in 0..runners.len() {
                let turn = if round % 2 == 0 {
                    turn
                } else {
                    runners.len() - 1 - turn
                };
                runners[(turn + round / 2) % N].round().await;
            }
        }
        runners.map(Runner::end)
    }
}

impl<'a> Runner<'a> {
    fn new(contest: &'a Contest<'a>, scenario: &'a Scenario, contestant: Contestant) -> Self {
        let load = match contestant {
            Contestant::Bare => scenario.load.answered_with(200),
            _ => scenario.load.clone(),
        };
        Self {
            contest,
            scenario,
            load: if scenario.unseen { load.once() } else { load },
            server: None,
            started: Instant::now(),
            record: Record {
                contestant,
                rates: Vec::new(),
                cpu_seconds: 0.0,
                seconds: 0.0,
                requests: 0,
                rss_mib: (0.0, 0.0),
                fetches: 0,
                alive: Duration::ZERO,
            },
        }
    }

    async fn round(&mut self) {
        let fetched = self.contest.authority.fetches();
        let server = match self.server.take() {
            Some(server) => server,
            None => self.start().await,
        };
        let cpu = server.cpu_seconds();
        let time = Duration::from_secs_f64(self.contest.seconds);
        let Sent { requests, seconds } = self.load.send(server.address, Some(time)).await;
        self.record.cpu_seconds += server.cpu_seconds() - cpu;
        self.record.rates.push(requests as f64 / seconds);
        self.record.requests += requests;
        self.record.seconds += seconds;
        self.record.rss_mib.1 = server.rss_mib();
        self.record.fetches += self.contest.authority.fetches() - fetched;
        self.record.alive = self.started.elapsed();
        if !self.scenario.unseen {
            self.server = Some(server);
        }
    }

    async fn start(&mut self) -> Server {
        let server = Server::start(self.record.contestant, self.contest.authority);
        self.started = Instant::now();
        self.record.fetches = 0;
        self.contest
            .warm_up
            .first(10_000)
            .send(server.address, None)
            .await;
        self.record.rss_mib.0 = server.rss_mib();
        if !self.scenario.unseen {
            self.load.once().send(server.address, None).await;
        }
        server
    }

    fn end(self) -> Record {
        self.record
    }
}
