//! One recorded block, parsed and checked against its own hashes.

use super::error::{Contradiction, RecordedError};
use alloy_consensus::{
    EMPTY_OMMER_ROOT_HASH, Header, TxEnvelope,
    proofs::{calculate_transaction_root, calculate_withdrawals_root},
};
use alloy_eips::{eip2718::Encodable2718, eip4895::Withdrawal};
use alloy_primitives::{Address, B256, keccak256};
use lockweave_runtime::MemoryState;
use serde::de::DeserializeOwned;
use serde_json::Value;

/// A block and the state that it needs.
#[derive(Debug)]
pub struct RecordedBlock {
    /// The file it was read from, for messages.
    pub file: String,
    /// The header, whose hash was checked.
    pub header: Header,
    /// Transactions, whose root was checked, with the sender the recording claims for each.
    pub transactions: Vec<(TxEnvelope, Address)>,
    /// How many uncles it has; a recording has their hashes only.
    pub ommers: usize,
    /// Withdrawals, whose root was checked.
    pub withdrawals: Vec<Withdrawal>,
    /// The part of the state before the block that the recording has.
    pub state: MemoryState,
}

/// Known fields of a block object: the header's and those that JSON-RPC adds.
const KNOWN_FIELDS: &str = "hash parentHash sha3Uncles miner stateRoot transactionsRoot receiptsRoot logsBloom \
    difficulty number gasLimit gasUsed timestamp extraData mixHash nonce baseFeePerGas \
    withdrawalsRoot blobGasUsed excessBlobGas parentBeaconBlockRoot requestsHash \
    blockAccessListHash slotNumber totalDifficulty size uncles transactions withdrawals author";

/// Parses a block object and checks it against its own hashes.
pub(super) struct BlockParser<'a> {
    pub(super) file: &'a str,
    pub(super) block: serde_json::Map<String, Value>,
}

impl BlockParser<'_> {
    pub(super) fn parse(self, number: u64) -> Result<RecordedBlock, RecordedError> {
        let header = self.header(number)?;
        let transactions = self.transactions(&header)?;
        let withdrawals = self.withdrawals(&header)?;
        let uncles: Vec<B256> = self.part("uncles")?.unwrap_or_default();
        if uncles.is_empty() != (header.ommers_hash == EMPTY_OMMER_ROOT_HASH) {
            let listed = uncles.len();
            return Err(self.contradiction(Contradiction::Uncles { listed }));
        }
        Ok(RecordedBlock {
            file: self.file.to_owned(),
            header,
            transactions,
            ommers: uncles.len(),
            withdrawals,
            state: MemoryState::new(),
        })
    }

    fn header(&self, number: u64) -> Result<Header, RecordedError> {
        let header: Header = self.value("header", Value::Object(self.fields_of_header()))?;
        if header.number != number {
            return Err(self.contradiction(Contradiction::Number {
                folder: number,
                header: header.number,
            }));
        }
        let computed = header.hash_slow();
        let given: Option<B256> = self.part("hash")?;
        match given {
            Some(given) if given != computed => {
                let unknown_fields = self
                    .block
                    .keys()
                    .filter(|field| !KNOWN_FIELDS.split(' ').any(|known| known == *field))
                    .cloned()
                    .collect();
                Err(self.contradiction(Contradiction::Hash {
                    given,
                    computed,
                    unknown_fields,
                }))
            }
            _ => Ok(header),
        }
    }

    /// The object without its large parts.
    fn fields_of_header(&self) -> serde_json::Map<String, Value> {
        self.block
            .iter()
            .filter(|(field, _)| *field != "transactions" && *field != "withdrawals")
            .map(|(field, value)| (field.clone(), value.clone()))
            .collect()
    }

    fn transactions(&self, header: &Header) -> Result<Vec<(TxEnvelope, Address)>, RecordedError> {
        let values: Vec<Value> = self.part("transactions")?.unwrap_or_default();
        let transactions: Vec<(TxEnvelope, Address)> = values
            .into_iter()
            .enumerate()
            .map(|(index, value)| self.transaction(index, value))
            .collect::<Result<_, _>>()?;
        let envelopes: Vec<&TxEnvelope> = transactions.iter().map(|(tx, _)| tx).collect();
        let computed = calculate_transaction_root(&envelopes);
        if computed != header.transactions_root {
            return Err(self.contradiction(Contradiction::Root {
                of: "transactions",
                given: header.transactions_root,
                computed,
            }));
        }
        Ok(transactions)
    }

    fn transaction(
        &self,
        index: usize,
        value: Value,
    ) -> Result<(TxEnvelope, Address), RecordedError> {
        let transaction_type = match value.get("type") {
            None | Some(Value::Null) => "0x0",
            Some(Value::String(given)) => given.as_str(),
            Some(_) => "",
        };
        if !["0x0", "0x1", "0x2", "0x3", "0x4"].contains(&transaction_type) {
            let given = value.get("type").map(Value::to_string);
            return Err(RecordedError::TransactionType {
                file: self.file.to_owned(),
                index,
                transaction_type: given.unwrap_or_default(),
            });
        }
        let part = format!("transactions[{index}]");
        let given = value.get("hash").cloned();
        let transaction: alloy_rpc_types_eth::Transaction = self.value(&part, value)?;
        let (envelope, sender) = transaction.inner.into_parts();
        if let Some(given) = given {
            let given: B256 = self.value(&part, given)?;
            // The envelope keeps the given hash, so compute it again.
            let computed = keccak256(envelope.encoded_2718());
            if given != computed {
                return Err(self.contradiction(Contradiction::TransactionHash {
                    index,
                    given,
                    computed,
                }));
            }
        }
        Ok((envelope, sender))
    }

    fn withdrawals(&self, header: &Header) -> Result<Vec<Withdrawal>, RecordedError> {
        let withdrawals: Option<Vec<Withdrawal>> = self.part("withdrawals")?;
        let Some(withdrawals) = withdrawals else {
            return Ok(Vec::new());
        };
        let computed = calculate_withdrawals_root(&withdrawals);
        if header.withdrawals_root == Some(computed)
            || (header.withdrawals_root.is_none() && withdrawals.is_empty())
        {
            return Ok(withdrawals);
        }
        let of = "withdrawals";
        Err(self.contradiction(match header.withdrawals_root {
            Some(given) => Contradiction::Root {
                of,
                given,
                computed,
            },
            None => Contradiction::NoRoot { of },
        }))
    }

    /// A part of the block by its field; `None` if it is missing or null.
    fn part<T: DeserializeOwned>(&self, field: &str) -> Result<Option<T>, RecordedError> {
        match self.block.get(field) {
            None | Some(Value::Null) => Ok(None),
            Some(value) => self.value(field, value.clone()).map(Some),
        }
    }

    fn value<T: DeserializeOwned>(&self, part: &str, value: Value) -> Result<T, RecordedError> {
        serde_json::from_value(value).map_err(|source| RecordedError::Part {
            file: self.file.to_owned(),
            part: part.to_owned(),
            source,
        })
    }

    fn contradiction(&self, contradiction: Contradiction) -> RecordedError {
        RecordedError::Contradiction {
            file: self.file.to_owned(),
            contradiction,
        }
    }
}
