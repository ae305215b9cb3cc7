//! Swaps in pools of concentrated liquidity, as Uniswap V3 has them.
//!
//! The contracts are our own (`benches/contracts/Swap.sol`): router, factory, pool with tick mathematics,
//! and the tokens. A swap of 2,000 units goes through five calls and ends within one tick, as Uniswap's
//! does. The state before the block is written slot by slot; constructors do not run.

use super::{
    WorkloadName,
    erc20::{insert_holder, insert_token, insert_tokens},
    insert_contract, made,
};
use crate::engine::block::{Block, BlockError};
use alloy_consensus::TxLegacy;
use alloy_primitives::{Address, B256, TxKind, U256, keccak256};
use lockweave_runtime::MemoryState;

/// One swap in each cluster, or all in one.
const SWAPS: usize = 6_413;
/// Millionths.
const FEE: u64 = 3_000;
const TICK_SPACING: u64 = 60;
/// The outermost ticks at this spacing, where the pools' liquidity ends.
const TICK_LAST: i64 = 887_220;
const AMOUNT_IN: u64 = 2_000;

/// Whether swaps share a pool.
pub(super) enum Pools {
    /// Every account has its own contracts.
    Independent,
    /// All accounts use one pool.
    One,
}

/// Contracts that belong together.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cluster {
    pub(super) router: Address,
    pub(super) tokens: [Address; 2],
}

pub(super) fn block(
    name: WorkloadName,
    swaps: Option<usize>,
    pools: &Pools,
) -> Result<Block, BlockError> {
    let swaps = swaps.unwrap_or(SWAPS) as u64;
    let mut state = MemoryState::new();
    let trader = |index: u64| named("trader", index);
    let shared = matches!(pools, Pools::One).then(|| insert_cluster(&mut state, 0));
    let mut senders = Vec::new();
    for index in 0..swaps {
        let cluster = shared.unwrap_or_else(|| insert_cluster(&mut state, index));
        insert_trader(&mut state, &cluster, trader(index));
        senders.push((trader(index), cluster));
    }
    let transactions = senders
        .iter()
        .map(|(sender, cluster)| (*sender, swap(cluster, *sender, 0)));
    made(name, state, transactions)
}

/// An address derived from its purpose.
fn named(purpose: &str, index: u64) -> Address {
    let text = format!("{purpose} {index}");
    Address::from_word(keccak256(text.as_bytes()))
}

/// Adds wrapped ether, two tokens, a factory, a pool and a router.
pub(super) fn insert_cluster(state: &mut MemoryState, index: u64) -> Cluster {
    let address = |purpose: &str| named(purpose, index);
    let mut tokens = [address("first token"), address("second token")];
    tokens.sort_unstable();
    let (wrapped, factory) = (address("wrapped ether"), address("factory"));
    let (pool, router) = (address("pool"), address("router"));
    for token in [wrapped, tokens[0], tokens[1]] {
        insert_token(state, token);
    }
    insert_contract(
        state,
        factory,
        include_str!("../../../../contracts/PoolFactory.hex"),
    );
    insert_contract(
        state,
        pool,
        include_str!("../../../../contracts/LiquidityPool.hex"),
    );
    insert_contract(
        state,
        router,
        include_str!("../../../../contracts/SwapRouter.hex"),
    );
    // poolOf[token 0][token 1][fee]
    let outer = mapped(tokens[0].into_word(), B256::ZERO);
    let inner = mapped(tokens[1].into_word(), outer);
    let entry = mapped(U256::from(FEE).into(), inner);
    state.insert_slot(factory, entry.into(), word(pool));
    state.insert_slot(router, U256::ZERO, word(factory));
    state.insert_slot(router, U256::ONE, word(wrapped));
    insert_pool(state, pool, tokens);
    Cluster { router, tokens }
}

/// The pool's storage: price one, liquidity over all ticks, a first observation.
fn insert_pool(state: &mut MemoryState, pool: Address, tokens: [Address; 2]) {
    let reserve = U256::from(10_u64).pow(U256::from(24));
    for token in tokens {
        insert_tokens(state, token, pool, reserve);
    }
    // The price is 2^96; one observation; unlocked. Tick and index are zero.
    let price = U256::ONE << 96;
    let slot0 = price | (U256::ONE << (160 + 24 + 16)) | (U256::ONE << (160 + 24 + 32));
    let liquidity = U256::from(10_u64).pow(U256::from(21));
    state.insert_slot(pool, U256::ZERO, slot0);
    // Fee growth is not zero, as in any used pool.
    state.insert_slot(pool, U256::from(1), U256::ONE << 100);
    state.insert_slot(pool, U256::from(2), U256::ONE << 100);
    state.insert_slot(pool, U256::from(3), liquidity);
    let parameters = word(tokens[0]) | (U256::from(FEE) << 160) | (U256::from(TICK_SPACING) << 184);
    state.insert_slot(pool, U256::from(4), parameters);
    state.insert_slot(pool, U256::from(5), word(tokens[1]));
    for (tick, net) in [
        (-TICK_LAST, liquidity),
        (TICK_LAST, U256::ZERO.wrapping_sub(liquidity)),
    ] {
        let place: U256 = mapped(signed(tick).into(), U256::from(6).into()).into();
        // Gross in the lower half, net in the upper half.
        state.insert_slot(pool, place, liquidity | (net << 128));
        let compressed = tick / i64::try_from(TICK_SPACING).unwrap_or(1);
        let bit = usize::try_from(compressed.rem_euclid(256)).unwrap_or(0);
        let word = mapped(
            signed(compressed.div_euclid(256)).into(),
            U256::from(7).into(),
        );
        state.insert_slot(pool, word.into(), U256::ONE << bit);
    }
    let first: U256 = mapped(B256::ZERO, U256::from(8).into()).into();
    // Initialised, in the block's own second.
    state.insert_slot(pool, first, U256::ONE << 248);
}

/// An account with both tokens, whose router may take them.
pub(super) fn insert_trader(state: &mut MemoryState, cluster: &Cluster, trader: Address) {
    for token in cluster.tokens {
        insert_holder(state, token, trader);
        let allowances = mapped(trader.into_word(), U256::ONE.into());
        let allowance = mapped(cluster.router.into_word(), allowances);
        state.insert_slot(token, allowance.into(), U256::MAX);
    }
}

/// Sells a little of the first token.
pub(super) fn swap(cluster: &Cluster, sender: Address, nonce: u64) -> TxLegacy {
    let selector =
        &keccak256(b"sell((address,address,uint24,address,uint256,uint256,uint256,uint160))")[..4];
    let mut input = selector.to_vec();
    let words = [
        word(cluster.tokens[0]),
        word(cluster.tokens[1]),
        U256::from(FEE),
        word(sender),
        U256::MAX,
        U256::from(AMOUNT_IN),
        U256::ONE,
        U256::ZERO,
    ];
    for word in words {
        input.extend_from_slice(&word.to_be_bytes::<32>());
    }
    TxLegacy {
        chain_id: Some(1),
        nonce,
        gas_price: 1,
        gas_limit: 500_000,
        to: TxKind::Call(cluster.router),
        value: U256::ZERO,
        input: input.into(),
    }
}

/// The slot of a mapping's entry.
fn mapped(key: B256, mapping: B256) -> B256 {
    keccak256([key, mapping].concat())
}

fn word(address: Address) -> U256 {
    address.into_word().into()
}

/// Two's complement.
fn signed(value: i64) -> U256 {
    let magnitude = U256::from(value.unsigned_abs());
    if value < 0 {
        U256::ZERO.wrapping_sub(magnitude)
    } else {
        magnitude
    }
}
