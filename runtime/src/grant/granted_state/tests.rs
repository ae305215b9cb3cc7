use super::*;

use crate::{
    AccessSet, Declaration, DenseId, Inference, MemoryState, SimulatedState, StateAccess,
    StateCells, WriteSet,
    test_support::{RULES, sanitized, undeclared},
};
use alloy_primitives::U256;

/// Hashes that were kept with a transaction's set are there when it runs, for it alone, and each for its place.
#[test]
fn hashes_of_an_inferred_set_are_known_to_its_transaction() {
    let cells = StateCells::new(Arc::new(MemoryState::new()), RULES);
    let block = OpenBlock::to_infer(cells, undeclared(2));
    let place = |byte: u8| [byte; 64];
    let mut simulated = SimulatedState::new(Arc::clone(block.cells().view()));
    for byte in 1..=100 {
        simulated.keep_hash(&place(byte), U256::from(byte));
    }
    simulated.conclude(&block, TaskId::FIRST, Inference::Known, 1);
    simulated.keep_hash(&place(101), U256::from(101));
    let second = TaskId::from_index(1);
    simulated.conclude(&block, second, Inference::Known, 1);
    let mut granted = GrantedState::new(Arc::new(block));
    assert_eq!(granted.known_hash(&place(1)), None, "outside of any grant");
    let mut known_to = |task| {
        granted.test_enter_everything(task);
        let known = [1, 2, 100, 101].map(|byte| granted.known_hash(&place(byte)));
        granted.leave();
        known
    };
    let [one, two, many] = [1, 2, 101].map(U256::from).map(Some);
    assert_eq!(
        known_to(TaskId::FIRST),
        [one, two, None, None],
        "a hundred are too many"
    );
    assert_eq!(known_to(second), [None, None, None, many]);
}

/// Storage is looked at without a cell for it as long as none was cleared, and not any longer.
#[test]
fn storage_cleared_in_the_block_is_empty_until_that_is_taken_back() {
    let contract = Address::repeat_byte(1);
    let (slot, value) = (U256::from(2), U256::from(3));
    let mut before = MemoryState::new();
    before.insert_slot(contract, slot, value);
    let transaction = sanitized(AccessSet::Everything, Declaration::Recorded);
    let block = Arc::new(OpenBlock::new(Arc::new(before), RULES, vec![transaction]));
    let mut granted = GrantedState::new(Arc::clone(&block));
    granted.keep_undo();
    granted.test_enter_everything(TaskId::FIRST);
    let look = |granted: &mut GrantedState<()>| {
        let has_storage = granted.has_storage(contract).unwrap();
        (granted.slot(contract, slot).unwrap(), has_storage)
    };
    assert_eq!(look(&mut granted), (value, true));
    assert!(
        block.key_cells().arena.len() <= 1,
        "a look at code made a cell"
    );
    let cleared = WriteSet {
        cleared: vec![contract],
        ..WriteSet::default()
    };
    granted.apply(&cleared).unwrap();
    assert_eq!(look(&mut granted), (U256::ZERO, false));
    let record = granted.take_undo();
    granted.test_revert(record);
    assert_eq!(look(&mut granted), (value, true));
    let touched = AccessSet::of_touches(granted.touched().drain(..));
    assert_eq!(
        touched.mode(&StateKey::code(contract)),
        Some(AccessMode::Write)
    );
    let slot = StateKey::slot(contract, slot);
    assert_eq!(touched.mode(&slot), Some(AccessMode::Read));
    granted.leave();
}
