//! Ethereum's blockchain tests: whole blocks, compared with their headers.
//!
//! Every block is decoded, checked against its parent's header and its own body, and executed: as the validator's
//! import does it, and through the engine on one worker and on four. The result is compared with its header, the
//! state root included. A block that must be refused must be refused for the fixture's reason.
//!
//! A block on another branch becomes the head if it makes that branch the heaviest or, without proof of work, in any
//! case. On the accounts database the blocks after the common ancestor are undone for that.
//!
//! The archive is `blockchain_tests.tar.zst` in `LOCKWEAVE_FIXTURES`. The last line is the count.

mod conformance;

use alloy_consensus::Block;
use conformance::{
    archive::Fixture,
    blockchain::{self, BlockchainTest},
    chain::{self, Chain},
    durable::{self, DurableChain, Import, Sample},
    engine::Engine,
    fork, next_block,
    report::{Listed, Report},
    state,
    suite::{self, Suite},
};
use lockweave_validator::chain::block::Envelope;
use std::process::ExitCode;

const SUITE: Suite = Suite {
    name: "ethereum_blockchain_tests",
    archive: "blockchain_tests.tar.zst",
    // Generated with plain revm.
    own: (
        "own_blockchain_tests.json",
        include_str!("conformance/own_blockchain_tests.json"),
    ),
    // All cases take 211 s on the accounts database, on four busy cores, and 10 s in memory.
    sample: 4,
    notes: &[
        "All cases run in memory, one in 4 on the accounts database too; with `LOCKWEAVE_ON_DISK=1` all.",
        "Of proof of work, difficulties and uncles are checked; seals (ethash) are not: the fixtures' \
         `sealEngine` is `NoProof`.",
        "The irregular state change of the DAO fork is not supported; no fixture has it.",
    ],
};

/// Cases that are known not to pass, by the beginning of path and name.
const LISTED: &[Listed] = &[];

fn main() -> ExitCode {
    SUITE.run(run_file)
}

/// Runs every case of a file.
fn run_file(engine: &mut Engine, file: &Fixture, sample: Sample) -> Report {
    let mut report = Report::default();
    let tests = suite::tests::<BlockchainTest>(&mut report, file);
    for (name, test) in &tests {
        let full = format!("{}: {name}", file.path);
        let result = suite::guarded(engine, |engine| run_case(engine, test, sample.has(&full)));
        report.case(blockchain::group(&file.path), full, result, LISTED);
    }
    report
}

/// Runs a case in memory and, if `on_disk`, on the accounts database.
fn run_case(engine: &Engine, test: &BlockchainTest, on_disk: bool) -> Result<(), String> {
    let network = &test.network;
    let spec = fork::chain_spec(network, test.config.as_ref())
        .ok_or_else(|| format!("the network {network} is not known"))?;
    let genesis = chain::decode(&test.genesis_rlp).map_err(|error| error.to_string())?;
    let mut chain = Chain::new(spec.clone(), genesis.header.clone(), state::load(&test.pre))?;
    for (index, block) in test.blocks.iter().enumerate() {
        chain::run_block(engine, &mut chain, block)
            .map_err(|problem| format!("block {index} {problem}"))?;
    }
    check_end(test, &chain)?;
    let next = if test.blocks.iter().any(|one| one.expect_exception.is_some()) {
        next_block::empty_child(engine, &chain)?
    } else {
        None
    };
    if on_disk {
        let durable = DurableChain::new(spec, &genesis.header, &test.pre);
        let mut durable = durable.map_err(|error| error.to_string())?;
        run_durably(engine, test, &chain, next.as_ref(), &mut durable)
            .map_err(|problem| format!("on disk, {problem}"))?;
    }
    // After refused blocks the next block is accepted.
    if let Some(next) = next {
        let taken = chain.import_block(engine, next, None)?;
        taken.map_err(|refusal| format!("the next block was refused: {refusal:?}"))?;
    }
    Ok(())
}

/// Compares a chain's head and its state with the fixture.
fn check_end(test: &BlockchainTest, chain: &Chain) -> Result<(), String> {
    if chain.head() != test.last_block_hash {
        let (head, expected) = (chain.head(), test.last_block_hash);
        return Err(format!("the chain ends with {head}, not with {expected}"));
    }
    let root = state::root(chain.head_state().state());
    if root != chain.head_header().state_root {
        return Err(format!(
            "the state's root is {root}, the header has another"
        ));
    }
    let after = test.post_state.as_ref();
    let after = after.map(|accounts| state::root(&state::load(accounts)));
    match after.or(test.post_state_hash) {
        Some(expected) if expected != root => Err(format!(
            "the state's root is {root}, the fixture has {expected}"
        )),
        _ => Ok(()),
    }
}

/// Runs a case on the accounts database, through the importer.
fn run_durably(
    engine: &Engine,
    test: &BlockchainTest,
    chain: &Chain,
    next: Option<&Block<Envelope>>,
    durable: &mut DurableChain,
) -> Result<(), String> {
    for (index, block) in test.blocks.iter().enumerate() {
        durable::run_block(engine, durable, block)
            .map_err(|problem| format!("block {index} {problem}"))?;
    }
    if durable.head() != test.last_block_hash {
        return Err(format!("the chain ends with {}", durable.head()));
    }
    durable.check_state(chain.head_state().state())?;
    if let Some(next) = next {
        match durable.import_block(engine, next.clone())? {
            Import::Added => {}
            Import::Known => return Err("the next block was there already".to_owned()),
            Import::Refused(error) => return Err(format!("the next block was refused: {error:?}")),
        }
    }
    Ok(())
}
