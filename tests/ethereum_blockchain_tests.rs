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
    archive::{self, Fixture},
    blockchain::{self, BlockchainTest},
    chain::{self, Chain},
    engine::Engine,
    fork,
    report::{Listed, Report},
    state,
};
use std::{
    collections::BTreeMap,
    panic::{AssertUnwindSafe, catch_unwind},
    process::ExitCode,
    time::Instant,
};

const SUITE: &str = "ethereum_blockchain_tests";

/// Cases that are known not to pass, by the beginning of path and name.
const LISTED: &[Listed] = &[];

fn main() -> ExitCode {
    let start = Instant::now();
    let mut report = Report::default();
    if let Some(archive) = archive::find("blockchain_tests.tar.zst") {
        match archive::for_each(&archive, archive::threads(), Engine::new, run_file) {
            Ok(reports) => reports.into_iter().for_each(|part| report.merge(part)),
            Err(error) => {
                let name = archive.display().to_string();
                report.case("archive", name, Err(error.to_string()), &[]);
            }
        }
    } else {
        println!(
            "no blockchain_tests.tar.zst in {}: nothing is run; set LOCKWEAVE_FIXTURES to the \
             directory that holds the archive",
            archive::directory().display()
        );
    }
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
    let tests: BTreeMap<String, BlockchainTest> = match serde_json::from_slice(&file.bytes) {
        Ok(tests) => tests,
        Err(error) => {
            report.case("unreadable", file.path.clone(), Err(error.to_string()), &[]);
            return report;
        }
    };
    for (name, test) in &tests {
        let full = format!("{}: {name}", file.path);
        // A panic is a failure of this case, and not the end of the others.
        let run = AssertUnwindSafe(|| run_case(engine, test));
        let result = catch_unwind(run).unwrap_or_else(|_| {
            *engine = Engine::new();
            Err("the engine panicked".to_owned())
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
