//! Files that are known not to pass, each with its reason.

use crate::report::Listed;

const PRECOMPILES: &str = "eth_simulateV1 cannot move or replace precompiles";
const CODES: &str = "eth_simulateV1 refuses it, but with an error code of its own";
const BLOCK_HASH: &str =
    "eth_simulateV1 does not seal simulated blocks as geth does, so their hashes are others";
const SIMULATION: &str = "eth_simulateV1 has overrides or checks that are not there yet";
const BUILD: &str =
    "testing_buildBlockV1 is for tests of consensus clients; there is no such method";
const METHOD: &str = "the method is not there yet";
const BLOBS: &str = "the pool takes no transactions with blobs";
const POOL: &str = "pending transactions are shown without the gas price that the schema asks for";
const INVALID_HASH: &str = "a hash of a wrong length is answered as one that is not known";

const fn listed(case: &'static str, reason: &'static str) -> Listed {
    Listed { case, reason }
}

/// The list, by folder and file.
pub(crate) const LISTED: &[Listed] = &[
    listed(
        "eth_simulateV1/ethSimulate-move-ecrecover-and-call-old-and-new.io",
        PRECOMPILES,
    ),
    listed(
        "eth_simulateV1/ethSimulate-move-ecrecover-and-call.io",
        PRECOMPILES,
    ),
    listed(
        "eth_simulateV1/ethSimulate-move-ecrecover-twice-and-call.io",
        PRECOMPILES,
    ),
    listed(
        "eth_simulateV1/ethSimulate-move-two-accounts-to-same-38023.io",
        PRECOMPILES,
    ),
    listed(
        "eth_simulateV1/ethSimulate-move-two-non-precompiles-accounts-to-same.io",
        PRECOMPILES,
    ),
    listed(
        "eth_simulateV1/ethSimulate-override-ecrecover.io",
        PRECOMPILES,
    ),
    listed(
        "eth_simulateV1/ethSimulate-override-identity.io",
        PRECOMPILES,
    ),
    listed("eth_simulateV1/ethSimulate-override-sha256.io", PRECOMPILES),
    listed(
        "eth_simulateV1/ethSimulate-try-to-move-non-precompile.io",
        PRECOMPILES,
    ),
    listed(
        "eth_simulateV1/ethSimulate-basefee-too-low-with-validation-38012.io",
        CODES,
    ),
    listed("eth_simulateV1/ethSimulate-check-invalid-nonce.io", CODES),
    listed(
        "eth_simulateV1/ethSimulate-gas-fees-and-value-error-38014-with-validation.io",
        CODES,
    ),
    listed(
        "eth_simulateV1/ethSimulate-overflow-nonce-validation.io",
        CODES,
    ),
    listed(
        "eth_simulateV1/ethSimulate-simple-no-funds-with-validation.io",
        CODES,
    ),
    listed(
        "eth_simulateV1/ethSimulate-simple-send-from-contract-with-validation.io",
        CODES,
    ),
    listed(
        "eth_simulateV1/ethSimulate-add-more-non-defined-BlockStateCalls-than-fit-but-now-with-fit.io",
        BLOCK_HASH,
    ),
    listed("eth_simulateV1/ethSimulate-blobs.io", BLOCK_HASH),
    listed(
        "eth_simulateV1/ethSimulate-blockhash-complex.io",
        BLOCK_HASH,
    ),
    listed(
        "eth_simulateV1/ethSimulate-blockhash-start-before-head.io",
        BLOCK_HASH,
    ),
    listed(
        "eth_simulateV1/ethSimulate-blocknumber-increment.io",
        BLOCK_HASH,
    ),
    listed(
        "eth_simulateV1/ethSimulate-check-that-balance-is-there-after-new-block.io",
        BLOCK_HASH,
    ),
    listed(
        "eth_simulateV1/ethSimulate-contract-calls-itself.io",
        BLOCK_HASH,
    ),
    listed(
        "eth_simulateV1/ethSimulate-empty-calls-and-overrides-ethSimulate.io",
        BLOCK_HASH,
    ),
    listed("eth_simulateV1/ethSimulate-empty-validation.io", BLOCK_HASH),
    listed(
        "eth_simulateV1/ethSimulate-empty-with-block-num-set-current.io",
        BLOCK_HASH,
    ),
    listed(
        "eth_simulateV1/ethSimulate-eth-send-should-not-produce-logs-by-default.io",
        BLOCK_HASH,
    ),
    listed(
        "eth_simulateV1/ethSimulate-eth-send-should-produce-logs.io",
        BLOCK_HASH,
    ),
    listed(
        "eth_simulateV1/ethSimulate-eth-send-should-produce-more-logs-on-forward.io",
        BLOCK_HASH,
    ),
    listed(
        "eth_simulateV1/ethSimulate-eth-send-should-produce-no-logs-on-forward-revert.io",
        BLOCK_HASH,
    ),
    listed(
        "eth_simulateV1/ethSimulate-extcodehash-existing-contract.io",
        BLOCK_HASH,
    ),
    listed(
        "eth_simulateV1/ethSimulate-extcodehash-override.io",
        BLOCK_HASH,
    ),
    listed(
        "eth_simulateV1/ethSimulate-extcodehash-precompile.io",
        BLOCK_HASH,
    ),
    listed(
        "eth_simulateV1/ethSimulate-fee-recipient-receiving-funds.io",
        BLOCK_HASH,
    ),
    listed(
        "eth_simulateV1/ethSimulate-get-block-properties.io",
        BLOCK_HASH,
    ),
    listed("eth_simulateV1/ethSimulate-logs.io", BLOCK_HASH),
    listed("eth_simulateV1/ethSimulate-no-fields-call.io", BLOCK_HASH),
    listed(
        "eth_simulateV1/ethSimulate-only-from-transaction.io",
        BLOCK_HASH,
    ),
    listed(
        "eth_simulateV1/ethSimulate-override-block-num.io",
        BLOCK_HASH,
    ),
    listed(
        "eth_simulateV1/ethSimulate-override-storage-slots.io",
        BLOCK_HASH,
    ),
    listed(
        "eth_simulateV1/ethSimulate-overwrite-existing-contract.io",
        BLOCK_HASH,
    ),
    listed(
        "eth_simulateV1/ethSimulate-precompile-is-sending-transaction.io",
        BLOCK_HASH,
    ),
    listed("eth_simulateV1/ethSimulate-run-gas-spending.io", BLOCK_HASH),
    listed(
        "eth_simulateV1/ethSimulate-run-out-of-gas-in-block-38015.io",
        BLOCK_HASH,
    ),
    listed(
        "eth_simulateV1/ethSimulate-self-destructing-state-override.io",
        BLOCK_HASH,
    ),
    listed(
        "eth_simulateV1/ethSimulate-self-destructive-contract-produces-logs.io",
        BLOCK_HASH,
    ),
    listed(
        "eth_simulateV1/ethSimulate-send-eth-and-delegate-call-to-eoa.io",
        BLOCK_HASH,
    ),
    listed(
        "eth_simulateV1/ethSimulate-send-eth-and-delegate-call.io",
        BLOCK_HASH,
    ),
    listed("eth_simulateV1/ethSimulate-set-read-storage.io", BLOCK_HASH),
    listed(
        "eth_simulateV1/ethSimulate-simple-more-params-validate.io",
        BLOCK_HASH,
    ),
    listed(
        "eth_simulateV1/ethSimulate-simple-send-from-contract.io",
        BLOCK_HASH,
    ),
    listed(
        "eth_simulateV1/ethSimulate-simple-state-diff.io",
        BLOCK_HASH,
    ),
    listed(
        "eth_simulateV1/ethSimulate-simple-with-validation-no-funds.io",
        BLOCK_HASH,
    ),
    listed("eth_simulateV1/ethSimulate-simple.io", BLOCK_HASH),
    listed(
        "eth_simulateV1/ethSimulate-transaction-too-low-nonce-38010.io",
        BLOCK_HASH,
    ),
    listed(
        "eth_simulateV1/ethSimulate-transfer-over-BlockStateCalls.io",
        BLOCK_HASH,
    ),
    listed(
        "eth_simulateV1/ethSimulate-two-blocks-with-complete-eth-sends.io",
        BLOCK_HASH,
    ),
    listed(
        "eth_simulateV1/ethSimulate-check-that-nonce-increases.io",
        SIMULATION,
    ),
    listed(
        "eth_simulateV1/ethSimulate-empty-with-block-num-set-firstblock.io",
        SIMULATION,
    ),
    listed(
        "eth_simulateV1/ethSimulate-eth-send-should-not-produce-logs-on-revert.io",
        SIMULATION,
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
    listed("eth_capabilities/get-capabilities.io", METHOD),
    listed("eth_config/get-config.io", METHOD),
    listed("eth_sendRawTransaction/send-blob-tx.io", BLOBS),
    listed("txpool_content/get-content.io", POOL),
    listed("debug_getRawTransaction/get-invalid-hash.io", INVALID_HASH),
];
