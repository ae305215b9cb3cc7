//! A chunk: accounts or slots whose hashed keys begin with the same nibbles, and the root of the trie below them.

use super::error::InvalidSnapshot;
use alloy_primitives::{Address, B256, Bytes, KECCAK256_EMPTY, U256, keccak256};
use alloy_trie::{EMPTY_ROOT_HASH, HashBuilder, Nibbles, TrieAccount};
use borsh::{BorshDeserialize, BorshSerialize};
use lockweave_runtime::{Account, Code, StateDelta};
use std::{collections::BTreeSet, sync::Arc};

/// A part of the state. Numbers of 256 bits are big-endian.
#[derive(Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub(super) enum Chunk {
    /// Accounts by hashed address, and their codes by hash, each once.
    Accounts {
        accounts: Vec<ChunkAccount>,
        codes: Vec<Vec<u8>>,
    },
    /// Slots, by hashed slot, of an account that has many.
    Slots {
        owner: [u8; 20],
        slots: Vec<ChunkSlot>,
    },
}

/// An account.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub(super) struct ChunkAccount {
    pub(super) address: [u8; 20],
    pub(super) nonce: u64,
    pub(super) balance: [u8; 32],
    pub(super) code_hash: [u8; 32],
    pub(super) storage: ChunkStorage,
}

/// The storage of an account.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub(super) enum ChunkStorage {
    /// All slots, by hashed slot.
    Here(Vec<ChunkSlot>),
    /// The slots are in chunks of their own, which follow. This is the root of their trie.
    Apart([u8; 32]),
}

/// A slot that is not zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub(super) struct ChunkSlot {
    pub(super) slot: [u8; 32],
    pub(super) value: [u8; 32],
}

/// What a chunk holds.
#[derive(Debug)]
pub(super) struct Content {
    /// The root of the trie of the accounts or slots, without the nibbles of the path.
    pub(super) root: B256,
    /// The accounts and slots.
    pub(super) delta: StateDelta,
    /// Accounts whose slots are in later chunks, with the roots of their storage.
    pub(super) apart: Vec<(Address, B256)>,
}

impl Chunk {
    /// The account whose slots these are, if they are slots.
    pub(super) fn owner(&self) -> Option<Address> {
        match self {
            Self::Accounts { .. } => None,
            Self::Slots { owner, .. } => Some(owner.into()),
        }
    }

    /// What the chunk holds, if all keys are below `path`.
    pub(super) fn content(&self, path: &Nibbles) -> Result<Content, InvalidSnapshot> {
        let mut delta = StateDelta::default();
        let mut apart = Vec::new();
        let root = match self {
            Self::Accounts { accounts, codes } => {
                let codes = (codes.iter()).map(|bytes| Code::new(Bytes::copy_from_slice(bytes)));
                delta.codes = codes.map(Arc::new).collect();
                let named = (accounts.iter()).map(|account| B256::from(account.code_hash));
                let named: BTreeSet<_> = named.filter(|hash| *hash != KECCAK256_EMPTY).collect();
                if !named
                    .into_iter()
                    .eq(delta.codes.iter().map(|code| code.hash()))
                {
                    return Err(InvalidSnapshot::Chunk(
                        "the codes are not those of the accounts",
                    ));
                }
                let mut trie = TrieBelow::new(path);
                for account in accounts {
                    trie.add_account(account, &mut delta, &mut apart)?;
                }
                trie.root()
            }
            Self::Slots { owner, slots } => {
                let mut trie = TrieBelow::new(path);
                trie.add_slots(owner.into(), slots, &mut delta)?;
                trie.root()
            }
        };
        Ok(Content { root, delta, apart })
    }
}

/// The part of a trie below a path, made of its leaves in order.
struct TrieBelow<'p> {
    path: &'p Nibbles,
    last: Option<B256>,
    builder: HashBuilder,
}

impl<'p> TrieBelow<'p> {
    fn new(path: &'p Nibbles) -> Self {
        Self {
            path,
            last: None,
            builder: HashBuilder::default(),
        }
    }

    fn add_account(
        &mut self,
        account: &ChunkAccount,
        delta: &mut StateDelta,
        apart: &mut Vec<(Address, B256)>,
    ) -> Result<(), InvalidSnapshot> {
        let address = Address::from(account.address);
        let storage_root = match &account.storage {
            ChunkStorage::Here(slots) => {
                let whole = Nibbles::default();
                let mut trie = TrieBelow::new(&whole);
                trie.add_slots(address, slots, delta)?;
                trie.root()
            }
            ChunkStorage::Apart(root) => {
                let root = root.into();
                apart.push((address, root));
                root
            }
        };
        let leaf = TrieAccount {
            nonce: account.nonce,
            balance: U256::from_be_bytes(account.balance),
            storage_root,
            code_hash: account.code_hash.into(),
        };
        self.add(keccak256(address), &alloy_rlp::encode(leaf))?;
        let account = Account {
            nonce: leaf.nonce,
            balance: leaf.balance,
            code_hash: leaf.code_hash,
        };
        delta.accounts.push((address, Some(account)));
        Ok(())
    }

    fn add_slots(
        &mut self,
        owner: Address,
        slots: &[ChunkSlot],
        delta: &mut StateDelta,
    ) -> Result<(), InvalidSnapshot> {
        for ChunkSlot { slot, value } in slots {
            let value = U256::from_be_bytes(*value);
            if value.is_zero() {
                return Err(InvalidSnapshot::Chunk("a slot is zero"));
            }
            self.add(keccak256(slot), &alloy_rlp::encode(value))?;
            let slot = U256::from_be_bytes(*slot);
            delta.slots.push((owner, slot, value));
        }
        Ok(())
    }

    /// Adds the leaf with the next key.
    fn add(&mut self, key: B256, value: &[u8]) -> Result<(), InvalidSnapshot> {
        let nibbles = Nibbles::unpack(key);
        if !nibbles.starts_with(self.path) {
            return Err(InvalidSnapshot::Chunk("a key is not below its path"));
        }
        if self.last.is_some_and(|last| key <= last) {
            return Err(InvalidSnapshot::Chunk("keys are not in order"));
        }
        self.last = Some(key);
        let below = nibbles.slice(self.path.len()..);
        self.builder.add_leaf_unchecked(below, value);
        Ok(())
    }

    fn root(mut self) -> B256 {
        match self.last {
            Some(_) => self.builder.root(),
            None => EMPTY_ROOT_HASH,
        }
    }
}
