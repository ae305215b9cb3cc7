//! Stateless checks, which every transaction has to pass before the pool considers it.

use super::{PoolConfig, transaction::PooledTransaction};
use crate::chain::Envelope;
use alloy_consensus::{Transaction as _, Typed2718, constants::EIP4844_TX_TYPE_ID};
use alloy_eips::eip2718::{Decodable2718, Eip2718Error};
use lockweave_evm_adapter::{
    ChainSpec, DECLARED_TX_TYPE, EvmTransaction, RecoverError, SpecId, recover_senders,
};
use lockweave_runtime::AccessSetError;
use revm::context_interface::cfg::gas_params::GasParams;
use std::{num::NonZeroU64, sync::Arc};
use thiserror::Error;

/// Bytes of initialisation code at most, from Shanghai on (EIP-3860).
const INITCODE_BYTES_MAX: usize = 49_152;

/// Gas of one transaction at most, from Osaka on (EIP-7825).
const OSAKA_GAS_MAX: u64 = 1 << 24;

/// Why bytes are not a transaction that this chain accepts.
#[derive(Debug, Error)]
#[expect(missing_docs, reason = "the messages say what the variants mean")]
pub enum DecodeError {
    #[error(
        "rlp: cannot decode the transaction: it is empty; send the bytes of a signed transaction"
    )]
    Empty,
    #[error("oversized data: transaction size {size}, limit {limit}")]
    Oversized { size: usize, limit: usize },
    /// Not EIP-2718, or not RLP.
    #[error("rlp: cannot decode the transaction: {0}")]
    Malformed(Eip2718Error),
    #[error("transaction type not supported: type {ty:#x} on {fork}")]
    Type {
        /// EIP-2718 type.
        ty: u8,
        fork: &'static str,
    },
    #[error(
        "transaction type not supported: blob transactions (type 0x3, EIP-4844) have no place on \
         this chain, which keeps no blobs; send the data as calldata of a type 0x2 transaction"
    )]
    Blobs,
    #[error("invalid chain id for signer: have {found} want {expected}")]
    ChainId { found: u64, expected: u64 },
    #[error(
        "only replay-protected (EIP-155) transactions allowed over RPC; \
         start the node with --pool.allow-unprotected to take others"
    )]
    Unprotected,
    #[error("exceeds block gas limit: gas limit {gas}, block gas limit {limit}")]
    BlockGasLimit { gas: u64, limit: u64 },
    #[error("transaction gas limit too high (cap: {limit}, tx: {gas})")]
    GasCap {
        gas: u64,
        /// EIP-7825's limit.
        limit: u64,
    },
    #[error("intrinsic gas too low: gas {gas}, minimum needed {needed}")]
    IntrinsicGas { gas: u64, needed: u64 },
    /// Less gas than its data costs (EIP-7623).
    #[error("insufficient gas for floor data gas cost: gas {gas}, minimum needed {needed}")]
    FloorGas { gas: u64, needed: u64 },
    /// Too much initialisation code (EIP-3860).
    #[error("max initcode size exceeded: code size {size}, limit {limit}")]
    InitcodeSize { size: usize, limit: usize },
    #[error(
        "max priority fee per gas higher than max fee per gas: \
         maxPriorityFeePerGas {tip}, maxFeePerGas {fee}"
    )]
    TipAboveFee {
        /// The tip, in wei.
        tip: u128,
        /// The fee cap, in wei.
        fee: u128,
    },
    /// A nonce that cannot be followed by another (EIP-2681).
    #[error("nonce has max value")]
    NonceMax,
    /// No authorisations in a transaction that exists for them (EIP-7702).
    #[error("EIP-7702 transaction with empty auth list")]
    NoAuthorizations,
    #[error("invalid declaration: {0}")]
    Declaration(AccessSetError),
    #[error("invalid sender: {0}")]
    Signature(#[from] RecoverError),
}

/// What transactions are held against: the rules of the next block.
#[derive(Clone, Debug)]
pub struct Admission {
    chain: Arc<ChainSpec>,
    fork: SpecId,
    gas: Arc<GasParams>,
    block_gas_limit: NonZeroU64,
}

impl Admission {
    /// The rules of a block of this number, time and gas limit.
    pub fn new(chain: Arc<ChainSpec>, number: u64, timestamp: u64, gas_limit: u64) -> Self {
        let fork = chain.fork_at(number, timestamp);
        Self {
            chain,
            fork,
            gas: Arc::new(GasParams::new_spec(fork)),
            block_gas_limit: NonZeroU64::new(gas_limit).unwrap_or(NonZeroU64::MIN),
        }
    }

    /// The fork.
    pub const fn fork(&self) -> SpecId {
        self.fork
    }
}

/// Decodes transactions, checks what needs no state and recovers their senders, which is what takes the time: 28 µs for
/// one, and down to 5 for each of many.
pub fn validate(
    admission: &Admission,
    config: &PoolConfig,
    encoded: &[impl AsRef<[u8]>],
) -> Vec<Result<PooledTransaction, DecodeError>> {
    let checked: Vec<_> = (encoded.iter())
        .map(|raw| decode(admission, config, raw.as_ref()))
        .collect();
    let mut senders = recover_senders(checked.iter().flatten(), true).into_iter();
    (checked.into_iter().zip(encoded))
        .map(|(checked, raw)| {
            let envelope = checked?;
            let sender = senders.next().expect("one for each that passed")?;
            let transaction = EvmTransaction::new(envelope, sender);
            if let Some(Err(error)) = transaction.declared() {
                return Err(DecodeError::Declaration(error.clone()));
            }
            Ok(PooledTransaction::new(transaction, raw.as_ref().len()))
        })
        .collect()
}

/// Decodes a transaction and checks what needs neither state nor sender.
fn decode(admission: &Admission, config: &PoolConfig, raw: &[u8]) -> Result<Envelope, DecodeError> {
    if raw.is_empty() {
        return Err(DecodeError::Empty);
    }
    if raw.len() > config.transaction_bytes_max {
        return Err(DecodeError::Oversized {
            size: raw.len(),
            limit: config.transaction_bytes_max,
        });
    }
    // With its blobs or without: the two forms are laid out differently.
    if raw.first() == Some(&EIP4844_TX_TYPE_ID) {
        return Err(DecodeError::Blobs);
    }
    let envelope = Envelope::decode_2718_exact(raw).map_err(DecodeError::Malformed)?;
    check_kind(admission, config, &envelope)?;
    check_gas(admission, &envelope)?;
    Ok(envelope)
}

fn check_kind(
    admission: &Admission,
    config: &PoolConfig,
    envelope: &Envelope,
) -> Result<(), DecodeError> {
    let since = match envelope.ty() {
        0 => SpecId::FRONTIER,
        1 => SpecId::BERLIN,
        // Declared ones have EIP-1559's fees and EIP-2930's prices.
        2 | DECLARED_TX_TYPE => SpecId::LONDON,
        _ => SpecId::PRAGUE,
    };
    if !admission.fork.is_enabled_in(since) {
        let (ty, fork) = (envelope.ty(), admission.fork.into());
        return Err(DecodeError::Type { ty, fork });
    }
    let expected = admission.chain.chain_id;
    match envelope.chain_id() {
        Some(found) if found != expected => return Err(DecodeError::ChainId { found, expected }),
        None if !config.allow_unprotected => return Err(DecodeError::Unprotected),
        _ => {}
    }
    if envelope.nonce() == u64::MAX {
        return Err(DecodeError::NonceMax);
    }
    if envelope.authorization_list().is_some_and(<[_]>::is_empty) {
        return Err(DecodeError::NoAuthorizations);
    }
    let (fee, tip) = (
        envelope.max_fee_per_gas(),
        envelope.max_priority_fee_per_gas(),
    );
    if let Some(tip) = tip.filter(|tip| *tip > fee) {
        return Err(DecodeError::TipAboveFee { tip, fee });
    }
    Ok(())
}

fn check_gas(admission: &Admission, envelope: &Envelope) -> Result<(), DecodeError> {
    let gas = envelope.gas_limit();
    let limit = admission.block_gas_limit.get();
    if gas > limit {
        return Err(DecodeError::BlockGasLimit { gas, limit });
    }
    if admission.fork.is_enabled_in(SpecId::OSAKA) && gas > OSAKA_GAS_MAX {
        let limit = OSAKA_GAS_MAX;
        return Err(DecodeError::GasCap { gas, limit });
    }
    let size = envelope.input().len();
    let is_create = envelope.is_create();
    let limit = INITCODE_BYTES_MAX;
    if is_create && size > limit && admission.fork.is_enabled_in(SpecId::SHANGHAI) {
        return Err(DecodeError::InitcodeSize { size, limit });
    }
    // What is declared is warm, and costs what a list of it would (EIP-2930).
    let declared = (envelope.as_declared()).map(|declared| declared.tx().warm_list());
    let list = declared.as_ref().or_else(|| envelope.access_list());
    let (accounts, slots) = list.map_or((0, 0), |list| {
        let slots: usize = list.iter().map(|item| item.storage_keys.len()).sum();
        (list.len(), slots)
    });
    let authorizations = envelope.authorization_list().map_or(0, <[_]>::len);
    let costs = admission.gas.initial_tx_gas(
        envelope.input(),
        is_create,
        accounts as u64,
        slots as u64,
        authorizations as u64,
        None,
    );
    let needed = costs
        .initial_regular_gas
        .saturating_add(costs.initial_state_gas);
    if gas < needed {
        return Err(DecodeError::IntrinsicGas { gas, needed });
    }
    let needed = costs.floor_gas;
    if admission.fork.is_enabled_in(SpecId::PRAGUE) && gas < needed {
        return Err(DecodeError::FloorGas { gas, needed });
    }
    Ok(())
}
