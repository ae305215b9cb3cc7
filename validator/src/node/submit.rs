//! Taking transactions in.

use super::Node;
use crate::pool::{DecodeError, PoolError, PooledTransaction, SenderState, validate};
use alloy_primitives::{Address, B256};
use lockweave_runtime::{CodeRef, StateError, StateView};
use rayon::prelude::*;
use thiserror::Error;

/// A thread is given this many transactions: it is woken for some hundred microseconds of work. Fewer are checked on the
/// caller's.
const SHARE: usize = 32;

/// Why a transaction is refused.
#[derive(Debug, Error)]
pub enum SubmitError {
    /// Its bytes are not a transaction that this chain could have.
    #[error(transparent)]
    Decode(#[from] DecodeError),
    /// The pool does not take it.
    #[error(transparent)]
    Pool(#[from] PoolError),
    /// Its sender is a contract (EIP-3607).
    #[error("sender not an eoa: address {0} has code")]
    SenderHasCode(Address),
    /// The state cannot be read.
    #[error(transparent)]
    State(#[from] StateError),
    /// No blocks are made any more.
    #[error("the node makes no blocks: {0}")]
    Stopped(String),
}

impl Node {
    /// Takes in encoded transactions (EIP-2718), in this order; the hash of each, or why not.
    ///
    /// Blocks while it checks; call it from a thread that may.
    pub fn submit(&self, encoded: &[impl AsRef<[u8]> + Sync]) -> Vec<Result<B256, SubmitError>> {
        if let Some(failure) = self.failure() {
            let refuse = |_| Err(SubmitError::Stopped(failure.clone()));
            return encoded.iter().map(refuse).collect();
        }
        let admission = self.admission.read().clone();
        let check = |share: &[_]| validate(&admission, &self.config.pool, share);
        let checked: Vec<Result<PooledTransaction, DecodeError>> = if encoded.len() <= SHARE {
            check(encoded)
        } else {
            (self.signatures).install(|| encoded.par_chunks(SHARE).flat_map_iter(check).collect())
        };
        let intake = self.intake.read();
        let state = self.head().state;
        let mut results = Vec::with_capacity(encoded.len());
        let mut accepted = Vec::new();
        for checked in checked {
            let looked_up = checked.map_err(SubmitError::from).and_then(|transaction| {
                let sender = sender_state(&*state, transaction.sender)?;
                Ok((transaction, sender))
            });
            results.push(match looked_up {
                Ok((transaction, sender)) => {
                    let hash = transaction.hash;
                    accepted.push((transaction, sender));
                    Ok(hash)
                }
                Err(error) => Err(error),
            });
        }
        let executable = self.add_to_pool(accepted, &mut results);
        drop(intake);
        if !executable.is_empty() {
            self.notify();
            self.events.announce_pending(executable);
        }
        let refused = results.iter().filter(|result| result.is_err()).count();
        if refused > 0 {
            metrics::counter!("lockweave_rejected_total").increment(refused as u64);
        }
        results
    }

    /// Adds what passed; `results` has their hashes, and gets the pool's refusals. Returns those
    /// that can go into a block now.
    fn add_to_pool(
        &self,
        accepted: Vec<(PooledTransaction, SenderState)>,
        results: &mut [Result<B256, SubmitError>],
    ) -> Vec<B256> {
        let mut executable = Vec::new();
        let inserted = self.pool.insert(accepted);
        let passed = results.iter_mut().filter(|result| result.is_ok());
        for (result, inserted) in passed.zip(inserted) {
            match inserted {
                Ok(inserted) => executable.extend(inserted.executable),
                Err(error) => *result = Err(error.into()),
            }
        }
        executable
    }
}

/// What the state says of a sender.
pub(super) fn sender_state(
    state: &dyn StateView,
    sender: Address,
) -> Result<SenderState, SubmitError> {
    let Some(account) = state.account(sender)? else {
        return Ok(SenderState::default());
    };
    let code = CodeRef::load(state, sender, Some(&account))?;
    // An account that delegates (EIP-7702) still sends.
    let is_contract =
        (code.get()).is_some_and(|code| !code.bytes().starts_with(&[0xef, 0x01, 0x00]));
    if is_contract {
        return Err(SubmitError::SenderHasCode(sender));
    }
    Ok(SenderState {
        nonce: account.nonce,
        balance: account.balance,
    })
}
