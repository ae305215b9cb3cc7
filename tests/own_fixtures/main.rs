//! The repository's own small fixtures, for where Ethereum's archives are not: chains that plain revm
//! ran, one transaction after another on its own database. Nothing of Lockweave is in what they state.
//!
//! The files are committed. Here they are made anew and must come out the same; with
//! `LOCKWEAVE_WRITE_FIXTURES=1` they are written.

mod cases;
mod rpc;
mod world;

use std::{fs, path::Path};

/// Writes the files instead of holding them against what is there.
const WRITE: &str = "LOCKWEAVE_WRITE_FIXTURES";

#[test]
fn the_committed_files_are_what_plain_revm_comes_to() {
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
            "{name} is not what is made here; write it with {WRITE}=1"
        );
    }
}
