//! Transfers under a grant, in one go.
//!
//! Through [`StateAccess`](crate::StateAccess) a transfer looks its keys up eight times: to look at both codes and at the sender,
//! to ask whether two may be credited, and all that changes once more when it is applied. Here
//! one look at the set finds them all.

// Cells are reached by plain reference here; the grant is what makes that sound.
#![allow(unsafe_code)]

use crate::{
    access::{AccessEntry, AccessMode, KeyAccess},
    executor::Transfer,
    granted::{FEW_KEYS, GrantedState},
    id::KeyId,
    key::KeyPart,
    undo::Undo,
};

/// The keys of a transfer, held as it needs them.
#[derive(Default)]
struct Keys {
    sender: Option<KeyId>,
    sender_code: Option<KeyId>,
    recipient: Option<KeyId>,
    recipient_code: Option<KeyId>,
    beneficiary: Option<KeyId>,
}

impl Keys {
    fn find(transfer: &Transfer, entries: &[AccessEntry], keys: &[KeyAccess]) -> Self {
        let mut found = Self::default();
        for (entry, access) in entries.iter().zip(keys) {
            let address = entry.key.address;
            let held_for = |needed: AccessMode| access.mode.allows(needed).then_some(access.key);
            match entry.key.part {
                KeyPart::Account if address == transfer.sender => {
                    found.sender = held_for(AccessMode::Write);
                }
                KeyPart::Account if address == transfer.recipient => {
                    found.recipient = held_for(AccessMode::Credit);
                }
                KeyPart::Account if address == transfer.beneficiary => {
                    found.beneficiary = held_for(AccessMode::Credit);
                }
                KeyPart::Code => {
                    if address == transfer.sender {
                        found.sender_code = held_for(AccessMode::Read);
                    } else if address == transfer.recipient {
                        found.recipient_code = held_for(AccessMode::Read);
                    }
                }
                _ => {}
            }
        }
        found
    }
}

impl<T> GrantedState<T> {
    /// Carries a transfer out if that is simple: all its keys are in the set entered, beside few others, the
    /// beneficiary is neither of the two, and all is as it has to be.
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
        let (entries, keys) = self.held().filter(|(set, _)| set.len() <= FEW_KEYS)?;
        let keys = Keys::find(transfer, entries, keys);
        let (payer, tipped) = (keys.sender?, keys.beneficiary?);
        let code = keys.sender_code?;
        let paid = if recipient == sender {
            None
        } else {
            Some((keys.recipient?, keys.recipient_code?))
        };
        let block = self.block.as_ref()?;
        let (cells, rules) = (block.cells(), block.cells().rules);
        // SAFETY: keys of the set that was entered, held for reading; by the contract of `enter` nobody
        // writes them until `leave`.
        let has_code =
            |code| unsafe { cells.cells.read(code, |cell| !cell.code().code.is_empty()) };
        if has_code(code) || paid.is_some_and(|(_, code)| has_code(code)) {
            return None;
        }
        // SAFETY: as above.
        let mut value = unsafe { (cells.cells).read(payer, |cell| cell.account().current(rules)) };
        if value.nonce != transfer.nonce || value.balance < transfer.needed {
            return None;
        }
        value.balance -= transfer.gas_cost;
        value.nonce += 1;
        value.exists = true;
        let credits = &mut self.credits;
        // SAFETY: keys of the set that was entered, held for credit.
        let mut may_credit = |key, amount| unsafe { credits.is_safe(cells, key, amount) };
        if !may_credit(tipped, transfer.tip) {
            return None;
        }
        if let Some((paid, _)) = paid {
            value.balance -= transfer.value;
            if !may_credit(paid, transfer.value) {
                return None;
            }
        }
        // SAFETY: a key of the set that was entered, held for writing; by the contract of `enter` nobody else
        // uses the cell until `leave`.
        let before =
            unsafe { (cells.cells).write(payer, |cell| cell.account_mut().replace(value)) };
        if let Some(record) = &mut self.undo {
            record.note_account(payer, before);
        }
        let paid = paid.map(|(paid, _)| (paid, transfer.value));
        for (key, amount) in paid.into_iter().chain([(tipped, transfer.tip)]) {
            // SAFETY: held for credit, as said.
            unsafe { self.credits.add(cells, key, amount) };
            if let Some(record) = &mut self.undo {
                record.entries.push(Undo::Credit(key, amount));
            }
        }
        Some(())
    }
}
