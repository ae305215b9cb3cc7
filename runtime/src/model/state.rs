//! What a state is made of, and how a block sees the state before it.

use super::key::StateKey;
use alloy_primitives::{Address, B256, Bytes, KECCAK256_EMPTY, U256, keccak256};
use std::{
    any::Any,
    error::Error as StdError,
    sync::{Arc, OnceLock},
};
use thiserror::Error;

/// Nonce, balance (in wei) and code hash of an account that exists.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Account {
    /// Transactions sent, or contracts created.
    pub nonce: u64,
    /// Balance in wei.
    pub balance: U256,
    /// Keccak-256 of the code; [`KECCAK256_EMPTY`] where there is none.
    pub code_hash: B256,
}

impl Account {
    /// Whether the account has code.
    pub fn has_code(&self) -> bool {
        self.code_hash != KECCAK256_EMPTY
    }

    /// Whether the account is empty as EIP-161 has it: no nonce, no balance, no code.
    pub fn is_empty(&self) -> bool {
        self.nonce == 0 && self.balance.is_zero() && !self.has_code()
    }
}

impl Default for Account {
    fn default() -> Self {
        Self {
            nonce: 0,
            balance: U256::ZERO,
            code_hash: KECCAK256_EMPTY,
        }
    }
}

/// Contract code: immutable, named by its hash, shared by all threads that run it.
///
/// An executor may attach what it derives from the bytes (a jump table, compiled code); it is
/// computed once and lives as long as the code.
#[derive(derive_more::Debug)]
#[debug("Code {{ hash: {hash}, len: {} }}", self.bytes.len())]
pub struct Code {
    hash: B256,
    bytes: Bytes,
    analysis: OnceLock<Box<dyn Any + Send + Sync>>,
}

impl Code {
    /// Code with the Keccak-256 of its bytes.
    pub fn new(bytes: Bytes) -> Self {
        Self::with_hash(keccak256(&bytes), bytes)
    }

    /// Code whose hash the caller already knows.
    pub const fn with_hash(hash: B256, bytes: Bytes) -> Self {
        Self {
            hash,
            bytes,
            analysis: OnceLock::new(),
        }
    }

    /// Keccak-256 of the bytes.
    pub const fn hash(&self) -> B256 {
        self.hash
    }

    /// The bytes as they were deployed.
    pub const fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// What `analyse` makes of the bytes, computed on the first call and kept.
    ///
    /// One type of analysis is kept per code: a second executor with another type computes its own
    /// at every call.
    pub fn analysed<T: Any + Clone + Send + Sync>(&self, analyse: impl Fn(&Bytes) -> T) -> T {
        self.analysis
            .get_or_init(|| Box::new(analyse(&self.bytes)))
            .downcast_ref::<T>()
            .cloned()
            .unwrap_or_else(|| analyse(&self.bytes))
    }
}

impl PartialEq for Code {
    fn eq(&self, other: &Self) -> bool {
        self.hash == other.hash
    }
}

impl Eq for Code {}

/// A state that could not answer. Not a missing value: zero and "no account" are answers.
#[derive(Clone, Debug, Error)]
pub enum StateError {
    /// An account names code that the state does not have.
    #[error("the state has no code with hash {hash}, which account {address} names")]
    MissingCode {
        /// The account.
        address: Address,
        /// The code hash it has.
        hash: B256,
    },
    /// A block hash within reach of `BLOCKHASH` is not known.
    #[error("the hash of block {number} is needed and not known")]
    MissingBlockHash {
        /// The block's number.
        number: u64,
    },
    /// The medium under the state failed.
    #[error("the state cannot be read: {0}")]
    Backend(Arc<dyn StdError + Send + Sync>),
}

/// A state at rest: the state before a block, read by many threads.
///
/// Reads see one and the same state for as long as a block is open.
pub trait StateView: Send + Sync {
    /// The account at `address`, or `None` if there is none.
    fn account(&self, address: Address) -> Result<Option<Account>, StateError>;

    /// The value of a storage slot, zero where nothing is stored.
    fn slot(&self, address: Address, slot: U256) -> Result<U256, StateError>;

    /// The code with this hash, if the state has it. Never asked for [`KECCAK256_EMPTY`].
    fn code(&self, hash: B256) -> Result<Option<Arc<Code>>, StateError>;

    /// The hash of block `number`, one of the 256 before the open block, if it is known.
    fn block_hash(&self, number: u64) -> Result<Option<B256>, StateError>;

    /// Whether the account has a slot that is not zero (EIP-7610 asks at a creation).
    fn has_storage(&self, address: Address) -> Result<bool, StateError>;

    /// Is told of keys that will be asked for next, so that it can have them at hand: many look-ups at
    /// once wait for memory, or for a disk, together. A hint: nothing has to be done.
    fn prefetch(&self, keys: &[StateKey]) {
        let _ = keys;
    }
}

/// What a block's fork says about state as such.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StateRules {
    /// EIP-161: an account that was touched and is empty is removed. Before it, a touch creates.
    pub clear_empty_accounts: bool,
}

/// The hash of an earlier block, which must be known.
pub(crate) fn known_block_hash(view: &dyn StateView, number: u64) -> Result<B256, StateError> {
    let known = view.block_hash(number)?;
    known.ok_or(StateError::MissingBlockHash { number })
}

/// Whether an account had a nonce above zero and no code; not if the state fails, which it will say where it is asked
/// for more.
pub(crate) fn was_in_use(view: &Arc<dyn StateView>, address: Address) -> bool {
    let account = view.account(address).ok().flatten();
    account.is_some_and(|account| account.nonce > 0 && account.code_hash == KECCAK256_EMPTY)
}

/// The code hash and code of an account as a transaction sees it.
#[derive(Clone, Debug, Default)]
pub struct CodeRef(Option<Arc<Code>>);

impl CodeRef {
    /// No code.
    pub const EMPTY: Self = Self(None);

    /// This code; code without bytes is no code.
    pub fn new(code: Arc<Code>) -> Self {
        if code.hash() == KECCAK256_EMPTY {
            Self::EMPTY
        } else {
            Self(Some(code))
        }
    }

    /// Keccak-256 of the bytes.
    pub fn hash(&self) -> B256 {
        self.0.as_ref().map_or(KECCAK256_EMPTY, |code| code.hash())
    }

    /// The code, if there is any.
    pub const fn get(&self) -> Option<&Arc<Code>> {
        self.0.as_ref()
    }

    /// Whether the account has no code.
    pub const fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    /// The code that `account` at `address` names, from `view`.
    pub fn load(
        view: &(impl StateView + ?Sized),
        address: Address,
        account: Option<&Account>,
    ) -> Result<Self, StateError> {
        match account.map(|account| account.code_hash) {
            None | Some(KECCAK256_EMPTY) => Ok(Self::EMPTY),
            Some(hash) => match view.code(hash)? {
                Some(code) => Ok(Self(Some(code))),
                None => Err(StateError::MissingCode { address, hash }),
            },
        }
    }
}

impl PartialEq for CodeRef {
    fn eq(&self, other: &Self) -> bool {
        self.hash() == other.hash()
    }
}

impl Eq for CodeRef {}
