//! New blocks that the node announces over a WebSocket subscription.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use alloy_primitives::U256;
use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::{
    sync::Notify,
    time::{Instant, sleep},
};
use tokio_tungstenite::tungstenite::Message;

use crate::rpc::{Endpoint, read_quantity};

/// Number of blocks whose announcement time is kept.
const ANNOUNCEMENTS_MAX: usize = 4096;

/// Time before a broken subscription is renewed.
const RETRY_DELAY: Duration = Duration::from_secs(1);

/// When the node announced each block, as time since the run's start.
#[derive(Debug, Default)]
pub(crate) struct Heads {
    announced: Mutex<BTreeMap<u64, Duration>>,
    /// Notified at every announced block.
    pub new_head: Notify,
}

impl Heads {
    /// When the node announced a block, if it did.
    pub(crate) fn announced_at(&self, number: u64) -> Option<Duration> {
        let announced = self
            .announced
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        announced.get(&number).copied()
    }

    fn announce(&self, number: u64, time: Duration) {
        let mut announced = self
            .announced
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        announced.entry(number).or_insert(time);
        while announced.len() > ANNOUNCEMENTS_MAX {
            announced.pop_first();
        }
        drop(announced);
        self.new_head.notify_one();
    }
}

/// Subscribes to `newHeads` and records announcements until it is aborted. Blocks missed while the connection is broken
/// have no announcement time; the tracker reads blocks by number anyway.
pub(crate) async fn subscribe_heads(endpoint: Endpoint, start: Instant, heads: Arc<Heads>) {
    loop {
        if let Ok((mut stream, _)) = tokio_tungstenite::connect_async(endpoint.url().as_str()).await
        {
            let call = json!({"jsonrpc": "2.0", "id": 0, "method": "eth_subscribe", "params": ["newHeads"]});
            if stream
                .send(Message::Text(call.to_string().into()))
                .await
                .is_ok()
            {
                while let Some(Ok(message)) = stream.next().await {
                    if let Message::Text(text) = message
                        && let Some(number) = read_head(&text)
                    {
                        heads.announce(number, start.elapsed());
                    }
                }
            }
        }
        sleep(RETRY_DELAY).await;
    }
}

/// The block number in a notification.
fn read_head(text: &str) -> Option<u64> {
    let message: Value = serde_json::from_str(text).ok()?;
    let number = &message["params"]["result"]["number"];
    let number: U256 = read_quantity("eth_subscription", number).ok()?;
    number.try_into().ok()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{ANNOUNCEMENTS_MAX, Heads, read_head};

    #[test]
    fn heads_are_read_and_other_messages_are_not() {
        let text = r#"{"jsonrpc":"2.0","method":"eth_subscription","params":{"subscription":"0x1","result":{"number":"0x1f"}}}"#;
        assert_eq!(read_head(text), Some(31));
        assert_eq!(
            read_head(r#"{"jsonrpc":"2.0","id":0,"result":"0x1"}"#),
            None
        );
        assert_eq!(read_head("?"), None);
    }

    #[test]
    fn the_first_time_counts_and_memory_is_bounded() {
        let heads = Heads::default();
        heads.announce(1, Duration::from_secs(1));
        heads.announce(1, Duration::from_secs(2));
        assert_eq!(heads.announced_at(1), Some(Duration::from_secs(1)));
        for number in 2..ANNOUNCEMENTS_MAX as u64 + 2 {
            heads.announce(number, Duration::ZERO);
        }
        assert_eq!(heads.announced_at(1), None);
    }
}
