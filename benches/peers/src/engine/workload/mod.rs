//! The workloads, by name. Each is made from a seed, or read from the recorded blocks.

mod erc20;
mod mainnet;
mod mints;
mod mixed;
mod raw;
mod swaps;

use super::block::{Block, BlockError};
use crate::workload::mix;
use alloy_consensus::{Header, Signed, TxEnvelope, TxLegacy};
use alloy_primitives::{Address, B256, Bytes, Signature, U256, hex};
use lockweave_evm_adapter::{BlockContext, ChainSpec, EvmTransaction, SpecId, Step};
use lockweave_runtime::{Account, Code, MemoryState};
use lockweave_validator::{recorded::RecordedError, replay::ReplayError};
use std::sync::Arc;
use thiserror::Error;

pub use mainnet::fixtures;

/// A workload that can be measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, clap::ValueEnum)]
pub enum WorkloadName {
    /// 47,620 plain transfers, each sender to itself.
    RawSelf,
    /// 47,620 plain transfers, each to a random other account.
    RawRandom,
    /// 47,620 plain transfers to one account.
    RawHot,
    /// 33,628 ERC-20 transfers, each holder to itself.
    Erc20Self,
    /// 33,628 ERC-20 transfers, each to a random other holder.
    Erc20Random,
    /// 33,628 ERC-20 transfers, one in ten to a set of ten holders, the others random.
    Erc20Hot10,
    /// 33,628 ERC-20 transfers, each to the next one's sender.
    Erc20Chain,
    /// 6,413 swaps, each in contracts of its own.
    UniswapIndependent,
    /// 6,413 swaps in one pool.
    UniswapOnePool,
    /// Transfers, token transfers and swaps, 60, 20 and 20 % by gas, over 100,000 accounts, 3 tokens, 2 pools.
    Mixed,
    /// 20,000 transactions: ERC-20 transfers, and one in four a mint in one of four collections.
    Mints,
    /// Recorded mainnet blocks of 15 Mgas and more.
    MainnetBig,
    /// All recorded mainnet blocks.
    MainnetAll,
    /// No blocks: schedulers alone.
    Scheduler,
}

impl WorkloadName {
    /// All of them, in the order of reports.
    pub const ALL: [Self; 14] = [
        Self::RawSelf,
        Self::RawRandom,
        Self::RawHot,
        Self::Erc20Self,
        Self::Erc20Random,
        Self::Erc20Hot10,
        Self::Erc20Chain,
        Self::UniswapIndependent,
        Self::UniswapOnePool,
        Self::Mixed,
        Self::Mints,
        Self::MainnetBig,
        Self::MainnetAll,
        Self::Scheduler,
    ];

    /// The name on the command line and in reports.
    pub const fn name(self) -> &'static str {
        match self {
            Self::RawSelf => "raw-self",
            Self::RawRandom => "raw-random",
            Self::RawHot => "raw-hot",
            Self::Erc20Self => "erc20-self",
            Self::Erc20Random => "erc20-random",
            Self::Erc20Hot10 => "erc20-hot10",
            Self::Erc20Chain => "erc20-chain",
            Self::UniswapIndependent => "uniswap-independent",
            Self::UniswapOnePool => "uniswap-one-pool",
            Self::Mixed => "mixed",
            Self::Mints => "mints",
            Self::MainnetBig => "mainnet-big",
            Self::MainnetAll => "mainnet-all",
            Self::Scheduler => "scheduler",
        }
    }

    /// Generates or reads the blocks. `transactions` changes the size of generated ones.
    pub fn blocks(self, transactions: Option<usize>) -> Result<Vec<Block>, WorkloadError> {
        self.blocks_among(transactions, &Selection::default())
    }

    /// The same, with only the selected recorded blocks.
    pub fn blocks_among(
        self,
        transactions: Option<usize>,
        selection: &Selection,
    ) -> Result<Vec<Block>, WorkloadError> {
        let block = match self {
            Self::RawSelf => raw::block(self, transactions, raw::Recipients::Themselves),
            Self::RawRandom => raw::block(self, transactions, raw::Recipients::Random),
            Self::RawHot => raw::block(self, transactions, raw::Recipients::OneHot),
            Self::Erc20Self => erc20::block(self, transactions, erc20::Recipients::Themselves),
            Self::Erc20Random => erc20::block(self, transactions, erc20::Recipients::Random),
            Self::Erc20Hot10 => erc20::block(self, transactions, erc20::Recipients::Hot),
            Self::Erc20Chain => erc20::block(self, transactions, erc20::Recipients::Next),
            Self::UniswapIndependent => {
                swaps::block(self, transactions, &swaps::Pools::Independent)
            }
            Self::UniswapOnePool => swaps::block(self, transactions, &swaps::Pools::One),
            Self::Mixed => mixed::block(self, transactions),
            Self::Mints => mints::block(self, transactions),
            Self::MainnetBig => return mainnet::blocks(mainnet::LARGE_BLOCK_GAS, selection),
            Self::MainnetAll => return mainnet::blocks(0, selection),
            Self::Scheduler => return Ok(Vec::new()),
        };
        Ok(vec![block?.with_signed()?])
    }
}

/// Which recorded blocks are measured.
#[derive(Clone, Debug, clap::Args)]
pub struct Selection {
    /// Only recorded blocks of at most this much gas.
    #[arg(long, value_name = "G", default_value_t = u64::MAX, hide_default_value = true)]
    gas_max: u64,
    /// Only the recorded blocks of these numbers.
    #[arg(long = "block", value_name = "NUMBER", value_delimiter = ',')]
    numbers: Vec<u64>,
}

impl Default for Selection {
    /// All of them.
    fn default() -> Self {
        Self {
            gas_max: u64::MAX,
            numbers: Vec::new(),
        }
    }
}

/// A workload that cannot be made.
#[derive(Debug, Error)]
pub enum WorkloadError {
    /// A block that cannot be executed.
    #[error(transparent)]
    Block(#[from] BlockError),
    /// Recorded blocks that cannot be read.
    #[error("the recorded blocks cannot be read: {0}")]
    Recorded(#[from] RecordedError),
    /// A recorded block that cannot be laid out.
    #[error("a recorded block cannot be laid out: {0}")]
    Replay(#[from] ReplayError),
    /// There are no recorded blocks.
    #[error(
        "no recorded mainnet blocks at {0}; name a folder that has mainnet_blocks.tar.zst in \
         LOCKWEAVE_FIXTURES"
    )]
    NoFixtures(std::path::PathBuf),
}

/// The beneficiary of generated blocks.
const BENEFICIARY: Address = Address::ZERO;

/// The environment of generated blocks: no base fee, no gas limit.
fn context() -> BlockContext {
    let header = Header {
        number: 1,
        gas_limit: u64::MAX,
        base_fee_per_gas: Some(0),
        beneficiary: BENEFICIARY,
        withdrawals_root: Some(B256::ZERO),
        ..Header::default()
    };
    BlockContext::new(&ChainSpec::single_fork(1, SpecId::CANCUN), &header)
}

fn made(
    name: WorkloadName,
    state: MemoryState,
    transactions: impl Iterator<Item = (Address, TxLegacy)>,
) -> Result<Block, BlockError> {
    let steps: Vec<_> = transactions
        .map(|(sender, transaction)| {
            // Unused: the sender is given.
            let signature = Signature::new(U256::ONE, U256::ONE, false);
            let signed = Signed::new_unhashed(transaction, signature);
            Step::Transaction(EvmTransaction::new(TxEnvelope::Legacy(signed), sender))
        })
        .collect();
    Block::record(name.name(), Arc::new(state), context(), &steps)
}

/// A random index below `count`, other than `index` if there are two or more.
fn another(index: u64, count: u64) -> u64 {
    (index + 1 + mix(index) % (count - 1).max(1)) % count
}

/// Inserts a contract with committed runtime code.
fn insert_contract(state: &mut MemoryState, address: Address, committed: &str) {
    let bytes: Bytes = hex::decode(committed.trim()).expect("committed hex").into();
    let code = Arc::new(Code::new(bytes));
    let account = Account {
        nonce: 1,
        balance: U256::ZERO,
        code_hash: code.hash(),
    };
    state.insert_account(address, account);
    state.insert_code(code);
}

/// An account with ether and without code.
fn holder(nonce: u64, balance: U256) -> Account {
    Account {
        nonce,
        balance,
        ..Account::default()
    }
}
