//! Suites in archives: read as a stream, not unpacked; threads share the files.

use std::{
    fs::File,
    io::{self, Read},
    num::NonZeroUsize,
    path::{Path, PathBuf},
    thread,
};

/// Files that are read and wait for a thread, at most.
const WAITING_MAX: usize = 64;

/// One file of an archive.
pub(crate) struct Fixture {
    /// Its path within the archive.
    pub(crate) path: String,
    /// Its bytes.
    pub(crate) bytes: Vec<u8>,
}

impl Fixture {
    /// A file of this repository.
    pub(crate) fn own(name: &str, text: &str) -> Self {
        Self {
            path: name.to_owned(),
            bytes: text.as_bytes().to_vec(),
        }
    }

    /// Whether it is a file of this repository.
    pub(crate) fn is_own(&self) -> bool {
        self.path.starts_with("own_")
    }
}

/// Where the archives are: `LOCKWEAVE_FIXTURES`, or `shared/fixtures` beside the workspace.
pub(crate) fn directory() -> PathBuf {
    if let Some(stated) = std::env::var_os("LOCKWEAVE_FIXTURES") {
        // Tests run in their package's folder; paths are relative to the workspace.
        return workspace().join(stated);
    }
    workspace().join("../shared/fixtures")
}

/// The folder of the workspace.
pub(crate) fn workspace() -> PathBuf {
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut folders = package.ancestors();
    let root = folders.find(|folder| folder.join("Cargo.lock").is_file());
    root.unwrap_or(package).to_path_buf()
}

/// The archive of this name, if it is there.
pub(crate) fn find(name: &str) -> Option<PathBuf> {
    let path = directory().join(name);
    path.is_file().then_some(path)
}

/// As many threads as there are cores.
pub(crate) fn threads() -> NonZeroUsize {
    thread::available_parallelism().unwrap_or(NonZeroUsize::MIN)
}

/// Runs every JSON file on one of `threads` threads, each with its own result of `start`. Returns the results of all
/// files, and the error if the archive cannot be read to its end.
pub(crate) fn for_each<W, T: Send>(
    archive: &Path,
    threads: NonZeroUsize,
    start: impl Fn() -> W + Sync,
    run: impl Fn(&mut W, &Fixture) -> T + Sync,
) -> (Vec<T>, io::Result<()>) {
    let (sender, receiver) = crossbeam_channel::bounded::<Fixture>(WAITING_MAX);
    thread::scope(|scope| {
        let helpers: Vec<_> = (0..threads.get())
            .map(|_| {
                let receiver = receiver.clone();
                let (start, run) = (&start, &run);
                scope.spawn(move || {
                    let mut worker = start();
                    let files = receiver.iter();
                    files
                        .map(|file| run(&mut worker, &file))
                        .collect::<Vec<_>>()
                })
            })
            .collect();
        drop(receiver);
        let read = read(archive, |file| sender.send(file).is_ok());
        drop(sender);
        let mut results = Vec::new();
        for helper in helpers {
            match helper.join() {
                Ok(part) => results.extend(part),
                Err(panic) => std::panic::resume_unwind(panic),
            }
        }
        (results, read)
    })
}

/// Reads the JSON files of an archive until `take` returns false.
fn read(archive: &Path, mut take: impl FnMut(Fixture) -> bool) -> io::Result<()> {
    let decoder = zstd::Decoder::new(File::open(archive)?)?;
    let mut archive = tar::Archive::new(decoder);
    for entry in archive.entries()? {
        let mut entry = entry?;
        let path = entry.path()?.into_owned();
        let is_json = path
            .extension()
            .is_some_and(|extension| extension == "json");
        if !entry.header().entry_type().is_file() || !is_json {
            continue;
        }
        let path = path.to_string_lossy();
        let path = path.strip_prefix("./").unwrap_or(&path).to_owned();
        let mut bytes = Vec::new();
        entry.read_to_end(&mut bytes)?;
        if !take(Fixture { path, bytes }) {
            break;
        }
    }
    Ok(())
}
