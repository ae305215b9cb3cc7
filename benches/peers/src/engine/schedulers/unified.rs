//! Agave's unified scheduler, on the same work.
//!
//! Its tasks are Solana transactions: the fee payer and the second key are written; the third, which all read, is the
//! called program.

// Its state machine may be created once a thread, by an unsafe function.
#![allow(unsafe_code)]

use super::{Keys, per_transaction};
use ahash::AHashMap;
use solana_message::{
    MessageHeader, SimpleAddressLoader, VersionedMessage,
    compiled_instruction::CompiledInstruction, legacy::Message,
};
use solana_pubkey::Pubkey;
use solana_runtime_transaction::runtime_transaction::RuntimeTransaction;
use solana_signature::Signature;
use solana_transaction::{
    sanitized::{MessageHash, SanitizedTransaction},
    versioned::VersionedTransaction,
};
use solana_unified_scheduler_logic::{Capability, SchedulingStateMachine, Task, UsageQueue};
use std::{collections::HashSet, hint::black_box, thread, time::Instant};

type Transaction = RuntimeTransaction<SanitizedTransaction>;

/// Nanoseconds for each transaction, with tasks made beforehand or, if `making`, on the clock.
pub(super) fn run(batches: &[Vec<Keys>], making: bool) -> f64 {
    let transactions: Vec<Vec<Transaction>> = batches
        .iter()
        .map(|batch| batch.iter().map(transaction).collect())
        .collect();
    let on_its_own = || {
        // SAFETY: the thread creates one state machine and ends with it.
        let machine = unsafe {
            SchedulingStateMachine::exclusively_initialize_current_thread_for_scheduling(None, None)
        };
        schedule(machine, transactions, making)
    };
    thread::scope(|scope| scope.spawn(on_its_own).join()).expect("it schedules all")
}

fn schedule(
    mut machine: SchedulingStateMachine,
    transactions: Vec<Vec<Transaction>>,
    making: bool,
) -> f64 {
    let mut queues = AHashMap::new();
    let mut prepared = Vec::new();
    let mut waiting = transactions;
    if !making {
        prepared = waiting
            .drain(..)
            .map(|batch| tasks(batch, &mut queues))
            .collect();
    }
    let batches = prepared.len() + waiting.len();
    let (mut prepared, mut waiting) = (prepared.into_iter(), waiting.into_iter());
    // Memory is freed after the clock stops.
    let mut done = Vec::with_capacity(batches);
    let mut ready = Vec::new();
    let start = Instant::now();
    for _ in 0..batches {
        let batch = match prepared.next() {
            Some(batch) => batch,
            None => tasks(waiting.next().unwrap_or_default(), &mut queues),
        };
        for task in &batch {
            ready.extend(machine.schedule_or_buffer_task(Task::clone(task), false));
        }
        while let Some(task) = ready
            .pop()
            .or_else(|| machine.schedule_next_unblocked_task())
        {
            machine.deschedule_task(&black_box(task));
        }
        assert!(machine.has_no_active_task(), "every task becomes ready");
        done.push(batch);
    }
    per_transaction(start)
}

/// The tasks of a batch. Queues belong to one batch, as ids do in ours.
fn tasks(batch: Vec<Transaction>, queues: &mut AHashMap<Pubkey, UsageQueue>) -> Vec<Task> {
    queues.clear();
    let mut queue = |key| {
        let new = || UsageQueue::new(&Capability::FifoQueueing);
        queues.entry(key).or_insert_with(new).clone()
    };
    (0..)
        .zip(batch)
        .map(|(id, transaction)| SchedulingStateMachine::create_task(transaction, id, &mut queue))
        .collect()
}

fn transaction(keys: &Keys) -> Transaction {
    let [program, written, payer] = keys.map(|key| {
        let mut bytes = [0; 32];
        bytes[..8].copy_from_slice(&key.to_le_bytes());
        // Outside the addresses that Solana reserves.
        bytes[31] = 1;
        Pubkey::new_from_array(bytes)
    });
    let message = Message {
        header: MessageHeader {
            num_required_signatures: 1,
            num_readonly_signed_accounts: 0,
            num_readonly_unsigned_accounts: 1,
        },
        account_keys: vec![payer, written, program],
        instructions: vec![CompiledInstruction {
            program_id_index: 2,
            accounts: vec![0, 1],
            data: Vec::new(),
        }],
        ..Message::default()
    };
    // Not used.
    let hash = MessageHash::Precomputed(message.recent_blockhash);
    let transaction = VersionedTransaction {
        signatures: vec![Signature::default()],
        message: VersionedMessage::Legacy(message),
    };
    let none = HashSet::new();
    let loader = SimpleAddressLoader::Disabled;
    Transaction::try_create(transaction, hash, Some(false), loader, &none, true)
        .expect("a sound transaction")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_keys_are_written_and_one_is_read() {
        let transaction = transaction(&[0, 1, 7]);
        let message = transaction.message();
        let writable = [0, 1, 2].map(|place| message.is_writable(place));
        assert_eq!(writable, [true, true, false]);
        assert_eq!(message.account_keys().len(), 3);
    }
}
