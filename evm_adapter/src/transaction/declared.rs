//! Transactions that sign the keys they access, and their access sets.

use alloy_eips::eip2930::{AccessList, AccessListItem};
use alloy_primitives::{Address, B256, Bytes, ChainId, TxKind, U256};
use lockweave_runtime::{
    AccessEntry, AccessMode, AccessSet, AccessSetBuilder, AccessSetError, KeyPart, SIGNED_KEYS_MAX,
    StateKey,
};
use serde::{Deserialize, Serialize};

/// The EIP-2718 type of [`TxDeclared`].
pub const DECLARED_TX_TYPE: u8 = 0x44;

/// A transaction that signs the keys it accesses: EIP-2718 type `0x44`.
///
/// ```text
/// 0x44 || rlp([chain_id, nonce, max_priority_fee_per_gas, max_fee_per_gas, gas_limit, to, value, data,
///              access_list, reads, writes, credits, y_parity, r, s])
/// ```
///
/// The first nine fields are those of EIP-1559, with the same meaning. `reads` and `writes` have the form of
/// an EIP-2930 list, `credits` is a list of addresses. The signed hash is Keccak-256 of the type and the
/// fields without the signature, as for all EIP-2718 transactions.
///
/// Each entry allows:
///
/// | entry | account (nonce and balance) | code | slots |
/// | --- | --- | --- | --- |
/// | `reads` `[a, [s, …]]` | | read | read |
/// | `reads` `[a, []]` | read | read | |
/// | `writes` `[a, [s, …]]` | | read | write |
/// | `writes` `[a, []]` | write | write, unless `a` is in `reads` | |
/// | `credits` `a` | credit | read | |
/// | the sender | write | read | |
/// | the recipient | credit, if the transaction sends ether or has no data | read | |
/// | the contract that a creation makes | write | write | |
/// | the block's beneficiary | credit | | |
///
/// The last four need no entry. A contract that pays ether out stands in `reads` and, without slots, in
/// `writes`. The address of a contract that is created by another contract stands in `writes`. Delegations (EIP-7702)
/// are followed, so the delegate's code needs a read entry.
///
/// **Undeclared access** fails the transaction: it increments the nonce and charges the whole gas limit, as if
/// it had run out of gas, and all other effects are reverted. The declaration is part of the signed
/// transaction, so the outcome is the same on every node.
///
/// **Gas**: every entry is charged and warms its keys as an EIP-2930 entry does; `credits` count as addresses without slots.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TxDeclared {
    /// EIP-155 chain id.
    #[serde(with = "alloy_serde::quantity")]
    pub chain_id: ChainId,
    /// Number of transactions that the sender has sent before.
    #[serde(with = "alloy_serde::quantity")]
    pub nonce: u64,
    /// Gas limit.
    #[serde(with = "alloy_serde::quantity", rename = "gas", alias = "gasLimit")]
    pub gas_limit: u64,
    /// Maximum price of one gas in wei, including the priority fee.
    #[serde(with = "alloy_serde::quantity")]
    pub max_fee_per_gas: u128,
    /// Maximum part of that price that goes to the beneficiary.
    #[serde(with = "alloy_serde::quantity")]
    pub max_priority_fee_per_gas: u128,
    /// The called account, or a contract creation.
    #[serde(default)]
    pub to: TxKind,
    /// Ether sent with the call, in wei.
    pub value: U256,
    /// Addresses and slots that are warm from the start (EIP-2930). Allows no access.
    #[serde(default)]
    pub access_list: AccessList,
    /// Keys that may be read.
    pub reads: AccessList,
    /// Keys that may be written.
    pub writes: AccessList,
    /// Accounts whose balance may be increased.
    pub credits: Vec<Address>,
    /// Calldata, or the new contract's init code.
    pub input: Bytes,
}

impl TxDeclared {
    /// Number of addresses and slots in the declaration's lists.
    pub fn declared_entries(&self) -> usize {
        let entries = |list: &AccessList| -> usize {
            let slots: usize = list.0.iter().map(|item| item.storage_keys.len()).sum();
            list.0.len() + slots
        };
        entries(&self.reads) + entries(&self.writes) + self.credits.len()
    }

    /// The keys that it may access when `sender` sends it, without the block's beneficiary.
    ///
    /// Fails if the declaration has more than [`SIGNED_KEYS_MAX`] entries.
    pub fn access_set(&self, sender: Address) -> Result<AccessSet, AccessSetError> {
        if self.declared_entries() > SIGNED_KEYS_MAX {
            return Err(AccessSetError::TooManyKeys {
                keys: self.declared_entries(),
                limit: SIGNED_KEYS_MAX,
            });
        }
        let mut set = AccessSetBuilder::default();
        for AccessListItem {
            address,
            storage_keys,
        } in &self.reads.0
        {
            set.insert(StateKey::code(*address), AccessMode::Read);
            if storage_keys.is_empty() {
                set.insert(StateKey::account(*address), AccessMode::Read);
            }
            insert_slots(&mut set, *address, storage_keys, AccessMode::Read);
        }
        for AccessListItem {
            address,
            storage_keys,
        } in &self.writes.0
        {
            if storage_keys.is_empty() {
                let called = self.reads.0.iter().any(|read| read.address == *address);
                let code = if called {
                    AccessMode::Read
                } else {
                    AccessMode::Write
                };
                set.insert(StateKey::code(*address), code);
                set.insert(StateKey::account(*address), AccessMode::Write);
            } else {
                set.insert(StateKey::code(*address), AccessMode::Read);
            }
            insert_slots(&mut set, *address, storage_keys, AccessMode::Write);
        }
        for address in &self.credits {
            set.insert(StateKey::account(*address), AccessMode::Credit);
            set.insert(StateKey::code(*address), AccessMode::Read);
        }
        set.insert(StateKey::account(sender), AccessMode::Write);
        set.insert(StateKey::code(sender), AccessMode::Read);
        match self.to {
            TxKind::Call(recipient) => {
                set.insert(StateKey::code(recipient), AccessMode::Read);
                if !self.value.is_zero() || self.input.is_empty() {
                    set.insert(StateKey::account(recipient), AccessMode::Credit);
                }
            }
            TxKind::Create => {
                let created = sender.create(self.nonce);
                set.insert(StateKey::account(created), AccessMode::Write);
                set.insert(StateKey::code(created), AccessMode::Write);
            }
        }
        // The implicit keys are few and not part of the limit.
        set.finish(SIGNED_KEYS_MAX + IMPLICIT_KEYS_MAX + self.declared_entries())
    }

    /// Declares the keys of `set` in the shortest lists. Implicit keys get no entry. The lists may allow more
    /// than the set, never less.
    ///
    /// `set` holds the keys that the transaction is expected to access when `sender` sends it in a block of
    /// `beneficiary`.
    pub fn declare(&mut self, set: &AccessSet, sender: Address, beneficiary: Address) {
        self.reads = AccessList::default();
        self.writes = AccessList::default();
        self.credits.clear();
        let implicit = self
            .access_set(sender)
            .unwrap_or_else(|_| AccessSet::empty());
        let fee = StateKey::account(beneficiary);
        let entries = set.entries();
        for keys in entries.chunk_by(|left, right| left.key.address == right.key.address) {
            let missing: Vec<_> = keys
                .iter()
                .filter(|entry| !implicit.allows(&entry.key, entry.mode))
                .filter(|entry| entry.key != fee || entry.mode != AccessMode::Credit)
                .collect();
            self.declare_account(keys[0].key.address, &missing);
        }
    }

    fn declare_account(&mut self, address: Address, entries: &[&AccessEntry]) {
        let mode = |part| {
            let entry = entries.iter().find(|entry| entry.key.part == part);
            entry.map(|entry| entry.mode)
        };
        let (account, code) = (mode(KeyPart::Account), mode(KeyPart::Code));
        let slots = |mode| -> Vec<B256> {
            let entries = entries.iter().filter(|entry| entry.mode == mode);
            let slots = entries.filter_map(|entry| match entry.key.part {
                KeyPart::Slot(slot) => Some(B256::from(slot)),
                _ => None,
            });
            slots.collect()
        };
        let mut written = slots(AccessMode::Write);
        let mut read = slots(AccessMode::Read);
        let rewrites_code = code == Some(AccessMode::Write);
        if rewrites_code {
            // An entry in `reads` would forbid writing the code.
            written.append(&mut read);
        }
        let item = |storage_keys| AccessListItem {
            address,
            storage_keys,
        };
        let (slots_read, slots_written) = (!read.is_empty(), !written.is_empty());
        if slots_read {
            self.reads.0.push(item(read));
        }
        if slots_written {
            self.writes.0.push(item(written));
        }
        if rewrites_code || account == Some(AccessMode::Write) {
            self.writes.0.push(item(Vec::new()));
        }
        let credited = account == Some(AccessMode::Credit) && !rewrites_code;
        if credited {
            self.credits.push(address);
        }
        // Without an entry in `reads`, writing the account includes writing its code.
        let calls_written = !rewrites_code && account == Some(AccessMode::Write) && !slots_read;
        let only_read = account == Some(AccessMode::Read) && !rewrites_code;
        let only_called =
            code == Some(AccessMode::Read) && !slots_read && !slots_written && !credited;
        if calls_written || only_read || only_called {
            self.reads.0.push(item(Vec::new()));
        }
    }

    /// All entries that are warm from the start and charged for, in one list.
    pub fn warm_list(&self) -> AccessList {
        let credits = self.credits.iter().map(|address| AccessListItem {
            address: *address,
            storage_keys: Vec::new(),
        });
        let lists = [&self.access_list, &self.reads, &self.writes];
        let items = lists.into_iter().flat_map(|list| list.0.iter().cloned());
        AccessList(items.chain(credits).collect())
    }
}

/// Keys that need no entry: of the sender, and of the recipient or the created contract.
const IMPLICIT_KEYS_MAX: usize = 4;

fn insert_slots(set: &mut AccessSetBuilder, address: Address, slots: &[B256], mode: AccessMode) {
    for slot in slots {
        set.insert(StateKey::slot(address, (*slot).into()), mode);
    }
}
