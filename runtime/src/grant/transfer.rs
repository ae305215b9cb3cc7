//! Transfers under a grant, in one go.
//!
//! Through [`StateAccess`](crate::StateAccess) a transfer looks its keys up eight times: to read both codes
//! and the sender, to ask whether two accounts may be credited, and again for all changes. Here one pass over
//! the set finds them all.

use super::granted_state::{GrantedState, held_cells};
use crate::{
    executor::{Transfer, TransferKeys, touches},
    model::{Account, FEW_KEYS, KeyId, StateKey},
    speculation::Undo,
};

struct Parties {
    payer: KeyId,
    /// Unless it is the payer.
    paid: Option<KeyId>,
    tipped: KeyId,
}

impl<T> GrantedState<T> {
    /// Carries a transfer out if that is simple: the beneficiary is neither of the two, and all is as it has to be;
    /// under a grant of less than everything, all keys are in the set entered, beside few others.
    pub(crate) fn carry_out(&mut self, transfer: &Transfer) -> Option<()> {
        let Transfer {
            sender,
            recipient,
            beneficiary,
            ..
        } = *transfer;
        if beneficiary == sender || beneficiary == recipient {
            return None;
        }
        if let Some((state, before)) = self.sequential_state() {
            state.transfer(&**before.view(), before.rules, transfer)?;
            self.note_transfer(transfer);
            return Some(());
        }
        let parties = if self.holds_everything() {
            self.find_parties_anywhere(transfer)?
        } else {
            self.find_parties(transfer)?
        };
        self.carry_out_between(&parties, transfer)?;
        if self.holds_everything() {
            self.note_transfer(transfer);
        }
        Some(())
    }

    /// The accounts of a transfer whose parties have no code, in the set entered.
    fn find_parties(&mut self, transfer: &Transfer) -> Option<Parties> {
        let (entries, keys) = self
            .granted_keys()
            .filter(|(set, _)| set.len() <= FEW_KEYS)?;
        let ids = entries.iter().zip(keys.iter().map(|access| access.key));
        let keys = TransferKeys::find(transfer, ids);
        let cells = held_cells(self.block.as_ref()?, &mut self.credits);
        let has_code = |code| cells.read(code, |cell| !cell.code().code.is_empty());
        if has_code(keys.sender_code?) {
            return None;
        }
        let paid = if transfer.recipient == transfer.sender {
            None
        } else {
            let paid = keys.recipient?;
            if has_code(keys.recipient_code?) {
                return None;
            }
            Some(paid)
        };
        Some(Parties {
            payer: keys.sender?,
            paid,
            tipped: keys.beneficiary?,
        })
    }

    /// The same under a grant of everything, as long as no code has changed in the block: then an account has what
    /// it had, and a cell for that is not needed.
    fn find_parties_anywhere(&mut self, transfer: &Transfer) -> Option<Parties> {
        let mut find = |address| {
            let (id, _) = self.find_anywhere(&StateKey::account(address)).ok()?;
            Some(id)
        };
        let payer = find(transfer.sender)?;
        let paid = if transfer.recipient == transfer.sender {
            None
        } else {
            Some(find(transfer.recipient)?)
        };
        let tipped = find(transfer.beneficiary)?;
        let cells = self.block.as_ref()?.key_cells();
        let has_code = |id| {
            cells
                .arena
                .origin(id)
                .account()
                .is_some_and(Account::has_code)
        };
        if cells.is_recoded() || has_code(payer) || paid.is_some_and(has_code) {
            return None;
        }
        Some(Parties {
            payer,
            paid,
            tipped,
        })
    }

    fn note_transfer(&mut self, transfer: &Transfer) {
        for (key, mode) in touches(transfer) {
            self.note(&key, mode);
        }
    }

    /// Carries a transfer out between parties that have no code, if they have and can take what they need.
    fn carry_out_between(&mut self, parties: &Parties, transfer: &Transfer) -> Option<()> {
        let Parties {
            payer,
            paid,
            tipped,
        } = *parties;
        let block = self.block.as_ref()?;
        let rules = block.key_cells().rules;
        let mut cells = held_cells(block, &mut self.credits);
        let mut value = cells.read(payer, |cell| cell.account().current(rules));
        if value.nonce != transfer.nonce || value.balance < transfer.needed {
            return None;
        }
        value.balance -= transfer.gas_cost;
        value.nonce += 1;
        value.exists = true;
        if !cells.is_credit_safe(tipped, transfer.tip) {
            return None;
        }
        if let Some(paid) = paid {
            value.balance -= transfer.value;
            if !cells.is_credit_safe(paid, transfer.value) {
                return None;
            }
        }
        let before = cells.write(payer, |cell| cell.account_mut().replace(value));
        if let Some(record) = &mut self.undo {
            record.note_account(payer, before);
        }
        let paid = paid.map(|paid| (paid, transfer.value));
        for (key, amount) in paid.into_iter().chain([(tipped, transfer.tip)]) {
            cells.credit(key, amount);
            if let Some(record) = &mut self.undo {
                record.entries.push(Undo::Credit(key, amount));
            }
        }
        Some(())
    }
}
