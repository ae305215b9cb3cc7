//! Calls of a node over JSON-RPC.

use serde_json::{Value, json};
use std::time::Duration;

/// Calls a method. An error is one line of text.
pub(super) fn call(
    url: &str,
    method: &str,
    params: &Value,
    timeout: Duration,
) -> Result<Value, String> {
    let agent: ureq::Agent = ureq::Agent::config_builder()
        .timeout_global(Some(timeout))
        .build()
        .into();
    let request = json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": params });
    let mut answer = agent
        .post(url)
        .send_json(&request)
        .map_err(|error| error.to_string())?;
    let answer = answer.body_mut().read_json::<Value>();
    let answer = answer.map_err(|error| error.to_string())?;
    match (answer.get("result"), answer.get("error")) {
        (Some(result), _) => Ok(result.clone()),
        (None, Some(error)) => Err(error["message"].as_str().unwrap_or("an error").to_owned()),
        (None, None) => Err("the answer is no JSON-RPC response".to_owned()),
    }
}
