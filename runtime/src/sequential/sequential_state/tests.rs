use super::*;
use crate::{
    AccessMode, AccessSet, Code, DenseId, GrantedState, MemoryState, OpenBlock, Outcome,
    SerialState, StateAccess, StateCells, TaskId,
    test_support::{FailingState, RULES, undeclared},
};
use proptest::{collection::vec, prelude::*};
use std::sync::Arc;

const ADDRESSES: u8 = 4;
const SLOTS: u8 = 3;

fn address(byte: u8) -> Address {
    Address::repeat_byte(byte + 1)
}

fn code(byte: u8) -> CodeRef {
    CodeRef::new(Arc::new(Code::new(vec![byte; usize::from(byte)].into())))
}

/// Accounts with and without code, storage and anything.
fn before() -> Arc<MemoryState> {
    let mut state = MemoryState::new();
    for byte in 0..ADDRESSES - 1 {
        let code = code(byte);
        state.insert_account(
            address(byte),
            Account {
                nonce: u64::from(byte),
                balance: U256::from(10 * byte),
                code_hash: code.hash(),
            },
        );
        if let Some(code) = code.get() {
            state.insert_code(Arc::clone(code));
        }
        for slot in 1..SLOTS {
            state.insert_slot(address(byte), U256::from(slot), U256::from(byte + slot));
        }
    }
    Arc::new(state)
}

#[derive(Clone, Debug)]
enum Balance {
    Keep,
    Write(AccountValue),
    Credit(u64),
}

fn balance() -> impl Strategy<Value = Balance> {
    prop_oneof![
        3 => Just(Balance::Keep),
        3 => (0..2_u64, 0..2_u64, prop::bool::weighted(0.7)).prop_map(|(balance, nonce, exists)| {
            Balance::Write(AccountValue {
                balance: U256::from(balance),
                nonce,
                exists,
            })
        }),
        2 => (0..2_u64).prop_map(Balance::Credit),
    ]
}

type Effects = (Balance, Option<u8>, bool, [Option<u8>; SLOTS as usize]);

fn effects() -> impl Strategy<Value = Effects> {
    let slot = || proptest::option::weighted(0.3, 0..3_u8);
    (
        balance(),
        proptest::option::weighted(0.2, 0..3_u8),
        prop::bool::weighted(0.1),
        [slot(), slot(), slot()],
    )
}

fn writes(effects: &[Effects]) -> WriteSet {
    let mut writes = WriteSet::default();
    for (byte, (balance, new_code, clear, slots)) in (0..).zip(effects) {
        let address = address(byte);
        match balance {
            Balance::Keep => {}
            Balance::Write(value) => writes.accounts.push((address, *value)),
            Balance::Credit(amount) => writes.credits.push(Credit {
                address,
                amount: U256::from(*amount),
            }),
        }
        writes
            .codes
            .extend(new_code.map(|byte| (address, code(byte))));
        writes.cleared.extend(clear.then_some(address));
        for (slot, value) in (0..SLOTS).zip(slots) {
            let value = value.map(|value| (address, U256::from(slot), U256::from(value)));
            writes.slots.extend(value);
        }
    }
    writes
}

fn keys() -> impl Iterator<Item = StateKey> {
    (0..ADDRESSES).map(address).flat_map(|address| {
        let slots = (0..SLOTS).map(move |slot| StateKey::slot(address, U256::from(slot)));
        [StateKey::account(address), StateKey::code(address)]
            .into_iter()
            .chain(slots)
    })
}

fn look(state: &mut impl StateAccess, key: &StateKey) -> (Option<AccountValue>, B256, U256) {
    match key.part {
        KeyPart::Account => {
            let value = state.account(key.address).unwrap();
            (Some(value), B256::ZERO, U256::ZERO)
        }
        KeyPart::Code => {
            let code = state.code(key.address).unwrap();
            (None, code.hash(), U256::ZERO)
        }
        KeyPart::Slot(slot) => {
            let value = state.slot(key.address, slot).unwrap();
            (None, B256::ZERO, value)
        }
    }
}

proptest! {
    /// Whatever transactions do: each sees what the oracle shows it, what counts as untouched is what it was before the
    /// block, what was touched is noted, and in the end the same has changed; block after block in the same memory.
    #[test]
    fn a_block_in_order_is_what_the_oracle_makes_of_it(
        blocks in vec(vec((vec(effects(), usize::from(ADDRESSES)), any::<[bool; 20]>()), 1..6), 1..3),
        clear_empty_accounts in any::<bool>(),
    ) {
        let rules = StateRules { clear_empty_accounts };
        let view = before();
        let mut cells = StateCells::new(view.clone(), rules);
        for transactions in blocks {
            let mut block = OpenBlock::to_infer(cells, undeclared(transactions.len()));
            let sequential = block.begin_sequential().expect("a new block");
            let block = Arc::new(block);
            let mut granted = GrantedState::sequential(Arc::clone(&block), sequential);
            let mut oracle = SerialState::new(view.clone(), rules);
            let mut untouched = SerialState::new(view.clone(), rules);
            for (index, (effects, looks)) in transactions.iter().enumerate() {
                granted.test_enter_everything(TaskId::from_index(index));
                for (key, is_looked_at) in keys().zip(looks) {
                    let (state, _) = granted.sequential_state().unwrap();
                    let is_untouched = state.is_untouched(&key);
                    if *is_looked_at {
                        let seen = look(&mut granted, &key);
                        prop_assert_eq!(seen, look(&mut oracle, &key));
                        let code = StateKey::code(key.address);
                        let (state, _) = granted.sequential_state().unwrap();
                        if is_untouched && state.is_untouched(&code) {
                            prop_assert_eq!(seen, look(&mut untouched, &key));
                        }
                    }
                }
                for byte in 0..ADDRESSES {
                    let has_storage = granted.has_storage(address(byte)).unwrap();
                    prop_assert_eq!(has_storage, oracle.has_storage(address(byte)).unwrap());
                }
                let writes = writes(effects);
                granted.apply(&writes).unwrap();
                oracle.apply(&writes).unwrap();
                let touched = AccessSet::of_touches(granted.touched().drain(..));
                for (key, looked_at) in keys().zip(looks) {
                    let needed = writes.effects().find(|(effect, _)| *effect == key);
                    let needed = needed.map(|(_, mode)| mode);
                    let needed = needed.or(looked_at.then_some(AccessMode::Read));
                    if let Some(needed) = needed {
                        let noted = touched.mode(&key);
                        prop_assert!(noted.is_some_and(|noted| noted.allows(needed)));
                    }
                }
                granted.leave();
                prop_assert!(granted.account(address(0)).is_err(), "nothing is held any more");
                block.finish(TaskId::from_index(index), Outcome::system());
            }
            let sequential = granted.into_sequential().unwrap();
            let mut block = Arc::into_inner(block).unwrap();
            block.end_sequential(sequential);
            let (sealed, spent) = block.into_executed().unwrap().seal().unwrap();
            prop_assert_eq!(&sealed.delta, &oracle.delta().unwrap());
            cells = spent.into_cells();
            cells.reset(view.clone(), rules);
            cells.recycle(sealed);
        }
    }
}

/// A block with many changes gathers them in shards, on any thread. Each change is in exactly one shard.
#[test]
fn many_changes_are_gathered_whole() {
    const ACCOUNTS: u64 = PART_MIN as u64 + 7;
    let view = before();
    let cells = StateCells::new(view.clone(), RULES);
    let mut block = OpenBlock::to_infer(cells, undeclared(1));
    let sequential = block.begin_sequential().expect("a new block");
    let block = Arc::new(block);
    let mut granted = GrantedState::sequential(Arc::clone(&block), sequential);
    let mut writes = WriteSet::default();
    for number in 1..=ACCOUNTS {
        let address = Address::left_padding_from(&(1_000 + number).to_be_bytes());
        let value = AccountValue {
            nonce: number,
            exists: true,
            ..AccountValue::default()
        };
        writes.accounts.push((address, value));
        writes
            .slots
            .push((address, U256::from(number), U256::from(number)));
    }
    granted.test_enter_everything(TaskId::from_index(0));
    granted.apply(&writes).unwrap();
    granted.leave();
    block.finish(TaskId::from_index(0), Outcome::system());
    let sequential = granted.into_sequential().unwrap();
    let mut block = Arc::into_inner(block).unwrap();
    block.end_sequential(sequential);
    let mut oracle = SerialState::new(view, RULES);
    oracle.apply(&writes).unwrap();
    let settled = block.into_executed().unwrap();
    assert!(settled.shards() > 1);
    let (sealed, _) = settled.seal().unwrap();
    assert_eq!(sealed.delta, oracle.delta().unwrap());
}

#[test]
fn effects_that_cannot_all_be_applied_are_not_applied() {
    let (well, torn) = (address(0), address(1));
    let view = FailingState {
        account: |address| {
            let fails = address == torn;
            let error = StateError::MissingBlockHash { number: 0 };
            (!fails).then_some(()).ok_or(error)
        },
        slot: |_| Ok(U256::ZERO),
    };
    let mut state = SequentialState::default();
    let value = AccountValue {
        balance: U256::from(5),
        nonce: 1,
        exists: true,
    };
    let mut writes = WriteSet {
        accounts: vec![(well, value)],
        slots: vec![(well, U256::ONE, U256::ONE)],
        credits: vec![Credit {
            address: torn,
            amount: U256::ONE,
        }],
        ..WriteSet::default()
    };
    assert!(state.apply(&view, RULES, &writes).is_err());
    assert!(!state.may_credit(&view, torn, U256::ONE));
    let untouched = AccountValue::default();
    assert_eq!(state.account(&view, well).unwrap(), untouched);
    assert_eq!(state.slot(&view, well, U256::ONE).unwrap(), U256::ZERO);
    writes.credits.clear();
    state.apply(&view, RULES, &writes).unwrap();
    assert_eq!(state.account(&view, well).unwrap(), value);
    assert_eq!(state.slot(&view, well, U256::ONE).unwrap(), U256::ONE);
}
