//! Reads new blocks and records their receipts in the ledger.

use std::{sync::Arc, time::Duration};

use alloy_primitives::B256;
use serde_json::{Value, json};

use super::{heads::Heads, ledger::Receipt, shared::Shared};
use crate::{
    error::LoadError,
    rpc::{Call, Connection, read_quantity, read_receipt},
};

/// Time between two polls of the head. It is part of every inclusion latency, so it is short.
const POLL: Duration = Duration::from_millis(20);

/// Blocks fetched in one batch.
const BLOCKS_AT_ONCE: u64 = 8;

/// Receipts fetched in one batch, if they are fetched one by one.
const RECEIPTS_AT_ONCE: usize = 100;

/// After this many successive failures to get all receipts of a block, receipts are fetched one by one.
const FAILURES_MAX: u32 = 5;

/// JSON-RPC's error code for an unknown method.
const NO_SUCH_METHOD: i64 = -32601;

/// Follows the chain until it is aborted.
#[derive(Debug)]
pub(crate) struct Tracker {
    /// A connection of its own.
    pub connection: Connection,
    /// The next block to read.
    pub next: u64,
    /// State of the run.
    pub shared: Arc<Shared>,
    /// Announced blocks, if there is a subscription.
    pub heads: Arc<Heads>,
}

/// The needed parts of a block.
struct Block {
    number: u64,
    gas: u64,
    receipts: Vec<Receipt>,
}

impl Tracker {
    /// Reads every new block. A failed query is counted, reported and repeated until the run ends.
    pub(crate) async fn follow(mut self) {
        let mut one_by_one = false;
        let mut failures = 0;
        loop {
            match self.catch_up(one_by_one).await {
                Ok(()) => failures = 0,
                Err(error) => {
                    failures += 1;
                    let missing =
                        matches!(&error, LoadError::Rpc { code, .. } if *code == NO_SUCH_METHOD);
                    one_by_one |= missing || failures >= FAILURES_MAX;
                    self.shared.ledger().query_failed(&error.to_string());
                }
            }
            tokio::select! {
                () = tokio::time::sleep(POLL) => {}
                () = self.heads.new_head.notified() => {}
            }
        }
    }

    async fn catch_up(&mut self, one_by_one: bool) -> Result<(), LoadError> {
        let head = self
            .connection
            .quantity("eth_blockNumber", json!([]))
            .await?;
        while self.next <= head {
            let last = head.min(self.next + BLOCKS_AT_ONCE - 1);
            let blocks = if one_by_one {
                self.read_one_by_one(last).await?
            } else {
                self.read_at_once(last).await?
            };
            let now = self.shared.start.elapsed();
            let mut ledger = self.shared.ledger();
            for block in blocks {
                let announced_at = self.heads.announced_at(block.number);
                ledger.block(block.number, block.gas, &block.receipts, now, announced_at);
            }
            drop(ledger);
            self.next = last + 1;
            self.shared.progress.notify_one();
        }
        Ok(())
    }

    async fn read_at_once(&mut self, last: u64) -> Result<Vec<Block>, LoadError> {
        let method = "eth_getBlockReceipts";
        let numbers = self.next..=last;
        let calls: Vec<Call> = numbers
            .clone()
            .map(|number| Call::new(method, json!([format!("0x{number:x}")])))
            .collect();
        let answers = self.connection.batch(&calls).await?;
        numbers
            .zip(answers)
            .map(|(number, answer)| {
                let answer = answer?;
                let receipts = answer.as_array().ok_or_else(|| LoadError::Protocol {
                    method: method.to_owned(),
                    what: "no receipts for a block below the head".to_owned(),
                })?;
                let receipts: Vec<Receipt> =
                    receipts.iter().map(receipt).collect::<Result<_, _>>()?;
                Ok(Block {
                    number,
                    gas: receipts.iter().map(|receipt| receipt.gas_used).sum(),
                    receipts,
                })
            })
            .collect()
    }

    /// For nodes without `eth_getBlockReceipts`: reads the block's hashes, and the receipts of the run's transactions.
    async fn read_one_by_one(&mut self, last: u64) -> Result<Vec<Block>, LoadError> {
        let method = "eth_getBlockByNumber";
        let numbers = self.next..=last;
        let calls: Vec<Call> = numbers
            .clone()
            .map(|number| Call::new(method, json!([format!("0x{number:x}"), false])))
            .collect();
        let answers = self.connection.batch(&calls).await?;
        let mut blocks = Vec::with_capacity(answers.len());
        for (number, answer) in numbers.zip(answers) {
            let block = answer?;
            let gas = read_quantity(method, &block["gasUsed"])?;
            let hashes: Vec<B256> =
                serde_json::from_value(block["transactions"].clone()).map_err(|error| {
                    LoadError::Protocol {
                        method: method.to_owned(),
                        what: error.to_string(),
                    }
                })?;
            let known: Vec<B256> = {
                let ledger = self.shared.ledger();
                let hashes = hashes.into_iter();
                hashes.filter(|hash| ledger.waits_for(hash)).collect()
            };
            let mut receipts = Vec::with_capacity(known.len());
            for chunk in known.chunks(RECEIPTS_AT_ONCE) {
                let calls: Vec<Call> = chunk
                    .iter()
                    .map(|hash| Call::new("eth_getTransactionReceipt", json!([hash])))
                    .collect();
                for answer in self.connection.batch(&calls).await? {
                    receipts.push(receipt(&answer?)?);
                }
            }
            blocks.push(Block {
                number,
                gas: gas.saturating_to(),
                receipts,
            });
        }
        Ok(blocks)
    }
}

fn receipt(value: &Value) -> Result<Receipt, LoadError> {
    let (hash, success, gas_used) = read_receipt(value)?;
    Ok(Receipt {
        hash,
        success,
        gas_used,
    })
}
