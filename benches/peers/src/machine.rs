//! Figures of the operating system about processes and files.

use std::{fs, io, os::unix::fs::MetadataExt, path::Path};
use tempfile::TempDir;

/// The folder of the stores' files.
pub enum WorkFolder<'a> {
    /// It was given, and stays.
    Given(&'a Path),
    /// In the working directory, and removed at the end.
    Temporary(TempDir),
}

impl<'a> WorkFolder<'a> {
    /// Creates the folder.
    pub fn create(given: Option<&'a Path>) -> io::Result<Self> {
        match given {
            Some(path) => {
                fs::create_dir_all(path)?;
                Ok(Self::Given(path))
            }
            None => Ok(Self::Temporary(tempfile::tempdir_in(".")?)),
        }
    }

    /// Its path.
    pub fn path(&self) -> &Path {
        match self {
            Self::Given(path) => path,
            Self::Temporary(folder) => folder.path(),
        }
    }
}

/// Memory of this process in MiB: resident, and the anonymous part of it.
pub fn resident_mib() -> io::Result<(f64, f64)> {
    let status = fs::read_to_string("/proc/self/status")?;
    let field = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        let kib = line.and_then(|line| line.split_whitespace().next()?.parse::<f64>().ok());
        kib.unwrap_or(0.0) / 1024.0
    };
    Ok((field("VmRSS:"), field("RssAnon:")))
}

/// Processor time of this process in milliseconds.
pub fn processor_ms() -> io::Result<f64> {
    let stat = fs::read_to_string("/proc/self/stat")?;
    let fields = stat.rsplit_once(')').map_or("", |(_, fields)| fields);
    // User and system time, in ticks of 10 ms.
    let ticks: f64 = fields
        .split_whitespace()
        .skip(11)
        .take(2)
        .filter_map(|field| field.parse::<f64>().ok())
        .sum();
    Ok(ticks * 10.0)
}

/// Bytes that a folder's files take on the medium.
pub fn disk_bytes(folder: &Path) -> io::Result<u64> {
    let mut bytes = 0;
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let metadata = entry.metadata()?;
        bytes += if metadata.is_dir() {
            disk_bytes(&entry.path())?
        } else {
            metadata.blocks() * 512
        };
    }
    Ok(bytes)
}

/// Drops a folder's files from the operating system's cache.
pub fn drop_cache(folder: &Path) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if entry.metadata()?.is_dir() {
            drop_cache(&entry.path())?;
            continue;
        }
        let file = fs::File::open(entry.path())?;
        file.sync_all()?;
        rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed)?;
    }
    Ok(())
}
