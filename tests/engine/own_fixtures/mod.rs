//! The repository's own small fixtures, used where Ethereum's archives are missing: chains executed by plain
//! revm on its own database, one transaction after another. No Lockweave code takes part.
//!
//! The files are committed. The test generates them again and compares; with `LOCKWEAVE_WRITE_FIXTURES=1` it writes
//! them.

mod cases;
mod rpc;
mod world;

use std::{fs, path::Path};

/// Writes the files instead of comparing them.
const WRITE: &str = "LOCKWEAVE_WRITE_FIXTURES";

#[test]
fn the_committed_files_are_the_results_of_plain_revm() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files = vec![
        (
            "tests/conformance/own_blockchain_tests.json".to_owned(),
            cases::blockchain_tests(),
        ),
        (
            "tests/conformance/own_access_lists.json".to_owned(),
            cases::access_lists(),
        ),
    ];
    for (name, bytes) in rpc::files() {
        files.push((format!("validator/tests/own_rpc_compat/{name}"), bytes));
    }
    for (name, bytes) in files {
        let path = root.join(&name);
        if std::env::var_os(WRITE).is_some() {
            let folder = path.parent().expect("a file is in a folder");
            fs::create_dir_all(folder).expect("folders can be made");
            fs::write(&path, &bytes).expect("files can be written");
        }
        let committed = fs::read(&path).unwrap_or_default();
        assert!(
            committed == bytes,
            "{name} differs from the generated file; write it with {WRITE}=1"
        );
    }
}
