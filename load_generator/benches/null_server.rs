//! Measures how many transfers per second one core signs and sends.
//!
//! The server answers every batch with the same bytes and decodes nothing, so the bench measures the load generator:
//! signing, building requests, HTTP, reading answers. It counts the processor time of the one thread that signs and
//! sends, so other processes on the machine matter little. Exits with code 1 below the bound.
//!
//! usage: `cargo bench -p lockweave-load-generator --bench null_server`

use std::{process::ExitCode, time::Instant};

use alloy_primitives::{Bytes, U256};
use lockweave_load_generator::{
    Access, Connection, Declarations, Endpoint, Plan, Terms, recipients, senders, sign,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

const BATCH: usize = 100;
const BATCHES: usize = 600;
/// Required transfers per second of processor time.
const BOUND: f64 = 20_000.0;

fn main() -> ExitCode {
    let (url, server) = start_server();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    let (busy_before, start) = (busy_seconds(), Instant::now());
    let (sent, signing) = runtime.block_on(sign_and_send(&url));
    let (wall, busy) = (start.elapsed().as_secs_f64(), busy_seconds() - busy_before);
    drop(runtime);
    drop(server);
    #[expect(clippy::cast_precision_loss, reason = "a few thousand")]
    let (per_core, per_wall) = (sent as f64 / busy, sent as f64 / wall);
    println!(
        "{sent} transfers signed and sent in batches of {BATCH}: {per_core:.0} per second of processor time, {per_wall:.0} per second of wall time; signing takes {:.0} %",
        signing / busy * 100.0
    );
    if per_core < BOUND {
        eprintln!("below the bound of {BOUND:.0}");
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}

/// The number of sent transfers, and the processor seconds of signing.
async fn sign_and_send(url: &str) -> (usize, f64) {
    let endpoint = Endpoint::new(url, false).expect("loopback");
    let mut connection = Connection::new(&endpoint);
    let account = senders(1, 1).expect("a key").remove(0);
    let to = recipients(1, 1)[0];
    let terms = Terms {
        chain_id: 1337,
        max_fee_per_gas: 20_000_000_000,
        max_priority_fee_per_gas: 1_000_000_000,
        declarations: Declarations::None,
    };
    let (mut sent, mut signing) = (0, 0.0);
    for batch in 0..BATCHES {
        let before = busy_seconds();
        let signed: Vec<_> = (0..BATCH)
            .map(|position| {
                let plan = Plan {
                    sender: 0,
                    nonce: (batch * BATCH + position) as u64,
                    to: to.into(),
                    value: U256::ONE,
                    input: Bytes::new(),
                    gas_limit: 21_000,
                    access: Access::default(),
                };
                sign(&plan, &terms, &account)
            })
            .collect();
        signing += busy_seconds() - before;
        let raw: Vec<&str> = signed.iter().map(|one| one.raw.as_str()).collect();
        let answers = connection.send_raw(&raw).await.expect("an answer");
        sent += answers.iter().filter(|answer| answer.is_ok()).count();
    }
    assert_eq!(sent, BATCH * BATCHES, "every transfer was answered");
    (sent, signing)
}

/// Processor time of this thread, in seconds.
fn busy_seconds() -> f64 {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat")
        .expect("Linux reports the time of threads");
    let nanoseconds = text.split_whitespace().next();
    let nanoseconds: f64 = nanoseconds
        .and_then(|digits| digits.parse().ok())
        .expect("the first number is the time on a core");
    nanoseconds / 1e9
}

/// Starts a server on its own thread. It ends when the returned runtime is dropped.
fn start_server() -> (String, tokio::runtime::Runtime) {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .expect("a runtime");
    let listener = runtime
        .block_on(TcpListener::bind("127.0.0.1:0"))
        .expect("a free port");
    let address = listener.local_addr().expect("bound");
    runtime.spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(answer_always(stream));
        }
    });
    (format!("http://{address}"), runtime)
}

async fn answer_always(mut stream: TcpStream) {
    let replies: Vec<String> = (0..BATCH)
        .map(|id| {
            format!(
                r#"{{"jsonrpc":"2.0","id":{id},"result":"0x{}"}}"#,
                "5a".repeat(32)
            )
        })
        .collect();
    let body = format!("[{}]", replies.join(","));
    let answer = format!(
        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    let mut received = Vec::new();
    loop {
        // Only the length is parsed, to find the end of the request.
        let Some(head_end) = received.windows(4).position(|bytes| bytes == b"\r\n\r\n") else {
            if stream.read_buf(&mut received).await.unwrap_or(0) == 0 {
                return;
            }
            continue;
        };
        let head = String::from_utf8_lossy(&received[..head_end]).to_lowercase();
        let length: usize = head
            .lines()
            .find_map(|line| line.strip_prefix("content-length:")?.trim().parse().ok())
            .expect("a length");
        while received.len() < head_end + 4 + length {
            if stream.read_buf(&mut received).await.unwrap_or(0) == 0 {
                return;
            }
        }
        received.drain(..head_end + 4 + length);
        if stream.write_all(answer.as_bytes()).await.is_err() {
            return;
        }
    }
}
