//! A full file system: a small one in memory, which only root can mount.

mod support;

use lockweave_accounts_db::{CheckpointMode, CommitError, Db, Options};
use std::{
    fs,
    io::Write,
    path::{Path, PathBuf},
    process::Command,
};
use support::{Generator, SMALL, check_db, commit};

/// A mounted file system, unmounted on drop.
struct Mounted(PathBuf);

impl Mounted {
    fn new(folder: &Path, mebibytes: u32) -> Option<Self> {
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &format!("size={mebibytes}m"), "tmpfs"])
            .arg(folder)
            .output();
        match mounted {
            Ok(output) if output.status.success() => Some(Self(folder.to_path_buf())),
            _ => None,
        }
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(&self.0).output();
    }
}

fn options() -> Options {
    Options {
        segment_bytes: 1 << 20,
        shard_bits: 2,
        history_blocks: 4,
        // An automatic checkpoint could free space in the middle of a check.
        checkpoint_mode: CheckpointMode::Manual,
        threads: 2,
        ..Options::default()
    }
}

#[test]
fn a_full_medium_refuses_blocks_until_space_is_freed() {
    let folder = tempfile::tempdir().expect("a folder");
    let Some(mounted) = Mounted::new(folder.path(), 16) else {
        println!("skipped: mounting a file system is not allowed here");
        return;
    };
    let path = mounted.0.join("db");
    let filler = mounted.0.join("filler");
    let mut generator = Generator::new(8, SMALL);
    let mut blocks = Vec::new();
    let mut db = Db::open(&path, options()).expect("a new database");
    for _ in 0..20 {
        commit(&db, &mut generator, &mut blocks).expect("space on the medium");
    }
    for round in 0..3 {
        // Another file takes the remaining space.
        let mut other = fs::File::create(&filler).expect("a name takes no space");
        while other.write_all(&[1; 4096]).is_ok() {}
        drop(other);
        let refused = (0..2000).find_map(|_| commit(&db, &mut generator, &mut blocks).err());
        assert!(
            matches!(refused, Some(CommitError::NoSpace { .. })),
            "round {round}: {refused:?}"
        );
        for _ in 0..20 {
            // A smaller block may fit after the last one.
            match commit(&db, &mut generator, &mut blocks) {
                Ok(()) | Err(CommitError::NoSpace { .. }) => {}
                Err(error) => panic!("round {round}: {error}"),
            }
        }
        check_db(&db, SMALL, &blocks)
            .unwrap_or_else(|error| panic!("round {round}, full: {error}"));
        if round == 1 {
            // Reopened while the medium is full.
            drop(db);
            db = Db::open(&path, options()).expect("what was written");
            check_db(&db, SMALL, &blocks).unwrap_or_else(|error| panic!("reopened: {error}"));
        }
        fs::remove_file(&filler).expect("it is there");
        for _ in 0..100 {
            commit(&db, &mut generator, &mut blocks).expect("space was freed");
        }
        db.checkpoint().expect("space was freed");
        check_db(&db, SMALL, &blocks).unwrap_or_else(|error| panic!("round {round}: {error}"));
    }
    drop(db);
    let db = Db::open(&path, options()).expect("what was written");
    check_db(&db, SMALL, &blocks).expect("every acknowledged block");
    println!("{} blocks", blocks.len());
}
