//! The hash of a block that is known late: when the state root is.

use alloy_primitives::B256;
use std::sync::{Arc, OnceLock};

/// The hash of a block whose state root is being computed.
#[derive(Clone, Debug, Default)]
pub(super) struct LateHash(Arc<OnceLock<Option<B256>>>);

impl LateHash {
    /// A hash that is known already.
    pub(super) fn known(hash: B256) -> Self {
        Self(Arc::new(OnceLock::from(Some(hash))))
    }

    /// Waits for the hash; `None` if there will be none.
    pub(super) fn wait(&self) -> Option<B256> {
        *self.0.wait()
    }
}

/// Whoever computes the hash. If it is dropped without one, nobody waits for ever.
#[derive(Debug, Default)]
pub(super) struct HashSetter(LateHash);

impl HashSetter {
    /// Where others wait for the hash.
    pub(super) fn hash(&self) -> LateHash {
        self.0.clone()
    }

    /// Makes the hash known.
    pub(super) fn set(self, hash: B256) {
        self.end_with(Some(hash));
    }

    fn end_with(&self, hash: Option<B256>) {
        // The first end counts.
        let _ = (self.0.0).set(hash);
    }
}

impl Drop for HashSetter {
    fn drop(&mut self) {
        self.end_with(None);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::thread;

    #[test]
    fn a_hash_is_waited_for() {
        let setter = HashSetter::default();
        let hash = setter.hash();
        let waiting = thread::spawn(move || hash.wait());
        setter.set(B256::repeat_byte(1));
        assert_eq!(waiting.join().unwrap(), Some(B256::repeat_byte(1)));
    }

    #[test]
    fn nobody_waits_for_a_hash_that_does_not_come() {
        let hash = HashSetter::default().hash();
        assert_eq!(hash.wait(), None);
    }
}
