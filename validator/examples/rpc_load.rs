//! Transfers over JSON-RPC, in batches, against any development node: how many a second, and how many
//! for each second of the node's processor time.
//!
//! Senders are funded from the well-known development accounts; transactions are signed beforehand.
//! `benches/rpc.sh` runs it against this node and against anvil.

use alloy_consensus::{SignableTransaction, TxEip1559, TxEnvelope};
use alloy_eips::eip2718::Encodable2718;
use alloy_primitives::{Address, Bytes, TxKind, U256, hex, keccak256};
use alloy_signer::SignerSync;
use alloy_signer_local::PrivateKeySigner;
use clap::{Parser, ValueEnum};
use lockweave_validator::chain::dev;
use rayon::prelude::*;
use serde_json::{Value, json};
use std::{
    error::Error,
    fs,
    path::PathBuf,
    time::{Duration, Instant},
};

type Failure = Box<dyn Error + Send + Sync>;

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Kind {
    /// One wei to another account.
    Transfer,
    /// One token to another account.
    Erc20,
}

/// Send transactions in batches and wait until all are in blocks.
#[derive(Debug, Parser)]
struct Args {
    /// The node.
    #[arg(long)]
    url: String,
    /// The node's process, for its processor time.
    #[arg(long)]
    pid: Option<u32>,
    #[arg(long, value_enum, default_value_t = Kind::Transfer)]
    kind: Kind,
    #[arg(long, default_value_t = 200)]
    senders: usize,
    #[arg(long, default_value_t = 20_000)]
    transactions: usize,
    #[arg(long, default_value_t = 250)]
    batch: usize,
    #[arg(long, default_value_t = 4)]
    connections: usize,
    /// JSON with the token's `bytecode` (constructor: supply; `mint(address,uint256)`).
    #[arg(long)]
    token: Option<PathBuf>,
}

/// Far above any base fee of the run.
const MAX_FEE: u128 = 1_000_000_000_000;

/// Enough for a token transfer.
const GAS_LIMIT: u64 = 100_000;

impl Args {
    fn of_each_sender(&self) -> usize {
        self.transactions.div_ceil(self.senders)
    }
}

struct Client {
    http: reqwest::Client,
    url: String,
    chain_id: u64,
}

impl Client {
    async fn post(&self, body: String) -> Result<Value, Failure> {
        let request = self
            .http
            .post(&self.url)
            .header("content-type", "application/json");
        let answer = request.body(body).send().await?.bytes().await?;
        Ok(serde_json::from_slice(&answer)?)
    }

    async fn call(&self, method: &str, params: Value) -> Result<Value, Failure> {
        let request = json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params});
        let mut answer = self.post(request.to_string()).await?;
        match answer.get("error") {
            Some(error) => Err(format!("{method}: {error}").into()),
            None => Ok(answer["result"].take()),
        }
    }

    /// Sends a batch; the first refusal is an error.
    async fn send(&self, body: String) -> Result<(), Failure> {
        let answers = self.post(body).await?;
        let answers = answers.as_array().ok_or("the batch was refused")?;
        match answers.iter().find_map(|answer| answer.get("error")) {
            Some(error) => Err(format!("a transaction was refused: {error}").into()),
            None => Ok(()),
        }
    }

    async fn nonces(&self, accounts: &[Address]) -> Result<Vec<u64>, Failure> {
        let calls: Vec<_> = accounts
            .iter()
            .map(|account| {
                let params = json!([account, "latest"]);
                json!({"jsonrpc": "2.0", "id": 1, "method": "eth_getTransactionCount", "params": params})
            })
            .collect();
        let answers = self.post(json!(calls).to_string()).await?;
        let number = |answer: &Value| {
            let text = answer["result"].as_str()?.strip_prefix("0x")?;
            u64::from_str_radix(text, 16).ok()
        };
        let answers = answers.as_array().ok_or("no batch answered")?;
        answers
            .iter()
            .map(|answer| number(answer).ok_or_else(|| "no nonce".into()))
            .collect()
    }

    /// Waits until accounts have these nonces.
    async fn wait(&self, wanted: &[(Address, u64)]) -> Result<(), Failure> {
        let accounts: Vec<_> = wanted.iter().map(|(account, _)| *account).collect();
        let started = Instant::now();
        loop {
            let nonces = self.nonces(&accounts).await?;
            if nonces
                .iter()
                .zip(wanted)
                .all(|(nonce, (_, wanted))| nonce >= wanted)
            {
                return Ok(());
            }
            if started.elapsed() > Duration::from_mins(5) {
                return Err("not all transactions came into a block within 5 minutes".into());
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    fn sign(
        &self,
        signer: &PrivateKeySigner,
        nonce: u64,
        to: TxKind,
        value: U256,
        input: Bytes,
    ) -> Result<String, Failure> {
        let gas_limit = if input.is_empty() {
            21_000
        } else if to.is_create() {
            2_000_000
        } else {
            GAS_LIMIT
        };
        let unsigned = TxEip1559 {
            chain_id: self.chain_id,
            nonce,
            gas_limit,
            max_fee_per_gas: MAX_FEE,
            max_priority_fee_per_gas: 1_000_000_000,
            to,
            value,
            input,
            ..TxEip1559::default()
        };
        let signature = signer.sign_hash_sync(&unsigned.signature_hash())?;
        let raw = TxEnvelope::from(unsigned.into_signed(signature)).encoded_2718();
        Ok(hex::encode_prefixed(raw))
    }
}

fn batch_of(raws: &[String]) -> String {
    let calls = raws.iter().enumerate().map(|(id, raw)| {
        format!(
            r#"{{"jsonrpc":"2.0","id":{id},"method":"eth_sendRawTransaction","params":["{raw}"]}}"#
        )
    });
    format!("[{}]", calls.collect::<Vec<_>>().join(","))
}

/// Seconds of processor time a process has used, its threads together.
fn processor_seconds(pid: Option<u32>) -> Option<f64> {
    let stat = fs::read_to_string(format!("/proc/{}/stat", pid?)).ok()?;
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let ticks: f64 = fields.get(11)?.parse::<f64>().ok()? + fields.get(12)?.parse::<f64>().ok()?;
    // USER_HZ is 100 on every Linux there is.
    Some(ticks / 100.0)
}

fn call_data(signature: &str, words: &[U256]) -> Bytes {
    let mut data = keccak256(signature)[..4].to_vec();
    for word in words {
        data.extend_from_slice(&word.to_be_bytes::<32>());
    }
    data.into()
}

fn word(address: Address) -> U256 {
    U256::from_be_slice(address.as_slice())
}

/// Funds the senders; for tokens deploys the contract and mints. The contract, if there is one.
async fn prepare(
    client: &Client,
    args: &Args,
    senders: &[PrivateKeySigner],
) -> Result<Option<Address>, Failure> {
    let rich = dev::signers()?;
    let rich_accounts: Vec<_> = rich.iter().map(PrivateKeySigner::address).collect();
    let mut nonces = client.nonces(&rich_accounts).await?;
    let mut raws = Vec::new();
    let amount = U256::from(args.of_each_sender()) * U256::from(MAX_FEE * u128::from(GAS_LIMIT));
    for (place, sender) in senders.iter().enumerate() {
        let from = place % rich.len();
        raws.push(client.sign(
            &rich[from],
            nonces[from],
            sender.address().into(),
            amount,
            Bytes::new(),
        )?);
        nonces[from] += 1;
    }
    let mut contract = None;
    if args.kind == Kind::Erc20 {
        let path = args.token.as_ref().ok_or("--token is needed for erc20")?;
        let token: Value = serde_json::from_slice(&fs::read(path)?)?;
        let code = token["bytecode"]
            .as_str()
            .ok_or("no bytecode in the token file")?;
        let mut code = hex::decode(code)?;
        code.extend_from_slice(&U256::from(1).to_be_bytes::<32>());
        contract = Some(rich_accounts[0].create(nonces[0]));
        raws.push(client.sign(&rich[0], nonces[0], TxKind::Create, U256::ZERO, code.into())?);
        nonces[0] += 1;
    }
    client.send(batch_of(&raws)).await?;
    let wanted: Vec<_> = rich_accounts
        .iter()
        .copied()
        .zip(nonces.iter().copied())
        .collect();
    client.wait(&wanted).await?;
    if let Some(contract) = contract {
        raws.clear();
        for sender in senders {
            let words = [word(sender.address()), U256::from(1_000_000)];
            let input = call_data("mint(address,uint256)", &words);
            raws.push(client.sign(&rich[0], nonces[0], contract.into(), U256::ZERO, input)?);
            nonces[0] += 1;
        }
        client.send(batch_of(&raws)).await?;
        client.wait(&[(rich_accounts[0], nonces[0])]).await?;
    }
    Ok(contract)
}

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let args = Args::parse();
    let mut client = Client {
        http: reqwest::Client::new(),
        url: args.url.clone(),
        chain_id: 0,
    };
    let chain_id = client.call("eth_chainId", json!([])).await?;
    let digits = chain_id
        .as_str()
        .and_then(|text| text.strip_prefix("0x"))
        .ok_or("no chain id")?;
    client.chain_id = u64::from_str_radix(digits, 16)?;
    // New senders for each run, so that it can be repeated on one node.
    let seed = keccak256(format!("{:?}", std::time::SystemTime::now()));
    let senders: Vec<PrivateKeySigner> = (0..args.senders)
        .map(|place| {
            PrivateKeySigner::from_bytes(&keccak256(
                [seed.as_slice(), &place.to_be_bytes()].concat(),
            ))
        })
        .collect::<Result<_, _>>()?;
    let contract = prepare(&client, &args, &senders).await?;
    let each = args.of_each_sender();
    let signed: Vec<Vec<String>> = senders
        .par_iter()
        .enumerate()
        .map(|(place, sender)| {
            (0..each)
                .map(|nonce| {
                    let recipient = senders[(place + nonce + 1) % senders.len()].address();
                    let (to, value, input) = match contract {
                        None => (recipient, U256::from(1), Bytes::new()),
                        Some(token) => {
                            let words = [word(recipient), U256::from(1)];
                            (
                                token,
                                U256::ZERO,
                                call_data("transfer(address,uint256)", &words),
                            )
                        }
                    };
                    client.sign(sender, nonce as u64, to.into(), value, input)
                })
                .collect::<Result<_, _>>()
        })
        .collect::<Result<_, _>>()?;
    // Round by round, so that senders take turns and nonces are in order on each connection.
    let mut shares: Vec<Vec<String>> = vec![Vec::new(); args.connections];
    for nonce in 0..each {
        for (place, raws) in signed.iter().enumerate() {
            shares[place % args.connections].push(raws[nonce].clone());
        }
    }
    let bodies: Vec<Vec<String>> = shares
        .iter()
        .map(|share| share.chunks(args.batch).map(batch_of).collect())
        .collect();

    let client = std::sync::Arc::new(client);
    let before = processor_seconds(args.pid);
    let started = Instant::now();
    let mut tasks = Vec::new();
    for share in bodies {
        let client = std::sync::Arc::clone(&client);
        tasks.push(tokio::spawn(async move {
            for body in share {
                client.send(body).await?;
            }
            Ok::<(), Failure>(())
        }));
    }
    for task in tasks {
        task.await??;
    }
    let submitted = started.elapsed().as_secs_f64();
    let wanted: Vec<_> = senders
        .iter()
        .map(|sender| (sender.address(), each as u64))
        .collect();
    client.wait(&wanted).await?;
    let seconds = started.elapsed().as_secs_f64();
    let processor = processor_seconds(args.pid)
        .zip(before)
        .map(|(after, before)| after - before);
    let sent = u32::try_from(each * args.senders)?;
    println!(
        "{}",
        json!({
            "kind": format!("{:?}", args.kind).to_lowercase(),
            "transactions": sent,
            "submittedSeconds": submitted,
            "seconds": seconds,
            "perSecond": f64::from(sent) / seconds,
            "processorSeconds": processor,
            "perProcessorSecond": processor.map(|processor| f64::from(sent) / processor),
        })
    );
    Ok(())
}
