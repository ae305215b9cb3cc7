//! `eth_getBlockAccessList`: what a block accessed, by account (EIP-7928).
//!
//! No header of this chain commits to such a list. It is made by executing the block again.

use crate::rpc::{
    context::RpcContext,
    message::{Params, Reply, reply},
    scratch::{Deadline, Rerun},
};
use alloy_eip7928::{
    AccountChanges, BalanceChange, BlockAccessIndex, BlockAccessList, CodeChange, NonceChange,
    SlotChanges, StorageChange,
};
use alloy_eips::{BlockId, eip4788::SYSTEM_ADDRESS};
use alloy_primitives::{Address, Bytes, U256};
use revm::state::{AccountInfo, Bytecode, EvmState};
use std::collections::{BTreeMap, BTreeSet};

pub(crate) fn get(context: &RpcContext, params: &Params<'_>) -> Reply {
    let id: BlockId = params.required(0, "block")?;
    let Some(block) = context.find_block(id)? else {
        return reply(());
    };
    if block.number() == 0 {
        return reply(BlockAccessList::default());
    }
    let deadline = Deadline::within(context.config.call_timeout);
    let mut rerun = Rerun::begin(context, block)?;
    let mut list = ListBuilder::default();
    for state in rerun.opening_states() {
        list.note(0, state);
    }
    let transactions = rerun.block.transactions.len();
    for index in 0..transactions {
        deadline.check()?;
        let state = rerun.step(index)?;
        list.note(index as u64 + 1, &state);
    }
    for state in rerun.close()? {
        list.note(transactions as u64 + 1, &state);
    }
    reply(list.finish())
}

/// The accesses of one account.
#[derive(Debug, Default)]
struct Touched {
    slots: BTreeMap<U256, Vec<StorageChange>>,
    read: BTreeSet<U256>,
    balances: Vec<BalanceChange>,
    nonces: Vec<NonceChange>,
    codes: Vec<CodeChange>,
}

/// Collects what the steps of a block access, in order.
#[derive(Debug, Default)]
struct ListBuilder(BTreeMap<Address, Touched>);

impl ListBuilder {
    /// Adds the accesses of a step: accounts and slots with their values before and after it.
    fn note(&mut self, index: u64, state: &EvmState) {
        let index = BlockAccessIndex::new(index);
        for (address, account) in state {
            let before = account.original_info();
            let gone = AccountInfo::default();
            let after = if account.is_selfdestructed() {
                &gone
            } else {
                &account.info
            };
            let is_same = before.balance == after.balance
                && before.nonce == after.nonce
                && before.code_hash == after.code_hash;
            if *address == SYSTEM_ADDRESS && is_same {
                continue;
            }
            let touched = self.0.entry(*address).or_default();
            if before.balance != after.balance {
                let change = BalanceChange::new(index, after.balance);
                touched.balances.push(change);
            }
            if before.nonce != after.nonce {
                touched.nonces.push(NonceChange::new(index, after.nonce));
            }
            if before.code_hash != after.code_hash {
                let code = after.code.as_ref().map(Bytecode::original_bytes);
                let code: Bytes = code.unwrap_or_default();
                touched.codes.push(CodeChange::new(index, code));
            }
            for (slot, value) in &account.storage {
                if value.is_changed() {
                    let change = StorageChange::new(index, value.present_value());
                    touched.slots.entry(*slot).or_default().push(change);
                } else {
                    touched.read.insert(*slot);
                }
            }
        }
    }

    /// The list, in the order of addresses and slots.
    fn finish(self) -> BlockAccessList {
        let accounts = self.0.into_iter().map(|(address, touched)| {
            let mut changes = AccountChanges::new(address);
            let only_read = touched.read.into_iter();
            changes.storage_reads = only_read
                .filter(|slot| !touched.slots.contains_key(slot))
                .collect();
            changes.storage_changes = (touched.slots.into_iter())
                .map(|(slot, writes)| SlotChanges::new(slot, writes))
                .collect();
            changes.balance_changes = touched.balances;
            changes.nonce_changes = touched.nonces;
            changes.code_changes = touched.codes;
            changes
        });
        accounts.collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use revm::state::{Account, EvmStorageSlot, TransactionId};

    fn state(before: u64, after: u64) -> EvmState {
        let slot = |original: u64, present: u64| {
            let [original, present] = [original, present].map(U256::from);
            EvmStorageSlot::new_changed(original, present, TransactionId::ZERO)
        };
        let mut account = Account::from(AccountInfo::from_balance(U256::from(before)));
        account.info.balance = U256::from(after);
        account.storage.insert(U256::from(1), slot(before, after));
        account.storage.insert(U256::from(2), slot(5, 5));
        EvmState::from_iter([(Address::repeat_byte(1), account)])
    }

    #[test]
    fn changes_are_listed_by_step_and_reads_only_where_nothing_changed() {
        let mut list = ListBuilder::default();
        list.note(1, &state(7, 7));
        list.note(3, &state(7, 9));
        let list = list.finish();
        assert_eq!(list.len(), 1);
        let place = BlockAccessIndex::new(3);
        let expected = BalanceChange::new(place, U256::from(9));
        assert_eq!(list[0].balance_changes, [expected]);
        assert_eq!(list[0].storage_reads, [U256::from(2)]);
        let change = StorageChange::new(place, U256::from(9));
        let expected = SlotChanges::new(U256::from(1), vec![change]);
        assert_eq!(list[0].storage_changes, [expected]);
    }
}
