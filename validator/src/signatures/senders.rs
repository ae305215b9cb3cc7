//! Recovers the senders of transactions on many threads.

use alloy_consensus::TxEnvelope;
use alloy_primitives::Address;
use lockweave_evm_adapter::RecoverError;
use std::{num::NonZeroUsize, thread};

/// Fewer signatures than this are not worth a thread: starting one takes as long as some ten recoveries, or
/// as all of them if they are recovered in a batch.
const SIGNATURES_PER_THREAD_MIN: usize = 32;

/// The sender of every transaction, in order; the error of the first that has none.
///
/// `homestead` requires low `s` values, as EIP-2 does from Homestead on.
pub fn recover_senders<'t>(
    transactions: &[&'t TxEnvelope],
    homestead: bool,
    threads: NonZeroUsize,
) -> Result<Vec<Address>, (usize, RecoverError)> {
    let share = transactions
        .len()
        .div_ceil(threads.get())
        .max(SIGNATURES_PER_THREAD_MIN);
    let recover = |chunk: &[&'t TxEnvelope]| {
        lockweave_evm_adapter::recover_senders(chunk.iter().copied(), homestead)
    };
    let chunks: Vec<_> = transactions.chunks(share).collect();
    let recovered: Vec<Vec<_>> = if chunks.len() <= 1 {
        chunks.into_iter().map(recover).collect()
    } else {
        thread::scope(|scope| {
            let workers: Vec<_> = chunks
                .into_iter()
                .map(|chunk| scope.spawn(move || recover(chunk)))
                .collect();
            workers
                .into_iter()
                .map(|worker| worker.join().expect("recovery does not panic"))
                .collect()
        })
    };
    recovered
        .into_iter()
        .flatten()
        .enumerate()
        .map(|(index, sender)| sender.map_err(|error| (index, error)))
        .collect()
}
