//! The commands about the accounts database, as a person runs them.

use crate::support::process::{output, validator};
use alloy_primitives::{Address, U256};
use lockweave_accounts_db::{Db, Options};
use lockweave_runtime::{Account, StateDelta};
use serde_json::Value;
use std::{path::Path, process::Output};

fn run(args: &[&str]) -> Output {
    output(validator().arg("db").args(args))
}

fn json(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).expect("one JSON object")
}

fn fill(folder: &Path) {
    let options = Options {
        segment_bytes: 64 << 10,
        ..Options::default()
    };
    let db = Db::open(folder, options).expect("a new database");
    for number in 0..50_u64 {
        let mut delta = StateDelta::default();
        let address = Address::left_padding_from(&number.to_be_bytes());
        let account = Account {
            nonce: number,
            ..Account::default()
        };
        delta.accounts.push((address, Some(account)));
        delta
            .slots
            .push((address, U256::from(number), U256::from(number + 1)));
        db.commit(number, &delta, b"payload")
            .expect("room on the disk");
    }
}

#[test]
fn a_database_is_shown_checked_copied_and_restored() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = |name: &str| folder.path().join(name).display().to_string();
    fill(&folder.path().join("db"));
    let (db, snapshot, restored) = (path("db"), path("snapshot"), path("restored"));

    let stats = run(&["stats", "--datadir", &db, "--json"]);
    assert!(stats.status.success(), "{stats:?}");
    assert_eq!(json(&stats)["latest"], 49);
    assert_eq!(json(&stats)["keys"], 100);
    let verified = run(&["verify", "--datadir", &db, "--json"]);
    assert!(verified.status.success(), "{verified:?}");
    assert_eq!(json(&verified)["accounts"], 50);
    assert_eq!(json(&verified)["slots"], 50);
    let made = run(&["snapshot", "--datadir", &db, "--to", &snapshot]);
    assert!(made.status.success(), "{made:?}");
    let twice = run(&["snapshot", "--datadir", &db, "--to", &snapshot]);
    assert_eq!(twice.status.code(), Some(2));
    let made = run(&[
        "restore",
        "--datadir",
        &restored,
        "--from",
        &snapshot,
        "--json",
    ]);
    assert!(made.status.success(), "{made:?}");
    assert_eq!(json(&made)["state_root"], json(&stats)["state_root"]);

    let segment = folder.path().join("restored/log.0");
    let mut bytes = std::fs::read(&segment).expect("a segment");
    bytes[4096 + 2304 + 40] ^= 4;
    std::fs::write(&segment, bytes).expect("room on the disk");
    let scrubbed = run(&["scrub", "--datadir", &restored, "--json"]);
    let first = if scrubbed.status.code() == Some(1) && !scrubbed.stdout.is_empty() {
        json(&scrubbed)["damages"][0]["file"].to_string()
    } else {
        // Without a checkpoint the record is read at opening.
        String::from_utf8_lossy(&scrubbed.stderr).into_owned()
    };
    assert_eq!(scrubbed.status.code(), Some(1), "{scrubbed:?}");
    assert!(first.contains("log.0"), "{first}");
}

#[test]
fn what_cannot_be_used_is_told() {
    let folder = tempfile::tempdir().expect("a folder");
    let empty = folder.path().display().to_string();
    let output = run(&["stats", "--datadir", &empty]);
    assert_eq!(output.status.code(), Some(2));
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(told.contains("holds no accounts database"), "{told}");

    let open = folder.path().join("db");
    let db = Db::open(&open, Options::default()).expect("a new database");
    let output = run(&["verify", "--datadir", &open.display().to_string()]);
    assert_eq!(output.status.code(), Some(2));
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(told.contains("in use"), "{told}");
    drop(db);
}
