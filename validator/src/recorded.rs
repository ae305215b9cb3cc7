//! Recorded blocks: a block as JSON-RPC gives it, and what it needs of the state before it.
//!
//! A recording is a folder or a `.tar.zst` archive of folders, each with a `block.json` and a
//! `pre_state.json`; `codes.json` and `block_hashes.json` stand beside them or in a folder above.
//! Everything that can be checked against a hash is: what a [`RecordedBlock`] holds is what the
//! network agreed on, except for the state before it, which a recording has only in part.

mod codes;
mod error;
mod files;

use alloy_consensus::{
    EMPTY_OMMER_ROOT_HASH, Header, TxEnvelope,
    proofs::{calculate_transaction_root, calculate_withdrawals_root},
};
use alloy_eips::{eip2718::Encodable2718, eip4895::Withdrawal};
use alloy_primitives::{Address, B256, KECCAK256_EMPTY, U64, U256, keccak256};
use codes::Codes;
pub use error::{Contradiction, RecordedError};
pub use files::RECORDING_BYTES_MAX;
use files::{BLOCK, BLOCK_HASHES, Files, PRE_STATE};
use lockweave_runtime::{Account, MemoryState};
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::Value;
use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
};

/// A block and the state it needs.
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

/// The blocks of a recording, read one at a time in the order of their numbers.
pub struct RecordedBlocks {
    files: Files,
    codes: Codes,
    /// Numbers of blocks and the folders they are in.
    folders: BTreeMap<u64, PathBuf>,
}

impl RecordedBlocks {
    /// Opens a recording; with `wanted`, only these blocks of it.
    pub fn open(path: &Path, wanted: Option<&BTreeSet<u64>>) -> Result<Self, RecordedError> {
        let mut files = Files::open(path)?;
        let mut folders = BTreeMap::new();
        for folder in files.folders_with(BLOCK) {
            let number = number_of(&files, folder)?;
            if wanted.is_some_and(|wanted| !wanted.contains(&number)) {
                continue;
            }
            if let Some(first) = folders.insert(number, folder.to_path_buf()) {
                return Err(RecordedError::Duplicate {
                    number,
                    first: files.describe(&first),
                    second: files.describe(folder),
                });
            }
        }
        let missing = wanted.and_then(|wanted| {
            wanted
                .iter()
                .find(|number| !folders.contains_key(number))
                .copied()
        });
        if let Some(number) = missing {
            let file = files.root();
            return Err(RecordedError::NoSuchBlock { file, number });
        }
        if folders.is_empty() {
            let file = files.root();
            return Err(RecordedError::NoBlocks { file });
        }
        let kept: BTreeSet<&Path> = folders.values().map(PathBuf::as_path).collect();
        let unwanted: BTreeSet<PathBuf> = files
            .folders_with(BLOCK)
            .filter(|folder| !kept.contains(folder))
            .map(Path::to_path_buf)
            .collect();
        files.forget(|folder| unwanted.contains(folder));
        Ok(Self {
            files,
            codes: Codes::default(),
            folders,
        })
    }

    /// How many blocks are left.
    pub fn len(&self) -> usize {
        self.folders.len()
    }

    /// Whether none is left.
    pub fn is_empty(&self) -> bool {
        self.folders.is_empty()
    }

    fn read(&mut self, number: u64, folder: &Path) -> Result<RecordedBlock, RecordedError> {
        let pre_state = folder.join(PRE_STATE);
        if !self.files.contains(&pre_state) {
            return Err(RecordedError::MissingFile {
                folder: self.files.describe(folder),
                name: PRE_STATE,
            });
        }
        let name = folder.join(BLOCK);
        let file = self.files.describe(&name);
        let block = parse(&file, &self.files.take(&name)?)?;
        let mut block = BlockParser { file: &file, block }.parse(number)?;
        let pre_state_file = self.files.describe(&pre_state);
        let accounts: BTreeMap<Address, RecordedAccount> =
            parse(&pre_state_file, &self.files.take(&pre_state)?)?;
        self.codes.prepare(&self.files, folder)?;
        for (address, account) in accounts {
            self.insert_account(&mut block.state, number, folder, address, account)?;
        }
        self.codes.release(folder);
        self.insert_block_hashes(&mut block.state, folder)?;
        if let Some(parent) = number.checked_sub(1) {
            let hash = block.header.parent_hash;
            block.state.insert_block_hash(parent, hash);
        }
        Ok(block)
    }

    fn insert_account(
        &mut self,
        state: &mut MemoryState,
        number: u64,
        folder: &Path,
        address: Address,
        account: RecordedAccount,
    ) -> Result<(), RecordedError> {
        let code_hash = account.code_hash.unwrap_or(KECCAK256_EMPTY);
        if code_hash != KECCAK256_EMPTY {
            let Some(code) = self.codes.load(folder, code_hash)? else {
                return Err(RecordedError::MissingCode {
                    number,
                    address,
                    hash: code_hash,
                });
            };
            state.insert_code(code);
        }
        state.insert_account(
            address,
            Account {
                nonce: account.nonce.to(),
                balance: account.balance,
                code_hash,
            },
        );
        for (slot, value) in account.storage {
            state.insert_slot(address, slot, value);
        }
        Ok(())
    }

    fn insert_block_hashes(
        &self,
        state: &mut MemoryState,
        folder: &Path,
    ) -> Result<(), RecordedError> {
        for above in folder.ancestors() {
            let name = above.join(BLOCK_HASHES);
            if self.files.contains(&name) {
                let file = self.files.describe(&name);
                let hashes: BTreeMap<u64, B256> = parse(&file, &self.files.read(&name)?)?;
                for (number, hash) in hashes {
                    state.insert_block_hash(number, hash);
                }
            }
        }
        Ok(())
    }
}

impl Iterator for RecordedBlocks {
    type Item = Result<RecordedBlock, RecordedError>;

    fn next(&mut self) -> Option<Self::Item> {
        let (number, folder) = self.folders.pop_first()?;
        Some(self.read(number, &folder))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.len(), Some(self.len()))
    }
}

/// An account as `pre_state.json` has it.
#[derive(Deserialize)]
struct RecordedAccount {
    balance: U256,
    #[serde(default)]
    nonce: NonceValue,
    #[serde(default)]
    code_hash: Option<B256>,
    #[serde(default)]
    storage: BTreeMap<U256, U256>,
}

/// A nonce: a JSON number, or a hex string as JSON-RPC has it.
#[derive(Deserialize)]
#[serde(untagged)]
enum NonceValue {
    Number(u64),
    Quantity(U64),
}

impl NonceValue {
    fn to(&self) -> u64 {
        match self {
            Self::Number(nonce) => *nonce,
            Self::Quantity(nonce) => nonce.to(),
        }
    }
}

impl Default for NonceValue {
    fn default() -> Self {
        Self::Number(0)
    }
}

#[derive(Deserialize)]
struct Numbered {
    number: U64,
}

/// The number of the block in a folder: the folder's name, or else what the block says.
fn number_of(files: &Files, folder: &Path) -> Result<u64, RecordedError> {
    let named = folder.file_name().and_then(|name| name.to_str());
    if let Some(number) = named.and_then(|name| name.parse().ok()) {
        return Ok(number);
    }
    let name = folder.join(BLOCK);
    let numbered: Numbered = parse(&files.describe(&name), &files.read(&name)?)?;
    Ok(numbered.number.to())
}

fn parse<T: DeserializeOwned>(file: &str, bytes: &[u8]) -> Result<T, RecordedError> {
    serde_json::from_slice(bytes).map_err(|source| RecordedError::Json {
        file: file.to_owned(),
        source,
    })
}

/// Fields of a block object that are known: the header's and those JSON-RPC adds.
const KNOWN_FIELDS: [&str; 30] = [
    "hash",
    "parentHash",
    "sha3Uncles",
    "miner",
    "stateRoot",
    "transactionsRoot",
    "receiptsRoot",
    "logsBloom",
    "difficulty",
    "number",
    "gasLimit",
    "gasUsed",
    "timestamp",
    "extraData",
    "mixHash",
    "nonce",
    "baseFeePerGas",
    "withdrawalsRoot",
    "blobGasUsed",
    "excessBlobGas",
    "parentBeaconBlockRoot",
    "requestsHash",
    "blockAccessListHash",
    "slotNumber",
    "totalDifficulty",
    "size",
    "uncles",
    "transactions",
    "withdrawals",
    "author",
];

/// Takes a block object apart and checks it against itself.
struct BlockParser<'a> {
    file: &'a str,
    block: serde_json::Map<String, Value>,
}

impl BlockParser<'_> {
    fn parse(self, number: u64) -> Result<RecordedBlock, RecordedError> {
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
                    .filter(|field| !KNOWN_FIELDS.contains(&field.as_str()))
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
                given: Some(header.transactions_root),
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
            // The envelope keeps the hash that it was given; compute it anew.
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
        Err(self.contradiction(Contradiction::Root {
            of: "withdrawals",
            given: header.withdrawals_root,
            computed,
        }))
    }

    /// A part of the block by its field; `None` if it is not there or null.
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
