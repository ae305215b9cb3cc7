//! Checkpoints: copies of the index, so that reopening does not read the whole log.
//!
//! ```text
//! 0      frame: the header, written last
//! 4096   chunks, one after another: the chain and the counts (one), then the index's shards
//! ```
//!
//! A chunk is a head of 32 bytes (XXH3-128 of the rest of the chunk 16, length 8, kind 4, zero 4)
//! and its content. A chunk of shards holds for each shard its number (4), its slot count (4), a
//! byte position in the log (8) and its slots (8 each). The shard contains every record before that
//! position: shards are copied while blocks are committed, and redo skips what a shard already has.

use super::{
    chain::{Chain, StoredChain},
    table::Index,
};
use crate::{
    error::{Damage, FileContext, FileError, OpenError},
    log::{
        Checksum, FRAME_BYTES, Framed, Manifest, SegmentTable, checksum, seal_frame, unseal_frame,
    },
    storage::{Storage, StorageFile, open_existing, read_bytes},
    trie::StoredTrie,
    workers::Workers,
};
use borsh::{BorshDeserialize, BorshSerialize};
use parking_lot::Mutex;
use std::sync::Arc;

pub(crate) const CHECKPOINT: &str = "index.checkpoint";
pub(crate) const CHECKPOINT_NEW: &str = "index.checkpoint.new";
const CHUNKS_START: u64 = 4096;
const CHUNK_HEAD_BYTES: usize = 32;
/// Size at which a chunk is closed.
const CHUNK_BYTES: usize = 1 << 20;
/// Bytes written between two syncs, so that a block's sync waits for no more than this.
const SYNC_BYTES: u64 = 4 << 20;
const CHUNK_CHAIN: u32 = 1;
const CHUNK_SHARDS: u32 = 2;
const SHARD_HEAD_BYTES: usize = 16;

/// The header of a checkpoint.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub(crate) struct CheckpointHeader {
    pub(crate) database: [u8; 16],
    /// Sequence number of the first record that is not in the checkpoint.
    pub(crate) sequence: u64,
    /// Byte position of that record.
    pub(crate) position: u64,
    /// Checksum of the last record's header.
    pub(crate) previous: Checksum,
    pub(crate) shard_bits: u32,
    /// Number of chunks; [`CheckpointWriter::finish`] fills it in.
    pub(crate) chunks: u64,
    /// Length of all chunks in bytes; [`CheckpointWriter::finish`] fills it in.
    pub(crate) bytes: u64,
}

impl Framed for CheckpointHeader {
    const MAGIC: [u8; 8] = *b"LWINDEX\x01";
    const NAME: &'static str = "checkpoint's header";
}

/// The chain and the counts of a checkpoint.
#[derive(BorshSerialize, BorshDeserialize)]
pub(crate) struct ChainAndCounts {
    trie: StoredTrie,
    chain: StoredChain,
    segments: Vec<StoredSegment>,
}

impl ChainAndCounts {
    pub(crate) fn new(trie: StoredTrie, chain: &Chain, table: &SegmentTable) -> Self {
        Self {
            trie,
            chain: chain.store(),
            segments: (table.iter())
                .map(|segment| StoredSegment {
                    number: segment.number,
                    end: segment.end(),
                    live: segment.live(),
                    newest: segment.newest(),
                })
                .collect(),
        }
    }
}

#[derive(Clone, Debug, BorshSerialize, BorshDeserialize)]
pub(crate) struct StoredSegment {
    pub(crate) number: u64,
    pub(crate) end: u64,
    pub(crate) live: u64,
    pub(crate) newest: u64,
}

/// The content of a checkpoint, without the index.
pub(crate) struct LoadedCheckpoint {
    pub(crate) header: CheckpointHeader,
    pub(crate) trie: StoredTrie,
    pub(crate) chain: Chain,
    pub(crate) segments: Vec<StoredSegment>,
    /// For each shard, the log position up to which it has the records.
    pub(crate) shard_positions: Vec<u64>,
}

/// Writes a checkpoint: the chain and the counts, then the shards of the index, then the header.
pub(crate) struct CheckpointWriter<'a> {
    storage: &'a dyn Storage,
    file: Arc<dyn StorageFile>,
    path: String,
    /// The next chunk, after space for its head.
    bytes: Vec<u8>,
    /// Shards added so far.
    shards: usize,
    offset: u64,
    synced: u64,
    chunks: u64,
}

impl<'a> CheckpointWriter<'a> {
    /// Creates the file, with space reserved for an index of this size, and writes the chain and the
    /// counts.
    pub(crate) fn create(
        storage: &'a dyn Storage,
        contents: &ChainAndCounts,
        index: &Index,
    ) -> Result<Self, FileError> {
        let contents = borsh::to_vec(contents).expect("writing to memory does not fail");
        let shards = (index.shard_count() * SHARD_HEAD_BYTES) as u64;
        let estimate = CHUNKS_START + contents.len() as u64 + shards + index.len() * 8;
        let path = storage.describe(CHECKPOINT_NEW);
        let file =
            (storage.create(CHECKPOINT_NEW, estimate + estimate / 64)).context("create", &path)?;
        let mut writer = Self {
            storage,
            file,
            path,
            bytes: vec![0; CHUNK_HEAD_BYTES],
            shards: 0,
            offset: CHUNKS_START,
            synced: CHUNKS_START,
            chunks: 0,
        };
        writer.bytes.extend_from_slice(&contents);
        writer.write(CHUNK_CHAIN)?;
        Ok(writer)
    }

    /// Copies the next shards, at most one chunk of them, as of a log position; `false` if there are no
    /// more. [`write_shards`](Self::write_shards) must follow.
    pub(crate) fn copy_shards(&mut self, index: &Index, position: u64) -> bool {
        let chunk = &mut self.bytes;
        let first = self.shards;
        while self.shards < index.shard_count() && chunk.len() < CHUNK_BYTES {
            chunk.extend_from_slice(&u32_of(self.shards).to_le_bytes());
            let count_at = chunk.len();
            chunk.extend_from_slice(&[0; 4]);
            chunk.extend_from_slice(&position.to_le_bytes());
            let slots_at = chunk.len();
            index.copy_shard(self.shards, chunk);
            let count = u32_of((chunk.len() - slots_at) / size_of::<u64>());
            chunk[count_at..][..4].copy_from_slice(&count.to_le_bytes());
            self.shards += 1;
        }
        self.shards > first
    }

    /// Writes the copied shards.
    pub(crate) fn write_shards(&mut self) -> Result<(), FileError> {
        self.write(CHUNK_SHARDS)
    }

    /// Writes the chunk and begins the next one in the same memory.
    fn write(&mut self, kind: u32) -> Result<(), FileError> {
        let chunk = &mut self.bytes;
        let bytes = (chunk.len() - CHUNK_HEAD_BYTES) as u64;
        chunk[16..24].copy_from_slice(&bytes.to_le_bytes());
        chunk[24..28].copy_from_slice(&kind.to_le_bytes());
        let sum = checksum(&chunk[16..]);
        chunk[..16].copy_from_slice(&sum);
        (self.file.write_at(&self.bytes, self.offset)).context("write", &self.path)?;
        self.offset += self.bytes.len() as u64;
        self.bytes.truncate(CHUNK_HEAD_BYTES);
        self.chunks += 1;
        if self.offset - self.synced >= SYNC_BYTES {
            self.file.sync().context("sync", &self.path)?;
            self.synced = self.offset;
        }
        Ok(())
    }

    /// Makes the chunks durable, then the header, then the name. Returns the length of the chunks.
    pub(crate) fn finish(self, mut header: CheckpointHeader) -> Result<u64, FileError> {
        header.chunks = self.chunks;
        header.bytes = self.offset - CHUNKS_START;
        let (file, path) = (self.file, &self.path);
        file.sync().context("sync", path)?;
        let frame = seal_frame(&header).0;
        file.write_at(&frame, 0).context("write", path)?;
        file.sync().context("sync", path)?;
        (self.storage.rename(CHECKPOINT_NEW, CHECKPOINT)).context("rename", path)?;
        (self.storage.sync_folder()).context("sync the folder of", path)?;
        Ok(header.bytes)
    }
}

fn u32_of(number: usize) -> u32 {
    u32::try_from(number).expect("shards and their slots are fewer than 2^32")
}

/// Starts reading the checkpoint into memory.
pub(crate) fn read_checkpoint_ahead(storage: &dyn Storage) {
    if let Ok(file) = storage.open(CHECKPOINT)
        && let Ok(bytes) = file.size()
    {
        file.read_ahead(0, bytes);
    }
}

/// Reads the checkpoint; an empty index if there is none.
pub(crate) fn load_checkpoint(
    storage: &dyn Storage,
    manifest: &Manifest,
    workers: &Workers,
) -> Result<(Index, Option<LoadedCheckpoint>), OpenError> {
    let path = storage.describe(CHECKPOINT);
    let Some(file) = open_existing(storage, CHECKPOINT)? else {
        return Ok((Index::new(manifest.shard_bits, 0), None));
    };
    let reader = ChunkReader { file, path };
    let header = reader.header(manifest.database, manifest.shard_bits)?;
    let mut place = ChunkPosition::START;
    let first =
        (reader.next_chunk(&header, &mut place)?).ok_or_else(|| reader.damaged(0, "no chunks"))?;
    let bytes = reader.chunk(first)?;
    if first.kind != CHUNK_CHAIN {
        return Err(reader.damaged(first.offset, "the first chunk is not the chain's"));
    }
    let stored: ChainAndCounts = borsh::from_slice(&bytes)
        .map_err(|error| reader.damaged(first.offset, &error.to_string()))?;
    // Nearly all bytes are slots.
    let index = Index::new(manifest.shard_bits, header.bytes / size_of::<u64>() as u64);
    // A chunk's head says where it ends, so the next worker can begin with the next chunk.
    let place = Mutex::new(place);
    let positions = workers.map_range(workers.count(), |_| {
        let mut positions = Vec::new();
        loop {
            let chunk = reader.next_chunk(&header, &mut place.lock())?;
            let Some(chunk) = chunk else {
                return Ok::<_, OpenError>(positions);
            };
            positions.extend(reader.load_shards(chunk, &index)?);
        }
    })?;
    let mut shard_positions = vec![None; index.shard_count()];
    for (shard, position) in positions.into_iter().flatten() {
        shard_positions[shard] = Some(position);
    }
    let shard_positions: Option<Vec<u64>> = shard_positions.into_iter().collect();
    let Some(shard_positions) = shard_positions else {
        return Err(reader.damaged(CHUNKS_START, "a shard of the index is missing"));
    };
    let loaded = LoadedCheckpoint {
        header,
        trie: stored.trie,
        chain: Chain::load(stored.chain),
        segments: stored.segments,
        shard_positions,
    };
    Ok((index, Some(loaded)))
}

/// Checks every byte of the checkpoint, if there is one; returns its length.
pub(crate) fn check_checkpoint(
    storage: &dyn Storage,
    database: [u8; 16],
    shard_bits: u32,
) -> Result<u64, OpenError> {
    let path = storage.describe(CHECKPOINT);
    let Some(file) = open_existing(storage, CHECKPOINT)? else {
        return Ok(0);
    };
    let reader = ChunkReader { file, path };
    let header = reader.header(database, shard_bits)?;
    let mut place = ChunkPosition::START;
    while let Some(chunk) = reader.next_chunk(&header, &mut place)? {
        reader.chunk(chunk)?;
    }
    Ok(CHUNKS_START + header.bytes)
}

/// Position in the sequence of chunks.
#[derive(Clone, Copy, Debug)]
struct ChunkPosition {
    offset: u64,
    chunks: u64,
}

impl ChunkPosition {
    const START: Self = Self {
        offset: CHUNKS_START,
        chunks: 0,
    };
}

#[derive(Clone, Copy, Debug)]
struct Chunk {
    offset: u64,
    bytes: u64,
    kind: u32,
}

struct ChunkReader {
    file: Arc<dyn StorageFile>,
    path: String,
}

impl ChunkReader {
    fn damaged(&self, offset: u64, what: &str) -> OpenError {
        let what = format!("the checkpoint: {what}");
        OpenError::Damaged(Damage::new(&self.path, offset, what))
    }

    fn read(&self, offset: u64, bytes: u64) -> Result<Vec<u8>, OpenError> {
        Ok(read_bytes(&*self.file, &self.path, offset, bytes)?)
    }

    fn header(&self, database: [u8; 16], shard_bits: u32) -> Result<CheckpointHeader, OpenError> {
        let size = self.file.size().context("read", &self.path)?;
        if size < CHUNKS_START {
            return Err(self.damaged(size, "the file is cut short"));
        }
        let page = self.read(0, CHUNKS_START)?;
        if let Some(at) = page[FRAME_BYTES..].iter().position(|byte| *byte != 0) {
            let offset = (FRAME_BYTES + at) as u64;
            return Err(self.damaged(offset, "a byte after the header is not zero"));
        }
        let (header, _) = unseal_frame::<CheckpointHeader>(&page)
            .map_err(|error| error.into_open_error("checkpoint", self.path.clone(), 0))?;
        if header.database != database || header.shard_bits != shard_bits {
            return Err(self.damaged(0, "it is of another database"));
        }
        if CHUNKS_START
            .checked_add(header.bytes)
            .is_none_or(|end| end > size)
        {
            return Err(self.damaged(size, "the file is cut short"));
        }
        Ok(header)
    }

    /// The chunk at `place`, which advances; `None` after the last chunk.
    fn next_chunk(
        &self,
        header: &CheckpointHeader,
        place: &mut ChunkPosition,
    ) -> Result<Option<Chunk>, OpenError> {
        let offset = place.offset;
        let left = header.bytes - (offset - CHUNKS_START);
        let head_bytes = CHUNK_HEAD_BYTES as u64;
        if left == 0 && place.chunks == header.chunks {
            return Ok(None);
        }
        if left == 0 {
            return Err(self.damaged(offset, "chunks are missing"));
        }
        if left < head_bytes {
            return Err(self.damaged(offset, "a chunk is cut short"));
        }
        let head = self.read(offset, head_bytes)?;
        let bytes = u64::from_le_bytes(head[16..24].try_into().expect("eight bytes"));
        let kind = u32::from_le_bytes(head[24..28].try_into().expect("four bytes"));
        if bytes > left - head_bytes {
            return Err(self.damaged(offset, "a chunk is cut short"));
        }
        place.offset += head_bytes + bytes;
        place.chunks += 1;
        Ok(Some(Chunk {
            offset,
            bytes,
            kind,
        }))
    }

    /// The content of a chunk, checked.
    fn chunk(&self, chunk: Chunk) -> Result<Vec<u8>, OpenError> {
        let mut bytes = self.read(chunk.offset, CHUNK_HEAD_BYTES as u64 + chunk.bytes)?;
        if checksum(&bytes[16..]) != bytes[..16] {
            return Err(self.damaged(chunk.offset, "a chunk has the wrong checksum"));
        }
        Ok(bytes.split_off(CHUNK_HEAD_BYTES))
    }

    fn load_shards(&self, chunk: Chunk, index: &Index) -> Result<Vec<(usize, u64)>, OpenError> {
        if chunk.kind != CHUNK_SHARDS {
            return Err(self.damaged(chunk.offset, "a chunk has an unknown kind"));
        }
        let bytes = self.chunk(chunk)?;
        let damaged = |what| self.damaged(chunk.offset, what);
        let mut positions = Vec::new();
        let mut rest = &bytes[..];
        while !rest.is_empty() {
            let Some((head, tail)) = rest.split_first_chunk::<SHARD_HEAD_BYTES>() else {
                return Err(damaged("a shard is cut short"));
            };
            let shard = u32::from_le_bytes(head[..4].try_into().expect("four bytes")) as usize;
            let count = u32::from_le_bytes(head[4..8].try_into().expect("four bytes")) as usize;
            let position = u64::from_le_bytes(head[8..].try_into().expect("eight bytes"));
            let Some((slots, tail)) = count
                .checked_mul(8)
                .and_then(|at| tail.split_at_checked(at))
            else {
                return Err(damaged("a shard is cut short"));
            };
            let slots: Vec<u64> = (slots.chunks_exact(8))
                .map(|slot| u64::from_le_bytes(slot.try_into().expect("eight bytes")))
                .collect();
            if shard >= index.shard_count() || !index.load_shard(shard, &slots) {
                return Err(damaged("a shard has an invalid number or slot"));
            }
            positions.push((shard, position));
            rest = tail;
        }
        Ok(positions)
    }
}
