//! Access lists that are wrong in one thing, made out of a right one.

use alloy_consensus::Header;
use alloy_eips::eip7928::{
    AccountChanges, BlockAccessIndex, BlockAccessList, ITEM_COST, compute_block_access_list_hash,
    total_bal_items,
};
use alloy_primitives::{Address, Bytes, U256};
use lockweave::engine::{EngineError, InvalidAccessList};

/// How a wrong list is to be refused.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Expected {
    /// For its form.
    Malformed,
    /// For its size.
    TooLarge,
    /// For what it says of the block: by comparison, or because a step cannot be run on it.
    Wrong,
}

impl Expected {
    /// Whether this is such a refusal.
    pub(crate) const fn is(self, error: &EngineError) -> bool {
        matches!(
            (self, error),
            (
                Self::Malformed,
                EngineError::List(InvalidAccessList::Malformed(_))
            ) | (
                Self::TooLarge,
                EngineError::List(InvalidAccessList::TooLarge { .. })
            ) | (
                Self::Wrong,
                EngineError::List(InvalidAccessList::Account { .. }) | EngineError::Step { .. }
            )
        )
    }
}

/// A wrong list, with a header that commits to it.
pub(crate) struct WrongList {
    /// What is wrong with it.
    pub(crate) name: &'static str,
    /// The header.
    pub(crate) header: Header,
    /// The list.
    pub(crate) list: BlockAccessList,
    /// How it is to be refused.
    pub(crate) expected: Expected,
}

/// Everything that can be made wrong of a list.
#[expect(
    clippy::too_many_lines,
    reason = "a table: a name, what is expected, how it is made"
)]
pub(crate) fn wrong_lists(header: &Header, list: &[AccountChanges]) -> Vec<WrongList> {
    let mut wrong = Vec::new();
    let mut add = |name: &'static str,
                   expected: Expected,
                   change: &dyn Fn(&mut BlockAccessList) -> Option<()>| {
        let mut changed = list.to_vec();
        if change(&mut changed).is_some() {
            let hash = compute_block_access_list_hash(&changed);
            // An entry too many may be the one that is too much.
            let size = total_bal_items(&changed);
            let expected = match expected {
                Expected::Wrong if size > header.gas_limit / ITEM_COST as u64 => Expected::TooLarge,
                expected => expected,
            };
            wrong.push(WrongList {
                name,
                header: Header {
                    block_access_list_hash: Some(hash),
                    ..header.clone()
                },
                list: changed,
                expected,
            });
        }
    };
    add("no account", Expected::Wrong, &|list| {
        (!list.is_empty()).then(|| list.clear())
    });
    add("an account is missing", Expected::Wrong, &|list| {
        (!list.is_empty()).then(|| drop(list.remove(list.len() / 2)))
    });
    add("an account too many", Expected::Wrong, &|list| {
        insert_account(list, Address::repeat_byte(0xa5))
    });
    add(
        "two accounts are out of order",
        Expected::Malformed,
        &|list| (list.len() > 1).then(|| list.swap(0, 1)),
    );
    add("an account is there twice", Expected::Malformed, &|list| {
        let first = list.first()?.clone();
        list.insert(0, first);
        Some(())
    });
    add("a read is missing", Expected::Wrong, &|list| {
        let account = list.iter_mut().find(|one| !one.storage_reads.is_empty())?;
        account.storage_reads.pop().map(drop)
    });
    add("a read too many", Expected::Wrong, &add_read);
    add("reads are out of order", Expected::Malformed, &|list| {
        let account = list.iter_mut().find(|one| one.storage_reads.len() > 1)?;
        account.storage_reads.reverse();
        Some(())
    });
    add("a change is also a read", Expected::Malformed, &|list| {
        let mut accounts = list.iter_mut();
        let account = accounts.find(|one| !one.storage_changes.is_empty())?;
        account.storage_reads = vec![account.storage_changes[0].slot];
        Some(())
    });
    add("a balance is wrong", Expected::Wrong, &|list| {
        let changes = list.iter_mut().flat_map(|one| &mut one.balance_changes);
        changes
            .last()
            .map(|last| last.post_balance ^= U256::from(1))
    });
    add("a balance is missing", Expected::Wrong, &|list| {
        let mut accounts = list.iter_mut();
        let account = accounts.find(|one| !one.balance_changes.is_empty())?;
        account.balance_changes.pop().map(drop)
    });
    add("a nonce is wrong", Expected::Wrong, &|list| {
        let mut changes = list.iter_mut().flat_map(|one| &mut one.nonce_changes);
        changes.next().map(|first| first.new_nonce += 1)
    });
    add("a code is wrong", Expected::Wrong, &|list| {
        let mut changes = list.iter_mut().flat_map(|one| &mut one.code_changes);
        changes.next().map(|first| {
            first.new_code = Bytes::from([first.new_code.as_ref(), &[0xfe]].concat());
        })
    });
    add("a slot's value is wrong", Expected::Wrong, &|list| {
        let slots = list.iter_mut().flat_map(|one| &mut one.storage_changes);
        let mut changes = slots.flat_map(|slot| &mut slot.changes);
        changes.next().map(|first| first.new_value ^= U256::from(1))
    });
    add("a slot's changes are missing", Expected::Wrong, &|list| {
        let mut accounts = list.iter_mut();
        let account = accounts.find(|one| !one.storage_changes.is_empty())?;
        account.storage_changes.pop().map(drop)
    });
    add(
        "a change is behind the block",
        Expected::Malformed,
        &|list| {
            let changes = list.iter_mut().flat_map(|one| &mut one.nonce_changes);
            let change = changes.last()?;
            change.block_access_index = BlockAccessIndex::new(u64::from(u32::MAX));
            Some(())
        },
    );
    duplicates(&mut add);
    wrong.extend(too_large(header, list));
    wrong
}

/// Makes a list wrong; `None` where it has nothing to be made wrong in this way.
type Change<'a> = &'a dyn Fn(&mut BlockAccessList) -> Option<()>;

/// Says everything that can be said twice, twice.
fn duplicates(add: &mut dyn FnMut(&'static str, Expected, Change<'_>)) {
    add("a nonce is there twice", Expected::Malformed, &|list| {
        let mut accounts = list.iter_mut();
        let account = accounts.find(|one| !one.nonce_changes.is_empty())?;
        let first = account.nonce_changes[0].clone();
        account.nonce_changes.insert(0, first);
        Some(())
    });
    add("a balance is there twice", Expected::Malformed, &|list| {
        let mut accounts = list.iter_mut();
        let account = accounts.find(|one| !one.balance_changes.is_empty())?;
        let first = account.balance_changes[0].clone();
        account.balance_changes.insert(0, first);
        Some(())
    });
    add("a code is there twice", Expected::Malformed, &|list| {
        let mut accounts = list.iter_mut();
        let account = accounts.find(|one| !one.code_changes.is_empty())?;
        let first = account.code_changes[0].clone();
        account.code_changes.insert(0, first);
        Some(())
    });
    add("a slot is there twice", Expected::Malformed, &|list| {
        let mut accounts = list.iter_mut();
        let account = accounts.find(|one| !one.storage_changes.is_empty())?;
        let first = account.storage_changes[0].clone();
        account.storage_changes.insert(0, first);
        Some(())
    });
    add(
        "a slot's value is there twice",
        Expected::Malformed,
        &|list| {
            let mut slots = list.iter_mut().flat_map(|one| &mut one.storage_changes);
            let slot = slots.next()?;
            let first = slot.changes[0].clone();
            slot.changes.insert(0, first);
            Some(())
        },
    );
    add("a read is there twice", Expected::Malformed, &|list| {
        let mut accounts = list.iter_mut();
        let account = accounts.find(|one| !one.storage_reads.is_empty())?;
        account.storage_reads.insert(0, account.storage_reads[0]);
        Some(())
    });
    add("a slot has no changes", Expected::Malformed, &|list| {
        let mut slots = list.iter_mut().flat_map(|one| &mut one.storage_changes);
        slots.next()?.changes.clear();
        Some(())
    });
}

fn insert_account(list: &mut BlockAccessList, address: Address) -> Option<()> {
    let place = list.binary_search_by_key(&address, |account| account.address);
    list.insert(place.err()?, AccountChanges::new(address));
    Some(())
}

/// Adds a slot that nobody touches.
fn add_read(list: &mut BlockAccessList) -> Option<()> {
    let account = list.last_mut()?;
    let slot = U256::MAX - U256::from(0xa5);
    let place = account.storage_reads.binary_search(&slot).err()?;
    account.storage_reads.insert(place, slot);
    Some(())
}

/// The list itself, in a block with too low a limit for it.
fn too_large(header: &Header, list: &[AccountChanges]) -> Option<WrongList> {
    let gas_limit = (total_bal_items(list) * ITEM_COST as u64).checked_sub(1)?;
    Some(WrongList {
        name: "it is too large",
        header: Header {
            gas_limit,
            ..header.clone()
        },
        list: list.to_vec(),
        expected: Expected::TooLarge,
    })
}
