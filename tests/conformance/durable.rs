//! The accounts database under a fixture's chain: blocks through the validator's importer, and through
//! the engine on the state that is read from disk.

use crate::conformance::{
    archive::Fixture,
    blockchain::TestBlock,
    chain::DEPOSIT_CONTRACT,
    engine::Engine,
    fork,
    state::{self, FixtureAccount},
};
use alloy_consensus::{Block, Header};
use alloy_genesis::Genesis;
use alloy_primitives::{Address, B256, U256, keccak256};
use lockweave::{
    MemoryState, SealedBlock, StateView,
    accounts_db::StateItem,
    evm::ChainSpec,
    runtime::{Account, Code, StateError},
};
use lockweave_validator::{
    chain::{ChainParameters, block::Envelope, execution::PreparedBlock},
    import::{ImportError, Imported, Importer},
    store::{ChainStore, Datadir, DatadirError, DurableStore, Retention},
};
use std::{
    collections::{BTreeMap, HashMap},
    error::Error,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};
use tempfile::TempDir;

/// How many cases are run on the accounts database too: one in this many; 1 is all of them.
const SAMPLE: &str = "LOCKWEAVE_ON_DISK";

/// Which cases are run on the accounts database too.
///
/// A case there takes a hundred times as long as in memory: a folder, its files, and writes that wait for the disk.
#[derive(Clone, Copy)]
pub(crate) struct Sample(u64);

impl Sample {
    /// One in `usual`, unless `LOCKWEAVE_ON_DISK` overrides it.
    pub(crate) fn one_in(usual: u64) -> Self {
        let stated = std::env::var(SAMPLE).ok();
        let stated = stated.map(|text| match text.parse::<u64>() {
            Ok(number) if number > 0 => number,
            _ => panic!("{SAMPLE} is {text}; it must be a number from 1 on: one case in this many"),
        });
        Self(stated.unwrap_or(usual))
    }

    /// The sample of a file: every case of a file of this repository.
    pub(crate) fn of(self, file: &Fixture) -> Self {
        if file.is_own() { Self(1) } else { self }
    }

    /// Whether a case is in the sample. Its name decides, so every run has the same sample.
    pub(crate) fn has(self, name: &str) -> bool {
        let hash = keccak256(name);
        let low = u64::from_le_bytes(hash[..8].try_into().expect("eight bytes"));
        low.is_multiple_of(self.0)
    }

    /// Prints the sample.
    pub(crate) fn print(self) {
        match self.0 {
            1 => println!("all cases in memory and on the accounts database"),
            one_in => println!(
                "all cases in memory, on the accounts database one in {one_in}, by the hash of its name; \
                 {SAMPLE}=1 for all"
            ),
        }
    }
}

/// A block of any branch.
struct Known {
    block: Block<Envelope>,
    /// The sum of difficulties up to and including it.
    difficulty: U256,
}

/// A chain in its own folder.
///
/// The database holds one branch. To switch to another, the blocks after the common ancestor are undone, the chain is
/// opened again, and the other branch is imported.
pub(crate) struct DurableChain {
    /// The open chain; `None` only while it is opened again.
    open: Option<Open>,
    parameters: ChainParameters,
    genesis: B256,
    blocks: HashMap<B256, Known>,
    /// The block that ends the chain.
    head: B256,
    folder: TempDir,
}

struct Open {
    store: Arc<DurableStore>,
    importer: Importer,
}

impl Open {
    fn new(folder: &TempDir, parameters: &ChainParameters) -> Result<Self, DatadirError> {
        let datadir = Datadir::open(folder.path())?;
        let store = DurableStore::open(datadir, parameters, Retention::everything())?;
        let store = Arc::new(store);
        Ok(Self {
            importer: Importer::new(parameters.clone(), Arc::clone(&store) as _),
            store,
        })
    }
}

impl DurableChain {
    /// A chain with this genesis.
    pub(crate) fn new(
        spec: ChainSpec,
        genesis: &Header,
        accounts: &BTreeMap<Address, FixtureAccount>,
    ) -> Result<Self, Box<dyn Error>> {
        let config = fork::chain_config(&spec, DEPOSIT_CONTRACT);
        let alloc = accounts.iter();
        let alloc = alloc.map(|(address, account)| (*address, account.genesis()));
        let genesis = Genesis {
            config,
            alloc: alloc.collect(),
            nonce: genesis.nonce.into(),
            timestamp: genesis.timestamp,
            extra_data: genesis.extra_data.clone(),
            gas_limit: genesis.gas_limit,
            difficulty: genesis.difficulty,
            mix_hash: genesis.mix_hash,
            coinbase: genesis.beneficiary,
            base_fee_per_gas: genesis.base_fee_per_gas.map(u128::from),
            excess_blob_gas: genesis.excess_blob_gas,
            blob_gas_used: genesis.blob_gas_used,
            number: Some(genesis.number),
            ..Genesis::default()
        };
        let parameters = ChainParameters::with_rules(spec, genesis);
        let folder = tempfile::tempdir()?;
        Datadir::open(folder.path())?.init(&parameters)?;
        let open = Open::new(&folder, &parameters)?;
        let head = open.store.head().hash;
        Ok(Self {
            open: Some(open),
            parameters,
            genesis: head,
            blocks: HashMap::new(),
            head,
            folder,
        })
    }

    /// The hash of the block that ends the chain.
    pub(crate) const fn head(&self) -> B256 {
        self.head
    }

    /// The fork schedule.
    pub(crate) fn spec(&self) -> &ChainSpec {
        &self.parameters.spec
    }

    fn open(&mut self) -> &mut Open {
        self.open.as_mut().expect("it is open between calls")
    }

    fn store(&self) -> &DurableStore {
        &self.open.as_ref().expect("it is open between calls").store
    }

    /// The state after the newest block of the branch that the database holds.
    pub(crate) fn state(&self) -> Result<Arc<dyn StateView>, String> {
        let store = self.store();
        let state = store.state_at(store.head().number());
        state.map_err(|error| error.to_string())
    }

    /// Compares the whole newest state with one in memory.
    pub(crate) fn check_state(&self, expected: &MemoryState) -> Result<(), String> {
        let store = self.store();
        let mut whole = MemoryState::new();
        let visited = store.visit_state(store.head().number(), &mut |item| {
            match item {
                StateItem::Account(address, account) => whole.insert_account(address, account),
                StateItem::Slot(address, slot, value) => whole.insert_slot(address, slot, value),
            };
            true
        });
        visited.map_err(|error| error.to_string())?;
        let root = state::root(&whole);
        let expected = state::root(expected);
        if root == expected {
            Ok(())
        } else {
            Err(format!("the state's root is {root}, in memory {expected}"))
        }
    }

    /// The state before a block: that after its parent, on any branch.
    pub(crate) fn state_before(
        &mut self,
        block: &Block<Envelope>,
    ) -> Result<Arc<dyn StateView>, String> {
        let parent = block.header.parent_hash;
        if self.knows(parent) {
            self.switch_to(parent)?;
        }
        self.state()
    }

    fn knows(&self, hash: B256) -> bool {
        hash == self.genesis || self.blocks.contains_key(&hash)
    }

    fn difficulty(&self, hash: B256) -> U256 {
        self.blocks
            .get(&hash)
            .map_or(self.parameters.genesis.difficulty, |known| known.difficulty)
    }

    /// Imports a block, as `lockweave-validator import` does. An accepted block also runs through the engine, on the
    /// state on disk. It becomes the head if its branch is the heaviest or, without proof of work, in any case.
    pub(crate) fn import(&mut self, engine: &Engine, rlp: &[u8]) -> Result<Import, String> {
        let Ok(block) = super::chain::decode(rlp) else {
            return Ok(Import::Refused(None));
        };
        self.import_block(engine, block)
    }

    /// Imports a decoded block.
    pub(crate) fn import_block(
        &mut self,
        engine: &Engine,
        block: Block<Envelope>,
    ) -> Result<Import, String> {
        let (parent, hash) = (block.header.parent_hash, block.header.hash_slow());
        if self.knows(hash) {
            return Ok(Import::Known);
        }
        let view = self.state_before(&block)?;
        let imported = self.open().importer.import(block.clone());
        let imported = match imported {
            Ok(Imported::Added) => {
                self.run_on_disk(engine, block.clone(), &view)?;
                let is_merged = block.header.difficulty.is_zero();
                let difficulty = self
                    .difficulty(parent)
                    .saturating_add(block.header.difficulty);
                if is_merged || difficulty > self.difficulty(self.head) {
                    self.head = hash;
                }
                self.blocks.insert(hash, Known { block, difficulty });
                Import::Added
            }
            Ok(Imported::Known) => Import::Known,
            Err(error) => Import::Refused(Some(error)),
        };
        drop(view);
        self.switch_to(self.head)?;
        Ok(imported)
    }

    /// Makes a known block the newest of the database.
    fn switch_to(&mut self, target: B256) -> Result<(), String> {
        if self.store().head().hash == target {
            return Ok(());
        }
        let mut branch = Vec::new();
        let mut hash = target;
        let common = loop {
            if let Some(number) = self.store().number_of(hash) {
                break number;
            }
            branch.push(hash);
            let known = self.blocks.get(&hash).ok_or("a branch without a root")?;
            hash = known.block.header.parent_hash;
        };
        let undone = self.store().db().undo_to(common);
        undone.map_err(|error| format!("undoing to block {common}: {error}"))?;
        // The store indexes the blocks that are undone.
        self.open = None;
        let open = Open::new(&self.folder, &self.parameters);
        self.open = Some(open.map_err(|error| format!("after undoing: {error}"))?);
        for hash in branch.into_iter().rev() {
            let block = self.blocks[&hash].block.clone();
            match self.open().importer.import(block) {
                Ok(Imported::Added) => {}
                Ok(Imported::Known) => return Err(format!("{hash} was not undone")),
                Err(error) => return Err(format!("{hash}, which was taken: {error}")),
            }
        }
        Ok(())
    }

    /// Runs an imported block through the engine, on the state before it, and compares the state on disk with the result.
    fn run_on_disk(
        &self,
        engine: &Engine,
        block: Block<Envelope>,
        view: &Arc<dyn StateView>,
    ) -> Result<(), String> {
        let prepared = PreparedBlock::new(self.spec(), block).map_err(|error| error.to_string())?;
        let run = engine.run_block(prepared.evm(), view)?;
        let (sealed, _): (SealedBlock, _) =
            run.map_err(|(step, error)| format!("step {step}: {error}"))?;
        let after = self.state()?;
        for (address, slot, value) in &sealed.delta.slots {
            let stored = after
                .slot(*address, *slot)
                .map_err(|error| error.to_string())?;
            if stored != *value {
                return Err(format!("{address} has {stored} in {slot}, not {value}"));
            }
        }
        for (address, account) in &sealed.delta.accounts {
            let stored = after.account(*address).map_err(|error| error.to_string())?;
            if stored != *account {
                return Err(format!("{address} is {stored:?}, not {account:?}"));
            }
        }
        Ok(())
    }
}

/// Imports a fixture's block, or checks that it is refused and leaves nothing.
pub(crate) fn run_block(
    engine: &Engine,
    chain: &mut DurableChain,
    block: &TestBlock,
) -> Result<(), String> {
    let before = chain.head();
    match (&block.expect_exception, chain.import(engine, &block.rlp)?) {
        (None, Import::Added) => Ok(()),
        (Some(_), Import::Refused(_)) if chain.head() == before => Ok(()),
        (Some(_), Import::Refused(_)) => Err("left an effect".to_owned()),
        (None, Import::Refused(Some(error))) => Err(error.to_string()),
        (None, Import::Refused(None)) => Err("is no block".to_owned()),
        (None, Import::Known) => Err("is there twice".to_owned()),
        (Some(expected), _) => Err(format!("is to be refused for {expected}, was taken")),
    }
}

/// The importer's result for a block.
pub(crate) enum Import {
    Added,
    Known,
    /// Refused. There is no error if its bytes are not a block.
    Refused(Option<ImportError>),
}

/// A state with a fixture's block hashes.
pub(crate) struct WithBlockHashes {
    pub(crate) state: Arc<dyn StateView>,
    pub(crate) hashes: HashMap<u64, B256>,
}

impl StateView for WithBlockHashes {
    fn account(&self, address: Address) -> Result<Option<Account>, StateError> {
        self.state.account(address)
    }

    fn slot(&self, address: Address, slot: U256) -> Result<U256, StateError> {
        self.state.slot(address, slot)
    }

    fn code(&self, hash: B256) -> Result<Option<Arc<Code>>, StateError> {
        self.state.code(hash)
    }

    fn block_hash(&self, number: u64) -> Result<Option<B256>, StateError> {
        Ok(self.hashes.get(&number).copied())
    }

    fn has_storage(&self, address: Address) -> Result<bool, StateError> {
        self.state.has_storage(address)
    }
}

/// A state that counts how often it is read.
pub(crate) struct CountingView {
    state: Arc<dyn StateView>,
    reads: AtomicU64,
}

impl CountingView {
    /// Counts the reads of a state.
    pub(crate) const fn new(state: Arc<dyn StateView>) -> Self {
        Self {
            state,
            reads: AtomicU64::new(0),
        }
    }

    /// The number of reads.
    pub(crate) fn count(&self) -> u64 {
        self.reads.load(Ordering::Relaxed)
    }

    fn read(&self) -> &dyn StateView {
        self.reads.fetch_add(1, Ordering::Relaxed);
        &*self.state
    }
}

impl StateView for CountingView {
    fn account(&self, address: Address) -> Result<Option<Account>, StateError> {
        self.read().account(address)
    }

    fn slot(&self, address: Address, slot: U256) -> Result<U256, StateError> {
        self.read().slot(address, slot)
    }

    fn code(&self, hash: B256) -> Result<Option<Arc<Code>>, StateError> {
        self.read().code(hash)
    }

    fn block_hash(&self, number: u64) -> Result<Option<B256>, StateError> {
        self.read().block_hash(number)
    }

    fn has_storage(&self, address: Address) -> Result<bool, StateError> {
        self.read().has_storage(address)
    }
}
