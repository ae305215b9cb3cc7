//! Overrides of a call: its block, accounts, and the addresses of precompiled contracts.

use super::scene::{Scene, state_failed};
use crate::rpc::{context::RpcContext, message::RpcError};
use alloy_eips::BlockId;
use alloy_primitives::{Address, U256};
use alloy_rpc_types_eth::{BlockOverrides, state::StateOverride};
use revm::{bytecode::Bytecode, context_interface::block::BlobExcessGasAndPrice};

impl RpcContext {
    /// The scene of a call: block and state with overrides applied.
    pub(crate) fn scene(
        &self,
        id: Option<BlockId>,
        state_overrides: Option<StateOverride>,
        block_overrides: Option<BlockOverrides>,
    ) -> Result<Scene, RpcError> {
        let (block, state) = self.state(id)?;
        let mut scene = Scene::new(self.node.chain(), &block.header, state);
        scene.relax();
        if let Some(overrides) = block_overrides {
            scene.override_block(overrides);
        }
        if let Some(overrides) = state_overrides {
            scene.override_state(overrides)?;
        }
        Ok(scene)
    }
}

impl Scene {
    /// Overrides fields of the block.
    pub(crate) fn override_block(&mut self, overrides: BlockOverrides) {
        let block = &mut self.block;
        if let Some(number) = overrides.number {
            block.number = number;
        }
        if let Some(difficulty) = overrides.difficulty {
            block.difficulty = difficulty;
        }
        if let Some(time) = overrides.time {
            block.timestamp = U256::from(time);
        }
        if let Some(gas_limit) = overrides.gas_limit {
            block.gas_limit = gas_limit;
        }
        if let Some(coinbase) = overrides.coinbase {
            block.beneficiary = coinbase;
        }
        if let Some(random) = overrides.random {
            block.prevrandao = Some(random);
        }
        if let Some(base_fee) = overrides.base_fee {
            block.basefee = base_fee.saturating_to();
        }
        if let Some(fee) = overrides.blob_base_fee {
            let known = block.blob_excess_gas_and_price;
            block.blob_excess_gas_and_price = Some(BlobExcessGasAndPrice {
                excess_blob_gas: known.map_or(0, |known| known.excess_blob_gas),
                blob_gasprice: fee.saturating_to(),
            });
        }
        for (number, hash) in overrides.block_hash.into_iter().flatten() {
            self.scratch
                .cache
                .block_hashes
                .insert(U256::from(number), hash);
        }
    }

    pub(crate) fn override_state(&mut self, overrides: StateOverride) -> Result<(), RpcError> {
        self.override_precompiles(&overrides)?;
        for (address, account) in overrides {
            if account.state.is_some() && account.state_diff.is_some() {
                return Err(RpcError::invalid_params(format!(
                    "account {address} has both 'state' and 'stateDiff'"
                )));
            }
            let known = self.scratch.load_account(address).map_err(state_failed)?;
            let mut info = known.info.clone();
            if let Some(balance) = account.balance {
                info.balance = balance;
            }
            if let Some(nonce) = account.nonce {
                info.nonce = nonce;
            }
            if let Some(code) = account.code {
                let code = Bytecode::new_raw_checked(code)
                    .map_err(|error| RpcError::invalid_params(error.to_string()))?;
                info.code_hash = code.hash_slow();
                info.code = Some(code);
            }
            self.scratch.insert_account_info(address, info);
            if let Some(state) = account.state {
                let slots = state
                    .into_iter()
                    .map(|(slot, value)| (slot.into(), value.into()));
                (self.scratch)
                    .replace_account_storage(address, slots.collect())
                    .map_err(state_failed)?;
            }
            for (slot, value) in account.state_diff.into_iter().flatten() {
                (self.scratch)
                    .insert_account_storage(address, slot.into(), value.into())
                    .map_err(state_failed)?;
            }
        }
        Ok(())
    }

    /// Moves precompiled contracts, and removes those whose accounts are overridden.
    fn override_precompiles(&mut self, overrides: &StateOverride) -> Result<(), RpcError> {
        let mut moves: Vec<(Address, Address)> = (overrides.iter())
            .filter_map(|(from, account)| Some((*from, account.move_precompile_to?)))
            .collect();
        moves.sort_unstable();
        let mut placed = Vec::new();
        for (from, to) in moves {
            if !self.precompiles.has(from) {
                return Err(RpcError::server(format!(
                    "account {from} is not a precompile"
                )));
            }
            if overrides.contains_key(&to) {
                return Err(RpcError::server(format!(
                    "account {to} is already overridden"
                )));
            }
            placed.extend(self.precompiles.vacate(from).map(|origin| (origin, to)));
        }
        for address in overrides.keys() {
            self.precompiles.vacate(*address);
        }
        for (origin, to) in placed {
            self.precompiles.place(origin, to);
        }
        Ok(())
    }
}
