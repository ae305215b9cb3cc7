//! New blocks as the node tells of them, over a WebSocket subscription.

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

/// Blocks remembered until somebody asks for them.
const REMEMBERED: usize = 4096;

/// After a broken subscription the next is tried after this time.
const AGAIN: Duration = Duration::from_secs(1);

/// When the node told of which block, as time since the run's start.
#[derive(Debug, Default)]
pub(crate) struct Heads {
    told: Mutex<BTreeMap<u64, Duration>>,
    /// Rung at every block.
    pub news: Notify,
}

impl Heads {
    /// When the node told of a block, if it did.
    pub(crate) fn told(&self, number: u64) -> Option<Duration> {
        let told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        told.get(&number).copied()
    }

    fn tell(&self, number: u64, time: Duration) {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        told.entry(number).or_insert(time);
        while told.len() > REMEMBERED {
            told.pop_first();
        }
        drop(told);
        self.news.notify_one();
    }
}

/// Subscribes to `newHeads` and listens until it is aborted. What it misses while a connection is broken is not told,
/// and so has no time of being seen; blocks are read by number anyway.
pub(crate) async fn listen(endpoint: Endpoint, start: Instant, heads: Arc<Heads>) {
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
                        heads.tell(number, start.elapsed());
                    }
                }
            }
        }
        sleep(AGAIN).await;
    }
}

/// The number of the block that a notification tells of.
fn read_head(text: &str) -> Option<u64> {
    let message: Value = serde_json::from_str(text).ok()?;
    let number = &message["params"]["result"]["number"];
    let number: U256 = read_quantity("eth_subscription", number).ok()?;
    number.try_into().ok()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{Heads, REMEMBERED, read_head};

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
        heads.tell(1, Duration::from_secs(1));
        heads.tell(1, Duration::from_secs(2));
        assert_eq!(heads.told(1), Some(Duration::from_secs(1)));
        for number in 2..REMEMBERED as u64 + 2 {
            heads.tell(number, Duration::ZERO);
        }
        assert_eq!(heads.told(1), None);
    }
}
