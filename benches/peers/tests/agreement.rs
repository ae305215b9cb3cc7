//! The yardstick and our engine have the same results on every generated workload, and a difference is detected.

use lockweave_engine::Engine;
use lockweave_peers::engine::{
    agreement,
    block::{AccessSource, Block},
    workload::WorkloadName,
    yardstick::Yardstick,
};
use lockweave_runtime::SealedBlock;
use revm::context::result::ExecutionResult;

const TRANSACTIONS: usize = 60;

fn blocks(workload: WorkloadName) -> Vec<Block> {
    workload
        .blocks(Some(TRANSACTIONS))
        .expect("a sound workload")
}

fn engine() -> Engine {
    Engine::builder().threads(3).build().expect("threads start")
}

#[test]
fn all_ways_to_run_a_block_agree() {
    let engine = engine();
    for workload in WorkloadName::ALL {
        // Recorded blocks cannot be made smaller; the binary checks them at every run.
        if workload.name().starts_with("mainnet") || workload == WorkloadName::Scheduler {
            continue;
        }
        for block in blocks(workload) {
            for access in AccessSource::ALL {
                let steps = block.steps_with(access);
                let before = block.flat_state().expect("a state in memory");
                let mut yardstick = Yardstick::new(block.context(), steps, before);
                // Twice, because a run must not depend on the previous one.
                for _ in 0..2 {
                    yardstick.reset();
                    yardstick.run().expect("a sound block");
                    let (_, sealed) = block.run(&engine, access);
                    let agreed = agreement::check(&block, steps, &yardstick, &sealed);
                    assert_eq!(agreed, Ok(()), "{} {access:?}", workload.name());
                }
                let succeeded = yardstick.results().iter().all(ExecutionResult::is_success);
                assert!(succeeded, "{} {access:?}", workload.name());
            }
        }
    }
}

#[test]
fn differences_are_seen() {
    let engine = engine();
    let blocks = blocks(WorkloadName::Erc20Self);
    let block = &blocks[0];
    let before = block.flat_state().expect("a state in memory");
    let mut yardstick = Yardstick::new(block.context(), block.steps(), before);
    yardstick.reset();
    yardstick.run().expect("a sound block");
    let (_, sealed) = block.run(&engine, AccessSource::Recorded);
    let check = |sealed: &SealedBlock| agreement::check(block, block.steps(), &yardstick, sealed);
    assert_eq!(check(&sealed), Ok(()));
    let mut other = sealed.clone();
    other.outcomes[3].gas_used += 1;
    assert!(check(&other).is_err());
    let mut other = sealed.clone();
    other.delta.accounts.pop();
    assert!(check(&other).is_err());
    let mut other = sealed;
    other.outcomes[5].logs.clear();
    assert!(check(&other).is_err());
}
