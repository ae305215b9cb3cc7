//! Agave's unified scheduler, on the same work.
//!
//! Its tasks are made of Solana transactions: who pays writes, the second key is written as well, and the third, which all
//! read, is the program that is called.

// Its state machine is to be made once a thread.
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

/// Nanoseconds for each transaction, with tasks that were made before, as keys that are numbered, or with `making` them.
pub(super) fn run(windows: &[Vec<Keys>], making: bool) -> f64 {
    let transactions: Vec<Vec<Transaction>> = windows
        .iter()
        .map(|window| window.iter().map(transaction).collect())
        .collect();
    let on_its_own = || {
        // SAFETY: the thread makes one and ends with it.
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
            .map(|window| tasks(window, &mut queues))
            .collect();
    }
    let windows = prepared.len() + waiting.len();
    let (mut prepared, mut waiting) = (prepared.into_iter(), waiting.into_iter());
    // Memory is given back when the clock has stopped.
    let mut done = Vec::with_capacity(windows);
    let mut ready = Vec::new();
    let start = Instant::now();
    for _ in 0..windows {
        let window = match prepared.next() {
            Some(window) => window,
            None => tasks(waiting.next().unwrap_or_default(), &mut queues),
        };
        for task in &window {
            ready.extend(machine.schedule_or_buffer_task(Task::clone(task), false));
        }
        while let Some(task) = ready
            .pop()
            .or_else(|| machine.schedule_next_unblocked_task())
        {
            machine.deschedule_task(&black_box(task));
        }
        assert!(machine.has_no_active_task(), "every task becomes ready");
        done.push(window);
    }
    per_transaction(start)
}

/// The tasks of a window. As ids are in ours, queues are of one window.
fn tasks(window: Vec<Transaction>, queues: &mut AHashMap<Pubkey, UsageQueue>) -> Vec<Task> {
    queues.clear();
    let mut queue = |key| {
        let new = || UsageQueue::new(&Capability::FifoQueueing);
        queues.entry(key).or_insert_with(new).clone()
    };
    (0..)
        .zip(window)
        .map(|(id, transaction)| SchedulingStateMachine::create_task(transaction, id, &mut queue))
        .collect()
}

fn transaction(keys: &Keys) -> Transaction {
    let [program, written, payer] = keys.map(|key| {
        let mut bytes = [0; 32];
        bytes[..8].copy_from_slice(&key.to_le_bytes());
        // Apart from the addresses that Solana keeps for itself.
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
    // Nobody asks for it.
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
