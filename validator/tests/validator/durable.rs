//! Chains on disk: restart, kill, export and import, verify.

use crate::support::{
    Draft, GAS_PRICE, deploy,
    process::{Process, output, validator},
    sign_declared, signers,
};
use alloy_consensus::Block;
use alloy_primitives::{Address, B256, TxKind, U256, hex, keccak256};
use alloy_rlp::Encodable;
use lockweave_accounts_db::StateItem;
use lockweave_evm_adapter::TxDeclared;
use lockweave_runtime::StateDelta;
use lockweave_validator::{
    chain::{ChainBlock, ChainParameters, Envelope, rlp_file::RlpBlocks},
    store::{ChainStore, Datadir, DurableStore, Retention},
};
use serde_json::{Value, json};
use std::{path::Path, process::Output, sync::Arc};

fn run(arguments: &[&str]) -> Output {
    output(validator().args(arguments))
}

/// Kill after kill: what had a receipt has the same one after the restart, and the chain is right.
/// `LOCKWEAVE_KILLS` says how often.
#[tokio::test(flavor = "multi_thread")]
async fn what_was_seen_survives_being_killed() {
    let folder = tempfile::tempdir().unwrap();
    let signer = &signers()[0];
    let mut seen: Vec<Value> = Vec::new();
    let mut nonce = 0;
    let kills = std::env::var("LOCKWEAVE_KILLS")
        .ok()
        .and_then(|kills| kills.parse().ok());
    for round in 0_u64..kills.unwrap_or(6) {
        let node = Process::start(folder.path(), if round % 2 == 0 { "0" } else { "20" });
        for receipt in &seen {
            let again = node.call(
                "eth_getTransactionReceipt",
                json!([receipt["transactionHash"]]),
            );
            assert_eq!(again.await.as_ref(), Some(receipt), "round {round}");
        }
        let count = node
            .call(
                "eth_getTransactionCount",
                json!([signer.address(), "latest"]),
            )
            .await;
        let included = u64::try_from(crate::support::number(&count.unwrap())).unwrap();
        assert!(included >= seen.len() as u64 && included <= nonce);
        nonce = included;
        let mut hashes = Vec::new();
        for _ in 0..40 {
            let raw = Draft::transfer(nonce, Address::repeat_byte(9)).sign(signer);
            hashes.push(
                node.call("eth_sendRawTransaction", json!([raw]))
                    .await
                    .unwrap(),
            );
            nonce += 1;
        }
        // Look at some while blocks are being made, and kill in the midst of it.
        for hash in hashes
            .iter()
            .take(10 + usize::try_from(round % 6).unwrap() * 5)
        {
            seen.push(node.receipt(hash).await);
        }
        node.kill();
    }
    let datadir = folder.path().to_str().unwrap();
    let verified = run(&["verify", "--datadir", datadir]);
    let text = String::from_utf8_lossy(&verified.stdout).into_owned();
    assert!(
        verified.status.success() && text.starts_with("right: "),
        "{text}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_chain_goes_from_folder_to_file_to_folder() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let (first, second, file) = (path("first"), path("second"), path("chain.rlp"));
    let node = Process::start(Path::new(&first), "0");
    let signer = &signers()[3];
    for nonce in 0..5 {
        let raw = Draft::transfer(nonce, Address::repeat_byte(9)).sign(signer);
        let receipt = node
            .call("eth_sendRawTransactionSync", json!([raw]))
            .await
            .unwrap();
        assert_eq!(receipt["status"], "0x1");
    }
    let undeclared = TxDeclared {
        chain_id: 1337,
        nonce: 5,
        gas_limit: 100_000,
        max_fee_per_gas: GAS_PRICE,
        to: TxKind::Create,
        // PUSH0, BALANCE: of an account that is not declared.
        input: vec![0x5f, 0x31].into(),
        ..TxDeclared::default()
    };
    let raw = sign_declared(&undeclared, signer);
    let failed = node
        .call("eth_sendRawTransactionSync", json!([raw]))
        .await
        .unwrap();
    assert!(failed["failureReason"].is_string(), "{failed}");
    let busy = run(&["verify", "--datadir", &first]);
    assert_eq!(busy.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&busy.stderr).contains("in use"));
    let head = node
        .call("eth_getBlockByNumber", json!(["latest", false]))
        .await
        .unwrap();
    node.terminate();
    assert!(
        run(&["export", "--datadir", &first, &file])
            .status
            .success()
    );
    let genesis = format!("{first}/genesis.json");
    let imported = run(&["import", "--datadir", &second, "--genesis", &genesis, &file]);
    let text = String::from_utf8_lossy(&imported.stdout).into_owned();
    assert!(
        text.contains("Added 6 blocks") && text.contains(head["hash"].as_str().unwrap()),
        "{text}"
    );
    assert!(text.contains("the oldest that is kept 0"), "{text}");
    check_import_prunes_as_configured(folder.path(), &genesis, &file);
    assert!(run(&["verify", "--datadir", &second]).status.success());
    // Why a transaction failed is known where it ran, and where it was run again.
    for datadir in [&first, &second] {
        let node = Process::start(Path::new(datadir), "0");
        assert_eq!(node.receipt(&failed["transactionHash"]).await, failed);
        node.terminate();
    }
    let again = run(&["init", "--datadir", &second, "--dev"]);
    assert_eq!(again.status.code(), Some(2));
    // A block that says something else than it comes to is refused.
    let mut bytes = std::fs::read(&file).unwrap();
    let state_root = hex_of(&head["stateRoot"]);
    let place = bytes
        .windows(32)
        .rposition(|window| window == state_root)
        .unwrap();
    bytes[place] ^= 1;
    std::fs::write(&file, bytes).unwrap();
    let third = path("third");
    let refused = run(&["import", "--datadir", &third, "--genesis", &genesis, &file]);
    assert_eq!(refused.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&refused.stderr).contains("stateRoot"));
}

/// A chain whose headers have other roots: each block gets the root that execution gives, and so another hash. An
/// import that was stopped goes on where it was.
#[tokio::test(flavor = "multi_thread")]
async fn a_chain_with_other_roots_is_resealed() {
    const BLOCKS: u64 = 6;
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let (made, resealed, file) = (path("made"), path("resealed"), path("chain.rlp"));
    let node = Process::start(Path::new(&made), "0");
    for nonce in 0..BLOCKS {
        let raw = Draft::transfer(nonce, Address::repeat_byte(9)).sign(&signers()[3]);
        let receipt = node.call("eth_sendRawTransactionSync", json!([raw])).await;
        assert_eq!(receipt.unwrap()["status"], "0x1");
    }
    node.terminate();
    assert!(run(&["export", "--datadir", &made, &file]).status.success());
    let bytes = std::fs::read(&file).unwrap();
    let blocks = RlpBlocks::new(&bytes[..]);
    let mut blocks: Vec<_> = blocks.map(|block| block.unwrap()).collect();
    assert_eq!(blocks.len() as u64, BLOCKS);
    let mut parent = B256::repeat_byte(7);
    for block in &mut blocks {
        block.header.parent_hash = parent;
        block.header.state_root = keccak256(block.header.state_root);
        parent = block.header.hash_slow();
    }
    let write = |blocks: &[Block<Envelope>], cut: usize| {
        let mut bytes = Vec::new();
        for block in blocks {
            block.encode(&mut bytes);
        }
        bytes.truncate(bytes.len() - cut);
        std::fs::write(&file, bytes).unwrap();
    };
    let genesis = format!("{made}/genesis.json");
    let import = |flags: &[&str]| {
        let mut arguments = vec!["import", "--datadir", &resealed, "--genesis", &genesis];
        arguments.extend(flags);
        arguments.push(&file);
        let output = run(&arguments);
        let text = [output.stdout, output.stderr].concat();
        (output.status.success(), String::from_utf8(text).unwrap())
    };
    write(&blocks, 0);
    let (success, text) = import(&[]);
    assert!(!success, "{text}");
    // The file ends within the fourth block.
    write(&blocks[..4], 10);
    let (success, text) = import(&["--reseal"]);
    assert!(!success, "{text}");
    write(&blocks, 0);
    let (success, text) = import(&[]);
    assert!(!success && text.contains("--reseal"), "{text}");
    let (success, text) = import(&["--reseal"]);
    assert!(success && text.contains("Added 3 blocks"), "{text}");
    let (success, text) = import(&["--reseal"]);
    assert!(success && text.contains("Added 0 blocks"), "{text}");
    // A block of another chain is none of its.
    blocks[2].header.gas_used += 1;
    write(&blocks, 0);
    let (success, text) = import(&["--reseal"]);
    assert!(!success && text.contains("another chain"), "{text}");
    assert!(run(&["verify", "--datadir", &resealed]).status.success());
    let blocks_of = |datadir: &str| {
        let store = open(Path::new(datadir), Retention::everything());
        let blocks = (0..=BLOCKS).map(|number| store.block(number).unwrap().unwrap());
        blocks.collect::<Vec<_>>()
    };
    let (made, resealed) = (blocks_of(&made), blocks_of(&resealed));
    for number in 1..made.len() {
        assert_eq!(
            made[number].header.state_root,
            resealed[number].header.state_root
        );
        assert_eq!(
            resealed[number].header.parent_hash,
            resealed[number - 1].hash
        );
        assert_eq!(resealed[number].hash, resealed[number].header.hash_slow());
        assert_eq!(made[number].hash, resealed[number].hash);
    }
}

/// Imports six blocks with limits from the data folder's file, and from a flag over it.
fn check_import_prunes_as_configured(folder: &Path, genesis: &str, file: &str) {
    for (flags, oldest) in [(&[][..], 4), (&["--history.body-blocks", "3"][..], 3)] {
        let datadir = folder.join(format!("pruned-{oldest}"));
        std::fs::create_dir(&datadir).unwrap();
        std::fs::write(
            datadir.join("config.toml"),
            "[history]\nbody-blocks = 2\nstate-blocks = 1\n",
        )
        .unwrap();
        let datadir = datadir.to_str().unwrap();
        let mut arguments = vec!["import", "--datadir", datadir, "--genesis", genesis];
        arguments.extend(flags);
        arguments.push(file);
        let imported = run(&arguments);
        let text = String::from_utf8_lossy(&imported.stdout).into_owned();
        let expected = format!("the oldest that is kept {oldest}");
        assert!(text.contains(&expected), "{text}");
    }
}

/// Of a chain that forgot its first blocks what is left is checked, and it says what is not.
#[tokio::test(flavor = "multi_thread")]
async fn a_pruned_chain_is_checked_as_far_as_it_is_kept() {
    const KEPT_BLOCKS: u64 = 8;
    const KEPT_STATES: u64 = 3;
    let folder = tempfile::tempdir().unwrap();
    let (blocks, states) = (KEPT_BLOCKS.to_string(), KEPT_STATES.to_string());
    let limits = [
        "--history.body-blocks",
        &blocks,
        "--history.state-blocks",
        &states,
    ];
    let node = Process::start_with(folder.path(), "0", &limits);
    let signer = &signers()[0];
    // A contract whose code the first blocks brought, and which asks for the hash of an old block.
    let code = hex!("5f 54 6001 01 5f 55 6005 43 03 40 6001 55 00");
    let deployment = Draft {
        gas: 200_000,
        to: TxKind::Create,
        value: U256::ZERO,
        input: deploy(&code),
        ..Draft::transfer(0, Address::ZERO)
    };
    let raw = deployment.sign(signer);
    let receipt = node.call("eth_sendRawTransactionSync", json!([raw])).await;
    let contract = receipt.unwrap()["contractAddress"].clone();
    let contract: Address = serde_json::from_value(contract).unwrap();
    for nonce in 1..20 {
        let call = Draft {
            gas: 200_000,
            value: U256::ZERO,
            ..Draft::transfer(nonce, contract)
        };
        let raw = call.sign(signer);
        let receipt = node.call("eth_sendRawTransactionSync", json!([raw])).await;
        assert_eq!(receipt.unwrap()["status"], "0x1");
    }
    node.terminate();
    // What the log still has is found again until the database made a checkpoint without it.
    let kept = Retention {
        state_blocks: KEPT_STATES,
        body_blocks: KEPT_BLOCKS,
        ..Retention::default()
    };
    open(folder.path(), kept).db().checkpoint().unwrap();
    let datadir = folder.path().to_str().unwrap();
    let verified = run(&["verify", "--datadir", datadir]);
    let text = String::from_utf8_lossy(&verified.stdout).into_owned();
    assert_eq!(verified.status.code(), Some(3), "{text}");
    assert!(
        text.starts_with("right as far as it can be checked: "),
        "{text}"
    );
    assert!(text.contains("cannot check before block 18"), "{text}");
    let verified = run(&["verify", "--json", "--datadir", datadir]);
    let found: Value = serde_json::from_slice(&verified.stdout).unwrap();
    assert_eq!(found["outcome"], "partly", "{found}");
    assert_eq!(found["verified"]["executedOn"], 20 - KEPT_STATES, "{found}");
    assert_eq!(found["verified"]["blocks"], KEPT_STATES, "{found}");
    assert!(
        found["verified"]["unchecked"]["blocks"].as_u64() > Some(0),
        "{found}"
    );
    // A block that does not come to what its header says is found there as well.
    append_a_wrong_block(folder.path());
    let verified = run(&["verify", "--json", "--datadir", datadir]);
    let found: Value = serde_json::from_slice(&verified.stdout).unwrap();
    assert_eq!(verified.status.code(), Some(1), "{found}");
    assert_eq!(found["outcome"], "wrong", "{found}");
    assert!(
        found["problem"].as_str().unwrap().starts_with("block 21: "),
        "{found}"
    );
}

fn open(datadir: &Path, retention: Retention) -> DurableStore {
    let datadir = Datadir::open(datadir).unwrap();
    let parameters = datadir.parameters().unwrap().unwrap();
    DurableStore::open(datadir, &parameters, retention).unwrap()
}

/// The last block once more, without its transactions.
fn append_a_wrong_block(datadir: &Path) {
    let store = open(datadir, Retention::default());
    let mut block = ChainBlock::clone(&store.head());
    block.header.parent_hash = block.hash;
    block.header.number += 1;
    block.hash = block.header.hash_slow();
    block.transactions.clear();
    block.receipts.clear();
    block.access.clear();
    let mut prepared = store
        .prepare(block.number(), StateDelta::default())
        .unwrap();
    prepared.commit(Arc::new(block)).unwrap();
}

fn hex_of(value: &Value) -> Vec<u8> {
    alloy_primitives::hex::decode(value.as_str().unwrap()).unwrap()
}

/// A chain of another client: all forks, proof of work first. Without the fixtures there is nothing to
/// import.
#[test]
fn another_clients_chain_is_imported_and_exported_as_it_was() {
    let fixtures = std::env::var("LOCKWEAVE_FIXTURES").unwrap_or_else(|_| {
        concat!(env!("CARGO_MANIFEST_DIR"), "/../../shared/fixtures").to_owned()
    });
    let Ok(archive) = std::fs::File::open(format!("{fixtures}/rpc_compat.tar.zst")) else {
        eprintln!("no rpc_compat.tar.zst in {fixtures}: left out");
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    tar::Archive::new(zstd::Decoder::new(archive).unwrap())
        .unpack(folder.path())
        .unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let (genesis, chain) = (
        path("rpc_compat/tests/genesis.json"),
        path("rpc_compat/tests/chain.rlp"),
    );
    let (datadir, out) = (path("data"), path("out.rlp"));
    let imported = run(&[
        "import",
        "--datadir",
        &datadir,
        "--genesis",
        &genesis,
        &chain,
    ]);
    assert!(
        imported.status.success(),
        "{}",
        String::from_utf8_lossy(&imported.stderr)
    );
    assert!(run(&["verify", "--datadir", &datadir]).status.success());
    assert!(
        run(&["export", "--datadir", &datadir, &out])
            .status
            .success()
    );
    assert!(std::fs::read(out).unwrap() == std::fs::read(chain).unwrap());
}

/// Hashes are stored beside the transactions, so that nothing has to be hashed when a chain is opened;
/// `verify` sees that they are theirs.
#[tokio::test(flavor = "multi_thread")]
async fn a_hash_that_is_stored_wrong_is_found() {
    let folder = tempfile::tempdir().unwrap();
    let (made, copied) = (folder.path().join("made"), folder.path().join("copied"));
    let node = Process::start(&made, "0");
    let raw = Draft::transfer(0, Address::repeat_byte(9)).sign(&signers()[0]);
    let sent = node.call("eth_sendRawTransactionSync", json!([raw])).await;
    let hash = hex_of(&sent.unwrap()["transactionHash"]);
    node.terminate();
    let made = open(&made, Retention::default());
    let mut payload = made.db().payload(1).unwrap().unwrap().to_vec();
    let at = payload.windows(32).position(|window| window == hash);
    payload[at.expect("the hash is stored") + 31] ^= 1;
    let datadir = Datadir::open(&copied).unwrap();
    let parameters = ChainParameters::read(&folder.path().join("made/genesis.json")).unwrap();
    datadir.init(&parameters).unwrap();
    drop(datadir);
    let store = open(&copied, Retention::default());
    let mut delta = StateDelta::default();
    let copy = &mut |item| {
        match item {
            StateItem::Account(address, account) => delta.accounts.push((address, Some(account))),
            StateItem::Slot(address, slot, value) => delta.slots.push((address, slot, value)),
        }
        true
    };
    made.visit_state(1, copy).unwrap();
    let prepared = store.db().prepare(1, &delta).unwrap();
    let committed = (store.db()).commit_prepared(prepared, made.head().hash, &payload);
    committed.unwrap();
    drop(store);
    let verified = run(&["verify", "--datadir", copied.to_str().unwrap()]);
    let text = String::from_utf8_lossy(&verified.stdout).into_owned();
    assert_eq!(verified.status.code(), Some(1), "{text}");
    assert!(text.contains("transaction 0 is not found"), "{text}");
}

/// Commands that read make no folders, and say what to do.
#[test]
fn a_folder_without_a_chain_is_left_as_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let missing = folder.path().join("missing");
    let datadir = missing.to_str().unwrap();
    let file = folder.path().join("blocks");
    let file = file.to_str().unwrap();
    for arguments in [
        &["verify", "--datadir", datadir][..],
        &["export", "--datadir", datadir, file],
        &["import", "--datadir", datadir, file],
        &["run", "--datadir", datadir],
    ] {
        let refused = run(arguments);
        let text = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert_eq!(refused.status.code(), Some(2), "{arguments:?}: {text}");
        assert!(text.contains("init"), "{arguments:?}: {text}");
        assert!(!missing.exists(), "{arguments:?}");
    }
    let unnamed = run(&["run"]);
    let text = String::from_utf8_lossy(&unnamed.stderr).into_owned();
    assert!(
        ["--dev", "--genesis", "--datadir"]
            .iter()
            .all(|way| text.contains(way)),
        "{text}"
    );
}
