//! A client's end of a WebSocket.

use super::TestNode;
use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use std::time::Duration;
use tokio::net::TcpStream;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async, tungstenite::Message};

/// A WebSocket to a node.
pub(crate) struct Socket(WebSocketStream<MaybeTlsStream<TcpStream>>);

impl Socket {
    pub(crate) async fn open(node: &TestNode) -> Self {
        let url = node.url.replace("http", "ws");
        Self(connect_async(url).await.unwrap().0)
    }

    pub(crate) async fn next(&mut self) -> Value {
        let wait = tokio::time::timeout(Duration::from_secs(20), async {
            loop {
                let message = self.0.next().await.expect("the socket is open").unwrap();
                if let Message::Text(text) = message {
                    return serde_json::from_str(&text).unwrap();
                }
            }
        });
        wait.await.expect("a message comes")
    }

    pub(crate) async fn call(&mut self, method: &str, params: Value) -> Value {
        let request = json!({"jsonrpc": "2.0", "id": 9, "method": method, "params": params});
        self.0
            .send(Message::text(request.to_string()))
            .await
            .unwrap();
        loop {
            let answer = self.next().await;
            if answer["id"] == 9 {
                return answer;
            }
        }
    }

    pub(crate) async fn subscribe(&mut self, params: Value) -> Value {
        self.call("eth_subscribe", params).await["result"].clone()
    }

    /// The next notification of a subscription.
    pub(crate) async fn notified(&mut self, id: &Value) -> Value {
        loop {
            let message = self.next().await;
            if message["params"]["subscription"] == *id {
                return message["params"]["result"].clone();
            }
        }
    }
}
