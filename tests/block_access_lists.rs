//! Block access lists (EIP-7928), in three parts for every block that has one:
//!
//! 1. the list built while the block runs under locks, on one worker and on four, equals the block's list, byte
//!    for byte and by its hash;
//! 2. given the list, all transactions run at once on values taken from it, with the same result;
//! 3. lists with one error, to which a header commits, are refused for that error.
//!
//! All cases run in memory. A sample or, with `LOCKWEAVE_ON_DISK=1`, all of them also run on the accounts database,
//! with the state read from disk.
//!
//! A block that must be refused must be refused for the fixture's reason, and so must the list given with it. The
//! archive is `blockchain_tests.tar.zst` in `LOCKWEAVE_FIXTURES`; the last line is the
//! count of parts.

mod conformance;

use alloy_consensus::Block;
use alloy_eips::eip7928::{AccountChanges, compute_block_access_list_hash};
use conformance::{
    archive::Fixture,
    block_exception::{self, BlockRefusal},
    blockchain::{BlockchainTest, TestBlock},
    chain::{self, Chain},
    durable::{self, CountingView, DurableChain, Sample},
    engine::Engine,
    fork,
    report::{Listed, Report},
    state,
    suite::{self, Suite},
    wrong_lists::wrong_lists,
};
use lockweave::engine::{EngineError, InvalidAccessList};
use lockweave::{SealedBlock, StateView, evm::ChainSpec};
use lockweave_validator::chain::{block::Envelope, execution::PreparedBlock};
use std::{process::ExitCode, sync::Arc};

const SUITE: Suite = Suite {
    name: "block_access_lists",
    archive: "blockchain_tests.tar.zst",
    // Generated with plain revm.
    own: (
        "own_access_lists.json",
        include_str!("conformance/own_access_lists.json"),
    ),
    sample: 8,
    notes: &[
        "All cases run in memory, one in 8 on the accounts database too; with `LOCKWEAVE_ON_DISK=1` all.",
    ],
};

/// The part of the archive whose blocks have lists.
const DIRECTORY: &str = "eels_amsterdam_bal/";

/// Cases that are known not to pass, by the beginning of path and name.
const LISTED: &[Listed] = &[];

const BUILT: &str = "1. built while executing";
const GIVEN: &str = "2. run by the list";
const WRONG: &str = "3. wrong lists refused";
const CHAIN: &str = "blocks taken and refused";

fn main() -> ExitCode {
    SUITE.run(run_file)
}

/// Runs every case of a file of the part with lists.
fn run_file(engine: &mut Engine, file: &Fixture, sample: Sample) -> Report {
    let mut report = Report::default();
    if !file.path.contains(DIRECTORY) && !file.is_own() {
        return report;
    }
    let tests = suite::tests::<BlockchainTest>(&mut report, file);
    for (name, test) in &tests {
        let full = format!("{}: {name}", file.path);
        let result = suite::guarded(engine, |engine| {
            run_case(engine, test, &full, sample.has(&full), &mut report)
        });
        report.case(CHAIN, full, result, LISTED);
    }
    report
}

/// Runs a case in memory and, if `on_disk`, on the accounts database.
fn run_case(
    engine: &Engine,
    test: &BlockchainTest,
    name: &str,
    on_disk: bool,
    report: &mut Report,
) -> Result<(), String> {
    let network = &test.network;
    let spec = fork::chain_spec(network, test.config.as_ref())
        .ok_or_else(|| format!("the network {network} is not known"))?;
    let genesis = chain::decode(&test.genesis_rlp).map_err(|error| error.to_string())?;
    let mut durable = None;
    if on_disk {
        let chain = DurableChain::new(spec.clone(), &genesis.header, &test.pre);
        durable = Some(chain.map_err(|error| error.to_string())?);
    }
    let mut chain = Chain::new(spec, genesis.header, state::load(&test.pre))?;
    for (index, block) in test.blocks.iter().enumerate() {
        if let Some(list) = block.given_list()
            && block.expect_exception.is_none()
        {
            let name = format!("{name}: block {index}");
            check_block(
                engine,
                &chain,
                durable.as_mut(),
                block,
                &list,
                &name,
                report,
            )
            .map_err(|problem| format!("block {index} {problem}"))?;
        }
        let run = chain::run_block(engine, &mut chain, block);
        run.map_err(|problem| format!("block {index} {problem}"))?;
        if let Some(durable) = &mut durable {
            check_refused(engine, durable, block)
                .and_then(|()| durable::run_block(engine, durable, block))
                .map_err(|problem| format!("on disk, block {index} {problem}"))?;
        }
    }
    if chain.head() != test.last_block_hash {
        let (head, expected) = (chain.head(), test.last_block_hash);
        return Err(format!("the chain ends with {head}, not with {expected}"));
    }
    match durable {
        Some(durable) if durable.head() != chain.head() => {
            Err(format!("on disk, the chain ends with {}", durable.head()))
        }
        Some(durable) => durable
            .check_state(chain.head_state().state())
            .map_err(|problem| format!("on disk, {problem}")),
        None => Ok(()),
    }
}

/// The three parts for a block that is right, in memory and, where there is one, on disk.
fn check_block(
    engine: &Engine,
    chain: &Chain,
    durable: Option<&mut DurableChain>,
    block: &TestBlock,
    list: &[AccountChanges],
    name: &str,
    report: &mut Report,
) -> Result<(), String> {
    let decoded = chain::decode(&block.rlp).map_err(|error| error.to_string())?;
    let view = chain
        .state_after(decoded.header.parent_hash)
        .ok_or("has no parent")?;
    let memory = ListedBlock::new(engine, chain.spec(), view, decoded.clone(), list)?;
    let mut parts = [
        memory.check_built(),
        memory.check_given(),
        memory.check_wrong(),
    ];
    if let Some(durable) = durable {
        let view = Arc::new(CountingView::new(durable.state_before(&decoded)?));
        let reads = Arc::clone(&view);
        let stored = ListedBlock::new(engine, durable.spec(), view, decoded, list)?;
        if stored.sealed != memory.sealed {
            return Err("has another result on disk".to_owned());
        }
        let on_disk = |part: Result<(), String>| part.map_err(|one| format!("on disk, {one}"));
        let built = on_disk(stored.check_built());
        let before = reads.count();
        let mut given = on_disk(stored.check_given());
        // Values that are not in the list are read from the state: at least the sender of a transaction.
        if stored.prepared.evm().transactions() > 0 && reads.count() == before {
            given = given.and(Err("on disk, it read nothing from the database".to_owned()));
        }
        let wrong = on_disk(stored.check_wrong());
        for (part, durable) in parts.iter_mut().zip([built, given, wrong]) {
            if part.is_ok() {
                *part = durable;
            }
        }
    }
    for (group, result) in [BUILT, GIVEN, WRONG].into_iter().zip(parts) {
        report.case(group, name.to_owned(), result, LISTED);
    }
    Ok(())
}

/// A wrong list that is given with a block is refused on the state on disk too.
fn check_refused(
    engine: &Engine,
    durable: &mut DurableChain,
    block: &TestBlock,
) -> Result<(), String> {
    let about_list = block
        .expect_exception
        .as_deref()
        .filter(|expected| expected.contains("_BAL_") || expected.contains("BLOCK_ACCESS_LIST"));
    let (Some(expected), Some(list), Ok(decoded)) =
        (about_list, block.given_list(), chain::decode(&block.rlp))
    else {
        return Ok(());
    };
    let view = durable.state_before(&decoded)?;
    // If its header is refused, the list is not checked.
    let Ok(prepared) = PreparedBlock::new(durable.spec(), decoded) else {
        return Ok(());
    };
    for run in engine.run_listed(prepared.evm(), &view, &list) {
        match run {
            Ok(_) => {
                return Err(format!(
                    "is to be refused for {expected}, its list was taken"
                ));
            }
            Err(error) => {
                let refusal = BlockRefusal::List(error);
                if !block_exception::matches(expected, &refusal) {
                    return Err(format!(
                        "is to be refused for {expected}, was for {refusal:?}"
                    ));
                }
            }
        }
    }
    Ok(())
}

/// A block, its list, and its result.
struct ListedBlock<'a> {
    engine: &'a Engine,
    spec: &'a ChainSpec,
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
        spec: &'a ChainSpec,
        view: Arc<dyn StateView>,
        block: Block<Envelope>,
        list: &'a [AccountChanges],
    ) -> Result<Self, String> {
        let prepared = PreparedBlock::new(spec, block.clone());
        let prepared = prepared.map_err(|error| error.to_string())?;
        let run = engine.run_block(prepared.evm(), &view)?;
        let (sealed, built) = run.map_err(|(step, error)| format!("step {step}: {error}"))?;
        Ok(Self {
            engine,
            spec,
            block,
            prepared,
            view,
            list,
            sealed,
            built,
        })
    }

    /// The built list equals the block's.
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

    /// Run by the list, the block has the same result.
    fn check_given(&self) -> Result<(), String> {
        for run in self
            .engine
            .run_listed(self.prepared.evm(), &self.view, self.list)
        {
            let sealed = run.map_err(|error| error.to_string())?;
            if sealed != self.sealed {
                return Err(format!(
                    "has the result {sealed:?}, under locks {:?}",
                    self.sealed
                ));
            }
        }
        Ok(())
    }

    /// Wrong lists are refused: for their error if a header commits to them, and for their hash if none does.
    fn check_wrong(&self) -> Result<(), String> {
        for wrong in wrong_lists(&self.block.header, self.list) {
            let name = wrong.name;
            let block = Block {
                header: wrong.header,
                body: self.block.body.clone(),
            };
            let prepared = PreparedBlock::new(self.spec, block);
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
                    Err(EngineError::List(
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
