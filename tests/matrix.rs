//! Random schedules on the mesh in memory: rotations of every kind, cut off anywhere, among pods that come and go.
//!
//! After every transition every pair of processes that may talk does a handshake. One refusal, one lost CA, or a report
//! that is not true fails the run, with its seed and what happened in words. `MTLS_SCHEDULES` says how many schedules
//! are played, `MTLS_SEED` plays one and tells what happens in it.

#![expect(clippy::print_stdout, reason = "a schedule that fails is told, and what was counted")]

#[path = "matrix/applications.rs"]
mod applications;
#[path = "matrix/ending.rs"]
mod ending;
mod model;
#[path = "matrix/prunes.rs"]
mod prunes;
#[path = "matrix/rotations.rs"]
mod rotations;
#[path = "matrix/script.rs"]
mod script;

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::SystemTime;

use script::Script;

/// Seeds that found a mistake once, in the tool or in the model. They are played first.
const KEPT: [u64; 3] = [408, 10_356_821_048, 737_474_068_233];
/// How many others a plain run plays: the same ones each time, and a few that are fresh.
const SCHEDULES: u64 = 80;
const FRESH: u64 = 4;

#[test]
fn no_schedule_costs_a_call_or_a_ca() {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let now = SystemTime::UNIX_EPOCH.elapsed().expect("it is after 1970").as_nanos();
    let fresh = u64::try_from(now % 1_000_000_007).expect("it is below a u64") * 1000;
    let seeds: Vec<u64> = match (number("MTLS_SEED"), number("MTLS_SCHEDULES")) {
        (Some(seed), schedules) => (seed..seed + schedules.unwrap_or(1)).collect(),
        (None, Some(schedules)) => KEPT.into_iter().chain(fresh..fresh + schedules).collect(),
        (None, None) => KEPT.into_iter().chain(0..SCHEDULES).chain(fresh..fresh + FRESH).collect(),
    };
    let (next, tell) = (AtomicU64::new(0), seeds.len() == 1);
    let played: Vec<Played> = std::thread::scope(|scope| {
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        let player = || {
            let place = || usize::try_from(next.fetch_add(1, Ordering::Relaxed)).expect("a few seeds");
            std::iter::from_fn(|| seeds.get(place()).map(|seed| play(*seed, tell))).collect::<Vec<_>>()
        };
        let players: Vec<_> = (0..threads).map(|_| scope.spawn(player)).collect();
        players.into_iter().flat_map(|player| player.join().expect("failures are caught")).collect()
    });
    let sum = |of: fn(&Played) -> u64| played.iter().map(of).sum::<u64>();
    let failed: Vec<u64> = played.iter().filter(|played| played.failed).map(|played| played.seed).collect();
    let mut done = BTreeMap::<&str, u64>::new();
    for (strategy, times) in played.iter().flat_map(|played| &played.done) {
        *done.entry(strategy).or_default() += times;
    }
    let mut met = BTreeMap::<&str, u64>::new();
    for (what, times) in played.iter().flat_map(|played| &played.met) {
        *met.entry(what).or_default() += times;
    }
    println!(
        "{} schedules (fresh ones from seed {fresh}), {done:?}, {} transitions, {} handshakes ({} distinct), \
         {} pardoned after {} invented CAs, {} failed, {met:?}",
        played.len(),
        sum(|played| played.transitions),
        sum(|played| played.handshakes),
        sum(|played| played.distinct),
        sum(|played| played.pardoned),
        sum(|played| played.invented),
        failed.len()
    );
    assert!(failed.is_empty(), "seeds {failed:?}");
    if played.len() >= 50 {
        let all = ["abort", "append", "bridge", "issuer", "prune", "replace", "restart", "restore", "same-key"];
        assert!(done.keys().copied().eq(all), "a strategy never reaches its goal");
        assert!(sum(|played| played.handshakes) >= 50_000);
        for (what, least) in LEAST {
            assert!(met.get(what).is_some_and(|times| *times >= least), "fewer than {least}: {what}");
        }
    }
}

/// What fifty schedules must have come to, or they prove nothing of it.
const LEAST: [(&str, u64); 10] = [
    ("appends that nobody asked for by name", 1),
    ("prunes that went through", 15),
    ("prunes that others were vouched for in", 1),
    ("prunes refused", 15),
    ("anchors retired", 15),
    ("waves", 40),
    ("applications restarted", 60),
    ("restarts that reached all", 20),
    ("runs that stuck", 1),
    ("pods without a sidecar", 5),
];

/// What came of a schedule.
struct Played {
    seed: u64,
    failed: bool,
    done: BTreeMap<&'static str, u64>,
    met: BTreeMap<String, u64>,
    transitions: u64,
    handshakes: u64,
    distinct: u64,
    pardoned: u64,
    invented: u64,
}

fn play(seed: u64, tell: bool) -> Played {
    let mut script = Script::new(seed);
    let ended = catch_unwind(AssertUnwindSafe(|| script.play()));
    if tell || ended.is_err() {
        println!("seed {seed}:\n  {}", script.mesh.diary.join("\n  "));
    }
    let hands = &script.mesh.hands;
    Played {
        seed,
        failed: ended.is_err(),
        done: script.done,
        met: script.mesh.met,
        transitions: hands.transitions,
        handshakes: hands.pairs,
        distinct: hands.distinct,
        pardoned: hands.pardoned,
        invented: script.mesh.invented.into(),
    }
}
