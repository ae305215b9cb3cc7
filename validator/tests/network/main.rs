//! Networks of validators in commonware's deterministic simulator: the node's real code, with its state, on a
//! simulated network, clock and storage.
//!
//! Every run has a seed and a scenario. The scenario says who fails and how; the seed decides the delays. The
//! properties are the same for all:
//!
//! * no two nodes have different final blocks;
//! * every final block gives its header's state root when it is executed serially;
//! * with a quorum that is healthy and connected, the height grows;
//! * every transaction that a healthy node accepted is in the chain.
//!
//! `LOCKWEAVE_SEEDS` sets how many seeds are run, `LOCKWEAVE_SEED` and `LOCKWEAVE_SCENARIO` choose one run.

#![expect(
    clippy::large_futures,
    reason = "a simulation is one task, which is polled in place"
)]

mod liar;
mod member;
mod scenario;
mod simulation;
mod twins;

use scenario::Scenario;
use simulation::simulate;
use std::{
    env,
    panic::{self, AssertUnwindSafe},
    sync::atomic::{AtomicU64, Ordering},
    thread,
};

/// Seeds of a usual run.
const SEEDS: u64 = 114;

/// A number in the environment.
fn number(name: &str) -> Option<u64> {
    let text = env::var(name).ok()?;
    Some(
        text.parse()
            .unwrap_or_else(|_| panic!("{name} must be a number, not `{text}`")),
    )
}

/// Runs one simulation and says how to run it again if it fails.
fn run(seed: u64, scenario: Scenario) -> Result<(), String> {
    let result = panic::catch_unwind(AssertUnwindSafe(|| simulate(seed, scenario)));
    let why = match result {
        Ok(Ok(())) => return Ok(()),
        Ok(Err(why)) => why,
        Err(panic) => {
            let text = panic.downcast_ref::<String>().cloned();
            text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()))
                .unwrap_or_else(|| "a panic".to_owned())
        }
    };
    Err(format!(
        "{why}\nrun it again with: LOCKWEAVE_SEED={seed} LOCKWEAVE_SCENARIO={} cargo test --release \
         -p lockweave-validator --test network",
        scenario.name()
    ))
}

#[test]
fn networks_agree_whatever_fails() {
    if let Some(seed) = number("LOCKWEAVE_SEED") {
        let name = env::var("LOCKWEAVE_SCENARIO").ok();
        let all = Scenario::all();
        let chosen = all
            .iter()
            .filter(|one| name.as_deref().is_none_or(|name| one.name() == name));
        for scenario in chosen {
            run(seed, *scenario).unwrap_or_else(|why| panic!("{why}"));
        }
        return;
    }
    let seeds = number("LOCKWEAVE_SEEDS").unwrap_or(SEEDS);
    let next = AtomicU64::new(0);
    let threads = thread::available_parallelism().map_or(1, usize::from);
    let failures: Vec<String> = thread::scope(|scope| {
        let workers: Vec<_> = (0..threads)
            .map(|_| {
                scope.spawn(|| {
                    let mut failures = Vec::new();
                    loop {
                        let seed = next.fetch_add(1, Ordering::Relaxed);
                        if seed >= seeds {
                            return failures;
                        }
                        failures.extend(run(seed, Scenario::of_seed(seed)).err());
                    }
                })
            })
            .collect();
        workers
            .into_iter()
            .flat_map(|worker| worker.join().unwrap())
            .collect()
    });
    println!("{seeds} seeds, {} failed", failures.len());
    assert!(failures.is_empty(), "{}", failures.join("\n\n"));
}

#[test]
fn sixteen_validators_agree() {
    for scenario in [Scenario::Healthy, Scenario::Loss] {
        run(16, scenario.with_validators(16)).unwrap_or_else(|why| panic!("{why}"));
    }
}
