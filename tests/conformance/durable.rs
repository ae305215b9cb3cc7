//! The accounts database under a fixture's chain: blocks through the validator's importer, and through
//! the engine on the state that is read from disk.

use crate::conformance::{chain::DEPOSIT_CONTRACT, engine::Engine, fork, state::FixtureAccount};
use alloy_consensus::Header;
use alloy_genesis::Genesis;
use alloy_primitives::{Address, B256, U256, keccak256};
use lockweave::{
    SealedBlock, StateView,
    evm::ChainSpec,
    runtime::{Account, Code, StateError},
};
use lockweave_validator::{
    chain::{
        ChainParameters,
        execution::PreparedBlock,
        import::{ImportError, Imported, Importer},
    },
    store::{ChainStore, Datadir, DurableStore, Retention},
};
use std::{
    collections::{BTreeMap, HashMap},
    error::Error,
    sync::Arc,
};
use tempfile::TempDir;

/// Whether a case is in a sample of one in `sample`: by its name, so that it is the same in every run.
///
/// A case on the accounts database costs a hundred times what it costs in memory: a folder, its files,
/// and writes that wait for the disk.
pub(crate) fn is_sampled(name: &str, sample: u64) -> bool {
    let hash = keccak256(name);
    let low = u64::from_le_bytes(hash[..8].try_into().expect("eight bytes"));
    low.is_multiple_of(sample)
}

/// A chain in a folder of its own.
pub(crate) struct DurableChain {
    store: Arc<DurableStore>,
    importer: Importer,
    spec: Arc<ChainSpec>,
    /// Behind the store, so that it goes after it.
    _folder: TempDir,
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
        let parameters = ChainParameters {
            spec: Arc::new(spec),
            genesis: Genesis {
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
            },
        };
        let folder = tempfile::tempdir()?;
        let datadir = Datadir::open(folder.path())?;
        datadir.init(&parameters)?;
        let store = DurableStore::open(datadir, &parameters, Retention::everything())?;
        let store = Arc::new(store);
        Ok(Self {
            spec: Arc::clone(&parameters.spec),
            importer: Importer::new(parameters, Arc::clone(&store) as _),
            store,
            _folder: folder,
        })
    }

    /// The hash of the newest block.
    pub(crate) fn head(&self) -> B256 {
        self.store.head().hash
    }

    /// The state after the newest block.
    pub(crate) fn state(&self) -> Result<Arc<dyn StateView>, String> {
        let state = self.store.state_at(self.store.head().number());
        state.map_err(|error| error.to_string())
    }

    /// Imports a block, as `lockweave-validator import` does. One that is taken also goes through the
    /// engine, on the state on disk.
    pub(crate) fn import(&mut self, engine: &Engine, rlp: &[u8]) -> Result<Import, String> {
        let Ok(block) = super::chain::decode(rlp) else {
            return Ok(Import::Refused(None));
        };
        let view = self.state()?;
        match self.importer.import(block.clone()) {
            Ok(Imported::Added) => {}
            Ok(Imported::Known) => return Ok(Import::Known),
            Err(error) => return Ok(Import::Refused(Some(error))),
        }
        let prepared = PreparedBlock::new(&self.spec, block).map_err(|error| error.to_string())?;
        let run = engine.run_block(prepared.evm(), &view)?;
        let (sealed, _): (SealedBlock, _) =
            run.map_err(|(step, error)| format!("on disk, step {step}: {error}"))?;
        let after = self.state()?;
        for (address, slot, value) in &sealed.delta.slots {
            let stored = after
                .slot(*address, *slot)
                .map_err(|error| error.to_string())?;
            if stored != *value {
                return Err(format!(
                    "on disk, {address} has {stored} in {slot}, not {value}"
                ));
            }
        }
        for (address, account) in &sealed.delta.accounts {
            let stored = after.account(*address).map_err(|error| error.to_string())?;
            if stored != *account {
                return Err(format!("on disk, {address} is {stored:?}, not {account:?}"));
            }
        }
        Ok(Import::Added)
    }
}

/// What the importer said of a block.
pub(crate) enum Import {
    Added,
    Known,
    /// Refused; without an error, its bytes are no block.
    Refused(Option<ImportError>),
}

/// A state with the hashes of earlier blocks that a fixture has.
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
