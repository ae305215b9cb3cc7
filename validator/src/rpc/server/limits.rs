//! How many calls run at the same time, and on which threads.

use super::dispatch::{self, Incoming};
use crate::{
    network::Network,
    node::Node,
    rpc::{
        context::{Filters, RpcConfig, RpcContext},
        message::RpcError,
        method::Cost,
        subscriptions::Session,
    },
};
use axum::body::Bytes;
use std::sync::Arc;
use tokio::{
    sync::{Semaphore, watch},
    task, time,
};
use tracing::warn;

/// The state that all connections share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) context: Arc<RpcContext>,
    /// Turns true when the server stops.
    pub(crate) stop: watch::Receiver<bool>,
    /// Slots for calls that read much.
    calls: Arc<Semaphore>,
    /// Slots for calls that execute code.
    executions: Arc<Semaphore>,
}

impl Shared {
    pub(crate) fn new(
        config: RpcConfig,
        node: Arc<Node>,
        network: Option<Arc<Network>>,
        stop: watch::Receiver<bool>,
    ) -> Self {
        Self {
            calls: Arc::new(Semaphore::new(config.concurrent_calls_max)),
            executions: Arc::new(Semaphore::new(config.concurrent_executions_max)),
            stop,
            context: Arc::new(RpcContext {
                node,
                network,
                config,
                filters: Filters::default(),
            }),
        }
    }

    /// Answers a request body; on a blocking thread if it may take long.
    pub(crate) async fn answer(
        &self,
        body: Bytes,
        session: Option<Arc<Session>>,
    ) -> Option<String> {
        let incoming = Incoming::read(body);
        let cost = incoming.cost();
        if cost == Cost::Light {
            return dispatch::answer(&self.context, &incoming, session.as_ref());
        }
        let timeout = self.context.config.call_timeout;
        let places = match cost {
            Cost::Execution => &self.executions,
            _ => &self.calls,
        };
        let waiting = Arc::clone(places).acquire_owned();
        let Ok(Ok(permit)) = time::timeout(timeout, waiting).await else {
            let busy = RpcError::limit(
                "the node is busy: too many calls at the same time; try again later",
            );
            return Some(dispatch::refuse(&incoming, &busy));
        };
        let context = Arc::clone(&self.context);
        let incoming = Arc::new(incoming);
        let asked = Arc::clone(&incoming);
        let answered = task::spawn_blocking(move || {
            let answer = dispatch::answer(&context, &incoming, session.as_ref());
            drop(permit);
            answer
        });
        answered.await.unwrap_or_else(|error| {
            warn!(target: "rpc", %error, "a call failed");
            let failed = RpcError::internal("the call failed in the node");
            Some(dispatch::refuse(&asked, &failed))
        })
    }
}
