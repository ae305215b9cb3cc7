//! A node as a process of its own.

use serde_json::{Value, json};
use std::{
    io::{BufRead, BufReader},
    path::Path,
    process::{Child, ChildStdout, Command, Output, Stdio},
    sync::mpsc::{self, RecvTimeoutError},
    thread,
    time::{Duration, Instant},
};

/// The node's program.
pub(crate) fn validator() -> Command {
    Command::new(env!("CARGO_BIN_EXE_lockweave-validator"))
}

/// How long something may take before the test fails.
pub(crate) const PATIENCE: Duration = Duration::from_mins(1);

/// Runs a program to its end, or ends it when it takes too long.
pub(crate) fn output(command: &mut Command) -> Output {
    let child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let pid = child.id().to_string();
    let (ended, is_over) = mpsc::channel::<()>();
    let watchdog = thread::spawn(move || {
        if is_over.recv_timeout(PATIENCE) == Err(RecvTimeoutError::Timeout) {
            let _ = Command::new("kill").args(["-KILL", &pid]).status();
        }
    });
    let output = child.wait_with_output().unwrap();
    drop(ended);
    watchdog.join().unwrap();
    output
}

/// A node's banner, and the address in it.
fn listening_on(stdout: ChildStdout) -> (String, String) {
    let (said, heard) = mpsc::channel();
    thread::spawn(move || {
        let mut banner = String::new();
        for line in BufReader::new(stdout).lines().map_while(Result::ok) {
            let rest = line.strip_prefix("Listening on ");
            if let Some(url) = rest.and_then(|rest| rest.split(' ').next()) {
                let _ = said.send((banner.clone(), url.to_owned()));
            }
            banner.push_str(&line);
            banner.push('\n');
        }
    });
    heard
        .recv_timeout(PATIENCE)
        .expect("the node says where it listens")
}

/// A node as a process of its own, to be killed.
pub(crate) struct Process {
    /// What it said before it listened.
    pub(crate) banner: String,
    child: Child,
    pub(crate) url: String,
    client: reqwest::Client,
}

impl Process {
    pub(crate) fn start(datadir: &Path, block_time: &str) -> Self {
        Self::start_with(datadir, block_time, &[])
    }

    pub(crate) fn start_with(datadir: &Path, block_time: &str, more: &[&str]) -> Self {
        let mut command = validator();
        command
            .args(["run", "--dev", "--http.port", "0", "--log.filter", "error"])
            .args(["--block-time", block_time, "--threads", "2", "--datadir"])
            .arg(datadir)
            .args(more);
        Self::spawn(&mut command)
    }

    /// Starts a node by this command and waits until it listens.
    pub(crate) fn spawn(command: &mut Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let (banner, url) = listening_on(child.stdout.take().unwrap());
        Self {
            banner,
            child,
            url,
            client: (reqwest::Client::builder().timeout(PATIENCE).build()).unwrap(),
        }
    }

    pub(crate) async fn post(&self, body: &Value) -> Option<Value> {
        let request = self
            .client
            .post(&self.url)
            .header("content-type", "application/json");
        let answer = request.body(body.to_string()).send().await.ok()?;
        serde_json::from_str(&answer.text().await.ok()?).ok()
    }

    pub(crate) async fn call(&self, method: &str, params: Value) -> Option<Value> {
        let request = json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params});
        let mut answer = self.post(&request).await?;
        Some(answer["result"].take())
    }

    /// Waits for a transaction's receipt.
    pub(crate) async fn receipt(&self, hash: &Value) -> Value {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let receipt = self.call("eth_getTransactionReceipt", json!([hash])).await;
            let receipt = receipt.expect("the node answers");
            if !receipt.is_null() {
                return receipt;
            }
            assert!(Instant::now() < deadline, "{hash} is in no block");
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    pub(crate) fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    pub(crate) fn terminate(mut self) {
        let pid = self.child.id().to_string();
        let signalled = Command::new("kill").args(["-TERM", &pid]).status();
        assert!(signalled.unwrap().success());
        let deadline = Instant::now() + PATIENCE;
        let status = loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                break status;
            }
            assert!(Instant::now() < deadline, "it does not end");
            thread::sleep(Duration::from_millis(5));
        };
        assert!(status.success());
    }
}

impl Drop for Process {
    /// A test that fails leaves nobody behind.
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
