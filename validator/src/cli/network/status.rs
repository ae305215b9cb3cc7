//! `network status`: what the nodes of a network say.

use super::table::table;
use crate::cli::{Failure, rpc};
use clap::Args;
use lockweave_validator::network::NetworkStatus;
use serde_json::{Value, json};
use std::{
    io::{self, Write},
    process::ExitCode,
    thread,
    time::Duration,
};

/// How long a node may take to answer.
const TIMEOUT: Duration = Duration::from_secs(5);

/// Show the height, the final height, the leader, the peers and the lag of nodes.
#[derive(Debug, Args)]
#[command(after_help = "Exit status: 0 all nodes answered, 1 some did not.")]
pub(super) struct StatusArgs {
    /// The nodes' RPC addresses.
    #[arg(long, value_name = "URL", required = true, num_args = 1.., value_delimiter = ',')]
    rpc: Vec<String>,
    /// Print a JSON array with one object for each node.
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &StatusArgs) -> Result<ExitCode, Failure> {
    // At the same time, so that one that is down does not hold up the others.
    let answers: Vec<Result<NetworkStatus, String>> = thread::scope(|scope| {
        let asked: Vec<_> = (args.rpc.iter())
            .map(|url| scope.spawn(|| ask(url)))
            .collect();
        let answers = asked.into_iter().map(|asked| {
            asked
                .join()
                .unwrap_or_else(|_| Err("the call failed".to_owned()))
        });
        answers.collect()
    });
    let mut out = io::stdout().lock();
    if args.json {
        let shown = args
            .rpc
            .iter()
            .zip(&answers)
            .map(|(url, answer)| match answer {
                Ok(status) => {
                    let mut value = json!(status);
                    value["rpc"] = json!(url);
                    value
                }
                Err(error) => json!({ "rpc": url, "error": error }),
            });
        let shown: Vec<Value> = shown.collect();
        writeln!(out, "{}", Value::from(shown))?;
    } else {
        let rows: Vec<_> = (args.rpc.iter().zip(&answers))
            .map(|(url, answer)| row(url, answer))
            .collect();
        let heading = [
            "node",
            "role",
            "height",
            "final",
            "lag",
            "view",
            "leader",
            "peers",
            "last final",
        ];
        write!(out, "{}", table(heading, &rows))?;
    }
    let is_complete = answers.iter().all(Result::is_ok);
    Ok(ExitCode::from(u8::from(!is_complete)))
}

fn ask(url: &str) -> Result<NetworkStatus, String> {
    let answer = rpc::call(url, "lockweave_networkStatus", &json!([]), TIMEOUT)?;
    serde_json::from_value(answer).map_err(|error| format!("the answer is no status: {error}"))
}

fn row(url: &str, answer: &Result<NetworkStatus, String>) -> [String; 9] {
    let status = match answer {
        Ok(status) => status,
        Err(error) => {
            let mut row: [String; 9] = Default::default();
            (row[0], row[1]) = (url.to_owned(), format!("no answer: {error}"));
            return row;
        }
    };
    let connected = status.peers.iter().filter(|peer| peer.connected).count();
    let role = if status.validator {
        "validator"
    } else {
        "follower"
    };
    let last = match (&status.sync, status.since_final_ms) {
        (Some(sync), _) => sync.short(),
        (None, Some(since)) => format!("{since} ms ago"),
        (None, None) => "never".to_owned(),
    };
    [
        status.name.clone(),
        role.to_owned(),
        status.height.to_string(),
        status.finalized.to_string(),
        status.lag.to_string(),
        status.view.to_string(),
        status.leader.clone(),
        format!("{connected} of {}", status.peers.len()),
        last,
    ]
}
