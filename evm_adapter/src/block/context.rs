//! The environment of a block's steps.

use super::chain::ChainSpec;
use alloy_consensus::Header;
use alloy_primitives::U256;
use lockweave_runtime::StateRules;
use revm::{
    context::{BlockEnv, CfgEnv},
    primitives::hardfork::SpecId,
};

/// The environment of a block's steps: the block's values and its fork's rules.
#[derive(Clone, Debug)]
pub struct BlockContext {
    block: BlockEnv,
    config: CfgEnv,
}

impl BlockContext {
    /// The environment that a header and a chain's schedule give.
    pub fn new(chain: &ChainSpec, header: &Header) -> Self {
        let fork = chain.fork_at(header.number, header.timestamp);
        let blob = chain.blob_params_at(header.number, header.timestamp);
        let mut config = CfgEnv::new_with_spec(fork).with_chain_id(chain.chain_id);
        let mut block = BlockEnv {
            number: U256::from(header.number),
            beneficiary: header.beneficiary,
            timestamp: U256::from(header.timestamp),
            gas_limit: header.gas_limit,
            basefee: header.base_fee_per_gas.unwrap_or_default(),
            difficulty: header.difficulty,
            prevrandao: fork.is_enabled_in(SpecId::MERGE).then_some(header.mix_hash),
            blob_excess_gas_and_price: None,
            slot_num: header.slot_number.unwrap_or_default(),
        };
        if let Some(params) = blob {
            let fraction = u64::try_from(params.update_fraction).unwrap_or(u64::MAX);
            config.max_blobs_per_tx = Some(params.max_blobs_per_tx);
            config.blob_base_fee_update_fraction = Some(fraction);
            block.set_blob_excess_gas_and_price(
                header.excess_blob_gas.unwrap_or_default(),
                fraction,
            );
        }
        Self { block, config }
    }

    /// An environment that is at hand in revm's form.
    pub const fn from_parts(block: BlockEnv, config: CfgEnv) -> Self {
        Self { block, config }
    }

    /// The fork.
    pub const fn spec(&self) -> SpecId {
        self.config.spec
    }

    /// The fork's rules for state.
    pub fn rules(&self) -> StateRules {
        StateRules {
            clear_empty_accounts: self.spec().is_enabled_in(SpecId::SPURIOUS_DRAGON),
        }
    }

    /// revm's block environment.
    pub const fn block(&self) -> &BlockEnv {
        &self.block
    }

    /// revm's configuration.
    pub const fn config(&self) -> &CfgEnv {
        &self.config
    }
}
