//! Transactions with private effects: effects that no other transaction can observe.
//!
//! If a simulation is taken as the execution, and no other transaction of the block names the keys that it
//! read exclusively or wrote, then no other transaction reads the cells of these keys. So the cells are not
//! filled. The effects stay in the speculative transaction, and are gathered from there when the block is
//! sealed. Filling cells, for which the state is read a second time, is most of the cost of running such a
//! transaction.
//!
//! **What others see.** All transactions that name a shared key read it, or all credit it, so only the cells
//! of shared keys matter: credits are added there at once. A transaction that needs one of the other keys all
//! the same (by a late grant, or because it runs alone) first has the cell [filled](OpenBlock::resolve), and
//! finds in it what the transaction wrote. One place decides which of the two comes first: the fill state of
//! the transaction's cells goes from empty to private, from empty to filled, or from private to filled.

use super::open_block::{EMPTY, OpenBlock, PRIVATE};
use crate::{
    cells::{HeldCells, StateCell},
    model::{DeltaContext, DeltaPart, DenseId, KeyId, TaskId},
    speculation::SpeculativeTransaction,
};
use alloy_primitives::KECCAK256_EMPTY;
use std::sync::atomic::Ordering;

impl<T> OpenBlock<T> {
    /// Whether a transaction can [keep its effects private](crate::GrantedState::run_private), as far as is
    /// known before it begins.
    #[inline]
    pub fn may_keep_private(&self, task: TaskId) -> bool {
        let is_plain = |speculative: &SpeculativeTransaction| {
            speculative.inferred().is_some_and(|found| found.is_plain)
        };
        let is_alone = || {
            let table = self.key_cells().complete_table();
            table.is_some_and(|table| table.is_alone(task))
        };
        self.speculative(task).is_some_and(is_plain) && is_alone()
    }

    /// Notes that the effects of a transaction stay private, unless its cells are filled.
    pub(crate) fn claim_private(&self, task: TaskId) -> bool {
        let state = &self.introduced[task.index()];
        let claimed = state.compare_exchange(EMPTY, PRIVATE, Ordering::AcqRel, Ordering::Relaxed);
        claimed.is_ok()
    }

    /// Puts private effects into the cells that the transaction introduced, which are held for writing.
    pub(crate) fn join(&self, task: TaskId, mut cells: HeldCells<'_>) {
        let Some(speculative) = self.speculative(task) else {
            return;
        };
        speculative.look_at_taken(|taken| {
            let mut ids = taken.cells.iter().copied();
            let mut write = |id: Option<KeyId>, change: &mut dyn FnMut(&mut StateCell)| {
                cells.write(id.expect("there is one for each effect"), change);
            };
            for (_, value) in &taken.writes.accounts {
                write(ids.next(), &mut |cell| cell.account_mut().value = *value);
            }
            for (_, _, value) in &taken.writes.slots {
                // Behind the code that it was held with.
                write(ids.nth(1), &mut |cell| cell.slot_mut().value = *value);
            }
        });
    }

    /// The transaction is rolled back. If its effects were private, its cells are empty again.
    pub(crate) fn leave_private(&mut self, task: TaskId) {
        if let Some(state) = self.introduced.get_mut(task.index()) {
            let state = state.get_mut();
            if *state == PRIVATE {
                *state = EMPTY;
            }
        }
    }
}

impl SpeculativeTransaction {
    /// Gathers private effects. They are [plain](crate::SimulatedState::conclude), and no other transaction
    /// names the keys.
    pub(crate) fn collect(&self, context: &DeltaContext, part: &mut DeltaPart<'_>) {
        self.look_at_taken(|taken| {
            for (address, now) in &taken.writes.accounts {
                part.changed_account(context, *address, *now, KECCAK256_EMPTY);
            }
            part.changed_slots(&taken.writes.slots);
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::AccessMode::{self, Read, Write};
    use crate::{
        AccessError, Account, AccountValue, Credit, GrantedState, Inference, MemoryState, Outcome,
        RecentKeys, SimulatedState, StateAccess, StateCells, StateKey, StateView, WriteSet,
        test_support::{RULES, undeclared},
    };
    use alloy_primitives::{Address, U256};
    use std::sync::Arc;

    const CONTRACT: Address = Address::repeat_byte(0xcc);
    const BENEFICIARY: Address = Address::repeat_byte(0xbe);

    fn sender(task: usize) -> Address {
        Address::with_last_byte(u8::try_from(task).unwrap())
    }

    fn slot(slot: usize) -> StateKey {
        StateKey::slot(CONTRACT, U256::from(slot))
    }

    /// What each transaction does: reads slot 0, adds what is there and one to a slot of its own, pays five.
    fn transact(task: usize, state: &mut impl StateAccess) -> Result<Outcome, AccessError> {
        let own = U256::from(task + 1);
        state.code(CONTRACT)?;
        let common = state.slot(CONTRACT, U256::ZERO)?;
        let before = state.slot(CONTRACT, own)?;
        let account = state.account(sender(task))?;
        let paid = AccountValue {
            nonce: account.nonce + 1,
            balance: account.balance - U256::from(5),
            ..account
        };
        state.apply(&WriteSet {
            accounts: vec![(sender(task), paid)],
            slots: vec![(CONTRACT, own, before + common + U256::ONE)],
            credits: vec![Credit {
                address: BENEFICIARY,
                amount: U256::from(5),
            }],
            ..WriteSet::default()
        })?;
        Ok(Outcome::system())
    }

    fn view() -> Arc<dyn StateView> {
        let mut state = MemoryState::new();
        for task in 0..8 {
            let account = Account {
                balance: U256::from(1_000 + task),
                ..Account::default()
            };
            state.insert_account(sender(task), account);
            state.insert_slot(CONTRACT, U256::from(task), U256::from(10 * task));
        }
        Arc::new(state)
    }

    /// A numbered block of so many transactions, all of which were simulated.
    fn block(transactions: usize) -> OpenBlock<()> {
        let cells = StateCells::new(view(), RULES);
        let mut block = OpenBlock::to_infer(cells, undeclared(transactions));
        for task in 0..block.transactions().len() {
            let mut state = SimulatedState::new(view());
            let outcome = transact(task, &mut state).unwrap();
            let found = Inference::Simulated(outcome);
            state.conclude(&block, TaskId::from_index(task), found, 100);
        }
        block.number();
        block
    }

    fn granted(block: &Arc<OpenBlock<()>>) -> GrantedState<()> {
        let mut granted = GrantedState::new(Arc::clone(block));
        granted.keep_undo();
        granted.allow_late_grants();
        granted
    }

    /// Runs a transaction as a worker does, and returns whether its effects stayed private.
    fn run(block: &Arc<OpenBlock<()>>, task: usize) -> bool {
        let mut granted = granted(block);
        let id = TaskId::from_index(task);
        if let Some(outcome) = granted.test_run_private(id) {
            block.finish(id, outcome);
            return true;
        }
        block.resolve(id).unwrap();
        granted.test_enter(id);
        let simulated = granted.apply_simulation();
        let outcome = simulated.unwrap_or_else(|| transact(task, &mut granted).unwrap());
        granted.leave();
        block.finish(id, outcome);
        block.keep_undo(id, granted.take_undo());
        false
    }

    fn extends(block: &OpenBlock<()>, task: usize, key: &StateKey, mode: AccessMode) -> bool {
        let recent = &mut RecentKeys::default();
        let id = block.grant_late(recent, TaskId::from_index(task), key, mode);
        id.unwrap().is_some()
    }

    /// What a slot holds for a thread that reads it with no run on.
    fn look(block: &Arc<OpenBlock<()>>, slot: usize) -> U256 {
        let mut granted = granted(block);
        granted.test_enter_everything(TaskId::FIRST);
        let found = granted.slot(CONTRACT, U256::from(slot)).unwrap();
        granted.leave();
        found
    }

    fn seal(block: Arc<OpenBlock<()>>) -> crate::SealedBlock {
        Arc::into_inner(block).unwrap().seal().unwrap()
    }

    /// The result of the block if each transaction runs in turn.
    fn expected(transactions: usize) -> crate::SealedBlock {
        let block = Arc::new(block(transactions));
        for task in 0..transactions {
            let id = TaskId::from_index(task);
            let mut granted = granted(&block);
            block.resolve(id).unwrap();
            granted.test_enter(id);
            let outcome = transact(task, &mut granted).unwrap();
            granted.leave();
            block.finish(id, outcome);
        }
        seal(block)
    }

    #[test]
    fn who_is_alone_stays_apart_and_comes_to_the_same() {
        let block = Arc::new(block(4));
        // The first introduces what all share.
        let apart = [0, 2, 3, 1].map(|task| run(&block, task));
        assert_eq!(apart, [false, true, true, true]);
        let table = block.key_cells().table().unwrap();
        for task in 1..4 {
            let id = table.find(&slot(task + 1)).unwrap();
            assert!(
                !block.key_cells().arena.is_filled(id),
                "nobody asked for it"
            );
        }
        assert_eq!(seal(block), expected(4));
    }

    #[test]
    fn who_comes_later_finds_what_was_done_apart() {
        let mut block = Arc::new(block(3));
        run(&block, 0);
        assert!(run(&block, 1));
        assert!(
            extends(&block, 2, &slot(2), Write),
            "the one in front is finished"
        );
        let id = block.key_cells().table().unwrap().find(&slot(2)).unwrap();
        let only = Arc::get_mut(&mut block).unwrap();
        let found = only.cells_mut().keys.arena.get_mut(id).slot().value;
        assert_eq!(found, U256::from(21));
        assert_eq!(look(&block, 2), U256::from(21));
        run(&block, 2);
        assert_eq!(seal(block), expected(3));
    }

    #[test]
    fn who_came_before_it_began_keeps_it_from_staying_apart() {
        let block = Arc::new(block(3));
        run(&block, 0);
        assert!(extends(&block, 1, &slot(3), Read));
        block.end_late_grant(
            TaskId::from_index(1),
            block.key_cells().table().unwrap().find(&slot(3)).unwrap(),
        );
        assert!(
            !run(&block, 2),
            "its cells are filled, and it has to use them"
        );
        assert!(run(&block, 1));
        assert_eq!(look(&block, 3), U256::from(31));
        assert_eq!(seal(block), expected(3));
    }

    /// What all read is no key of its own, but it matters.
    #[test]
    fn a_simulation_that_read_what_was_written_since_is_not_kept() {
        let block = Arc::new(block(2));
        let first = TaskId::FIRST;
        block.resolve(first).unwrap();
        let mut granted = granted(&block);
        granted.test_enter(first);
        let common = WriteSet {
            slots: vec![(CONTRACT, U256::ZERO, U256::from(7))],
            ..WriteSet::default()
        };
        granted.apply(&common).unwrap();
        granted.leave();
        block.finish(first, Outcome::system());
        assert!(!run(&block, 1), "slot 0 is not what it was");
        assert_eq!(look(&block, 2), U256::from(20 + 7 + 1));
    }

    #[test]
    fn what_was_done_apart_is_taken_back_whether_somebody_came_or_not() {
        for somebody_comes in [false, true] {
            let mut block = Arc::new(block(3));
            for task in 0..3 {
                assert_eq!(run(&block, task), task > 0);
            }
            if somebody_comes {
                assert_eq!(look(&block, 2), U256::from(21));
            }
            let second = TaskId::from_index(1);
            let record = Arc::get_mut(&mut block).unwrap().reopen(second);
            let mut repair = granted(&block);
            repair.test_revert(record);
            drop(repair);
            assert_eq!(look(&block, 2), U256::from(20));
            assert!(!block.is_finished(second));
            assert!(!run(&block, 1), "its simulation is spent");
            assert_eq!(seal(block), expected(3));
        }
    }
}
