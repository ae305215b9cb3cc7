//! Segments, the files of the log, and the table of them.

use super::{
    entry::{self, FIXED_BYTES_MAX, Value},
    frame::Framed,
    key::Key,
    location::{LOCATION_BITS, Location, UNIT_BYTES},
    record::PAGE_BYTES,
};
use crate::{
    error::{Damage, FileContext, FileError, ReadError},
    storage::{FileMap, StorageFile},
};
use borsh::{BorshDeserialize, BorshSerialize};
use std::{
    borrow::Cow,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

/// Where a segment's first record begins.
pub(crate) const SEGMENT_HEADER_BYTES: u64 = PAGE_BYTES;
const NAME_PREFIX: &str = "log.";

/// The header of a segment.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub(crate) struct SegmentHeader {
    pub(crate) database: [u8; 16],
    /// Number of its first place in the log.
    pub(crate) number: u64,
    /// Number of places it takes: more than one if its record is longer than a place.
    pub(crate) places: u64,
    /// Size of a place in bytes.
    pub(crate) segment_bytes: u64,
}

impl Framed for SegmentHeader {
    const MAGIC: [u8; 8] = *b"LWSEGMNT";
    const NAME: &'static str = "segment's header";
}

/// The file name of a segment.
pub(crate) fn segment_file_name(number: u64) -> String {
    format!("{NAME_PREFIX}{number}")
}

/// The number of the segment with this file name.
pub(crate) fn segment_number(file: &str) -> Option<u64> {
    let number = file.strip_prefix(NAME_PREFIX)?.parse().ok()?;
    (segment_file_name(number) == file).then_some(number)
}

/// A file of the log.
#[derive(Debug)]
pub(crate) struct Segment {
    pub(crate) number: u64,
    pub(crate) places: u64,
    /// Length of the file in bytes.
    pub(crate) size: u64,
    /// Byte position of its beginning in the log.
    pub(crate) start: u64,
    /// The file's path, for messages.
    pub(crate) path: String,
    pub(crate) file: Arc<dyn StorageFile>,
    map: Option<FileMap>,
    /// Length of the durable records, from the beginning of the file.
    end: AtomicU64,
    /// Bytes that compaction would write to move everything live in it.
    live: AtomicU64,
    /// Sequence number of its last record.
    newest: AtomicU64,
    /// Whether compaction has emptied it.
    pub(crate) emptied: AtomicBool,
}

impl Segment {
    /// A segment in an open file of the right size.
    pub(crate) fn new(
        header: &SegmentHeader,
        path: String,
        file: Arc<dyn StorageFile>,
    ) -> Result<Self, FileError> {
        let map = file.map().context("map", &path)?;
        let segment = Self {
            number: header.number,
            places: header.places,
            size: header.places * header.segment_bytes,
            start: header.number * header.segment_bytes,
            path,
            file,
            map,
            end: AtomicU64::new(0),
            live: AtomicU64::new(0),
            newest: AtomicU64::new(0),
            emptied: AtomicBool::new(false),
        };
        segment.set_end(SEGMENT_HEADER_BYTES);
        Ok(segment)
    }

    /// Offset of a record of `bytes` at a position in the log or later; `None` if it does not fit.
    pub(crate) fn offset_for(&self, position: u64, bytes: u64) -> Option<u64> {
        let offset = position
            .saturating_sub(self.start)
            .max(SEGMENT_HEADER_BYTES);
        (offset.checked_add(bytes)? <= self.size).then_some(offset)
    }

    /// Length of the durable records, from the beginning of the file.
    pub(crate) fn end(&self) -> u64 {
        self.end.load(Ordering::Acquire)
    }

    /// Declares the first `end` bytes durable: they are not written again while this value lives.
    pub(crate) fn set_end(&self, end: u64) {
        if let Some(map) = &self.map {
            map.set_readable(end);
        }
        self.end.fetch_max(end, Ordering::Release);
    }

    pub(crate) fn live(&self) -> u64 {
        self.live.load(Ordering::Relaxed)
    }

    pub(crate) fn add_live(&self, bytes: u64) {
        self.live.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Subtracts bytes that are no longer live.
    pub(crate) fn subtract_live(&self, bytes: u64) {
        let less = |live: u64| Some(live.saturating_sub(bytes));
        let before = self
            .live
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, less)
            .unwrap_or_default();
        debug_assert!(
            before >= bytes,
            "{}: more dead bytes than live ones",
            self.path
        );
    }

    /// Sequence number of its last record.
    pub(crate) fn newest(&self) -> u64 {
        self.newest.load(Ordering::Relaxed)
    }

    pub(crate) fn set_newest(&self, sequence: u64) {
        self.newest.fetch_max(sequence, Ordering::Relaxed);
    }

    /// Reads durable bytes.
    pub(crate) fn read(&self, buffer: &mut [u8], offset: u64) -> Result<(), ReadError> {
        if offset
            .checked_add(buffer.len() as u64)
            .is_none_or(|end| end > self.end())
        {
            return Err(self.damage(offset, "a location points past the written bytes"));
        }
        if let Some(map) = &self.map {
            let Some(bytes) = map.bytes(offset, buffer.len()) else {
                return Err(self.damage(offset, "a location points past the mapped bytes"));
            };
            buffer.copy_from_slice(bytes);
            return Ok(());
        }
        Ok(self
            .file
            .read_at(buffer, offset)
            .context("read", &self.path)?)
    }

    /// Durable bytes, borrowed from the map if there is one.
    pub(crate) fn bytes(&self, offset: u64, bytes: u64) -> Result<Cow<'_, [u8]>, ReadError> {
        let bytes = usize::try_from(bytes).unwrap_or(usize::MAX);
        if let Some(map) = &self.map
            && let Some(bytes) = map.bytes(offset, bytes)
        {
            return Ok(Cow::Borrowed(bytes));
        }
        let mut buffer = vec![0; bytes];
        self.read(&mut buffer, offset)?;
        Ok(Cow::Owned(buffer))
    }

    /// Reads an entry without its blob. The checksum is checked unless there is a blob.
    #[inline]
    pub(crate) fn read_fixed<'a>(
        &'a self,
        buffer: &'a mut [u8; FIXED_BYTES_MAX],
        offset: u64,
    ) -> Result<&'a [u8], ReadError> {
        let damage = |what: &str| self.damage(offset, what);
        if let Some(map) = &self.map {
            let head = map
                .bytes(offset, entry::HEAD_BYTES)
                .ok_or_else(|| damage("a location points past the written bytes"))?;
            let kind = entry::kind(head).map_err(damage)?;
            let bytes = map
                .bytes(offset, kind.bytes())
                .ok_or_else(|| damage("an entry is cut short"))?;
            if !kind.has_blob() {
                entry::check(bytes).map_err(damage)?;
            }
            return Ok(bytes);
        }
        self.read(&mut buffer[..entry::HEAD_BYTES], offset)?;
        let kind = entry::kind(buffer).map_err(damage)?;
        self.read(&mut buffer[..kind.bytes()], offset)?;
        let bytes = &buffer[..kind.bytes()];
        if !kind.has_blob() {
            entry::check(bytes).map_err(damage)?;
        }
        Ok(bytes)
    }

    /// The value of a key at `offset`, if the file is mapped and an intact version of the key is
    /// there.
    #[inline]
    pub(crate) fn mapped_value(&self, offset: u64, key: &Key) -> Option<Value> {
        let map = self.map.as_ref()?;
        let kind = entry::kind(map.bytes(offset, entry::HEAD_BYTES)?).ok()?;
        entry::value_of(kind, map.bytes(offset, kind.bytes())?, key)
    }

    /// Prefetches the entry at `offset` into the processor's cache.
    #[inline]
    pub(crate) fn prefetch_entry(&self, offset: u64) {
        if let Some(map) = &self.map {
            map.prefetch(offset, entry::Kind::SlotUpdate.bytes());
        }
    }

    /// Reads a whole entry of any kind and checks it.
    pub(crate) fn read_entry(&self, offset: u64) -> Result<Vec<u8>, ReadError> {
        let mut head = [0; entry::HEAD_BYTES + 4];
        self.read(&mut head, offset)?;
        let length = entry::length(&head).map_err(|what| self.damage(offset, what))?;
        if offset
            .checked_add(length)
            .is_none_or(|end| end > self.end())
        {
            return Err(self.damage(offset, "an entry is cut short"));
        }
        let mut bytes = vec![0; usize::try_from(length).unwrap_or(usize::MAX)];
        self.read(&mut bytes, offset)?;
        entry::check(&bytes).map_err(|what| self.damage(offset, what))?;
        Ok(bytes)
    }

    /// Starts reading these bytes into memory.
    pub(crate) fn read_ahead(&self, offset: u64, bytes: usize) {
        if let Some(map) = &self.map {
            map.read_ahead(offset, bytes);
        }
    }

    /// Maps these bytes now.
    pub(crate) fn populate(&self, offset: u64, bytes: u64) {
        if let Some(map) = &self.map {
            map.populate(offset, bytes);
        }
    }

    /// Damage at an offset of the file, as an error of a read.
    pub(crate) fn damage(&self, offset: u64, what: &str) -> ReadError {
        ReadError::Damaged(self.damage_at(offset, what))
    }

    /// Damage at an offset of the file.
    pub(crate) fn damage_at(&self, offset: u64, what: &str) -> Damage {
        Damage::new(&self.path, offset, what)
    }
}

/// The segments by place. A table is immutable; the database replaces it.
#[derive(Clone, Debug)]
pub(crate) struct SegmentTable {
    places: Vec<Option<Arc<Segment>>>,
    /// Number of the first element of `places`.
    first: u64,
    shift: u32,
}

impl SegmentTable {
    pub(crate) fn new(segment_bytes: u64) -> Self {
        Self {
            places: Vec::new(),
            first: 0,
            shift: segment_bytes.trailing_zeros(),
        }
    }

    /// Size of a place in bytes.
    pub(crate) const fn segment_bytes(&self) -> u64 {
        1 << self.shift
    }

    /// The first segment number that a location cannot address.
    pub(crate) const fn number_limit(&self) -> u64 {
        (1 << LOCATION_BITS) * UNIT_BYTES / self.segment_bytes()
    }

    /// The segment at a byte position, and the offset in it.
    #[inline]
    pub(crate) fn at(&self, location: Location) -> Option<(&Arc<Segment>, u64)> {
        let place = (location.position() >> self.shift).checked_sub(self.first)?;
        let segment = self.places.get(usize::try_from(place).ok()?)?.as_ref()?;
        Some((segment, location.position() - segment.start))
    }

    /// The segment with this number.
    pub(crate) fn get(&self, number: u64) -> Option<&Arc<Segment>> {
        let place = usize::try_from(number.checked_sub(self.first)?).ok()?;
        (self.places.get(place)?.as_ref()).filter(|segment| segment.number == number)
    }

    /// The segments in the order of the log.
    pub(crate) fn iter(&self) -> impl DoubleEndedIterator<Item = &Arc<Segment>> {
        // A segment of several places counts at its first.
        let places = self.places.iter().enumerate();
        places.filter_map(|(place, segment)| {
            let number = self.first + place as u64;
            segment.as_ref().filter(|it| it.number == number)
        })
    }

    /// The newest segment.
    pub(crate) fn last(&self) -> Option<&Arc<Segment>> {
        self.places.iter().rev().find_map(Option::as_ref)
    }

    /// The table with one more segment.
    pub(crate) fn with(&self, segment: &Arc<Segment>) -> Self {
        let mut table = self.clone();
        if table.places.is_empty() {
            table.first = segment.number;
        }
        while table.first > segment.number {
            table.places.insert(0, None);
            table.first -= 1;
        }
        let start = usize::try_from(segment.number - table.first).unwrap_or(usize::MAX);
        let places = usize::try_from(segment.places).unwrap_or(usize::MAX);
        if table.places.len() < start + places {
            table.places.resize(start + places, None);
        }
        for place in &mut table.places[start..start + places] {
            *place = Some(Arc::clone(segment));
        }
        table
    }

    /// The table without these segments.
    pub(crate) fn without(&self, numbers: &[u64]) -> Self {
        let mut table = self.clone();
        for place in &mut table.places {
            place.take_if(|segment| numbers.contains(&segment.number));
        }
        let gone = table
            .places
            .iter()
            .take_while(|place| place.is_none())
            .count();
        table.places.drain(..gone);
        table.first += gone as u64;
        table
    }
}
