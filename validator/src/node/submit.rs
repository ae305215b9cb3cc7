//! Submission of transactions: checks, senders, and the pool.

use super::Node;
use crate::pool::{DecodeError, PoolError, PooledTransaction, SenderState, validate};
use alloy_primitives::{Address, B256};
use lockweave_runtime::{CodeRef, StateError, StateView};
use rayon::prelude::*;
use thiserror::Error;

/// Transactions that one thread checks at a time: some hundred microseconds of work, which is worth waking
/// it. Fewer are checked on the caller's thread.
const SHARE: usize = 32;

/// Why a transaction is refused.
#[derive(Debug, Error)]
pub enum SubmitError {
    /// The bytes are not a transaction that this chain accepts.
    #[error(transparent)]
    Decode(#[from] DecodeError),
    /// The pool refuses it.
    #[error(transparent)]
    Pool(#[from] PoolError),
    /// Its sender is a contract (EIP-3607).
    #[error("sender not an eoa: address {0} has code")]
    SenderHasCode(Address),
    /// The state cannot be read.
    #[error(transparent)]
    State(#[from] StateError),
    /// The node has stopped making blocks.
    #[error("the node makes no blocks: {0}")]
    Stopped(String),
}

impl Node {
    /// Submits encoded transactions (EIP-2718) in this order; returns the hash of each, or why it is refused.
    ///
    /// Blocks during the checks; call it from a thread that may block.
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
        let accepted = encoded
            .iter()
            .zip(&results)
            .filter(|(_, result)| result.is_ok());
        self.keep(accepted.map(|(bytes, _)| bytes.as_ref()));
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

    /// Adds the transactions that passed the checks. `results` holds their hashes and receives the pool's
    /// refusals. Returns the hashes that can go into a block now.
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
                Ok(inserted) => executable.extend(inserted),
                Err(error) => *result = Err(error.into()),
            }
        }
        executable
    }
}

/// Nonce and balance of a sender.
pub(super) fn sender_state(
    state: &dyn StateView,
    sender: Address,
) -> Result<SenderState, SubmitError> {
    let Some(account) = state.account(sender)? else {
        return Ok(SenderState::default());
    };
    let code = CodeRef::load(state, sender, Some(&account))?;
    // An account with a delegation (EIP-7702) may still send.
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
