//! A chain with recorded requests, in the form of Ethereum's JSON-RPC suite.

use super::{
    cases::{CONTRACT, COUNTER, RECEIVER, account_json, plain_chain},
    world::signer,
};
use alloy_eips::eip2718::Encodable2718;
use alloy_primitives::{U256, hex};
use serde_json::{Map, Value, json};

/// All files below the suite's folder, by their names.
#[expect(
    clippy::too_many_lines,
    reason = "a list of requests with their answers"
)]
pub(crate) fn files() -> Vec<(String, Vec<u8>)> {
    let (genesis, end, blocks) = plain_chain();
    let mut chain = Vec::new();
    for made in &blocks {
        chain.extend(alloy_rlp::encode(&made.block));
    }
    let text = |value: &Value| {
        let text = serde_json::to_string_pretty(value).expect("it is made of texts");
        (text + "\n").into_bytes()
    };
    let mut files = vec![
        ("openrpc.json".to_owned(), text(&schemas())),
        (
            "tests/genesis.json".to_owned(),
            text(&genesis_json(&genesis)),
        ),
        ("tests/chain.rlp".to_owned(), chain),
    ];
    let contents = end.contents();
    let (sender, block) = (signer(1).address(), &blocks[0].block);
    let transaction = &block.body.transactions[0];
    let mut ask = |method: &str, file: &str, params: Value, result: Value| {
        let request = json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": params });
        let answer = json!({ "jsonrpc": "2.0", "id": 1, "result": result });
        let exchange = format!(">> {request}\n<< {answer}\n");
        files.push((format!("tests/{method}/{file}.io"), exchange.into_bytes()));
    };
    ask("eth_chainId", "chain-id", json!([]), json!("0x1"));
    ask("eth_blockNumber", "newest", json!([]), json!("0x3"));
    ask(
        "eth_getBalance",
        "receiver",
        json!([RECEIVER, "latest"]),
        json!(contents[&RECEIVER].1),
    );
    ask(
        "eth_getBalance",
        "receiver-before-the-withdrawal",
        json!([RECEIVER, "0x1"]),
        json!("0x3e8"),
    );
    ask(
        "eth_getTransactionCount",
        "sender",
        json!([sender, "latest"]),
        json!(format!("{:#x}", contents[&sender].0)),
    );
    ask(
        "eth_getCode",
        "contract",
        json!([CONTRACT, "latest"]),
        json!(hex::encode_prefixed(COUNTER)),
    );
    ask(
        "eth_getStorageAt",
        "count",
        json!([CONTRACT, "0x0", "latest"]),
        json!(hex::encode_prefixed(
            contents[&CONTRACT].3[&U256::ZERO].to_be_bytes::<32>()
        )),
    );
    ask(
        "eth_getBlockTransactionCountByHash",
        "first",
        json!([blocks[0].hash()]),
        json!("0x3"),
    );
    ask(
        "debug_getRawHeader",
        "second",
        json!(["0x2"]),
        json!(hex::encode_prefixed(alloy_rlp::encode(
            &blocks[1].block.header
        ))),
    );
    ask(
        "debug_getRawBlock",
        "first",
        json!(["0x1"]),
        json!(hex::encode_prefixed(alloy_rlp::encode(block))),
    );
    ask(
        "debug_getRawTransaction",
        "first",
        json!([transaction.tx_hash()]),
        json!(hex::encode_prefixed(transaction.encoded_2718())),
    );
    ask(
        "eth_getBlockByNumber",
        "none",
        json!(["0x4", false]),
        Value::Null,
    );
    let refused = concat!(
        "// an address that is too short; the text of an error is everyone's own\n",
        ">> {\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"eth_getBalance\",\"params\":[\"0x01\",\"latest\"]}\n",
        "<< {\"jsonrpc\":\"2.0\",\"id\":1,\"error\":{\"code\":-32602,\"message\":\"invalid address\"}}\n"
    );
    let gas_price = concat!(
        "// speconly: a price is any number\n",
        ">> {\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"eth_gasPrice\"}\n",
        "<< {\"jsonrpc\":\"2.0\",\"id\":1,\"result\":\"0x3b9aca00\"}\n"
    );
    files.push((
        "tests/eth_getBalance/short-address.io".to_owned(),
        refused.into(),
    ));
    files.push(("tests/eth_gasPrice/price.io".to_owned(), gas_price.into()));
    files
}

/// The schemas of results, for requests whose results are only checked for their form.
fn schemas() -> Value {
    let price = json!({ "type": "string", "pattern": "^0x([1-9a-f][0-9a-f]*|0)$" });
    json!({ "methods": [{ "name": "eth_gasPrice", "result": { "schema": price } }] })
}

fn genesis_json(genesis: &super::world::World) -> Value {
    let header = genesis.header();
    let alloc = genesis.contents().into_iter();
    let alloc = alloc.map(|(address, account)| {
        let word = |number: U256| hex::encode_prefixed(number.to_be_bytes::<32>());
        let slot = |slot, value| (word(slot), json!(word(value)));
        (address.to_string(), account_json(&account, slot))
    });
    json!({
        "config": {
            "chainId": 1, "homesteadBlock": 0, "eip150Block": 0, "eip155Block": 0, "eip158Block": 0,
            "byzantiumBlock": 0, "constantinopleBlock": 0, "petersburgBlock": 0,
            "istanbulBlock": 0, "berlinBlock": 0, "londonBlock": 0, "mergeNetsplitBlock": 0,
            "terminalTotalDifficulty": 0, "shanghaiTime": 0, "cancunTime": 0,
        },
        "nonce": "0x0",
        "timestamp": format!("{:#x}", header.timestamp),
        "extraData": header.extra_data,
        "gasLimit": format!("{:#x}", header.gas_limit),
        "difficulty": "0x0",
        "baseFeePerGas": "0x3b9aca00",
        "excessBlobGas": "0x0",
        "blobGasUsed": "0x0",
        "alloc": alloc.collect::<Map<_, _>>(),
    })
}
