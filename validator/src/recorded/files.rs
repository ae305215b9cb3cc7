//! The files of a recording, in a folder or in a `.tar.zst` archive.
//!
//! Both have the same interface: names relative to the root, of the four kinds of file in a recording. An
//! archive is read once, into memory, and never unpacked to disk, so its names cannot do harm.

use super::error::RecordedError;
use std::{
    collections::BTreeMap,
    error::Error,
    fs::{self, File},
    io::{self, BufReader, Read},
    path::{Path, PathBuf},
};

pub(super) const BLOCK: &str = "block.json";
pub(super) const PRE_STATE: &str = "pre_state.json";
pub(super) const CODES: &str = "codes.json";
pub(super) const BLOCK_HASHES: &str = "block_hashes.json";

const KINDS: [&str; 4] = [BLOCK, PRE_STATE, CODES, BLOCK_HASHES];

/// Bytes that an archive may unpack to, or the files of a folder may add up to, at most.
pub const RECORDING_BYTES_MAX: u64 = 1 << 30;
/// Levels below the root that are searched for files, at most.
const DEPTH_MAX: usize = 5;

enum FileSource {
    OnDisk(PathBuf),
    InMemory(Vec<u8>),
}

/// The files of a recording, by name relative to its root.
pub(super) struct Files {
    root: PathBuf,
    sources: BTreeMap<PathBuf, FileSource>,
}

impl Files {
    /// Lists a folder, or reads an archive.
    pub(super) fn open(root: &Path) -> Result<Self, RecordedError> {
        let metadata = fs::metadata(root).map_err(|source| io_error(root, source))?;
        let sources = if metadata.is_dir() {
            let mut listing = Listing::default();
            listing.list(root, Path::new(""), 0)?;
            if listing.bytes > RECORDING_BYTES_MAX {
                return Err(too_large(root));
            }
            listing.sources
        } else if metadata.is_file() {
            read_archive(root)?
        } else {
            let source = io::Error::new(
                io::ErrorKind::InvalidInput,
                "neither a folder nor a .tar.zst archive",
            );
            return Err(io_error(root, source));
        };
        Ok(Self {
            root: root.to_path_buf(),
            sources,
        })
    }

    /// The folder or archive itself, for messages.
    pub(super) fn root(&self) -> String {
        self.root.display().to_string()
    }

    /// A file of the recording, for messages.
    pub(super) fn describe(&self, name: &Path) -> String {
        self.root.join(name).display().to_string()
    }

    /// The folders that hold a file of a kind.
    pub(super) fn folders_with<'f>(&'f self, kind: &'f str) -> impl Iterator<Item = &'f Path> {
        self.sources
            .keys()
            .filter(move |name| name.file_name().is_some_and(|last| last == kind))
            .filter_map(|name| name.parent())
    }

    /// Whether the recording has a file of this name.
    pub(super) fn contains(&self, name: &Path) -> bool {
        self.sources.contains_key(name)
    }

    /// The bytes of a file, which stays available.
    pub(super) fn read(&self, name: &Path) -> Result<Vec<u8>, RecordedError> {
        match self.sources.get(name) {
            Some(FileSource::InMemory(bytes)) => Ok(bytes.clone()),
            Some(FileSource::OnDisk(path)) => read_file(path),
            None => Err(io_error(
                &self.root.join(name),
                io::ErrorKind::NotFound.into(),
            )),
        }
    }

    /// The bytes of a file, which is removed.
    pub(super) fn take(&mut self, name: &Path) -> Result<Vec<u8>, RecordedError> {
        match self.sources.remove(name) {
            Some(FileSource::InMemory(bytes)) => Ok(bytes),
            Some(FileSource::OnDisk(path)) => read_file(&path),
            None => Err(io_error(
                &self.root.join(name),
                io::ErrorKind::NotFound.into(),
            )),
        }
    }

    /// Drops the files of the folders that `unwanted` names.
    pub(super) fn forget(&mut self, unwanted: impl Fn(&Path) -> bool) {
        self.sources
            .retain(|name, _| !name.parent().is_some_and(&unwanted));
    }
}

fn is_kind(name: &Path) -> bool {
    name.file_name()
        .is_some_and(|last| KINDS.iter().any(|kind| last == *kind))
}

fn io_error(file: &Path, source: io::Error) -> RecordedError {
    RecordedError::Io {
        file: file.display().to_string(),
        source,
    }
}

fn too_large(file: &Path) -> RecordedError {
    RecordedError::TooLarge {
        file: file.display().to_string(),
        limit_bytes: RECORDING_BYTES_MAX,
    }
}

fn read_file(path: &Path) -> Result<Vec<u8>, RecordedError> {
    let file = File::open(path).map_err(|source| io_error(path, source))?;
    let mut bytes = Vec::new();
    file.take(RECORDING_BYTES_MAX + 1)
        .read_to_end(&mut bytes)
        .map_err(|source| io_error(path, source))?;
    if bytes.len() as u64 > RECORDING_BYTES_MAX {
        return Err(too_large(path));
    }
    Ok(bytes)
}

#[derive(Default)]
struct Listing {
    sources: BTreeMap<PathBuf, FileSource>,
    bytes: u64,
}

impl Listing {
    fn list(&mut self, root: &Path, below: &Path, depth: usize) -> Result<(), RecordedError> {
        let folder = root.join(below);
        let entries = fs::read_dir(&folder).map_err(|source| io_error(&folder, source))?;
        for entry in entries {
            let entry = entry.map_err(|source| io_error(&folder, source))?;
            let name = below.join(entry.file_name());
            let path = entry.path();
            // Follows links: a recording may consist of links to another one.
            let Ok(metadata) = fs::metadata(&path) else {
                if is_kind(&name) {
                    return Err(io_error(&path, io::ErrorKind::NotFound.into()));
                }
                continue;
            };
            if metadata.is_dir() {
                if depth < DEPTH_MAX {
                    self.list(root, &name, depth + 1)?;
                }
            } else if metadata.is_file() && is_kind(&name) {
                self.bytes = self.bytes.saturating_add(metadata.len());
                self.sources.insert(name, FileSource::OnDisk(path));
            }
        }
        Ok(())
    }
}

fn read_archive(path: &Path) -> Result<BTreeMap<PathBuf, FileSource>, RecordedError> {
    let file = File::open(path).map_err(|source| io_error(path, source))?;
    unpack(BufReader::new(file)).map_err(|source| {
        if source
            .get_ref()
            .is_some_and(<dyn Error + Send + Sync>::is::<OverLimit>)
        {
            return too_large(path);
        }
        RecordedError::Archive {
            file: path.display().to_string(),
            source,
        }
    })
}

fn unpack(compressed: impl io::BufRead) -> io::Result<BTreeMap<PathBuf, FileSource>> {
    let mut limited = Limited {
        inner: zstd::Decoder::with_buffer(compressed)?,
        left: RECORDING_BYTES_MAX,
    };
    let mut sources = BTreeMap::new();
    let mut archive = tar::Archive::new(&mut limited);
    for entry in archive.entries()? {
        let mut entry = entry?;
        let name = clean(&entry.path()?);
        if !entry.header().entry_type().is_file() || !is_kind(&name) {
            continue;
        }
        let size = entry.size();
        let mut bytes = Vec::new();
        entry.read_to_end(&mut bytes)?;
        if bytes.len() as u64 != size {
            let message = format!("it ends within {}", name.display());
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, message));
        }
        sources.insert(name, FileSource::InMemory(bytes));
    }
    // Read to the end, where the checksum of the stream is.
    io::copy(&mut limited, &mut io::sink())?;
    Ok(sources)
}

/// Only the normal components of a path, so that `./a/b` and `a/b` are the same.
fn clean(path: &Path) -> PathBuf {
    path.components()
        .filter(|part| matches!(part, std::path::Component::Normal(_)))
        .collect()
}

#[derive(Debug, thiserror::Error)]
#[error("the archive unpacks to more than {RECORDING_BYTES_MAX} bytes")]
struct OverLimit;

/// A reader that fails when its limit is exceeded.
struct Limited<R> {
    inner: R,
    left: u64,
}

impl<R: Read> Read for Limited<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        self.left = self
            .left
            .checked_sub(count as u64)
            .ok_or_else(|| io::Error::other(OverLimit))?;
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limited_reader_fails_at_the_first_byte_too_many() {
        let mut limited = Limited {
            inner: io::repeat(7),
            left: 10,
        };
        let mut buffer = [0; 5];
        assert_eq!(limited.read(&mut buffer).ok(), Some(5));
        assert_eq!(limited.read(&mut buffer).ok(), Some(5));
        let error = limited.read(&mut buffer).expect_err("the limit is reached");
        assert!(
            error
                .get_ref()
                .is_some_and(<dyn Error + Send + Sync>::is::<OverLimit>)
        );
    }

    #[test]
    fn names_in_archives_lose_what_is_not_a_name() {
        assert_eq!(
            clean(Path::new("./a/../b/block.json")),
            Path::new("a/b/block.json")
        );
        assert_eq!(clean(Path::new("/block.json")), Path::new("block.json"));
    }
}
