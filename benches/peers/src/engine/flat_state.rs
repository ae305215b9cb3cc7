//! A state in memory, laid out for one thread that runs revm.

use alloy_primitives::{
    Address, B256, KECCAK256_EMPTY, U256,
    map::{AddressMap, B256Map, HashMap, U256Map},
};
use lockweave_runtime::{AccessSet, Account, CodeRef, KeyPart, StateError, StateView};
use revm::{
    database_interface::{DBErrorMarker, Database},
    state::{AccountId, AccountInfo, Bytecode},
};
use thiserror::Error;

/// Something that a block reads and this state does not have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum FlatStateError {
    /// Code that no account of the state has.
    #[error("no account has code with hash {hash}")]
    MissingCode {
        /// Its hash.
        hash: B256,
    },
    /// The hash of a block that is not known.
    #[error("the hash of block {number} is not known")]
    MissingBlockHash {
        /// Its number.
        number: u64,
    },
}

impl DBErrorMarker for FlatStateError {}

/// An account with its storage.
#[derive(Clone, Debug, Default)]
pub(crate) struct FlatAccount {
    /// Its id is its index in the list of accounts, so that revm reads a slot without another lookup of the account.
    pub(crate) info: AccountInfo,
    pub(crate) exists: bool,
    pub(crate) slots: U256Map<U256>,
}

/// Accounts in a vector, each with its slots. A lookup takes one hash.
#[derive(Clone, Debug, Default)]
pub struct FlatState {
    places: AddressMap<usize>,
    pub(crate) accounts: Vec<FlatAccount>,
    codes: B256Map<Bytecode>,
    block_hashes: HashMap<u64, B256>,
}

impl FlatState {
    /// The part of a state that these sets name, and the block hashes that block `number` can read.
    pub(crate) fn touched(
        view: &dyn StateView,
        sets: &[AccessSet],
        number: u64,
    ) -> Result<Self, StateError> {
        let mut state = Self::default();
        for entry in sets.iter().flat_map(AccessSet::entries) {
            let address = entry.key.address;
            let place = if let Some(place) = state.places.get(&address) {
                *place
            } else {
                let account = view.account(address)?;
                let code = CodeRef::load(view, address, account.as_ref())?;
                state.add(address, account, &code)
            };
            if let KeyPart::Slot(slot) = entry.key.part {
                let value = view.slot(address, slot)?;
                if !value.is_zero() {
                    state.accounts[place].slots.insert(slot, value);
                }
            }
        }
        for number in number.saturating_sub(256)..number {
            if let Some(hash) = view.block_hash(number)? {
                state.block_hashes.insert(number, hash);
            }
        }
        Ok(state)
    }

    fn add(&mut self, address: Address, account: Option<Account>, code: &CodeRef) -> usize {
        let place = self.place(address);
        let code = match code.get() {
            None => Bytecode::default(),
            Some(code) => {
                let analyse = || {
                    let bytes = code.bytes().clone();
                    Bytecode::new_raw_checked(bytes.clone())
                        .unwrap_or_else(|_| Bytecode::new_legacy(bytes))
                };
                let known = self.codes.entry(code.hash()).or_insert_with(analyse);
                known.clone()
            }
        };
        let flat = &mut self.accounts[place];
        flat.exists = account.is_some();
        let account = account.unwrap_or_default();
        flat.info.balance = account.balance;
        flat.info.nonce = account.nonce;
        flat.info.code_hash = account.code_hash;
        flat.info.code = Some(code);
        place
    }

    /// The index of the account. A new account does not exist yet.
    pub(crate) fn place(&mut self, address: Address) -> usize {
        *self.places.entry(address).or_insert_with(|| {
            let place = self.accounts.len();
            let mut flat = FlatAccount::default();
            flat.info.account_id = AccountId::new(place);
            self.accounts.push(flat);
            place
        })
    }

    /// Accounts by address, including those that do not exist.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (Address, &FlatAccount)> {
        let places = self.places.iter();
        places.map(|(address, place)| (*address, &self.accounts[*place]))
    }

    /// The account with its slots, if it exists.
    pub(crate) fn account(&self, address: Address) -> Option<&FlatAccount> {
        let place = self.places.get(&address)?;
        let account = &self.accounts[*place];
        account.exists.then_some(account)
    }
}

impl Database for FlatState {
    type Error = FlatStateError;

    #[inline]
    fn basic(&mut self, address: Address) -> Result<Option<AccountInfo>, FlatStateError> {
        let account = self.account(address);
        Ok(account.map(|account| account.info.clone()))
    }

    fn code_by_hash(&mut self, hash: B256) -> Result<Bytecode, FlatStateError> {
        if hash == KECCAK256_EMPTY {
            return Ok(Bytecode::default());
        }
        let code = self.codes.get(&hash).cloned();
        code.ok_or(FlatStateError::MissingCode { hash })
    }

    fn storage(&mut self, address: Address, slot: U256) -> Result<U256, FlatStateError> {
        let account = self.account(address);
        let value = account.and_then(|account| account.slots.get(&slot));
        Ok(value.copied().unwrap_or_default())
    }

    #[inline]
    fn storage_by_account_id(
        &mut self,
        _: Address,
        account: AccountId,
        slot: U256,
    ) -> Result<U256, FlatStateError> {
        let value = self.accounts[account.get()].slots.get(&slot);
        Ok(value.copied().unwrap_or_default())
    }

    fn block_hash(&mut self, number: u64) -> Result<B256, FlatStateError> {
        let hash = self.block_hashes.get(&number).copied();
        hash.ok_or(FlatStateError::MissingBlockHash { number })
    }
}
