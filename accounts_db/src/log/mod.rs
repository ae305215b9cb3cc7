//! The log: segments, the records in them and the entries in those, as bytes and as values.
//!
//! Every type of the disk format is here, except the index's checkpoint. Top-down; a file uses only files
//! below it:
//!
//! * `segment_allocator`: creates segments, one of them before it is needed
//! * `read`: reads records one after another
//! * `manifest`: what the database consists of
//! * `segment`: one file of the log; the table of segments
//! * `batch`: entries on their way into a record
//! * `change`: what an entry does to the index and to the chain
//! * `record`: header and entries of one block
//! * `entry`: one version of a key; code, payloads and ancestors
//! * `key`: keys and their hashes
//! * `frame`: the checksummed 256 bytes around every header
//! * `location`: a place in the log

mod batch;
mod change;
pub(crate) mod entry;
mod frame;
mod key;
mod location;
mod manifest;
mod read;
mod record;
mod segment;
mod segment_allocator;

pub(crate) use batch::{Batch, SpareBatches};
pub(crate) use change::{ChainChange, Change};
pub(crate) use frame::{
    Checksum, FRAME_BYTES, FrameError, Framed, checksum, seal_frame, unseal_frame,
};
pub(crate) use key::{Key, KeyHasher};
pub(crate) use location::{LOCATION_BITS, Location};
pub(crate) use manifest::{MANIFEST, MANIFEST_NEW, Manifest};
pub(crate) use read::{
    ExpectedRecord, RecordError, read_expected_record, read_record, read_record_header,
    walk_records,
};
pub(crate) use record::{
    ENTRIES_START, PAGE_BYTES, Record, RecordHeader, RecordKind, append_log_end, record_bytes,
    seal_record,
};
pub(crate) use segment::{
    SEGMENT_HEADER_BYTES, Segment, SegmentHeader, SegmentTable, segment_file_name, segment_number,
};
pub(crate) use segment_allocator::SegmentAllocator;
