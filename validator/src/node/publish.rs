//! From an executed block to the head: durable first, then announced.

use super::{Head, Node, admission_after, consensus::Finality, submit::sender_state};
use crate::{chain::ChainBlock, store::StoreError};
use alloy_primitives::{Address, B256};
use crossbeam_channel::Receiver;
use lockweave_evm_adapter::EvmTransaction;
use std::{collections::BTreeSet, sync::Arc, time::Duration};
use tracing::{error, info};

/// How long to wait before a block that could not be stored is stored again.
const STORE_RETRY: Duration = Duration::from_secs(1);

/// Makes a block durable. If the storage fails, the commit is retried until something arrives on `give_up`: nothing
/// is lost, and the node continues when, for example, the disk has space again.
pub(super) fn commit_with_retry(
    node: &Node,
    give_up: &Receiver<()>,
    block: &ChainBlock,
    mut commit: impl FnMut() -> Result<(), StoreError>,
) -> Result<(), StoreError> {
    let mut has_failed = false;
    loop {
        let Err(error) = commit() else {
            if has_failed {
                node.storage_failure.lock().take();
                info!(target: "producer", number = block.number(), "the storage works again");
            }
            return Ok(());
        };
        if !matches!(error, StoreError::Backend(_)) {
            return Err(error);
        }
        error!(target: "producer", number = block.number(), %error, "the block is not durable yet");
        *node.storage_failure.lock() = Some(error.to_string());
        has_failed = true;
        if give_up.recv_timeout(STORE_RETRY).is_ok() {
            return Err(error);
        }
    }
}

/// Makes a durable block the head and announces it. `finality` says what is final then.
pub(super) fn publish(
    node: &Node,
    block: &Arc<ChainBlock>,
    finality: impl FnOnce() -> Finality,
) -> Result<(), StoreError> {
    let state = node.store.state_at(block.number())?;
    let included: ahash::AHashSet<B256> = (block.transactions.iter())
        .map(EvmTransaction::hash)
        .collect();
    let senders: BTreeSet<Address> = (block.transactions.iter())
        .map(EvmTransaction::sender)
        .collect();
    let states = senders.into_iter().filter_map(|sender| {
        // A sender that became a contract cannot send; its transactions are dropped when they come up for
        // a block.
        let state = sender_state(&*state, sender).ok()?;
        Some((sender, state))
    });
    let states: Vec<_> = states.collect();
    let intake = node.intake.write();
    *node.admission.write() = admission_after(node.chain(), block);
    *node.head.write() = Head {
        block: Arc::clone(block),
        state,
    };
    node.pool.advance(states, |hash| included.contains(&hash));
    *node.finality.lock() = finality();
    drop(intake);
    node.events.announce_block(Arc::clone(block));
    Ok(())
}
