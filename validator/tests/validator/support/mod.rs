//! A node in this process, on a free port, and a client for it.

pub(crate) mod hooked_store;
pub(crate) mod process;
pub(crate) mod socket;

use alloy_consensus::{SignableTransaction, TxEip1559, TxEnvelope};
use alloy_eips::eip2718::Encodable2718;
use alloy_primitives::{Address, B256, Bytes, TxKind, U256, hex};
use alloy_signer::SignerSync;
use alloy_signer_local::PrivateKeySigner;
use lockweave_banking_stage::StageConfig;
use lockweave_evm_adapter::{LockweaveTxEnvelope, TxDeclared};
use lockweave_validator::{
    chain::{ChainParameters, dev},
    node::{
        Node, NodeConfig,
        consensus::{SoloConfig, SoloConsensus},
    },
    pool::PoolConfig,
    rpc::{RpcConfig, RpcServer},
    store::{ChainStore, MemoryStore, Retention},
};
use serde_json::{Value, json};
use std::{num::NonZeroUsize, sync::Arc, time::Duration};

/// The result of a call of a [`TestNode`] that must not fail, by method and parameters.
macro_rules! ask {
    ($node:expr, $method:expr $(, $($params:tt)+)?) => {
        $node.ok($method, serde_json::json!([$($($params)+)?])).await
    };
}
pub(crate) use ask;

/// Gas price of tests, in wei: well above the first base fee.
pub(crate) const GAS_PRICE: u128 = 10_000_000_000;

/// The account that receives the tips in tests.
pub(crate) const BENEFICIARY: Address = Address::repeat_byte(0xbe);

pub(crate) struct TestNode {
    pub(crate) node: Arc<Node>,
    pub(crate) url: String,
    server: Option<RpcServer>,
    client: reqwest::Client,
}

/// How a test's node differs from the usual one.
pub(crate) struct Setup {
    pub(crate) block_time: Duration,
    pub(crate) pool: PoolConfig,
    /// Blocks with fewer transactions run sequentially.
    pub(crate) sequential_below: usize,
    /// Blocks of as many payments, and nothing else, run without locks.
    pub(crate) payments_from: usize,
    pub(crate) tune: fn(&mut RpcConfig),
}

impl Default for Setup {
    fn default() -> Self {
        Self {
            block_time: Duration::ZERO,
            pool: PoolConfig::default(),
            sequential_below: StageConfig::default().sequential_below,
            payments_from: StageConfig::default().payments_from,
            tune: |_| {},
        }
    }
}

/// A node whose every stage has one thread.
pub(crate) fn single_threaded() -> NodeConfig {
    NodeConfig {
        stage: StageConfig::with_threads(NonZeroUsize::MIN),
        signature_threads: NonZeroUsize::MIN,
        pool: PoolConfig::default(),
        extra_data: Vec::new(),
        journal: None,
    }
}

/// The development accounts.
pub(crate) fn signers() -> Vec<PrivateKeySigner> {
    dev::signers().unwrap()
}

/// The development chain, with these accounts funded besides its own.
pub(crate) fn parameters(more: impl IntoIterator<Item = Address>) -> ChainParameters {
    let own = signers().into_iter().map(|signer| signer.address());
    let genesis = dev::genesis(own.chain(more), 1_700_000_000);
    ChainParameters::new(genesis).unwrap()
}

impl TestNode {
    pub(crate) async fn start() -> Self {
        Self::with(Setup::default()).await
    }

    pub(crate) async fn with(setup: Setup) -> Self {
        Self::on(setup, parameters([]), None).await
    }

    pub(crate) async fn on(
        setup: Setup,
        parameters: ChainParameters,
        store: Option<Arc<dyn ChainStore>>,
    ) -> Self {
        let store = store.unwrap_or_else(|| {
            let genesis = parameters.genesis_block().unwrap();
            let delta = parameters.genesis_delta();
            Arc::new(MemoryStore::new(Retention::default(), genesis, &delta))
        });
        let threads = NonZeroUsize::new(2).unwrap();
        let config = NodeConfig {
            stage: StageConfig {
                sequential_below: setup.sequential_below,
                payments_from: setup.payments_from,
                ..StageConfig::with_threads(threads)
            },
            signature_threads: threads,
            pool: setup.pool,
            extra_data: b"test".to_vec(),
            journal: None,
        };
        let consensus = SoloConsensus::new(SoloConfig {
            block_time: setup.block_time,
            empty_block_time: None,
            beneficiary: BENEFICIARY,
        });
        let node = Node::start(parameters, config, store, Box::new(consensus)).unwrap();
        let mut config = RpcConfig::new("127.0.0.1:0".parse().unwrap());
        (setup.tune)(&mut config);
        let server = RpcServer::start(config, Arc::clone(&node), None)
            .await
            .unwrap();
        Self {
            url: format!("http://{}", server.address()),
            node,
            server: Some(server),
            client: (reqwest::Client::builder()
                .timeout(process::PATIENCE)
                .build())
            .unwrap(),
        }
    }

    pub(crate) async fn stop(mut self) {
        if let Some(server) = self.server.take() {
            server.stop().await;
        }
        let node = Arc::clone(&self.node);
        tokio::task::spawn_blocking(move || node.stop())
            .await
            .unwrap();
    }

    /// Posts a body as it is; returns status and text of the response.
    pub(crate) async fn post(&self, body: impl Into<reqwest::Body>) -> (u16, String) {
        let request = self
            .client
            .post(&self.url)
            .header("content-type", "application/json");
        let answer = request.body(body).send().await.unwrap();
        (answer.status().as_u16(), answer.text().await.unwrap())
    }

    /// Posts a body; returns the response as JSON.
    pub(crate) async fn post_json(&self, body: String) -> Value {
        let (_, text) = self.post(body).await;
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"))
    }

    /// A call: its result, or its error.
    pub(crate) async fn call(&self, method: &str, params: Value) -> Result<Value, Value> {
        let request = json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params});
        let mut answer = self.post_json(request.to_string()).await;
        match answer.get("error") {
            Some(error) => Err(error.clone()),
            None => Ok(answer["result"].take()),
        }
    }

    /// A call that must not fail.
    pub(crate) async fn ok(&self, method: &str, params: Value) -> Value {
        let answer = self.call(method, params.clone()).await;
        answer.unwrap_or_else(|error| panic!("{method} {params}: {error}"))
    }

    /// The code and text of a call that must fail.
    pub(crate) async fn error(&self, method: &str, params: Value) -> (i64, String) {
        let error = self.call(method, params.clone()).await;
        let error = error.expect_err("it had to fail");
        (
            error["code"].as_i64().unwrap(),
            error["message"].as_str().unwrap().to_owned(),
        )
    }

    pub(crate) async fn send(&self, raw: &Bytes) -> Result<B256, Value> {
        let answer = self.call("eth_sendRawTransaction", json!([raw])).await?;
        Ok(serde_json::from_value(answer).unwrap())
    }

    /// Deploys the [`counter`]; its receipt.
    pub(crate) async fn deploy_counter(&self, signer: &PrivateKeySigner, nonce: u64) -> Value {
        let create = Draft::create_counter(nonce).sign(signer);
        self.receipt(self.send(&create).await.unwrap()).await
    }

    /// Waits until a transaction is in a block; its receipt.
    pub(crate) async fn receipt(&self, hash: B256) -> Value {
        for _ in 0..6_000 {
            let receipt = self.ok("eth_getTransactionReceipt", json!([hash])).await;
            if !receipt.is_null() {
                return receipt;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let status = self.ok("lockweave_transactionStatus", json!([hash])).await;
        panic!("transaction {hash} is in no block: {status}");
    }
}

/// A transaction, signed.
pub(crate) struct Draft {
    pub(crate) nonce: u64,
    pub(crate) gas: u64,
    pub(crate) max_fee: u128,
    pub(crate) tip: u128,
    pub(crate) to: TxKind,
    pub(crate) value: U256,
    pub(crate) input: Bytes,
}

impl Draft {
    /// A transfer of one wei.
    pub(crate) fn transfer(nonce: u64, to: Address) -> Self {
        Self {
            nonce,
            gas: 21_000,
            max_fee: GAS_PRICE,
            tip: 1_000_000_000,
            to: TxKind::Call(to),
            value: U256::from(1),
            input: Bytes::new(),
        }
    }

    /// The deployment of the [`counter`].
    pub(crate) fn create_counter(nonce: u64) -> Self {
        Self {
            gas: 200_000,
            to: TxKind::Create,
            value: U256::ZERO,
            input: deploy(&counter()),
            ..Self::transfer(nonce, Address::ZERO)
        }
    }

    /// A call without value or input.
    pub(crate) fn call(nonce: u64, contract: Address) -> Self {
        Self {
            gas: 100_000,
            value: U256::ZERO,
            ..Self::transfer(nonce, contract)
        }
    }

    pub(crate) fn sign(self, signer: &PrivateKeySigner) -> Bytes {
        let unsigned = TxEip1559 {
            chain_id: dev::CHAIN_ID,
            nonce: self.nonce,
            gas_limit: self.gas,
            max_fee_per_gas: self.max_fee,
            max_priority_fee_per_gas: self.tip,
            to: self.to,
            value: self.value,
            input: self.input,
            ..TxEip1559::default()
        };
        let signature = signer.sign_hash_sync(&unsigned.signature_hash()).unwrap();
        TxEnvelope::from(unsigned.into_signed(signature))
            .encoded_2718()
            .into()
    }
}

/// Signs a transaction of type 0x44.
pub(crate) fn sign_declared(unsigned: &TxDeclared, signer: &PrivateKeySigner) -> Bytes {
    let signature = signer.sign_hash_sync(&unsigned.signature_hash()).unwrap();
    let envelope = LockweaveTxEnvelope::from(unsigned.clone().into_signed(signature));
    envelope.encoded_2718().into()
}

/// A number as JSON-RPC writes it.
pub(crate) fn number(value: &Value) -> u128 {
    let text = value
        .as_str()
        .unwrap_or_else(|| panic!("no number: {value}"));
    u128::from_str_radix(text.trim_start_matches("0x"), 16).unwrap()
}

/// A constructor that deploys this code.
pub(crate) fn deploy(code: &[u8]) -> Bytes {
    // PUSH2 len, DUP1, PUSH1 12, PUSH0, CODECOPY, PUSH0, RETURN; padded to 12 bytes.
    let length = u16::try_from(code.len()).unwrap().to_be_bytes();
    let mut init = vec![
        0x61, length[0], length[1], 0x80, 0x60, 12, 0x5f, 0x39, 0x5f, 0xf3, 0, 0,
    ];
    init.extend_from_slice(code);
    init.into()
}

/// A contract that adds one to slot 0, logs with topic 7, and reverts with `no` if it is sent ether.
pub(crate) fn counter() -> Vec<u8> {
    hex!("34601557 6001 5f54 01 80 5f55 5f52 6007 6020 5f a1 00 5b 616e6f 5f52 6002 601e fd")
        .to_vec()
}
