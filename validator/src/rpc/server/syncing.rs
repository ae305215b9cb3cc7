//! What a node answers while it fetches a snapshot and has no state to serve.

use super::http::ServerError;
use crate::{
    network::Connected,
    rpc::{
        eth::client_version,
        message::{RpcError, code},
    },
};
use alloy_primitives::U64;
use axum::{
    Json, Router,
    extract::State,
    http::StatusCode,
    response::{IntoResponse, Response},
    routing::{get, post},
};
use serde_json::{Value, json};
use std::{net::SocketAddr, sync::Arc};
use tokio::{net::TcpListener, sync::oneshot, task::JoinHandle};

#[derive(Clone)]
struct Served {
    connected: Arc<Connected>,
    chain_id: u64,
    head: u64,
}

/// A server for the time of a snapshot.
#[derive(Debug)]
pub struct SyncingServer {
    stop: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

impl SyncingServer {
    /// Starts to listen. `head` is the newest block that is here. Must be called within a Tokio runtime.
    pub async fn start(
        address: SocketAddr,
        connected: Arc<Connected>,
        chain_id: u64,
        head: u64,
    ) -> Result<Self, ServerError> {
        let listener = TcpListener::bind(address).await;
        let listener = listener.map_err(|source| ServerError::Bind { address, source })?;
        let app = Router::new()
            .route("/", post(answer))
            .route("/health", get(health))
            .route("/health/ready", get(health))
            .route("/health/live", get(|| async { "live\n" }))
            .with_state(Served {
                connected,
                chain_id,
                head,
            });
        let (stop, stopped) = oneshot::channel();
        let task = tokio::spawn(async move {
            let server = axum::serve(listener, app);
            tokio::select! {
                _ = server => {}
                _ = stopped => {}
            }
        });
        Ok(Self { stop, task })
    }

    /// Stops to listen.
    pub async fn stop(self) {
        let _ = self.stop.send(());
        let _ = self.task.await;
    }
}

async fn health(State(served): State<Served>) -> Response {
    let why = format!("{}\n", served.sentence());
    (StatusCode::SERVICE_UNAVAILABLE, why).into_response()
}

async fn answer(State(served): State<Served>, Json(request): Json<Value>) -> Json<Value> {
    Json(match request {
        Value::Array(requests) => requests.iter().map(|one| served.answer(one)).collect(),
        request => served.answer(&request),
    })
}

impl Served {
    fn sentence(&self) -> String {
        let status = self.connected.sync_status();
        status.map_or_else(|| "the node starts".to_owned(), |status| status.sentence())
    }

    fn answer(&self, request: &Value) -> Value {
        let result = match request["method"].as_str() {
            Some("eth_chainId") => json!(U64::from(self.chain_id)),
            Some("net_version") => json!(self.chain_id.to_string()),
            Some("web3_clientVersion") => json!(client_version()),
            Some("lockweave_networkStatus") => json!(self.connected.status(self.head)),
            Some("eth_syncing") => {
                let status = self.connected.sync_status();
                json!({
                    "startingBlock": U64::from(self.head),
                    "currentBlock": U64::from(self.head),
                    "highestBlock": U64::from(status.as_ref().map_or(0, |status| status.highest)),
                    "snapshot": status,
                })
            }
            _ => {
                let error = RpcError::new(code::UNAVAILABLE, self.sentence());
                return json!({ "jsonrpc": "2.0", "id": request["id"], "error": error });
            }
        };
        json!({ "jsonrpc": "2.0", "id": request["id"], "result": result })
    }
}
