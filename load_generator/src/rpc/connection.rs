//! JSON-RPC 2.0 over HTTP (keep-alive) or WebSocket, in batches.
//!
//! A connection has one batch in flight at a time. Use several connections to send in parallel.

use alloy_primitives::{Address, U256};
use futures_util::{SinkExt, StreamExt};
use serde::{Deserialize, de::IgnoredAny};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, tungstenite::Message};

use super::{
    decode::{read_quantity, read_reply},
    endpoint::{ANSWER_TIMEOUT, Endpoint},
};
use crate::error::LoadError;

/// One call of a batch.
#[derive(Clone, Debug)]
pub struct Call {
    /// JSON-RPC method.
    pub method: &'static str,
    /// Positional parameters, an array.
    pub params: Value,
}

impl Call {
    /// A call of `method` with positional `params`.
    pub fn new(method: &'static str, params: Value) -> Self {
        Self { method, params }
    }
}

/// One connection, used for one batch at a time.
#[derive(Debug)]
pub struct Connection {
    /// Where it can connect to; never empty.
    endpoints: Vec<Endpoint>,
    /// The one in use.
    current: usize,
    web_socket: Option<Box<WebSocketStream<MaybeTlsStream<TcpStream>>>>,
}

impl Connection {
    /// A connection to the endpoint. It opens with the first batch.
    pub fn new(endpoint: &Endpoint) -> Self {
        Self {
            endpoints: vec![endpoint.clone()],
            current: 0,
            web_socket: None,
        }
    }

    /// A connection to one of several nodes, the `index`-th counted round; there must be at least one. After an
    /// error of the transport it continues with the next.
    pub(crate) fn among(endpoints: &[Endpoint], index: usize) -> Self {
        Self {
            endpoints: endpoints.to_vec(),
            current: index % endpoints.len(),
            web_socket: None,
        }
    }

    /// Sends the calls as one batch. The outer error is a transport error; the inner results are the node's answers in
    /// the order of the calls.
    pub async fn batch(
        &mut self,
        calls: &[Call],
    ) -> Result<Vec<Result<Value, LoadError>>, LoadError> {
        let body: Vec<Value> = calls
            .iter()
            .enumerate()
            .map(|(id, call)| json!({"jsonrpc": "2.0", "id": id, "method": call.method, "params": call.params}))
            .collect();
        let answer = self.exchange(Value::Array(body).to_string()).await?;
        let method = calls.first().map_or("", |call| call.method);
        let protocol = |what: &str| LoadError::Protocol {
            method: method.to_owned(),
            what: what.to_owned(),
        };
        let replies = match serde_json::from_str(&answer) {
            Ok(Value::Array(replies)) => replies,
            // A server that rejects the whole batch answers with one error object.
            Ok(single @ Value::Object(_)) => {
                let error = read_reply(method, &single).err();
                return Err(error.unwrap_or_else(|| protocol("an object instead of an array")));
            }
            _ => return Err(protocol(&answer.chars().take(200).collect::<String>())),
        };
        let mut results: Vec<Option<Result<Value, LoadError>>> =
            calls.iter().map(|_| None).collect();
        for reply in &replies {
            let position = reply["id"].as_u64().and_then(|id| usize::try_from(id).ok());
            if let Some((position, call)) = position.and_then(|id| Some((id, calls.get(id)?))) {
                results[position] = Some(read_reply(call.method, reply));
            }
        }
        Ok(results
            .into_iter()
            .zip(calls)
            .map(|(result, call)| {
                result.unwrap_or_else(|| {
                    Err(LoadError::Protocol {
                        method: call.method.to_owned(),
                        what: "no answer in the batch".to_owned(),
                    })
                })
            })
            .collect())
    }

    /// Sends signed transactions (0x and hexadecimal digits) as one batch; errors are as in [`Self::batch`].
    ///
    /// This is the hot path of the load generator: the body is written as text, and only errors are read from the
    /// answers.
    pub async fn send_raw(
        &mut self,
        transactions: &[&str],
    ) -> Result<Vec<Result<(), LoadError>>, LoadError> {
        const METHOD: &str = "eth_sendRawTransaction";
        let length: usize = transactions.iter().map(|raw| raw.len() + 90).sum();
        let mut body = String::with_capacity(length + 2);
        for (id, raw) in transactions.iter().enumerate() {
            body.push(if id == 0 { '[' } else { ',' });
            let call = format_args!(
                r#"{{"jsonrpc":"2.0","id":{id},"method":"{METHOD}","params":["{raw}"]}}"#
            );
            std::fmt::Write::write_fmt(&mut body, call).expect("writing to a string does not fail");
        }
        body.push(']');
        let answer = self.exchange(body).await?;
        let protocol = |what: &str| LoadError::Protocol {
            method: METHOD.to_owned(),
            what: what.chars().take(200).collect(),
        };
        let Ok(replies) = serde_json::from_str::<Vec<SendReply>>(&answer) else {
            // A server that rejects the whole batch answers with one error object.
            let single: Value = serde_json::from_str(&answer).map_err(|_| protocol(&answer))?;
            let error = read_reply(METHOD, &single).err();
            return Err(error.unwrap_or_else(|| protocol(&answer)));
        };
        let mut results: Vec<Option<Result<(), LoadError>>> =
            transactions.iter().map(|_| None).collect();
        for reply in replies {
            let position = reply.id.and_then(|id| usize::try_from(id).ok());
            let Some(result) = position.and_then(|id| results.get_mut(id)) else {
                continue;
            };
            *result = match (reply.error, reply.result) {
                (Some(error), _) => Some(Err(LoadError::Rpc {
                    method: METHOD.to_owned(),
                    code: error.code,
                    message: error.message,
                })),
                (None, Some(_)) => Some(Ok(())),
                (None, None) => None,
            };
        }
        let unanswered = || Err(protocol("no answer in the batch"));
        Ok(results
            .into_iter()
            .map(|result| result.unwrap_or_else(unanswered))
            .collect())
    }

    /// Sends one call.
    pub async fn call(&mut self, method: &'static str, params: Value) -> Result<Value, LoadError> {
        let mut results = self.batch(&[Call::new(method, params)]).await?;
        results.pop().unwrap_or_else(|| {
            Err(LoadError::Protocol {
                method: method.to_owned(),
                what: "nothing".to_owned(),
            })
        })
    }

    /// Sends one call whose result is a quantity.
    pub async fn quantity(
        &mut self,
        method: &'static str,
        params: Value,
    ) -> Result<u64, LoadError> {
        let value = self.call(method, params).await?;
        u64::try_from(read_quantity(method, &value)?).map_err(|_| LoadError::Protocol {
            method: method.to_owned(),
            what: "a number above 64 bits".to_owned(),
        })
    }

    /// Calls `method` (`eth_getBalance` or `eth_getTransactionCount`) for every address at a block tag.
    pub async fn of_addresses(
        &mut self,
        method: &'static str,
        addresses: &[Address],
        tag: &str,
    ) -> Result<Vec<U256>, LoadError> {
        let mut values = Vec::with_capacity(addresses.len());
        for chunk in addresses.chunks(100) {
            let calls: Vec<Call> = chunk
                .iter()
                .map(|address| Call::new(method, json!([address, tag])))
                .collect();
            for result in self.batch(&calls).await? {
                values.push(read_quantity(method, &result?)?);
            }
        }
        Ok(values)
    }

    async fn exchange(&mut self, body: String) -> Result<String, LoadError> {
        let endpoint = self.endpoints[self.current].clone();
        let answer = if endpoint.url.scheme() == "http" {
            exchange_http(&endpoint, body).await
        } else {
            self.exchange_web_socket_in_time(body).await
        };
        if answer.is_err() {
            self.current = (self.current + 1) % self.endpoints.len();
        }
        answer
    }

    async fn exchange_web_socket_in_time(&mut self, body: String) -> Result<String, LoadError> {
        let answer = tokio::time::timeout(ANSWER_TIMEOUT, self.exchange_web_socket(body)).await;
        let answer =
            answer.unwrap_or_else(|_| Err(LoadError::Transport("no answer in time".to_owned())));
        if answer.is_err() {
            // A late answer must not be taken for the answer to the next batch.
            self.web_socket = None;
        }
        answer
    }

    async fn exchange_web_socket(&mut self, body: String) -> Result<String, LoadError> {
        let transport =
            |error: tokio_tungstenite::tungstenite::Error| LoadError::Transport(error.to_string());
        if self.web_socket.is_none() {
            let url = &self.endpoints[self.current].url;
            let (stream, _) = tokio_tungstenite::connect_async(url.as_str())
                .await
                .map_err(transport)?;
            self.web_socket = Some(Box::new(stream));
        }
        let Some(stream) = self.web_socket.as_mut() else {
            return Err(LoadError::Transport("not connected".to_owned()));
        };
        stream
            .send(Message::Text(body.into()))
            .await
            .map_err(transport)?;
        while let Some(message) = stream.next().await {
            if let Message::Text(text) = message.map_err(transport)? {
                return Ok(text.as_str().to_owned());
            }
        }
        Err(LoadError::Transport(
            "the node closed the connection".to_owned(),
        ))
    }
}

async fn exchange_http(endpoint: &Endpoint, body: String) -> Result<String, LoadError> {
    let transport = |error: reqwest::Error| LoadError::Transport(with_source(&error));
    let request = endpoint.http.post(endpoint.url.clone());
    let request = request.header("content-type", "application/json");
    let response = request.body(body).send().await.map_err(transport)?;
    let status = response.status();
    if !status.is_success() {
        return Err(LoadError::Transport(format!("HTTP status {status}")));
    }
    response.text().await.map_err(transport)
}

/// The needed parts of a reply to `eth_sendRawTransaction`.
#[derive(Deserialize)]
struct SendReply {
    id: Option<u64>,
    result: Option<IgnoredAny>,
    error: Option<SendError>,
}

#[derive(Deserialize)]
struct SendError {
    #[serde(default)]
    code: i64,
    #[serde(default)]
    message: String,
}

/// reqwest's message is only "error sending request"; its sources give the cause.
fn with_source(error: &reqwest::Error) -> String {
    let mut text = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(inner) = source {
        text = format!("{text}: {inner}");
        source = inner.source();
    }
    text
}
