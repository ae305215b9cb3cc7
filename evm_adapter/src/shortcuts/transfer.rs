//! Plain transfers without the interpreter.
//!
//! A transfer of ether to an account without code runs no instruction: it checks nonce and balance, moves the value
//! and pays the fee. Setting up revm for it takes many times as long. Only successful transfers are executed here,
//! and only on forks up to Osaka, whose rules for them differ in the fee alone. Everything else is left to revm,
//! without effects, so every refusal and its message are revm's. (Before EIP-161 a touch creates an account, even a
//! credit of zero; the state's own rules handle that.)

use crate::{machine::Limits, transaction::EvmTransaction};
use alloy_consensus::TxType;
use alloy_primitives::{Address, Bytes, U256};
use lockweave_runtime::{
    AccessMode, AccountValue, Credit, Outcome, OutcomeKind, Payment, StateAccess, StateKey, Status,
    Transfer, WriteSet,
};
use revm::{
    context::{Block as _, BlockEnv, Cfg as _, CfgEnv, TxEnv},
    context_interface::cfg::gas_params::GasParams,
    primitives::{AddressSet, TxKind, hardfork::SpecId},
};

/// A block's rules for plain transfers, and for the fees of calls.
#[derive(Clone, Debug)]
pub(crate) struct TransferRules {
    chain_id: u64,
    base_fee: u128,
    /// Whether the base fee is burned (EIP-1559).
    burns_base_fee: bool,
    /// The highest valid gas limit: the smaller of the block's and the fork's cap (EIP-7825).
    gas_limit_max: u64,
    beneficiary: Address,
    precompiles: AddressSet,
    gas: GasParams,
    /// The highest transaction type that can be a plain transfer on the fork.
    last_type: u8,
}

impl TransferRules {
    /// The rules of a block; `None` where transfers need the interpreter.
    pub(crate) fn new(block: &BlockEnv, config: &CfgEnv, precompiles: &AddressSet) -> Option<Self> {
        let spec = config.spec;
        let since = |first| spec.is_enabled_in(first);
        let covered = !since(SpecId::AMSTERDAM);
        let complete = (!since(SpecId::MERGE) || block.prevrandao.is_some())
            && (!since(SpecId::CANCUN) || block.blob_excess_gas_and_price.is_some());
        if !covered || !complete {
            return None;
        }
        Some(Self {
            chain_id: config.chain_id,
            base_fee: u128::from(block.basefee),
            burns_base_fee: since(SpecId::LONDON),
            gas_limit_max: config.tx_gas_limit_cap().min(block.gas_limit()),
            beneficiary: block.beneficiary,
            precompiles: precompiles.clone(),
            gas: config.gas_params.clone(),
            last_type: if since(SpecId::LONDON) {
                TxType::Eip1559 as u8
            } else if since(SpecId::BERLIN) {
                TxType::Eip2930 as u8
            } else {
                TxType::Legacy as u8
            },
        })
    }

    /// Executes a plain transfer; `None` if the transaction is none, or may fail.
    pub(crate) fn run(
        &self,
        transaction: &EvmTransaction,
        limits: Option<&Limits>,
        state: &mut impl StateAccess,
        writes: &mut WriteSet,
    ) -> Option<Outcome> {
        let Payment { transfer, outcome } = self.payment(transaction, limits)?;
        if !state.transfer(&transfer) {
            carry_out(&transfer, state, writes)?;
            // A state that refuses here refuses again in the interpreter, which reports it.
            state.apply(writes).ok()?;
        }
        Some(outcome)
    }

    /// The transaction as a payment, if it is a plain transfer provided that neither account has code, and it stays
    /// within its limits.
    pub(crate) fn payment(
        &self,
        transaction: &EvmTransaction,
        limits: Option<&Limits>,
    ) -> Option<Payment> {
        let (transfer, gas_used) = self.recognise(transaction.env())?;
        if limits.is_some_and(|limits| !allow(limits, &transfer)) {
            return None;
        }
        let outcome = Outcome {
            kind: OutcomeKind::Transaction(transaction.transaction_type()),
            status: Status::Succeeded,
            gas_used,
            logs: Vec::new(),
            output: Bytes::new(),
            created: None,
        };
        Some(Payment { transfer, outcome })
    }

    /// The transfer and its gas, if the transaction may be a plain transfer.
    fn recognise(&self, env: &TxEnv) -> Option<(Transfer, u64)> {
        let (recipient, price, gas_used) = self.terms(env)?;
        let gas = u128::from(gas_used);
        // The sender must be able to pay for the whole limit at the highest price.
        let limit_cost = u128::from(env.gas_limit).checked_mul(env.gas_price)?;
        let transfer = Transfer {
            sender: env.caller,
            recipient,
            beneficiary: self.beneficiary,
            nonce: env.nonce,
            needed: env.value.checked_add(U256::from(limit_cost))?,
            // At most `needed`: the price is no higher, and the limit covers the gas.
            gas_cost: U256::from(gas.checked_mul(price)?),
            value: env.value,
            tip: U256::from(gas.checked_mul(self.tip(price))?),
        };
        Some((transfer, gas_used))
    }

    /// Recipient, effective gas price and gas, if the transaction may be a plain transfer.
    fn terms(&self, env: &TxEnv) -> Option<(Address, u128, u64)> {
        let TxKind::Call(recipient) = env.kind else {
            return None;
        };
        if !env.data.is_empty() || self.precompiles.contains(&recipient) {
            return None;
        }
        let gas_used = if env.access_list.0.is_empty() {
            self.gas.tx_base_stipend()
        } else {
            self.gas
                .initial_tx_gas_for_tx(env, None)
                .initial_total_gas()
        };
        Some((recipient, self.price(env, gas_used)?, gas_used))
    }

    /// The effective gas price of a transaction that needs at least this much gas, if its type is supported and it is
    /// valid by itself.
    fn price(&self, env: &TxEnv, gas_least: u64) -> Option<u128> {
        let is_plain = env.tx_type <= self.last_type
            && env
                .chain_id
                .map_or(env.tx_type == 0, |id| id == self.chain_id)
            && (gas_least..=self.gas_limit_max).contains(&env.gas_limit)
            && env.gas_price >= self.base_fee
            && env.nonce < u64::MAX;
        if !is_plain {
            return None;
        }
        match env.gas_priority_fee {
            None => Some(env.gas_price),
            Some(tip) if tip <= env.gas_price => {
                Some(env.gas_price.min(self.base_fee.saturating_add(tip)))
            }
            Some(_) => None,
        }
    }

    /// The fee of a call, if it is valid by itself.
    pub(crate) fn fee(&self, env: &TxEnv) -> Option<Fee> {
        let initial = self.gas.initial_tx_gas_for_tx(env, None);
        let (intrinsic, floor) = (initial.initial_total_gas(), initial.floor_gas());
        let price = self.price(env, intrinsic.max(floor))?;
        let limit_cost = u128::from(env.gas_limit).checked_mul(env.gas_price)?;
        Some(Fee {
            nonce: env.nonce,
            needed: U256::from(limit_cost),
            price,
            gas_limit: env.gas_limit,
            intrinsic,
            floor,
            refund_quotient: self.gas.max_refund_quotient(),
        })
    }

    /// Charges the sender of a call and pays the beneficiary; `None` if that may fail.
    pub(crate) fn settle(
        &self,
        (sender, mut value): (Address, AccountValue),
        fee: &Fee,
        gas_used: u64,
        state: &mut impl StateAccess,
        writes: &mut WriteSet,
    ) -> Option<()> {
        let gas = U256::from(gas_used);
        value.balance -= gas * U256::from(fee.price);
        value.nonce += 1;
        value.exists = true;
        let tip = gas * U256::from(self.tip(fee.price));
        reward(self.beneficiary, tip, (sender, &mut value), state, writes)?;
        writes.accounts.push((sender, value));
        Some(())
    }

    /// The beneficiary's share of the price of one gas.
    const fn tip(&self, price: u128) -> u128 {
        if self.burns_base_fee {
            price - self.base_fee
        } else {
            price
        }
    }

    pub(crate) const fn chain_id(&self) -> u64 {
        self.chain_id
    }
}

/// The gas and price of a call, and the balance that it needs.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Fee {
    nonce: u64,
    /// The gas limit at the maximum price.
    needed: U256,
    /// Of one gas.
    pub(crate) price: u128,
    gas_limit: u64,
    /// Intrinsic gas.
    intrinsic: u64,
    /// Minimum gas (EIP-7623).
    floor: u64,
    /// The gas divided by this is the maximum refund (EIP-3529).
    refund_quotient: u64,
}

impl Fee {
    /// Gas for the code.
    pub(crate) const fn gas_for_code(&self) -> u64 {
        self.gas_limit - self.intrinsic
    }

    /// Whether the sender's nonce matches and its balance suffices.
    pub(crate) fn is_payable(&self, sender: &AccountValue) -> bool {
        sender.nonce == self.nonce && sender.balance >= self.needed
    }

    /// The gas charged for a call, by the gas and refund of its code.
    pub(crate) fn gas_used(&self, code: u64, refund: i64) -> u64 {
        let gas = self.intrinsic + code;
        let refund = u64::try_from(refund).unwrap_or_default();
        let refunded = gas - refund.min(gas / self.refund_quotient);
        refunded.max(self.floor)
    }
}

/// Whether a transfer stays within its transaction's declaration.
fn allow(limits: &Limits, transfer: &Transfer) -> bool {
    let Transfer {
        sender, recipient, ..
    } = *transfer;
    let allows = |key, needed| limits.check(&key, needed).is_ok();
    allows(StateKey::code(sender), AccessMode::Read)
        && allows(StateKey::account(sender), AccessMode::Write)
        && allows(StateKey::code(recipient), AccessMode::Read)
        && (recipient == sender || allows(StateKey::account(recipient), AccessMode::Credit))
}

/// Writes the effects of a transfer to `writes`; `None` if it may fail.
fn carry_out(
    transfer: &Transfer,
    state: &mut impl StateAccess,
    writes: &mut WriteSet,
) -> Option<()> {
    let Transfer {
        sender,
        recipient,
        beneficiary,
        ..
    } = *transfer;
    // Codes are read first: a transfer to code must not read accounts here.
    if !state.code(recipient).ok()?.is_empty()
        || (recipient != sender && !state.code(sender).ok()?.is_empty())
    {
        return None;
    }
    let mut value = state.account(sender).ok()?;
    if value.nonce != transfer.nonce || value.balance < transfer.needed {
        return None;
    }
    value.balance -= transfer.gas_cost;
    value.nonce += 1;
    value.exists = true;
    writes.clear();
    let mut to_beneficiary = transfer.tip;
    if recipient != sender {
        value.balance -= transfer.value;
        if recipient == beneficiary {
            to_beneficiary = to_beneficiary.checked_add(transfer.value)?;
        } else {
            if !transfer.value.is_zero() && !state.may_credit(recipient, transfer.value) {
                return None;
            }
            writes.credits.push(Credit {
                address: recipient,
                amount: transfer.value,
            });
        }
    }
    reward(
        beneficiary,
        to_beneficiary,
        (sender, &mut value),
        state,
        writes,
    )?;
    writes.accounts.push((sender, value));
    Some(())
}

/// Pays the beneficiary, which may be the sender; `None` if the balance may overflow.
fn reward(
    beneficiary: Address,
    amount: U256,
    (sender, value): (Address, &mut AccountValue),
    state: &mut impl StateAccess,
    writes: &mut WriteSet,
) -> Option<()> {
    if sender == beneficiary {
        value.balance = value.balance.checked_add(amount)?;
        return Some(());
    }
    if !state.may_credit(beneficiary, amount) {
        return None;
    }
    writes.credits.push(Credit {
        address: beneficiary,
        amount,
    });
    Some(())
}
