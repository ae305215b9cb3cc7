//! Calls of nodes over JSON-RPC.

use serde_json::{Value, json};
use std::time::Duration;

/// Bytes of an answer, at most.
const ANSWER_BYTES_MAX: u64 = 16 << 20;

/// Calls a method without parameters. An error is one line of text.
pub(super) fn call(url: &str, method: &str, timeout: Duration) -> Result<Value, String> {
    let agent: ureq::Agent = ureq::Agent::config_builder()
        .timeout_global(Some(timeout))
        .build()
        .into();
    let request = json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": [] });
    let mut answer = agent
        .post(url)
        .send_json(&request)
        .map_err(|error| error.to_string())?;
    let body = answer.body_mut().with_config().limit(ANSWER_BYTES_MAX);
    let mut answer: Value = body.read_json().map_err(|error| error.to_string())?;
    if let Some(error) = answer.get("error") {
        let message = error["message"]
            .as_str()
            .unwrap_or("it answered with an error");
        return Err(message.to_owned());
    }
    match answer.get_mut("result") {
        Some(result) => Ok(result.take()),
        None => Err("the answer is no JSON-RPC response".to_owned()),
    }
}
