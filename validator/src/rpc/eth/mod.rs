//! The methods of `eth_*`, `net_*`, `web3_*` and `rpc_*`.
//!
//! * `simulate`: `eth_simulateV1`
//! * `block_access_list`: `eth_getBlockAccessList`
//! * `calls`: `eth_call`, `eth_estimateGas`, `eth_createAccessList`
//! * `send`: submission of transactions
//! * `filters`: filters that clients install and poll
//! * `logs`: log queries
//! * `fees`: gas prices and fee history
//! * `state`: accounts, storage, proofs
//! * `blocks`: blocks, transactions, receipts
//! * `fork_config`: `eth_config`
//! * `node`: the node itself

mod block_access_list;
mod blocks;
mod calls;
mod fees;
mod filters;
mod fork_config;
mod logs;
mod node;
mod send;
mod simulate;
mod state;

use super::{
    message::reply,
    method::{Cost, Method},
};
use alloy_primitives::{Address, U64};
pub(crate) use blocks::raw_transaction_by_hash;
pub(crate) use logs::{collect_logs, parse_filter};
pub(crate) use node::client_version;
pub(crate) use send::answer_submissions;

/// The node keeps no keys.
const NO_ACCOUNTS: [Address; 0] = [];

pub(crate) fn find(name: &str) -> Option<(Method, Cost)> {
    use Cost::{Execution, Heavy, Light};
    use blocks::{BY_HASH, BY_NUMBER, transaction_at, transaction_count, uncle, uncle_count};
    Some(match name {
        "eth_accounts" => (|_, _| reply(NO_ACCOUNTS), Light),
        "eth_baseFee" => (fees::base_fee, Light),
        "eth_blobBaseFee" => (fees::blob_base_fee, Light),
        "eth_blockNumber" => (blocks::block_number, Light),
        "eth_call" => (calls::call, Execution),
        "eth_capabilities" => (node::capabilities, Light),
        "eth_chainId" => (
            |context, _| reply(U64::from(context.node.chain().chain_id)),
            Light,
        ),
        "eth_config" => (fork_config::config, Heavy),
        "eth_createAccessList" => (calls::create_access_list, Execution),
        "eth_estimateGas" => (calls::estimate_gas, Execution),
        "eth_feeHistory" => (fees::fee_history, Heavy),
        "eth_gasPrice" => (fees::gas_price, Light),
        "eth_getAccount" => (state::get_account, Heavy),
        "eth_getBalance" => (state::get_balance, Light),
        "eth_getBlockAccessList" => (block_access_list::get, Execution),
        "eth_getBlockByHash" => (blocks::get_block_by_hash, Heavy),
        "eth_getBlockByNumber" => (blocks::get_block_by_number, Heavy),
        "eth_getBlockReceipts" => (blocks::block_receipts, Heavy),
        "eth_getBlockTransactionCountByHash" => (
            |context, params| transaction_count(context, params, BY_HASH),
            Light,
        ),
        "eth_getBlockTransactionCountByNumber" => (
            |context, params| transaction_count(context, params, BY_NUMBER),
            Light,
        ),
        "eth_getCode" => (state::get_code, Light),
        "eth_getFilterChanges" => (filters::get_filter_changes, Heavy),
        "eth_getFilterLogs" => (filters::get_filter_logs, Heavy),
        "eth_getLogs" => (logs::get_logs, Heavy),
        "eth_getProof" => (state::get_proof, Heavy),
        "eth_getRawTransactionByHash" => (raw_transaction_by_hash, Light),
        "eth_getStorageAt" => (state::get_storage_at, Light),
        "eth_getStorageValues" => (state::get_storage_values, Light),
        "eth_getTransactionByBlockHashAndIndex" => (
            |context, params| transaction_at(context, params, BY_HASH),
            Light,
        ),
        "eth_getTransactionByBlockNumberAndIndex" => (
            |context, params| transaction_at(context, params, BY_NUMBER),
            Light,
        ),
        "eth_getTransactionByHash" => (blocks::transaction_by_hash, Light),
        "eth_getTransactionCount" => (state::get_transaction_count, Light),
        "eth_getTransactionReceipt" => (blocks::transaction_receipt, Light),
        "eth_getUncleByBlockHashAndIndex" => {
            (|context, params| uncle(context, params, BY_HASH), Light)
        }
        "eth_getUncleByBlockNumberAndIndex" => {
            (|context, params| uncle(context, params, BY_NUMBER), Light)
        }
        "eth_getUncleCountByBlockHash" => (
            |context, params| uncle_count(context, params, BY_HASH),
            Light,
        ),
        "eth_getUncleCountByBlockNumber" => (
            |context, params| uncle_count(context, params, BY_NUMBER),
            Light,
        ),
        "eth_maxPriorityFeePerGas" => (fees::max_priority_fee, Light),
        "eth_mining" => (|_, _| reply(false), Light),
        "eth_newBlockFilter" => (filters::new_block_filter, Light),
        "eth_newFilter" => (filters::new_filter, Light),
        "eth_newPendingTransactionFilter" => (filters::new_pending_transaction_filter, Light),
        "eth_sendRawTransaction" => (send::send_raw_transaction, Light),
        "eth_sendRawTransactionSync" => (send::send_raw_transaction_sync, Heavy),
        "eth_simulateV1" => (simulate::simulate, Execution),
        "eth_syncing" => (node::syncing, Light),
        "eth_uninstallFilter" => (filters::uninstall_filter, Light),
        "net_listening" => (|_, _| reply(true), Light),
        "eth_hashrate" => (|_, _| reply(U64::ZERO), Light),
        "net_peerCount" => (node::peers, Light),
        "net_version" => (
            |context, _| reply(context.node.chain().chain_id.to_string()),
            Light,
        ),
        "web3_clientVersion" => (|_, _| reply(client_version()), Light),
        "web3_sha3" => (node::sha3, Light),
        "rpc_modules" => (node::rpc_modules, Light),
        _ => return None,
    })
}
