//! One line per scenario: what was measured, and the goal beside it.

use super::contest::Record;
use super::scenario::Scenario;

/// No request may cause a second fetch within this.
const COOLDOWN_SECONDS: f64 = 30.0;

const COLUMNS: [&str; 15] = [
    "scenario",
    "bare req/s",
    "layers req/s",
    "layers / bare",
    "by CPU",
    "uncached / bare",
    "by hand / bare",
    "layers / by hand",
    "bare CPU us",
    "layers +",
    "uncached +",
    "by hand +",
    "RSS MiB before, after",
    "above uncached",
    "key fetches",
];

pub(crate) fn head() {
    line(COLUMNS.map(str::to_owned));
    line(COLUMNS.map(|_| "---".to_owned()));
}

pub(crate) fn row(scenario: &Scenario, [bare, layers, uncached, by_hand]: &[Record; 4]) {
    let goals = &scenario.goals;
    let of_bare = ratio(layers, bare);
    let of_by_hand = ratio(layers, by_hand);
    let (before, after) = layers.rss_mib;
    let above = after - uncached.rss_mib.1;
    // The first fetch, one that an unknown key causes, and one more after each cooldown.
    let fetches = 2.0 + (layers.alive.as_secs_f64() / COOLDOWN_SECONDS).floor();
    let added = |record| format!("{:.1}", cpu_us(record) - cpu_us(bare));
    line([
        scenario.name.to_owned(),
        format!("{:.0}", median(bare.rates.iter().copied())),
        format!("{:.0}", median(layers.rates.iter().copied())),
        format!("{of_bare:.3}{}", at_least(of_bare, goals.of_bare, bare)),
        format!("{:.3}", cpu_us(bare) / cpu_us(layers)),
        format!("{:.3}", ratio(uncached, bare)),
        format!("{:.3}", ratio(by_hand, bare)),
        format!(
            "{of_by_hand:.2}{}",
            at_least(of_by_hand, goals.of_by_hand, bare)
        ),
        format!("{:.1}", cpu_us(bare)),
        added(layers),
        added(uncached),
        added(by_hand),
        format!(
            "{before:.1}, {after:.1}{}",
            at_most(after - before, goals.growth_mib)
        ),
        format!("{above:.1}{}", at_most(above, goals.cache_mib)),
        format!(
            "{}{}",
            layers.fetches,
            at_most(layers.fetches as f64, Some(fetches))
        ),
    ]);
}

/// Both have the same token all the time, so that one exchange is enough.
pub(crate) fn on_behalf_of([relay, on_behalf_of]: &[Record; 2], exchanges: usize) {
    let of_relay = ratio(on_behalf_of, relay);
    println!(
        "\nOn-Behalf-Of, same token again: {:.0} req/s, {of_relay:.3} of {:.0} without the exchange{}; CPU us {:.1} + {:.1}; token requests: {exchanges}{}",
        median(on_behalf_of.rates.iter().copied()),
        median(relay.rates.iter().copied()),
        at_least(of_relay, Some(0.95), relay),
        cpu_us(relay),
        cpu_us(on_behalf_of) - cpu_us(relay),
        at_most(exchanges as f64, Some(1.0)),
    );
}

fn line(cells: [String; COLUMNS.len()]) {
    println!("| {} |", cells.join(" | "));
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

/// Rates say nothing where the fastest server waited, for this client or because the machine has other work.
fn at_least(value: f64, goal: Option<f64>, fastest: &Record) -> String {
    let Some(goal) = goal else {
        return String::new();
    };
    if fastest.cpu_seconds / fastest.seconds < 0.9 {
        return format!(" (>= {goal}: undecided, the core was not busy)");
    }
    verdict(&format!(">= {goal}"), value >= goal)
}

fn at_most(value: f64, goal: Option<f64>) -> String {
    goal.map_or_else(String::new, |goal| {
        verdict(&format!("<= {goal}"), value <= goal)
    })
}

fn verdict(goal: &str, met: bool) -> String {
    format!(" ({goal}: {})", if met { "met" } else { "not met" })
}
