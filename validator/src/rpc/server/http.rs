//! Connections and HTTP requests.

use super::{
    limits::Shared,
    request_body::{self, Read},
    ws,
};
use crate::{
    network::Network,
    node::Node,
    operation::health_pages,
    rpc::{
        context::RpcConfig,
        message::{RpcError, code, write_error},
    },
};
use axum::{
    Router,
    extract::{FromRequestParts, Request, State, WebSocketUpgrade},
    http::{HeaderValue, Method, StatusCode, header},
    response::{IntoResponse, Response},
    routing::any,
};
use hyper::server::conn::http1;
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use std::{io, net::SocketAddr, sync::Arc};
use thiserror::Error;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore, watch},
    task::JoinHandle,
    time,
};
use tower_http::cors::{AllowOrigin, CorsLayer};
use tracing::{debug, warn};

/// Why the server does not start.
#[derive(Debug, Error)]
pub enum ServerError {
    /// The port is not available.
    #[error(
        "cannot listen on {address}: {source}; is another node running there? choose another --http.port"
    )]
    Bind {
        /// The address.
        address: SocketAddr,
        /// The system's error.
        source: io::Error,
    },
    /// An origin is not one.
    #[error("{0:?} is not an origin: give one like https://example.org, or *")]
    Origin(String),
}

/// A running server.
#[derive(Debug)]
pub struct RpcServer {
    address: SocketAddr,
    stop: watch::Sender<bool>,
    acceptor: JoinHandle<()>,
}

impl RpcServer {
    /// Starts to listen. Must be called within a Tokio runtime.
    pub async fn start(
        config: RpcConfig,
        node: Arc<Node>,
        network: Option<Arc<Network>>,
    ) -> Result<Self, ServerError> {
        let wanted = config.address;
        let bind = |source| ServerError::Bind {
            address: wanted,
            source,
        };
        let cors = cors(&config)?;
        let listener = TcpListener::bind(wanted).await.map_err(bind)?;
        let address = listener.local_addr().map_err(bind)?;
        let (stop, stopped) = watch::channel(false);
        let connections = Arc::new(Semaphore::new(config.connections_max));
        let pages = health_pages(Arc::clone(&node), network.clone());
        let shared = Arc::new(Shared::new(config, node, network, stopped));
        let app = Router::new()
            .route("/", any(handle))
            .layer(cors)
            .with_state(Arc::clone(&shared))
            .merge(pages);
        let acceptor = tokio::spawn(accept(listener, app, shared, connections));
        Ok(Self {
            address,
            stop,
            acceptor,
        })
    }

    /// Where it listens.
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Accepts no more connections, and closes those that are open.
    pub async fn stop(self) {
        let _ = self.stop.send(true);
        let _ = self.acceptor.await;
    }
}

fn cors(config: &RpcConfig) -> Result<CorsLayer, ServerError> {
    let layer = CorsLayer::new()
        .allow_methods([Method::POST, Method::GET, Method::OPTIONS])
        .allow_headers([header::CONTENT_TYPE, header::AUTHORIZATION])
        .max_age(time::Duration::from_mins(10));
    if config.cors_origins.iter().any(|origin| origin == "*") {
        return Ok(layer.allow_origin(AllowOrigin::any()));
    }
    let mut origins = Vec::new();
    for origin in &config.cors_origins {
        let value = HeaderValue::from_str(origin);
        origins.push(value.map_err(|_| ServerError::Origin(origin.clone()))?);
    }
    Ok(layer.allow_origin(origins))
}

/// Accepts connections until the server stops.
async fn accept(
    listener: TcpListener,
    app: Router,
    shared: Arc<Shared>,
    connections: Arc<Semaphore>,
) {
    let mut stop = shared.stop.clone();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = stop.changed() => return,
        };
        let stream = match accepted {
            Ok((stream, _)) => stream,
            Err(error) => {
                // Usually out of descriptors; a pause lets connections close.
                warn!(target: "rpc", %error, "cannot accept a connection");
                time::sleep(time::Duration::from_millis(50)).await;
                continue;
            }
        };
        let Ok(permit) = Arc::clone(&connections).try_acquire_owned() else {
            debug!(target: "rpc", "too many connections; one is refused");
            continue;
        };
        let (app, shared) = (app.clone(), Arc::clone(&shared));
        tokio::spawn(serve(stream, app, shared, permit));
    }
}

/// Counts a connection while it lives.
struct Counted(metrics::Gauge);

impl Counted {
    fn new() -> Self {
        let gauge = metrics::gauge!("lockweave_rpc_connections");
        gauge.increment(1.0);
        Self(gauge)
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.decrement(1.0);
    }
}

/// Serves one connection.
async fn serve(stream: TcpStream, app: Router, shared: Arc<Shared>, _permit: OwnedSemaphorePermit) {
    let timeout = shared.context.config.client_timeout;
    // Responses are small and clients wait for them. A client that does not read is disconnected.
    let _ = stream.set_nodelay(true);
    let _ = socket2::SockRef::from(&stream).set_tcp_user_timeout(Some(timeout));
    let _counted = Counted::new();
    let mut builder = http1::Builder::new();
    builder
        .timer(TokioTimer::new())
        .header_read_timeout(timeout);
    let service = TowerToHyperService::new(app);
    let connection = builder
        .serve_connection(TokioIo::new(stream), service)
        .with_upgrades();
    tokio::pin!(connection);
    let mut stop = shared.stop.clone();
    tokio::select! {
        result = connection.as_mut() => {
            if let Err(error) = result {
                debug!(target: "rpc", %error, "a connection ended");
            }
        }
        _ = stop.changed() => {
            connection.as_mut().graceful_shutdown();
            let _ = time::timeout(time::Duration::from_secs(1), connection).await;
        }
    }
}

/// Handles one HTTP request: a call, or an upgrade to WebSocket.
async fn handle(State(shared): State<Arc<Shared>>, request: Request) -> Response {
    let config = &shared.context.config;
    if request.method() == Method::GET {
        return upgrade(request, Arc::clone(&shared)).await;
    }
    if request.method() != Method::POST {
        return (StatusCode::METHOD_NOT_ALLOWED, "send JSON-RPC by POST").into_response();
    }
    let reading = request_body::read(request.into_body(), config.request_bytes_max);
    let body = match time::timeout(config.client_timeout, reading).await {
        Ok(Read::Whole(body)) => body,
        Ok(Read::Broken) => return StatusCode::BAD_REQUEST.into_response(),
        Ok(Read::TooLarge) => {
            let limit = config.request_bytes_max;
            let error = RpcError::limit(format!(
                "request too large: at most {limit} bytes are read; split the batch"
            ));
            return json(StatusCode::PAYLOAD_TOO_LARGE, write_error(error));
        }
        Err(_) => {
            let error = RpcError::new(code::INVALID_REQUEST, "the request did not come in time");
            return json(StatusCode::REQUEST_TIMEOUT, write_error(error));
        }
    };
    match shared.answer(body, None).await {
        Some(answer) => json(StatusCode::OK, answer),
        None => StatusCode::NO_CONTENT.into_response(),
    }
}

async fn upgrade(request: Request, shared: Arc<Shared>) -> Response {
    let (mut parts, _) = request.into_parts();
    let limit = shared.context.config.request_bytes_max;
    match WebSocketUpgrade::from_request_parts(&mut parts, &shared).await {
        Ok(upgrade) => upgrade
            .max_message_size(limit)
            .max_frame_size(limit)
            .on_upgrade(move |socket| ws::serve(socket, shared)),
        Err(_) => (
            StatusCode::METHOD_NOT_ALLOWED,
            "JSON-RPC by POST or WebSocket; see eth_chainId to begin with\n",
        )
            .into_response(),
    }
}

fn json(status: StatusCode, text: String) -> Response {
    let content = [(header::CONTENT_TYPE, "application/json")];
    (status, content, text).into_response()
}
