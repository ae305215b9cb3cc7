//! WebSocket connections.

use super::limits::Shared;
use crate::rpc::subscriptions::Session;
use axum::extract::ws::{CloseFrame, Message, WebSocket, close_code};
use futures_util::{SinkExt, StreamExt, stream::SplitSink};
use std::sync::Arc;
use tokio::{runtime::Handle, sync::mpsc, time};

/// Messages that may wait for a client to read them; a client with more is disconnected.
const WAITING_MAX: usize = 4_096;
/// How often a ping is sent.
const PING_EVERY: std::time::Duration = std::time::Duration::from_secs(30);

/// Serves a connection until one side closes it.
pub(crate) async fn serve(socket: WebSocket, shared: Arc<Shared>) {
    let (sink, mut stream) = socket.split();
    let (out, waiting) = mpsc::channel(WAITING_MAX);
    let session = Arc::new(Session::new(Handle::current(), out.clone()));
    let timeout = shared.context.config.client_timeout;
    let mut writer = tokio::spawn(write(sink, waiting, timeout));
    let mut stop = shared.stop.clone();
    loop {
        let message = tokio::select! {
            message = stream.next() => message,
            _ = &mut writer => break,
            _ = stop.changed() => break,
        };
        let body: axum::body::Bytes = match message {
            Some(Ok(Message::Text(text))) => text.into(),
            Some(Ok(Message::Binary(bytes))) => bytes,
            Some(Ok(Message::Ping(_) | Message::Pong(_))) => continue,
            Some(Ok(Message::Close(_)) | Err(_)) | None => break,
        };
        let answer = shared.answer(body, Some(Arc::clone(&session))).await;
        if let Some(answer) = answer {
            // The client waits for its own responses, so waiting for the client is right here.
            let sent = time::timeout(timeout, out.send(answer)).await;
            if !matches!(sent, Ok(Ok(()))) {
                break;
            }
        }
    }
    drop((session, out));
    writer.abort();
}

/// Writes waiting messages; a client that does not read in time is disconnected.
async fn write(
    mut sink: SplitSink<WebSocket, Message>,
    mut waiting: mpsc::Receiver<String>,
    timeout: std::time::Duration,
) {
    let mut ping = time::interval(PING_EVERY);
    ping.tick().await;
    loop {
        let message = tokio::select! {
            message = waiting.recv() => match message {
                Some(text) => Message::Text(text.into()),
                None => break,
            },
            _ = ping.tick() => Message::Ping(axum::body::Bytes::new()),
        };
        if !matches!(time::timeout(timeout, sink.send(message)).await, Ok(Ok(()))) {
            return;
        }
        if waiting.is_closed() || waiting.len() >= WAITING_MAX {
            let reason = CloseFrame {
                code: close_code::POLICY,
                reason: "too many messages wait to be read".into(),
            };
            let _ = time::timeout(timeout, sink.send(Message::Close(Some(reason)))).await;
            return;
        }
    }
}
