//! Files of the operating system.
#![cfg_attr(target_os = "linux", allow(unsafe_code))]

use super::{Storage, StorageFile, map::FileMap};
use crate::error::{FileContext, FileError, OpenError};
use memmap2::{Advice, MmapOptions};
use std::{
    fs::{self, File, OpenOptions, TryLockError},
    io,
    num::NonZeroU64,
    os::unix::fs::{FileExt, MetadataExt},
    path::{Path, PathBuf},
    sync::Arc,
};

/// Bytes of a huge page.
const HUGE_BYTES: u64 = 2 << 20;

/// The lock file: a folder is open once for writing, or any number of times for reading.
pub(crate) const LOCK: &str = "LOCK";

/// Bytes of memory that are free or reclaimable; `None` if the system does not say.
pub(crate) fn memory_available() -> Option<u64> {
    let text = fs::read_to_string("/proc/meminfo").ok()?;
    let field = (text.lines()).find_map(|line| line.strip_prefix("MemAvailable:"))?;
    let kib: u64 = field.split_whitespace().next()?.parse().ok()?;
    kib.checked_mul(1024)
}

/// A folder of the file system, locked while this value lives.
#[derive(Debug)]
pub struct RealStorage {
    folder: PathBuf,
    read_only: bool,
    _lock: Option<File>,
}

impl RealStorage {
    /// Opens and locks a folder; with `create`, a missing folder is created.
    pub fn open(folder: &Path, create: bool, read_only: bool) -> Result<Self, OpenError> {
        if create {
            fs::create_dir_all(folder).context("create", folder.display().to_string())?;
        } else if !folder.is_dir() {
            return Err(OpenError::NotADatabase {
                folder: folder.display().to_string(),
            });
        }
        let lock = Self::lock(folder, read_only)?;
        Ok(Self {
            folder: folder.to_path_buf(),
            read_only,
            _lock: lock,
        })
    }

    fn lock(folder: &Path, read_only: bool) -> Result<Option<File>, OpenError> {
        let path = folder.join(LOCK);
        let name = path.display().to_string();
        let opened = if read_only {
            match File::open(&path) {
                // Without a lock file no process has it open for writing.
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
                opened => opened,
            }
        } else {
            (OpenOptions::new().create(true).truncate(false).write(true)).open(&path)
        };
        let file = opened.context("open", &name)?;
        let locked = if read_only {
            file.try_lock_shared()
        } else {
            file.try_lock()
        };
        match locked {
            Ok(()) => Ok(Some(file)),
            Err(TryLockError::WouldBlock) => Err(OpenError::Locked {
                folder: folder.display().to_string(),
            }),
            Err(TryLockError::Error(source)) => Err(FileError::new("lock", name, source).into()),
        }
    }
}

impl Storage for RealStorage {
    fn describe(&self, name: &str) -> String {
        self.folder.join(name).display().to_string()
    }

    fn list(&self) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(&self.folder)? {
            if let Ok(name) = entry?.file_name().into_string() {
                names.push(name);
            }
        }
        Ok(names)
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn StorageFile>> {
        let file = OpenOptions::new()
            .read(true)
            .write(!self.read_only)
            .open(self.folder.join(name))?;
        Ok(Arc::new(RealFile(file)))
    }

    fn create(&self, name: &str, bytes: u64) -> io::Result<Arc<dyn StorageFile>> {
        let path = self.folder.join(name);
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(true)
            .open(&path)?;
        if bytes > 0 {
            let flags = rustix::fs::FallocateFlags::empty();
            if let Err(error) = rustix::fs::fallocate(&file, flags, 0, bytes) {
                drop(file);
                fs::remove_file(&path)?;
                return Err(error.into());
            }
        }
        Ok(Arc::new(RealFile(file)))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        fs::rename(self.folder.join(from), self.folder.join(to))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        fs::remove_file(self.folder.join(name))
    }

    fn sync_folder(&self) -> io::Result<()> {
        File::open(&self.folder)?.sync_all()
    }

    fn link(&self, name: &str, target: &dyn Storage) -> io::Result<bool> {
        let Some(target) = target.path() else {
            return Ok(false);
        };
        match fs::hard_link(self.folder.join(name), target.join(name)) {
            Ok(()) => Ok(true),
            // Another file system, or one without links.
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::CrossesDevices
                        | io::ErrorKind::Unsupported
                        | io::ErrorKind::PermissionDenied
                ) =>
            {
                Ok(false)
            }
            Err(error) => Err(error),
        }
    }

    fn path(&self) -> Option<&Path> {
        Some(&self.folder)
    }
}

#[derive(Debug)]
struct RealFile(File);

impl StorageFile for RealFile {
    fn size(&self) -> io::Result<u64> {
        Ok(self.0.metadata()?.len())
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        self.0.read_exact_at(buffer, offset)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.0.write_all_at(bytes, offset)
    }

    fn read_ahead(&self, offset: u64, bytes: u64) {
        let advice = rustix::fs::Advice::WillNeed;
        if let Some(bytes) = NonZeroU64::new(bytes) {
            // Without it the bytes are read on demand.
            let _ = rustix::fs::fadvise(&self.0, offset, Some(bytes), advice);
        }
    }

    fn fill_cache(&self, offset: u64, bytes: u64) {
        // With this advice the system reads into huge pages.
        let start = offset - offset % HUGE_BYTES;
        let end = (offset + bytes).next_multiple_of(HUGE_BYTES);
        let length = usize::try_from(end - start).unwrap_or(0);
        let map = (MmapOptions::new().offset(start).len(length)).map_raw_read_only(&self.0);
        if let Ok(map) = map
            && map.advise(Advice::HugePage).is_ok()
        {
            let _ = map.advise(Advice::PopulateRead);
        }
    }

    #[cfg(target_os = "linux")]
    fn start_sync(&self, offset: u64, bytes: u64) {
        use std::os::fd::AsRawFd;
        let (Ok(offset), Ok(bytes)) = (i64::try_from(offset), i64::try_from(bytes)) else {
            return;
        };
        // SAFETY: the descriptor is open, because `self.0` owns it, and the call takes no pointer.
        // Its error is ignored: `sync` reports errors of the medium, and otherwise only has more to
        // write.
        let _ = unsafe {
            libc::sync_file_range(
                self.0.as_raw_fd(),
                offset,
                bytes,
                libc::SYNC_FILE_RANGE_WRITE,
            )
        };
    }

    fn sync(&self) -> io::Result<()> {
        self.0.sync_data()
    }

    fn is_shared(&self) -> io::Result<bool> {
        Ok(self.0.metadata()?.nlink() > 1)
    }

    fn map(&self) -> io::Result<Option<FileMap>> {
        FileMap::new(&self.0).map(Some)
    }
}
