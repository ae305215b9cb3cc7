//! Ethereum's blockchain tests: whole blocks, held against their headers.
//!
//! Every block is decoded, held against its parent's header and its own body, and run: as the
//! validator's import runs it, and through the engine, on one worker and on four. What it comes to is
//! held against its header, the state root included. A block that is to be refused must be refused
//! for the fixture's reason.
//!
//! The archive is `blockchain_tests.tar.zst` in `LOCKWEAVE_FIXTURES`. The last line is the count.

mod conformance;

use conformance::{
    archive::Fixture,
    blockchain::{self, BlockchainTest},
    chain::{self, Chain},
    durable::{self, DurableChain, Import},
    engine::Engine,
    fork,
    report::{Listed, Report},
    state, suite,
};
use std::{process::ExitCode, time::Instant};

const SUITE: &str = "ethereum_blockchain_tests";

/// One case in this many runs on the accounts database too: all of them take 211 s on four busy cores,
/// where all in memory take 10.
const SAMPLE: u64 = 4;

/// Cases that are known not to pass, by the beginning of path and name.
const LISTED: &[Listed] = &[];

fn main() -> ExitCode {
    let start = Instant::now();
    let report = suite::run_archive("blockchain_tests.tar.zst", "nothing is run", run_file);
    println!(
        "in memory all cases, on the accounts database one in {SAMPLE}, by the hash of its name"
    );
    println!("{:.1} s", start.elapsed().as_secs_f64());
    if report.close(SUITE) {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

/// Runs every case of a file.
fn run_file(engine: &mut Engine, file: &Fixture) -> Report {
    let mut report = Report::default();
    let tests = suite::tests::<BlockchainTest>(&mut report, file);
    for (name, test) in &tests {
        let full = format!("{}: {name}", file.path);
        let result = suite::guarded(engine, |engine| {
            run_case(engine, test)?;
            if durable::is_sampled(&full, SAMPLE) {
                run_durably(engine, test).map_err(|problem| format!("on disk, {problem}"))?;
            }
            Ok(())
        });
        report.case(blockchain::group(&file.path), full, result, LISTED);
    }
    report
}

fn run_case(engine: &Engine, test: &BlockchainTest) -> Result<(), String> {
    let network = &test.network;
    let spec = fork::chain_spec(network, test.config.as_ref())
        .ok_or_else(|| format!("the network {network} is not known"))?;
    let genesis = chain::decode(&test.genesis_rlp).map_err(|error| error.to_string())?;
    let mut chain = Chain::new(spec, genesis.header, state::load(&test.pre))?;
    for (index, block) in test.blocks.iter().enumerate() {
        chain::run_block(engine, &mut chain, block)
            .map_err(|problem| format!("block {index} {problem}"))?;
    }
    if chain.head() != test.last_block_hash {
        let (head, expected) = (chain.head(), test.last_block_hash);
        return Err(format!("the chain ends with {head}, not with {expected}"));
    }
    let after = test.post_state.as_ref();
    let after = after.map(|accounts| state::root(&state::load(accounts)));
    match after.or(test.post_state_hash) {
        Some(root) if root != chain.state_root() => Err(format!(
            "the state's root is {}, the fixture has {root}",
            chain.state_root()
        )),
        _ => Ok(()),
    }
}

/// Runs a case on the accounts database, through the importer.
fn run_durably(engine: &Engine, test: &BlockchainTest) -> Result<(), String> {
    let network = &test.network;
    let spec = fork::chain_spec(network, test.config.as_ref())
        .ok_or_else(|| format!("the network {network} is not known"))?;
    let genesis = chain::decode(&test.genesis_rlp).map_err(|error| error.to_string())?;
    let chain = DurableChain::new(spec, &genesis.header, &test.pre);
    let mut chain = chain.map_err(|error| error.to_string())?;
    if chain.head() != genesis.header.hash_slow() {
        return Err("the genesis has another hash".to_owned());
    }
    for (index, block) in test.blocks.iter().enumerate() {
        let before = chain.head();
        let imported = chain.import(engine, &block.rlp)?;
        match (&block.expect_exception, imported) {
            (None, Import::Added) => {}
            (Some(_), Import::Refused(_)) if chain.head() == before => {}
            (Some(_), Import::Refused(_)) => return Err(format!("block {index} left an effect")),
            (None, Import::Refused(Some(error))) => return Err(format!("block {index}: {error}")),
            (expected, _) => return Err(format!("block {index}: {expected:?} expected")),
        }
    }
    if chain.head() == test.last_block_hash {
        Ok(())
    } else {
        Err(format!("the chain ends with {}", chain.head()))
    }
}
