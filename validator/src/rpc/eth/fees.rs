//! Methods about gas prices.

use crate::{
    chain::{ChainBlock, fees},
    rpc::{
        context::RpcContext,
        message::{Params, Reply, RpcError, reply},
    },
};
use alloy_eips::BlockNumberOrTag;
use alloy_primitives::{U64, U128};
use serde::{Deserialize, Serialize};

/// Blocks of a fee history at most, as in geth.
const HISTORY_BLOCKS_MAX: u64 = 1_024;
/// Percentiles of a fee history at most, as in geth.
const PERCENTILES_MAX: usize = 100;
/// Blocks whose tips a suggestion is based on.
const SUGGESTION_BLOCKS: u64 = 20;
/// The suggested tip if there are no transactions, in wei.
const DEFAULT_TIP: u128 = 1_000_000_000;
/// The highest suggested tip, in wei, as in geth.
const SUGGESTED_TIP_MAX: u128 = 500_000_000_000;

/// The median of the lowest tips of the last blocks, in wei.
fn suggested_tip(context: &RpcContext) -> Result<u128, RpcError> {
    let head = context.node.head().block.number();
    let mut tips = Vec::new();
    let first = head
        .saturating_sub(SUGGESTION_BLOCKS - 1)
        .max(context.node.store().oldest_block());
    for number in first..=head {
        if let Some(block) = context.find_block(number.into())? {
            let base_fee = u128::from(block.header.base_fee_per_gas.unwrap_or_default());
            let lowest = (0..block.transactions.len())
                .map(|index| block.effective_gas_price(index).saturating_sub(base_fee))
                .min();
            tips.extend(lowest);
        }
    }
    tips.sort_unstable();
    let median = tips.get(tips.len() / 2).copied();
    Ok(median.unwrap_or(DEFAULT_TIP).min(SUGGESTED_TIP_MAX))
}

pub(crate) fn max_priority_fee(context: &RpcContext, _: &Params<'_>) -> Reply {
    reply(U128::from(suggested_tip(context)?))
}

pub(crate) fn gas_price(context: &RpcContext, _: &Params<'_>) -> Reply {
    let base_fee = u128::from(context.node.next_base_fee().unwrap_or_default());
    reply(U128::from(base_fee.saturating_add(suggested_tip(context)?)))
}

pub(crate) fn base_fee(context: &RpcContext, _: &Params<'_>) -> Reply {
    reply(context.node.next_base_fee().map(U64::from))
}

pub(crate) fn blob_base_fee(context: &RpcContext, _: &Params<'_>) -> Reply {
    let header = &context.node.head().block.header;
    let fee = fees::next_blob_base_fee(context.node.chain(), header, header.timestamp);
    reply(fee.map(U128::from))
}

/// A count: hex, decimal text, or a number.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Count {
    Number(u64),
    Text(String),
}

impl Count {
    fn value(&self) -> Result<u64, RpcError> {
        match self {
            Self::Number(number) => Ok(*number),
            Self::Text(text) => match text.strip_prefix("0x") {
                Some(digits) => u64::from_str_radix(digits, 16),
                None => text.parse(),
            }
            .map_err(|_| RpcError::invalid_params(format!("invalid block count {text:?}"))),
        }
    }
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct FeeHistory {
    oldest_block: U64,
    #[serde(skip_serializing_if = "Option::is_none")]
    reward: Option<Vec<Vec<U128>>>,
    base_fee_per_gas: Vec<U64>,
    gas_used_ratio: Vec<f64>,
    base_fee_per_blob_gas: Vec<U128>,
    blob_gas_used_ratio: Vec<f64>,
}

pub(crate) fn fee_history(context: &RpcContext, params: &Params<'_>) -> Reply {
    let count: Count = params.required(0, "block count")?;
    let count = count.value()?.min(HISTORY_BLOCKS_MAX);
    let newest: BlockNumberOrTag = params.required(1, "newest block")?;
    let percentiles: Option<Vec<f64>> = params.optional(2, "reward percentiles")?;
    check_percentiles(percentiles.as_deref().unwrap_or_default())?;
    let newest = context.number_of(newest);
    let head = context.node.head().block.number();
    if newest > head {
        return Err(RpcError::server(format!(
            "request beyond head block: requested {newest}, head {head}"
        )));
    }
    let oldest = (newest + 1)
        .saturating_sub(count)
        .max(context.node.store().oldest_block());
    let chain = context.node.chain();
    let mut history = FeeHistory {
        oldest_block: U64::from(oldest),
        reward: percentiles.as_ref().map(|_| Vec::new()),
        base_fee_per_gas: Vec::new(),
        gas_used_ratio: Vec::new(),
        base_fee_per_blob_gas: Vec::new(),
        blob_gas_used_ratio: Vec::new(),
    };
    let mut last = None;
    for number in oldest..=newest {
        if count == 0 {
            break;
        }
        let block = context.block(number.into())?;
        let header = &block.header;
        let base_fee = header.base_fee_per_gas.unwrap_or_default();
        history.base_fee_per_gas.push(U64::from(base_fee));
        history
            .gas_used_ratio
            .push(ratio(header.gas_used, header.gas_limit));
        let blob_fee = fees::blob_base_fee(chain, header).unwrap_or_default();
        history.base_fee_per_blob_gas.push(U128::from(blob_fee));
        let blob_max = chain
            .blob_params_at(number, header.timestamp)
            .map_or(0, |params| params.max_blob_gas_per_block());
        let blob_used = header.blob_gas_used.unwrap_or_default();
        history.blob_gas_used_ratio.push(ratio(blob_used, blob_max));
        if let (Some(reward), Some(percentiles)) = (&mut history.reward, &percentiles) {
            reward.push(rewards(&block, percentiles));
        }
        last = Some(block);
    }
    if let Some(block) = last {
        // The fees of the block after the newest are included.
        let header = &block.header;
        let next = match context.find_block((block.number() + 1).into())? {
            Some(next) => next.header.base_fee_per_gas,
            None => fees::next_base_fee(chain, header, header.timestamp),
        };
        history
            .base_fee_per_gas
            .push(U64::from(next.unwrap_or_default()));
        let fee = fees::next_blob_base_fee(chain, header, header.timestamp);
        history
            .base_fee_per_blob_gas
            .push(U128::from(fee.unwrap_or_default()));
    }
    reply(history)
}

fn check_percentiles(percentiles: &[f64]) -> Result<(), RpcError> {
    if percentiles.len() > PERCENTILES_MAX {
        return Err(RpcError::invalid_params(format!(
            "over the query limit {PERCENTILES_MAX} of reward percentiles"
        )));
    }
    let in_range = percentiles
        .iter()
        .all(|value| (0.0..=100.0).contains(value));
    let ascending = percentiles.windows(2).all(|pair| pair[0] <= pair[1]);
    if !in_range || !ascending {
        return Err(RpcError::invalid_params(
            "invalid reward percentile: they must be between 0 and 100, in ascending order",
        ));
    }
    Ok(())
}

#[expect(clippy::cast_precision_loss, reason = "a ratio for people to look at")]
fn ratio(used: u64, limit: u64) -> f64 {
    if limit == 0 {
        return 0.0;
    }
    used as f64 / limit as f64
}

/// Tips at percentiles of the gas used, weighted as in geth.
#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a percentile is a fraction of the block's gas"
)]
fn rewards(block: &ChainBlock, percentiles: &[f64]) -> Vec<U128> {
    let base_fee = u128::from(block.header.base_fee_per_gas.unwrap_or_default());
    let mut tips: Vec<(u128, u64)> = (block.receipts.iter().enumerate())
        .map(|(index, receipt)| {
            let tip = block.effective_gas_price(index).saturating_sub(base_fee);
            (tip, receipt.gas_used)
        })
        .collect();
    tips.sort_unstable();
    if tips.is_empty() {
        return vec![U128::ZERO; percentiles.len()];
    }
    let mut place = 0;
    let mut gas = tips[0].1;
    percentiles
        .iter()
        .map(|percentile| {
            let threshold = (block.header.gas_used as f64 * percentile / 100.0) as u64;
            while gas < threshold && place + 1 < tips.len() {
                place += 1;
                gas += tips[place].1;
            }
            U128::from(tips[place].0)
        })
        .collect()
}
