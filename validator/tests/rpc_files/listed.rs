//! Files that are known not to pass, each with its reason.

use crate::report::Listed;

const BUILD: &str =
    "testing_buildBlockV1 is for tests of consensus clients; there is no such method";
const BLOBS: &str = "the pool takes no transactions with blobs";
const SELF_DESTRUCT: &str =
    "eth_simulateV1 does not tell of ether that a self-destruction moves as a log";

const fn listed(case: &'static str, reason: &'static str) -> Listed {
    Listed { case, reason }
}

/// The list, by folder and file.
pub(crate) const LISTED: &[Listed] = &[
    listed(
        "eth_simulateV1/ethSimulate-self-destructive-contract-produces-logs.io",
        SELF_DESTRUCT,
    ),
    listed(
        "testing_buildBlockV1/build-block-empty-transactions.io",
        BUILD,
    ),
    listed("testing_buildBlockV1/build-block-from-mempool.io", BUILD),
    listed(
        "testing_buildBlockV1/build-block-invalid-transaction.io",
        BUILD,
    ),
    listed(
        "testing_buildBlockV1/build-block-with-transactions.io",
        BUILD,
    ),
    listed("eth_sendRawTransaction/send-blob-tx.io", BLOBS),
];
