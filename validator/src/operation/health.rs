//! Health pages: whether the process responds, and whether blocks are made.

use crate::{network::Network, node::Node};
use axum::{
    Router,
    extract::State,
    http::StatusCode,
    response::{IntoResponse, Response},
    routing::get,
};
use std::sync::Arc;

#[derive(Clone)]
struct Served {
    node: Arc<Node>,
    network: Option<Arc<Network>>,
}

/// `/health` and `/health/ready` answer 503 with the reason if no blocks are made; `/health/live` always answers.
pub fn health_pages(node: Arc<Node>, network: Option<Arc<Network>>) -> Router {
    Router::new()
        .route("/health", get(ready))
        .route("/health/live", get(live))
        .route("/health/ready", get(ready))
        .with_state(Served { node, network })
}

async fn live() -> &'static str {
    "live\n"
}

async fn ready(State(served): State<Served>) -> Response {
    let unavailable = |why: String| (StatusCode::SERVICE_UNAVAILABLE, why).into_response();
    if let Some(failure) = served.node.failure() {
        return unavailable(format!("no blocks are made: {failure}\n"));
    }
    if let Some(failure) = served.node.storage_failure() {
        return unavailable(format!("blocks wait for the storage: {failure}\n"));
    }
    match (served.network.as_deref()).and_then(Network::stalled) {
        Some(why) => unavailable(format!("{why}\n")),
        None => "ready\n".into_response(),
    }
}
