//! The blocks of a recording, read one at a time.

use super::{
    block::{BlockParser, RecordedBlock},
    codes::Codes,
    error::RecordedError,
    files::{BLOCK, BLOCK_HASHES, Files, PRE_STATE},
};
use alloy_primitives::{Address, B256, KECCAK256_EMPTY, U64, U256};
use lockweave_runtime::{Account, MemoryState};
use serde::{Deserialize, de::DeserializeOwned};
use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
};

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

/// The number of the block in a folder: the folder's name, or the number in the block.
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
