//! Credits that the protocol hands out: withdrawals and rewards.

use lockweave_runtime::{AccessError, Credit, StateAccess, WriteSet};

/// Writes the credits of a step. Several credits of one account are added up first.
pub(super) fn hand_out(
    credits: &[Credit],
    state: &mut impl StateAccess,
    writes: &mut WriteSet,
) -> Result<(), AccessError> {
    writes.clear();
    let mut sums: Vec<Credit> = Vec::with_capacity(credits.len());
    for credit in credits {
        match sums.iter_mut().find(|sum| sum.address == credit.address) {
            Some(sum) => sum.amount = sum.amount.saturating_add(credit.amount),
            None => sums.push(*credit),
        }
    }
    for credit in sums {
        if state.may_credit(credit.address, credit.amount) {
            writes.credits.push(credit);
        } else {
            let mut value = state.account(credit.address)?;
            value.balance = value.balance.saturating_add(credit.amount);
            value.exists = true;
            writes.accounts.push((credit.address, value));
        }
    }
    Ok(())
}
