//! A connection that sends: takes batches from a bounded queue and records the answers.

use std::sync::{Arc, atomic::Ordering};

use tokio::sync::mpsc;

use crate::{
    error::LoadError,
    rpc::Connection,
    track::{Answer, Shared},
};

/// Sends until the queue is closed or the run has ended.
pub(crate) async fn send_batches(
    mut connection: Connection,
    mut queue: mpsc::Receiver<Vec<usize>>,
    shared: Arc<Shared>,
) {
    while let Some(batch) = queue.recv().await {
        if shared.stopped.load(Ordering::Relaxed) {
            return;
        }
        // Submission starts here: a batch that stays in the queue until the end was never sent.
        let now = shared.start.elapsed();
        let transactions: Vec<&str> = {
            let mut ledger = shared.ledger();
            let raw = batch.iter().map(|&index| {
                ledger.sent(index, now);
                shared.signed[index].raw.as_str()
            });
            raw.collect()
        };
        let results = connection.send_raw(&transactions).await;
        let now = shared.start.elapsed();
        let mut ledger = shared.ledger();
        match results {
            Ok(results) => {
                for (&index, result) in batch.iter().zip(results) {
                    ledger.answered(index, &classify(result), now);
                }
            }
            Err(error) => {
                let answer = classify(Err(error));
                for &index in &batch {
                    ledger.answered(index, &answer, now);
                }
            }
        }
    }
}

/// Classifies by message: nodes (geth, reth, anvil, besu) agree on messages more than on codes.
fn classify(result: Result<(), LoadError>) -> Answer {
    match result {
        Ok(()) => Answer::Accepted,
        Err(LoadError::Rpc { message, .. }) => {
            let words = message.to_lowercase();
            if words.contains("already known")
                || words.contains("already imported")
                || words.contains("known transaction")
            {
                Answer::Accepted
            } else if words.contains("nonce too low") || words.contains("nonce is too low") {
                Answer::NonceUsed
            } else {
                Answer::Refused(message)
            }
        }
        Err(error) => Answer::Unknown(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::classify;
    use crate::{error::LoadError, track::Answer};

    #[test]
    fn answers_are_classified() {
        let rpc = |message: &str| {
            classify(Err(LoadError::Rpc {
                method: String::new(),
                code: -32000,
                message: message.to_owned(),
            }))
        };
        assert_eq!(rpc("already known"), Answer::Accepted);
        assert_eq!(
            rpc("nonce too low: next nonce 3, tx nonce 2"),
            Answer::NonceUsed
        );
        assert_eq!(
            rpc("txpool is full"),
            Answer::Refused("txpool is full".to_owned())
        );
        assert!(matches!(
            classify(Err(LoadError::Transport("reset".to_owned()))),
            Answer::Unknown(_)
        ));
    }
}
