//! What is sent, and what we want to reach with it.

use std::thread;

use super::authority::Authority;
use super::client::Load;
use super::support::token::{forged, malformed, with_kid};

const IN_TURN: usize = 10_000;
const UNSEEN: usize = 20_000;

pub(crate) struct Material {
    pub(crate) tokens: Vec<String>,
}

pub(crate) struct Scenario {
    pub(crate) name: &'static str,
    pub(crate) load: Load,
    /// Each round has new servers, and sends no request twice.
    pub(crate) unseen: bool,
    pub(crate) goals: Goals,
}

/// As ratios and MiB; `None` where none is set.
#[derive(Default)]
pub(crate) struct Goals {
    pub(crate) of_bare: Option<f64>,
    pub(crate) of_by_hand: Option<f64>,
    /// From the scenario's first request to its last.
    pub(crate) growth_mib: Option<f64>,
    /// Above the same server when it remembers no token.
    pub(crate) cache_mib: Option<f64>,
}

impl Material {
    /// With all cores: this takes a while.
    pub(crate) fn sign(authority: &Authority) -> Self {
        let workers = thread::available_parallelism().map_or(1, usize::from);
        let share = UNSEEN.div_ceil(workers);
        let tokens = thread::scope(|scope| {
            let start = |worker| {
                let numbers = worker * share..UNSEEN.min((worker + 1) * share);
                scope.spawn(move || numbers.map(|n| authority.token(n)).collect::<Vec<_>>())
            };
            let workers: Vec<_> = (0..workers).map(start).collect();
            workers
                .into_iter()
                .flat_map(|worker| worker.join().unwrap())
                .collect()
        });
        Self { tokens }
    }

    pub(crate) fn scenarios(&self) -> [Scenario; 7] {
        let tokens = |count| self.tokens.iter().take(count).map(String::as_str);
        let first = self.tokens[0].as_str();
        let forged: Vec<String> = tokens(IN_TURN).map(forged).collect();
        let malformed = malformed(first);
        let unknown: Vec<String> = (0..1_000)
            .map(|n| with_kid(first, &format!("{n:027}")))
            .collect();
        let refused = |tokens: &[String]| Load::new(tokens.iter().map(String::as_str), 401);
        let of_bare = |goal| Goals {
            of_bare: Some(goal),
            ..Goals::default()
        };
        let scenario = |name, load, goals| Scenario {
            name,
            load,
            unseen: false,
            goals,
        };
        [
            scenario("same token again", Load::again(first), of_bare(0.93)),
            scenario(
                "10,000 tokens in turn",
                Load::new(tokens(IN_TURN), 200),
                Goals {
                    cache_mib: Some(6.0),
                    ..of_bare(0.90)
                },
            ),
            Scenario {
                unseen: true,
                ..scenario(
                    "tokens never seen before",
                    Load::new(tokens(UNSEEN), 200),
                    Goals {
                        of_by_hand: Some(1.25),
                        ..of_bare(0.25)
                    },
                )
            },
            scenario(
                "wrong signature",
                refused(&forged),
                Goals {
                    growth_mib: Some(1.0),
                    ..of_bare(0.32)
                },
            ),
            scenario("no token", Load::without_token(), of_bare(0.95)),
            scenario(
                "malformed",
                Load::new([malformed.as_str()], 401),
                of_bare(0.95),
            ),
            scenario("unknown kid", refused(&unknown), of_bare(0.95)),
        ]
    }
}
