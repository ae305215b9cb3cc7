//! A node that keeps nonces, balances of recipients and receipts, and misbehaves on request.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::{Arc, Mutex},
    time::Duration,
};

use alloy_consensus::{Transaction, TxEnvelope, transaction::SignerRecoverable};
use alloy_eips::eip2718::Decodable2718;
use alloy_primitives::{Address, B256, U256, hex};
use axum::{Router, extract::State, routing::post};
use serde_json::{Value, json};

/// How the node misbehaves; 0 is never. Each transaction is affected at most once, except where "every time" is stated.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Faults {
    /// Every n-th new transaction is refused with "txpool is full".
    pub(crate) refuse_every: u64,
    /// Every n-th new transaction is accepted and dropped.
    pub(crate) drop_every: u64,
    /// Everything from the n-th new transaction on is refused, every time.
    pub(crate) refuse_from: u64,
    /// Everything from the n-th new transaction on is accepted and dropped, every time.
    pub(crate) drop_from: u64,
    /// Every n-th batch is processed and answered with HTTP status 503.
    pub(crate) lose_answer_every: u64,
    /// Recipients are not credited.
    pub(crate) steal: bool,
    /// Transactions are answered only after this time.
    pub(crate) slow: Duration,
    /// There is no `eth_getBlockReceipts`.
    pub(crate) no_block_receipts: bool,
}

#[derive(Debug, Default)]
struct Chain {
    faults: Faults,
    seen: HashMap<B256, u64>,
    misbehaved: HashSet<B256>,
    batches: u64,
    nonces: HashMap<Address, u64>,
    balances: HashMap<Address, U256>,
    pool: HashMap<Address, BTreeMap<u64, (B256, Address, U256)>>,
    blocks: Vec<Vec<Value>>,
}

impl Chain {
    fn send(&mut self, raw: &str) -> Result<Value, String> {
        let bytes = hex::decode(raw).map_err(|error| error.to_string())?;
        let envelope =
            TxEnvelope::decode_2718(&mut bytes.as_slice()).map_err(|error| error.to_string())?;
        let sender = envelope
            .recover_signer()
            .map_err(|error| error.to_string())?;
        let hash = *envelope.tx_hash();
        let to = envelope.to().ok_or("creates a contract")?;
        let order = self.seen.len() as u64 + 1;
        let order = *self.seen.entry(hash).or_insert(order);
        let every = |n: u64| n != 0 && order.is_multiple_of(n);
        let from = |n: u64| n != 0 && order >= n;
        if from(self.faults.refuse_from) {
            return Err(format!("txpool is full ({order})"));
        }
        if from(self.faults.drop_from) {
            return Ok(json!(hash));
        }
        if every(self.faults.refuse_every) && self.misbehaved.insert(hash) {
            return Err(format!("txpool is full ({order})"));
        }
        if every(self.faults.drop_every) && self.misbehaved.insert(hash) {
            return Ok(json!(hash));
        }
        if envelope.nonce() < self.nonces.get(&sender).copied().unwrap_or_default() {
            return Err("nonce too low".to_owned());
        }
        let of_sender = self.pool.entry(sender).or_default();
        if of_sender.contains_key(&envelope.nonce()) {
            return Err("already known".to_owned());
        }
        of_sender.insert(envelope.nonce(), (hash, to, envelope.value()));
        Ok(json!(hash))
    }

    fn make_block(&mut self) {
        let mut receipts = Vec::new();
        for (sender, waiting) in &mut self.pool {
            let nonce = self.nonces.entry(*sender).or_default();
            while let Some((hash, to, value)) = waiting.remove(nonce) {
                *nonce += 1;
                if !self.faults.steal {
                    *self.balances.entry(to).or_default() += value;
                }
                receipts
                    .push(json!({"transactionHash": hash, "status": "0x1", "gasUsed": "0x5208"}));
            }
        }
        self.blocks.push(receipts);
    }

    /// Of the block whose number is the first parameter.
    fn receipts(&self, params: &Value) -> Option<&Vec<Value>> {
        let digits = params[0].as_str()?.strip_prefix("0x")?;
        let number = usize::from_str_radix(digits, 16).ok()?;
        self.blocks.get(number.checked_sub(1)?)
    }

    fn answer(&mut self, method: &str, params: &Value) -> Result<Value, String> {
        let address = || {
            params[0]
                .as_str()
                .and_then(|text| text.parse::<Address>().ok())
                .ok_or("no address")
        };
        Ok(match method {
            "eth_chainId" => json!("0x539"),
            "eth_blockNumber" => json!(format!("0x{:x}", self.blocks.len())),
            "eth_getBlockByNumber" => {
                let receipts = self.receipts(params);
                let receipts = receipts.map_or(&[][..], Vec::as_slice);
                let hashes: Vec<_> = (receipts.iter())
                    .map(|receipt| receipt["transactionHash"].clone())
                    .collect();
                let gas = 21_000 * hashes.len();
                json!({"baseFeePerGas": "0x7", "gasUsed": format!("0x{gas:x}"), "transactions": hashes})
            }
            "eth_getTransactionReceipt" => {
                let mut receipts = self.blocks.iter().flatten();
                let receipt = receipts.find(|receipt| receipt["transactionHash"] == params[0]);
                json!(receipt)
            }
            "eth_getTransactionByHash" => {
                let hash = params[0].as_str().unwrap_or_default();
                let waiting = self.pool.values().flat_map(BTreeMap::values);
                let mut hashes = waiting.map(|(hash, _, _)| hash.to_string());
                let mut receipts = self.blocks.iter().flatten();
                let known = hashes.any(|known| known == hash)
                    || receipts.any(|receipt| receipt["transactionHash"] == params[0]);
                if known {
                    json!({"hash": hash})
                } else {
                    Value::Null
                }
            }
            "eth_getTransactionCount" => {
                json!(format!(
                    "0x{:x}",
                    self.nonces.get(&address()?).copied().unwrap_or_default()
                ))
            }
            "eth_getBalance" => {
                // All accounts are rich, so none has to be funded.
                let rich = U256::from(10).pow(U256::from(21));
                json!(format!(
                    "0x{:x}",
                    rich + self.balances.get(&address()?).copied().unwrap_or_default()
                ))
            }
            "eth_getBlockReceipts" if !self.faults.no_block_receipts => {
                json!(self.receipts(params))
            }
            "eth_sendRawTransaction" => self.send(params[0].as_str().ok_or("no bytes")?)?,
            _ => return Err(format!("no method {method}")),
        })
    }
}

fn code(message: &str) -> i64 {
    if message.starts_with("no method") {
        -32601
    } else {
        -32000
    }
}

async fn serve(
    State(chain): State<Arc<Mutex<Chain>>>,
    body: String,
) -> (axum::http::StatusCode, String) {
    let calls: Vec<Value> = serde_json::from_str(&body).expect("batches are arrays");
    let sends = calls
        .iter()
        .any(|call| call["method"] == "eth_sendRawTransaction");
    if sends {
        let slow = chain.lock().expect("not poisoned").faults.slow;
        tokio::time::sleep(slow).await;
    }
    let mut chain = chain.lock().expect("not poisoned");
    let answers: Vec<Value> = calls
        .iter()
        .map(|call| match chain.answer(call["method"].as_str().unwrap_or_default(), &call["params"]) {
            Ok(result) => json!({"jsonrpc": "2.0", "id": call["id"], "result": result}),
            Err(message) => json!({"jsonrpc": "2.0", "id": call["id"], "error": {"code": code(&message), "message": message}}),
        })
        .rev() // JSON-RPC allows any order
        .collect();
    if sends {
        chain.batches += 1;
        let every = chain.faults.lose_answer_every;
        if every != 0 && chain.batches.is_multiple_of(every) {
            return (axum::http::StatusCode::SERVICE_UNAVAILABLE, String::new());
        }
    }
    (
        axum::http::StatusCode::OK,
        Value::Array(answers).to_string(),
    )
}

/// Starts a node on a free loopback port; its address. It ends with the test's runtime.
pub(crate) async fn start(faults: Faults) -> String {
    let chain = Arc::new(Mutex::new(Chain {
        faults,
        ..Chain::default()
    }));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0")
        .await
        .expect("a free port");
    let address = listener.local_addr().expect("bound");
    let router = Router::new()
        .route("/", post(serve))
        .with_state(Arc::clone(&chain));
    tokio::spawn(async move { axum::serve(listener, router).await });
    tokio::spawn(async move {
        loop {
            tokio::time::sleep(Duration::from_millis(10)).await;
            chain.lock().expect("not poisoned").make_block();
        }
    });
    format!("http://{address}")
}
