//! Block access lists (EIP-7928), in three parts for every block that has one:
//!
//! 1. the list built while the block runs under locks, on one worker and on four, is the block's, byte
//!    for byte and by its hash;
//! 2. given the list, all transactions run at once, on values taken from it, and come to the same;
//! 3. lists that are wrong in one thing, to which a header commits, are refused for that.
//!
//! Blocks that are to be refused are held against the fixture's reason, and so is the list that comes
//! with them. The archive is `blockchain_tests.tar.zst` in `LOCKWEAVE_FIXTURES`; the last line is the
//! count of parts.

mod conformance;

use alloy_consensus::Block;
use alloy_eips::eip7928::{AccountChanges, compute_block_access_list_hash};
use conformance::{
    archive::Fixture,
    blockchain::{BlockchainTest, TestBlock},
    chain::{self, Chain},
    engine::Engine,
    fork,
    report::{Listed, Report},
    state, suite,
    wrong_lists::wrong_lists,
};
use lockweave::{SealedBlock, StateView};
use lockweave_validator::chain::{
    access_list::{InvalidAccessList, ListError},
    block::Envelope,
    execution::PreparedBlock,
};
use std::{process::ExitCode, sync::Arc, time::Instant};

const SUITE: &str = "block_access_lists";

/// The part of the archive whose blocks have lists.
const DIRECTORY: &str = "eels_amsterdam_bal/";

/// Cases that are known not to pass, by the beginning of path and name.
const LISTED: &[Listed] = &[];

const BUILT: &str = "1. built while executing";
const GIVEN: &str = "2. run by the list";
const WRONG: &str = "3. wrong lists refused";
const CHAIN: &str = "blocks taken and refused";

fn main() -> ExitCode {
    let start = Instant::now();
    let report = suite::run_archive("blockchain_tests.tar.zst", "nothing is run", run_file);
    println!("{:.1} s", start.elapsed().as_secs_f64());
    if report.close(SUITE) {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

/// Runs every case of a file of the part with lists.
fn run_file(engine: &mut Engine, file: &Fixture) -> Report {
    let mut report = Report::default();
    if !file.path.contains(DIRECTORY) {
        return report;
    }
    let tests = suite::tests::<BlockchainTest>(&mut report, file);
    for (name, test) in &tests {
        let full = format!("{}: {name}", file.path);
        let result = suite::guarded(engine, |engine| run_case(engine, test, &full, &mut report));
        report.case(CHAIN, full, result, LISTED);
    }
    report
}

fn run_case(
    engine: &Engine,
    test: &BlockchainTest,
    name: &str,
    report: &mut Report,
) -> Result<(), String> {
    let network = &test.network;
    let spec = fork::chain_spec(network, test.config.as_ref())
        .ok_or_else(|| format!("the network {network} is not known"))?;
    let genesis = chain::decode(&test.genesis_rlp).map_err(|error| error.to_string())?;
    let mut chain = Chain::new(spec, genesis.header, state::load(&test.pre))?;
    for (index, block) in test.blocks.iter().enumerate() {
        if let Some(list) = block.given_list()
            && block.expect_exception.is_none()
        {
            let listed = ListedBlock::new(engine, &chain, block, &list)
                .map_err(|problem| format!("block {index} {problem}"))?;
            let name = format!("{name}: block {index}");
            report.case(BUILT, name.clone(), listed.check_built(), LISTED);
            report.case(GIVEN, name.clone(), listed.check_given(), LISTED);
            report.case(WRONG, name, listed.check_wrong(), LISTED);
        }
        let run = chain::run_block(engine, &mut chain, block);
        run.map_err(|problem| format!("block {index} {problem}"))?;
    }
    Ok(())
}

/// A block, its list, and what it comes to.
struct ListedBlock<'a> {
    engine: &'a Engine,
    chain: &'a Chain,
    block: Block<Envelope>,
    prepared: PreparedBlock,
    view: Arc<dyn StateView>,
    list: &'a [AccountChanges],
    sealed: SealedBlock,
    built: Vec<AccountChanges>,
}

impl<'a> ListedBlock<'a> {
    fn new(
        engine: &'a Engine,
        chain: &'a Chain,
        block: &TestBlock,
        list: &'a [AccountChanges],
    ) -> Result<Self, String> {
        let block = chain::decode(&block.rlp).map_err(|error| error.to_string())?;
        let view = chain
            .state_after(block.header.parent_hash)
            .ok_or("has no parent")?;
        let prepared = PreparedBlock::new(chain.spec(), block.clone());
        let prepared = prepared.map_err(|error| error.to_string())?;
        let run = engine.run_block(prepared.evm(), &view)?;
        let (sealed, built) = run.map_err(|(step, error)| format!("step {step}: {error}"))?;
        Ok(Self {
            engine,
            chain,
            block,
            prepared,
            view,
            list,
            sealed,
            built,
        })
    }

    /// The list that was built is the block's.
    fn check_built(&self) -> Result<(), String> {
        if alloy_rlp::encode(&self.built) != alloy_rlp::encode(self.list.to_vec()) {
            let (built, list) = (&self.built, self.list);
            return Err(format!("the list is {built:?}, the block's {list:?}"));
        }
        let hash = compute_block_access_list_hash(&self.built);
        let stated = self.block.header.block_access_list_hash;
        if stated == Some(hash) {
            Ok(())
        } else {
            Err(format!(
                "the list's hash is {hash}, the header's {stated:?}"
            ))
        }
    }

    /// Run by the list, the block comes to the same.
    fn check_given(&self) -> Result<(), String> {
        for run in self
            .engine
            .run_listed(self.prepared.evm(), &self.view, self.list)
        {
            let sealed = run.map_err(|error| error.to_string())?;
            if sealed != self.sealed {
                return Err(format!(
                    "comes to {sealed:?}, under locks to {:?}",
                    self.sealed
                ));
            }
        }
        Ok(())
    }

    /// Wrong lists are refused: for what is wrong with them if a header commits to them, and for their
    /// hash, if none does.
    fn check_wrong(&self) -> Result<(), String> {
        for wrong in wrong_lists(&self.block.header, self.list) {
            let name = wrong.name;
            let block = Block {
                header: wrong.header,
                body: self.block.body.clone(),
            };
            let prepared = PreparedBlock::new(self.chain.spec(), block);
            let prepared = prepared.map_err(|error| error.to_string())?;
            for run in self
                .engine
                .run_listed(prepared.evm(), &self.view, &wrong.list)
            {
                match run {
                    Ok(_) => return Err(format!("a list in which {name} was taken")),
                    Err(error) if wrong.expected.is(&error) => {}
                    Err(error) => {
                        let expected = wrong.expected;
                        return Err(format!("{name}: {expected:?} expected, but {error}"));
                    }
                }
            }
            if wrong.list == self.list {
                continue;
            }
            for run in self
                .engine
                .run_listed(self.prepared.evm(), &self.view, &wrong.list)
            {
                let refused = matches!(
                    run,
                    Err(ListError::List(
                        InvalidAccessList::Hash { .. }
                            | InvalidAccessList::Malformed(_)
                            | InvalidAccessList::TooLarge { .. }
                    ))
                );
                if !refused {
                    return Err(format!("{name}: taken without its hash in the header"));
                }
            }
        }
        Ok(())
    }
}
