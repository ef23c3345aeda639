//! One line per scenario: what was measured, and the goal beside it.

use super::contest::Record;
use super::scenario::Scenario;

/// No request may cause a second fetch within this.
const COOLDOWN_SECONDS: f64 = 30.0;

pub(crate) fn head() {
    println!(
        "| scenario | bare req/s | layers req/s | layers / bare | by hand / bare | layers / by hand | CPU us bare | layers + | by hand + \
         | RSS MiB before, after | key fetches |\n|---|---|---|---|---|---|---|---|---|---|---|"
    );
}

pub(crate) fn row(scenario: &Scenario, [bare, layers, by_hand]: &[Record; 3]) {
    let goals = &scenario.goals;
    let of_bare = ratio(layers, bare);
    let of_by_hand = ratio(layers, by_hand);
    let (before, after) = layers.rss_mib;
    // The first fetch, one that an unknown key causes, and one more after each cooldown.
    let fetches = 2.0 + (layers.alive.as_secs_f64() / COOLDOWN_SECONDS).floor();
    println!(
        "| {} | {:.0} | {:.0} | {of_bare:.3}{} | {:.3} | {of_by_hand:.2}{} | {:.1} | {:.1} | {:.1} | {before:.1}, {after:.1}{} | {}{} |",
        scenario.name,
        median(bare.rates.iter().copied()),
        median(layers.rates.iter().copied()),
        at_least(of_bare, goals.of_bare),
        ratio(by_hand, bare),
        at_least(of_by_hand, goals.of_by_hand),
        cpu_us(bare),
        cpu_us(layers) - cpu_us(bare),
        cpu_us(by_hand) - cpu_us(bare),
        at_most(after - before, goals.growth_mib),
        layers.fetches,
        at_most(layers.fetches as f64, Some(fetches)),
    );
    let busy = bare.cpu_seconds / bare.seconds;
    if busy < 0.9 {
        println!(
            "(the bare server was busy for {:.0} % of the time: this client or this machine holds it back)",
            busy * 100.0
        );
    }
}

/// The median of the rounds' ratios.
fn ratio(one: &Record, other: &Record) -> f64 {
    median(
        one.rates
            .iter()
            .zip(&other.rates)
            .map(|(one, other)| one / other),
    )
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn cpu_us(record: &Record) -> f64 {
    record.cpu_seconds * 1e6 / record.requests as f64
}

fn at_least(value: f64, goal: Option<f64>) -> String {
    goal.map_or_else(String::new, |goal| {
        verdict(format!(">= {goal}"), value >= goal)
    })
}

fn at_most(value: f64, goal: Option<f64>) -> String {
    goal.map_or_else(String::new, |goal| {
        verdict(format!("<= {goal}"), value <= goal)
    })
}

fn verdict(goal: String, met: bool) -> String {
    format!(" ({goal}: {})", if met { "met" } else { "not met" })
}
