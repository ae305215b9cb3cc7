//! Records: one for each block, with header with the state root, entries and padding.

use super::{
    entry::{self, Entry},
    frame::{Checksum, FRAME_BYTES, FrameError, Framed, checksum, seal_frame, unseal_frame},
};
use borsh::{BorshDeserialize, BorshSerialize};

/// Records begin and end at multiples of this, so durable sectors are never rewritten.
pub(crate) const PAGE_BYTES: u64 = 4096;
/// Where a record's entries begin.
pub(crate) const ENTRIES_START: usize = FRAME_BYTES;

/// The kind of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
#[borsh(use_discriminant = true)]
#[repr(u8)]
pub(crate) enum RecordKind {
    /// Adds a block.
    Block = 0,
    /// Returns to an earlier block.
    Undo = 1,
}

/// The header of a record.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub(crate) struct RecordHeader {
    pub(crate) kind: RecordKind,
    pub(crate) database: [u8; 16],
    /// Number of records before it in the lifetime of the database.
    pub(crate) sequence: u64,
    /// The newest block after this record is applied.
    pub(crate) number: u64,
    /// The oldest readable block after this record is applied.
    pub(crate) oldest: u64,
    /// Byte position in the log.
    pub(crate) position: u64,
    /// Length, with padding.
    pub(crate) bytes: u64,
    /// Length of the entries.
    pub(crate) entries_bytes: u64,
    pub(crate) entry_count: u64,
    /// The block's hash, if the caller gave one.
    pub(crate) hash: Option<[u8; 32]>,
    /// The state root after the record.
    pub(crate) state_root: [u8; 32],
    /// Checksum in the header of the previous record.
    pub(crate) previous: Checksum,
    /// Checksum of the record after its header.
    pub(crate) body: Checksum,
}

impl Framed for RecordHeader {
    const MAGIC: [u8; 8] = *b"LWBLOCK\x01";
    const NAME: &'static str = "record's header";
}

/// Length of a record with this many bytes of entries.
pub(crate) const fn record_bytes(entries_bytes: u64) -> u64 {
    (ENTRIES_START as u64 + entries_bytes).next_multiple_of(PAGE_BYTES)
}

/// Completes a record whose entries begin at [`ENTRIES_START`]: fills in padding and header.
/// Returns the header's checksum.
pub(crate) fn seal_record(record: &mut Vec<u8>, mut header: RecordHeader) -> Checksum {
    let bytes = usize::try_from(header.bytes).expect("a record fits into memory");
    record.resize(bytes, 0);
    header.body = checksum(&record[FRAME_BYTES..]);
    let (frame, checksum) = seal_frame(&header);
    record[..FRAME_BYTES].copy_from_slice(&frame);
    checksum
}

/// Appends the blank page that ends the log, as far as it fits into the `space` from the record's
/// beginning to the end of its segment.
pub(crate) fn append_log_end(record: &mut Vec<u8>, space: u64) {
    let end = space.min(record.len() as u64 + PAGE_BYTES);
    record.resize(usize::try_from(end).unwrap_or(record.len()), 0);
}

/// A record, read and checked.
#[derive(Debug)]
pub(crate) struct Record {
    pub(crate) header: RecordHeader,
    pub(crate) checksum: Checksum,
    bytes: Vec<u8>,
}

impl Record {
    /// Checks a whole record.
    pub(crate) fn parse(bytes: Vec<u8>) -> Result<Self, FrameError> {
        let (header, checksum_found) = unseal_frame::<RecordHeader>(&bytes)?;
        let damaged = |what: &str| Err(FrameError::Damaged(what.to_owned()));
        if header.bytes != bytes.len() as u64
            || header.entries_bytes > header.bytes
            || record_bytes(header.entries_bytes) != header.bytes
        {
            return damaged("the record's lengths contradict each other");
        }
        if checksum(&bytes[FRAME_BYTES..]) != header.body {
            return damaged("the record has the wrong checksum");
        }
        Ok(Self {
            header,
            checksum: checksum_found,
            bytes,
        })
    }

    /// The encoded record.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Where the entries end in the record. `parse` has checked the length.
    fn entries_end(&self) -> usize {
        ENTRIES_START + usize::try_from(self.header.entries_bytes).unwrap_or(0)
    }

    /// Offsets of the entries in the record, so that they can be parsed in parallel.
    pub(crate) fn entry_offsets(&self) -> Result<Vec<usize>, (u64, &'static str)> {
        let end = self.entries_end();
        let mut offsets = Vec::new();
        let mut at = ENTRIES_START;
        while at < end {
            offsets.push(at);
            let length = entry::length(&self.bytes[at..end])
                .map_err(|what| (self.header.position + at as u64, what))?;
            at += usize::try_from(length).unwrap_or(end);
        }
        Ok(offsets)
    }

    /// The entry at such an offset.
    pub(crate) fn entry_at(&self, offset: usize) -> Result<Entry, (u64, &'static str)> {
        let end = self.entries_end();
        entry::parse(&self.bytes[offset..end])
            .map_err(|what| (self.header.position + offset as u64, what))
    }

    /// The entries, or the byte position in the log of a damaged one and what is wrong there.
    /// Nothing follows a damaged entry.
    pub(crate) fn entries(&self) -> impl Iterator<Item = Result<Entry, (u64, &'static str)>> {
        let (mut at, end) = (ENTRIES_START, self.entries_end());
        std::iter::from_fn(move || {
            (at < end).then(|| {
                let entry = self.entry_at(at);
                // `entry::parse` has checked that the bytes are there.
                let bytes = entry.map_or(u64::MAX, |entry| entry.bytes);
                at = at.saturating_add(usize::try_from(bytes).unwrap_or(usize::MAX));
                entry
            })
        })
    }
}
