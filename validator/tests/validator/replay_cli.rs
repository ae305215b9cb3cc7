//! The command line on recordings made here: right ones, wrong ones, and damaged ones.

use crate::support::process::{output, validator};
use alloy_consensus::{
    EMPTY_OMMER_ROOT_HASH, EMPTY_ROOT_HASH, Header, SignableTransaction, TxEnvelope, TxLegacy,
    crypto::secp256k1::sign_message, proofs::calculate_transaction_root,
    transaction::SignerRecoverable,
};
use alloy_primitives::{Address, B256, Bloom, TxKind, U256, keccak256};
use serde_json::{Value, json};
use std::{
    fs,
    path::{Path, PathBuf},
    process::{Output, Stdio},
};
use tempfile::TempDir;

/// A recording in a temporary folder.
struct Recording {
    folder: TempDir,
    number: u64,
    block: Value,
    pre_state: Value,
    codes: Value,
}

const GAS_PRICE: u64 = 1_000_000_000;

impl Recording {
    /// A Frontier block of one transaction to `to`, signed by an account with enough ether.
    fn with_transaction(to: Address, input: Vec<u8>, gas_used: u64) -> Self {
        let transaction = TxLegacy {
            gas_price: GAS_PRICE.into(),
            gas_limit: 100_000,
            to: TxKind::Call(to),
            value: U256::from(7),
            input: input.into(),
            ..TxLegacy::default()
        };
        let signature = sign_message(B256::repeat_byte(7), transaction.signature_hash())
            .expect("a key that is not zero");
        let envelope = TxEnvelope::Legacy(transaction.into_signed(signature));
        let sender = envelope.recover_signer().expect("just signed");
        let mut transaction = serde_json::to_value(&envelope).expect("plain data");
        transaction["from"] = json!(sender);
        let number = 1_000;
        let header = Header {
            number,
            gas_used,
            gas_limit: 1_000_000,
            transactions_root: calculate_transaction_root(&[envelope]),
            ..header()
        };
        let mut recording = Self::new(number, &header, vec![transaction]);
        recording.pre_state[sender.to_string()] = json!({
            "balance": "0xde0b6b3a7640000", "nonce": 0, "storage": {}
        });
        recording
    }

    fn plain() -> Self {
        Self::with_transaction(Address::repeat_byte(0x11), Vec::new(), 21_000)
    }

    fn new(number: u64, header: &Header, transactions: Vec<Value>) -> Self {
        let mut block = serde_json::to_value(header).expect("plain data");
        block["hash"] = json!(header.hash_slow());
        block["transactions"] = Value::Array(transactions);
        block["uncles"] = json!([]);
        Self {
            folder: TempDir::new().expect("a temporary folder"),
            number,
            block,
            pre_state: json!({}),
            codes: json!({}),
        }
    }

    /// Makes an account of the state before a contract.
    fn deploy(&mut self, address: Address, code: &[u8]) -> B256 {
        let hash = keccak256(code);
        self.pre_state[address.to_string()] = json!({
            "balance": "0x0", "nonce": 1, "code_hash": hash, "storage": {}
        });
        self.codes[hash.to_string()] = json!(format!("0x{}", alloy_primitives::hex::encode(code)));
        hash
    }

    fn path(&self) -> PathBuf {
        self.folder.path().to_path_buf()
    }

    fn block_folder(&self) -> PathBuf {
        self.path().join("blocks").join(self.number.to_string())
    }

    fn write(&self) -> PathBuf {
        let folder = self.block_folder();
        fs::create_dir_all(&folder).unwrap();
        let write = |path: PathBuf, value: &Value| fs::write(path, value.to_string()).unwrap();
        write(folder.join("block.json"), &self.block);
        write(folder.join("pre_state.json"), &self.pre_state);
        write(self.path().join("codes.json"), &self.codes);
        write(self.path().join("block_hashes.json"), &json!({}));
        self.path()
    }

    /// The recording as an archive.
    fn archive(&self) -> Vec<u8> {
        let folder = self.write();
        let mut tar = tar::Builder::new(Vec::new());
        tar.append_dir_all("recording", &folder).unwrap();
        zstd::encode_all(&tar.into_inner().unwrap()[..], 3).unwrap()
    }
}

fn header() -> Header {
    Header {
        ommers_hash: EMPTY_OMMER_ROOT_HASH,
        transactions_root: EMPTY_ROOT_HASH,
        receipts_root: EMPTY_ROOT_HASH,
        logs_bloom: Bloom::ZERO,
        difficulty: U256::from(17_000_000_000_u64),
        ..Header::default()
    }
}

fn replay(path: &Path, arguments: &[&str]) -> Output {
    output(validator().arg("replay").arg(path).args(arguments))
}

/// Exit status 2, and one error on standard error that names what is wrong.
#[track_caller]
fn assert_refused(output: &Output, naming: &[&str]) {
    let message = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{message}");
    assert!(!message.contains("panicked"), "{message}");
    for name in naming {
        assert!(message.contains(name), "{message:?} does not name {name:?}");
    }
}

fn lines(output: &Output) -> Vec<Value> {
    String::from_utf8_lossy(&output.stdout)
        .lines()
        .map(|line| serde_json::from_str(line).expect("one object a line"))
        .collect()
}

fn keys(value: &Value) -> Vec<&str> {
    let mut keys: Vec<_> = value
        .as_object()
        .expect("an object")
        .keys()
        .map(String::as_str)
        .collect();
    keys.sort_unstable();
    keys
}

#[test]
fn a_right_block_is_reported_with_the_keys_promised() {
    let recording = Recording::plain();
    let path = recording.write();
    for arguments in [
        &["--json"][..],
        &["--json", "--threads", "3", "--repeat", "3"],
        &["--json", "--access", "serial"],
    ] {
        let output = replay(&path, arguments);
        assert_eq!(output.status.code(), Some(0), "{output:?}");
        let lines = lines(&output);
        assert_eq!(lines.len(), 2);
        assert_eq!(
            keys(&lines[0]),
            [
                "block",
                "gas",
                "gas_ok",
                "parallel_ms",
                "receipts_ok",
                "serial_equal",
                "serial_ms",
                "transactions"
            ]
        );
        assert_eq!(lines[0]["block"], json!(1_000));
        assert_eq!(lines[0]["gas"], json!(21_000));
        assert_eq!(lines[0]["gas_ok"], json!(true));
        assert_eq!(lines[0]["receipts_ok"], Value::Null, "before Byzantium");
        assert_eq!(lines[0]["serial_equal"], json!(true));
        assert_eq!(
            keys(&lines[1]),
            [
                "blocks",
                "failed",
                "gas",
                "ok",
                "parallel_ms",
                "serial_ms",
                "speedup",
                "transactions"
            ]
        );
        assert_eq!(lines[1]["ok"], json!(1));
    }
}

#[test]
fn people_get_a_line_a_block() {
    let output = replay(&Recording::plain().write(), &[]);
    let text = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(0));
    assert!(text.contains("1000  Frontier"), "{text}");
    assert!(text.contains("1 of 1 blocks are right"), "{text}");
}

#[test]
fn a_block_that_comes_to_something_else_is_wrong() {
    let wrong = Recording::with_transaction(Address::repeat_byte(0x11), Vec::new(), 21_001);
    let output = replay(&wrong.write(), &["--json"]);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let lines = lines(&output);
    assert_eq!(lines[0]["gas_ok"], json!(false));
    assert_eq!(lines[1]["failed"], json!(1));
    let text = replay(&wrong.path(), &[]);
    let text = String::from_utf8_lossy(&text.stdout).into_owned();
    assert!(
        text.contains("gas used is 21000, the header says 21001"),
        "{text}"
    );
}

#[test]
fn a_transaction_that_may_not_be_there_makes_the_block_wrong() {
    let mut recording = Recording::plain();
    let accounts = recording.pre_state.as_object_mut().unwrap();
    for account in accounts.values_mut() {
        account["nonce"] = json!(5);
    }
    let output = replay(&recording.write(), &[]);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(text.contains("transaction 0"), "{text}");
}

#[test]
fn archives_are_read_as_folders_are() {
    let recording = Recording::plain();
    let bytes = recording.archive();
    let folder = TempDir::new().unwrap();
    let whole = folder.path().join("whole.tar.zst");
    fs::write(&whole, &bytes).unwrap();
    assert_eq!(replay(&whole, &[]).status.code(), Some(0));

    for length in [0, 1, bytes.len() / 2, bytes.len() - 1] {
        let cut = folder.path().join("cut.tar.zst");
        fs::write(&cut, &bytes[..length]).unwrap();
        assert_refused(&replay(&cut, &[]), &["cut.tar.zst"]);
    }
    let garbage = folder.path().join("garbage.tar.zst");
    fs::write(&garbage, b"not an archive at all").unwrap();
    assert_refused(&replay(&garbage, &[]), &["garbage.tar.zst", "archive"]);
}

#[test]
fn paths_that_hold_nothing_are_refused() {
    let folder = TempDir::new().unwrap();
    assert_refused(&replay(&folder.path().join("nowhere"), &[]), &["nowhere"]);
    assert_refused(&replay(folder.path(), &[]), &["no recorded blocks"]);
    let recording = Recording::plain();
    let path = recording.write();
    assert_refused(&replay(&path, &["--blocks", "5"]), &["block 5"]);
}

#[test]
fn damaged_json_is_refused_with_its_place() {
    let recording = Recording::plain();
    recording.write();
    let block = recording.block_folder().join("block.json");
    let text = fs::read_to_string(&block).unwrap();
    for damaged in [
        &text[..text.len() / 2],
        "",
        "[]",
        "{\"number\": -1}",
        "nonsense",
    ] {
        fs::write(&block, damaged).unwrap();
        assert_refused(&replay(&recording.path(), &[]), &["block.json"]);
    }
    let deep = "[".repeat(100_000);
    fs::write(&block, deep).unwrap();
    assert_refused(&replay(&recording.path(), &[]), &["block.json"]);
    fs::write(&block, &text).unwrap();

    let state = recording.block_folder().join("pre_state.json");
    for damaged in [
        "{",
        "[]",
        r#"{"0x11": {}}"#,
        r#"{"": {"balance": "0x1", "nonce": -1}}"#,
    ] {
        fs::write(&state, damaged).unwrap();
        assert_refused(&replay(&recording.path(), &[]), &["pre_state.json"]);
    }
    fs::remove_file(&state).unwrap();
    assert_refused(&replay(&recording.path(), &[]), &["pre_state.json"]);
}

#[test]
fn missing_and_wrong_code_is_refused() {
    let contract = Address::repeat_byte(0x22);
    let mut recording = Recording::plain();
    let hash = recording.deploy(contract, &[0x00]);
    recording.codes = json!({});
    let output = replay(&recording.write(), &[]);
    assert_refused(&output, &["block 1000", &hash.to_string()]);

    recording.codes[hash.to_string()] = json!("0x6001");
    let output = replay(&recording.write(), &[]);
    assert_refused(&output, &[&hash.to_string(), "hashes to"]);
}

#[test]
fn a_missing_block_hash_is_refused() {
    // SSTORE(0, BLOCKHASH(NUMBER - 5))
    let code = [0x60, 5, 0x43, 0x03, 0x40, 0x60, 0, 0x55, 0x00];
    let contract = Address::repeat_byte(0x22);
    let mut recording = Recording::with_transaction(contract, Vec::new(), 41_000);
    recording.deploy(contract, &code);
    let output = replay(&recording.write(), &[]);
    assert_refused(&output, &["block 1000", "995"]);
}

#[test]
fn blocks_of_unknown_forks_are_refused() {
    let mut recording = Recording::plain();
    recording.block["inclusionListRoot"] = json!(B256::ZERO);
    recording.block["hash"] = json!(B256::repeat_byte(1));
    let output = replay(&recording.write(), &[]);
    assert_refused(&output, &["unknown fork", "inclusionListRoot"]);

    // A sound header, but with a field its place in the chain does not allow.
    let header = Header {
        number: 2_000,
        base_fee_per_gas: Some(7),
        ..header()
    };
    let recording = Recording::new(2_000, &header, Vec::new());
    let output = replay(&recording.write(), &[]);
    assert_refused(&output, &["baseFeePerGas", "Frontier"]);

    let mut recording = Recording::plain();
    recording.block["transactions"][0]["type"] = json!("0x7f");
    let output = replay(&recording.write(), &[]);
    assert_refused(&output, &["transactions[0]", "0x7f"]);
}

#[test]
fn claims_that_contradict_the_hashes_are_refused() {
    let mut recording = Recording::plain();
    recording.block["transactions"][0]["from"] = json!(Address::repeat_byte(0x33));
    assert_refused(
        &replay(&recording.write(), &[]),
        &["transactions[0]", "from"],
    );

    let mut recording = Recording::plain();
    recording.block["transactions"] = json!([]);
    assert_refused(&replay(&recording.write(), &[]), &["transactions", "root"]);

    let mut recording = Recording::plain();
    recording.block["gasLimit"] = json!("0x5");
    assert_refused(&replay(&recording.write(), &[]), &["hash"]);
}

#[test]
fn unusable_arguments_are_refused_before_anything_is_read() {
    let recording = Recording::plain();
    let path = recording.write();
    for arguments in [
        ["--threads", "0"],
        ["--threads", "many"],
        ["--threads", "99999999999999999999"],
        ["--repeat", "0"],
        ["--access", "guessed"],
    ] {
        assert_refused(&replay(&path, &arguments), &[arguments[0]]);
    }
}

#[test]
fn blocks_from_before_cancun_are_not_run_by_lists() {
    let output = replay(&Recording::plain().write(), &["--json", "--access", "bal"]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let lines = lines(&output);
    assert_eq!(lines[0]["by_list"], json!(false));
    assert_eq!(lines[1]["by_list"], json!(0));
}

#[test]
fn a_reader_that_stops_reading_is_no_error() {
    let recording = Recording::plain();
    let path = recording.write();
    let mut child = validator()
        .arg("replay")
        .arg(&path)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    let message = String::from_utf8_lossy(&output.stderr);
    assert!(!message.contains("panicked"), "{message}");
    assert_eq!(output.status.code(), Some(0), "{message}");
}
