// Opens the golden database with one file replaced, and reads all of it. Damage may cause an error, not a panic. A
// database that opens must be readable.

use faulty::FaultyStorage;
use lockweave_accounts_db::{CheckpointMode, Db, Options, storage::Storage};
use std::ops::ControlFlow;
use xxhash_rust::xxh3::xxh3_128;

#[allow(dead_code, reason = "the tests use all of it")]
#[path = "../../accounts_db/tests/support/faulty.rs"]
mod faulty;

const SEGMENT_BYTES: usize = 64 << 10;
const FILES: [(&str, &[u8]); 4] = [
    ("MANIFEST", include_bytes!("../../accounts_db/tests/golden/MANIFEST")),
    ("index.checkpoint", include_bytes!("../../accounts_db/tests/golden/index.checkpoint")),
    ("log.0", include_bytes!("../../accounts_db/tests/golden/log.0")),
    ("trie.0", include_bytes!("../../accounts_db/tests/golden/trie.0")),
];

/// Corrects the checksum of the frame at `at`, so that its contents are parsed.
fn seal(bytes: &mut [u8], at: usize) {
    if let Some(frame) = bytes.get_mut(at..at + 256) {
        let sum = xxh3_128(&frame[..240]);
        frame[240..].copy_from_slice(&sum.to_le_bytes());
    }
}

fn open(replaced: &str, bytes: Vec<u8>) {
    let storage = FaultyStorage::new(0);
    for (name, golden) in FILES {
        let mut bytes = if name == replaced { bytes.clone() } else { golden.to_vec() };
        let is_segment = name.starts_with("log.") || name.starts_with("trie.");
        if is_segment && bytes.len() < SEGMENT_BYTES {
            bytes.resize(SEGMENT_BYTES, 0);
        }
        storage.create(name, 0).expect("in memory");
        storage.set_bytes(name, bytes);
    }
    let options = Options {
        checkpoint_mode: CheckpointMode::Manual,
        threads: 1,
        ..Options::read_only()
    };
    let Ok(db) = Db::open_on(Box::new(storage), options) else {
        return;
    };
    let sound = db.scrub(|_, _| ControlFlow::Continue(())).is_ok_and(|report| report.is_sound());
    let Ok(reader) = db.reader_latest() else {
        return;
    };
    for item in reader.items() {
        assert!(item.is_ok() || !sound, "sound, and cannot be read");
    }
}
