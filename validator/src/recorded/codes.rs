//! Recorded contract code: read as it is needed, checked, and shared between blocks.

use super::{
    error::RecordedError,
    files::{CODES, Files},
};

use alloy_primitives::{B256, Bytes, keccak256};
use lockweave_runtime::Code;
use std::{
    collections::HashMap,
    path::{Path, PathBuf},
    sync::Arc,
};

struct CodeFile {
    file: String,
    codes: HashMap<B256, Bytes>,
}

impl CodeFile {
    fn read(files: &Files, name: &Path) -> Result<Self, RecordedError> {
        let file = files.describe(name);
        match serde_json::from_slice(&files.read(name)?) {
            Ok(codes) => Ok(Self { file, codes }),
            Err(source) => Err(RecordedError::Json { file, source }),
        }
    }
}

/// Code by hash. Loaded code stays, so that later blocks share it and what an executor derived from it.
#[derive(Default)]
pub(super) struct Codes {
    /// The `codes.json` of folders that may hold many blocks; `None` where a folder has none.
    read: HashMap<PathBuf, Option<CodeFile>>,
    loaded: HashMap<B256, Arc<Code>>,
}

impl Codes {
    /// Reads the code files that a block in `folder` may need.
    pub(super) fn prepare(&mut self, files: &Files, folder: &Path) -> Result<(), RecordedError> {
        for above in folder.ancestors() {
            if !self.read.contains_key(above) {
                let name = above.join(CODES);
                let exists = files.contains(&name);
                let file = exists.then(|| CodeFile::read(files, &name)).transpose()?;
                self.read.insert(above.to_path_buf(), file);
            }
        }
        Ok(())
    }

    /// The code with this hash, from the file beside the block in `folder` or the nearest one
    /// above it that has it.
    pub(super) fn load(
        &mut self,
        folder: &Path,
        hash: B256,
    ) -> Result<Option<Arc<Code>>, RecordedError> {
        if let Some(code) = self.loaded.get(&hash) {
            return Ok(Some(Arc::clone(code)));
        }
        let found = folder
            .ancestors()
            .filter_map(|above| self.read.get(above)?.as_ref())
            .find_map(|file| Some((file, file.codes.get(&hash)?)));
        let Some((file, bytes)) = found else {
            return Ok(None);
        };
        let actual = keccak256(bytes);
        if actual != hash {
            return Err(RecordedError::WrongCode {
                file: file.file.clone(),
                named: hash,
                actual,
            });
        }
        let code = Arc::new(Code::with_hash(hash, bytes.clone()));
        self.loaded.insert(hash, Arc::clone(&code));
        Ok(Some(code))
    }

    /// Drops the file beside a finished block.
    pub(super) fn release(&mut self, folder: &Path) {
        self.read.remove(folder);
    }
}
