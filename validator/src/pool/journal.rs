//! The pool's transactions in a file, so that they survive a restart of the node.
//!
//! A record is appended for each accepted transaction: its length (4 bytes, little-endian), the first 4 bytes of
//! its Keccak-256, and its encoding (EIP-2718). Reading ends at the first record that is cut or damaged. The
//! file is written anew with what the pool still has at each start, and when it has grown large.

use alloy_primitives::{Bytes, keccak256};
use std::{
    fs::{self, File, OpenOptions},
    io::{self, BufWriter, Read, Write},
    path::{Path, PathBuf},
};
use tracing::{error, info};

/// Bytes before a record.
const HEAD_BYTES: usize = 8;
/// Bytes of the file from which it is written anew.
const REWRITE_BYTES: u64 = 64 << 20;

/// The file.
#[derive(Debug)]
pub struct Journal {
    path: PathBuf,
    file: File,
    bytes: u64,
}

impl Journal {
    /// Opens the file, or makes it, and returns the transactions in it.
    pub fn open(path: &Path) -> io::Result<(Self, Vec<Bytes>)> {
        let mut options = OpenOptions::new();
        let options = options.read(true).append(true).create(true);
        let mut file = options.open(path)?;
        let mut content = Vec::new();
        file.read_to_end(&mut content)?;
        let transactions = parse(&content);
        info!(target: "pool", path = %path.display(), transactions = transactions.len(), "read the journal");
        let journal = Self {
            path: path.to_owned(),
            bytes: content.len() as u64,
            file,
        };
        Ok((journal, transactions))
    }

    /// Adds transactions. A failure is logged: the pool goes on without the file.
    pub fn append<'t>(&mut self, transactions: impl IntoIterator<Item = &'t [u8]>) {
        let mut records = Vec::new();
        for transaction in transactions {
            write_record(&mut records, transaction);
        }
        match self.file.write_all(&records) {
            Ok(()) => self.bytes += records.len() as u64,
            Err(failure) => {
                error!(target: "pool", path = %self.path.display(), %failure, "the journal cannot be written");
            }
        }
    }

    /// Whether the file is so large that it should be [written anew](Self::rewrite).
    pub const fn is_large(&self) -> bool {
        self.bytes > REWRITE_BYTES
    }

    /// Writes the file anew, with these transactions.
    pub fn rewrite(&mut self, transactions: impl IntoIterator<Item = Vec<u8>>) -> io::Result<()> {
        let new = self.path.with_extension("new");
        let mut writer = BufWriter::new(File::create(&new)?);
        let mut record = Vec::new();
        let mut bytes = 0;
        for transaction in transactions {
            record.clear();
            write_record(&mut record, &transaction);
            writer.write_all(&record)?;
            bytes += record.len() as u64;
        }
        writer
            .into_inner()
            .map_err(io::IntoInnerError::into_error)?
            .sync_all()?;
        fs::rename(&new, &self.path)?;
        self.file = OpenOptions::new().append(true).open(&self.path)?;
        self.bytes = bytes;
        Ok(())
    }
}

fn write_record(records: &mut Vec<u8>, transaction: &[u8]) {
    let length = u32::try_from(transaction.len()).expect("the pool limits a transaction's length");
    records.extend_from_slice(&length.to_le_bytes());
    records.extend_from_slice(&keccak256(transaction)[..4]);
    records.extend_from_slice(transaction);
}

fn parse(mut content: &[u8]) -> Vec<Bytes> {
    let mut transactions = Vec::new();
    while let Some((head, rest)) = content.split_at_checked(HEAD_BYTES) {
        let length = u32::from_le_bytes([head[0], head[1], head[2], head[3]]) as usize;
        let Some((transaction, rest)) = rest.split_at_checked(length) else {
            break;
        };
        if keccak256(transaction)[..4] != head[4..] {
            break;
        }
        transactions.push(Bytes::copy_from_slice(transaction));
        content = rest;
    }
    transactions
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn transactions_come_back_up_to_a_cut_or_damaged_record() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("journal");
        let (mut journal, empty) = Journal::open(&path).unwrap();
        assert!(empty.is_empty());
        journal.append([b"one".as_slice(), b"two", b"three"]);
        drop(journal);
        let whole = fs::read(&path).unwrap();
        let all: Vec<Bytes> = [b"one".as_slice(), b"two", b"three"]
            .map(Bytes::from_static)
            .into();
        assert_eq!(Journal::open(&path).unwrap().1, all);
        for end in 0..whole.len() {
            let read = parse(&whole[..end]);
            assert_eq!(read, all[..read.len()], "cut at {end}");
        }
        for at in 0..whole.len() {
            let mut damaged = whole.clone();
            damaged[at] ^= 1;
            let read = parse(&damaged);
            assert!(
                read.len() < 3 && read == all[..read.len()],
                "damaged at {at}"
            );
        }
    }

    #[test]
    fn it_can_be_written_anew_and_appended_to() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("journal");
        let (mut journal, _) = Journal::open(&path).unwrap();
        journal.append([b"old".as_slice()]);
        journal.rewrite([b"kept".to_vec()]).unwrap();
        journal.append([b"new".as_slice()]);
        let read = Journal::open(&path).unwrap().1;
        assert_eq!(
            read,
            [Bytes::from_static(b"kept"), Bytes::from_static(b"new")]
        );
    }
}
