//! `eth_config` (EIP-7910): the rules of the current and the scheduled forks, so that operators can compare
//! nodes before a fork.

use crate::{
    chain::ChainParameters,
    rpc::{
        context::RpcContext,
        message::{Params, Reply, RpcError, reply},
    },
};
use alloy_eips::{eip2124::ForkHash, eip7840::BlobParams, eip7910::SystemContract};
use alloy_genesis::ChainConfig;
use alloy_primitives::{Address, Bytes, U64};
use lockweave_evm_adapter::SpecId;
use revm::precompile::{PrecompileSpecId, Precompiles};
use serde::Serialize;
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet};

/// The rules from a point in time on.
#[derive(Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
struct ForkConfig {
    activation_time: u64,
    blob_schedule: Option<BlobParams>,
    chain_id: U64,
    fork_id: Bytes,
    precompiles: BTreeMap<&'static str, Address>,
    system_contracts: BTreeMap<String, Address>,
}

/// The current rules, the next, and the last that are scheduled.
pub(crate) fn config(context: &RpcContext, _: &Params<'_>) -> Reply {
    let parameters = context.node.parameters();
    let head = context.node.head().block;
    let (number, now) = (head.number(), head.header.timestamp);
    let times = fork_times(&parameters.genesis.config);
    let of = |time: u64| fork_config(parameters, number, time).map_err(RpcError::internal);
    let current = times.range(..=now).next_back().copied();
    let next = times.range(now.saturating_add(1)..).next().copied();
    let last = next.and_then(|_| times.last().copied());
    reply(json!({
        "current": of(current.unwrap_or_default())?,
        "next": next.map(of).transpose()?,
        "last": last.map(of).transpose()?,
    }))
}

/// Activation times of forks that are scheduled by time, in seconds since the Unix epoch.
fn fork_times(config: &ChainConfig) -> BTreeSet<u64> {
    let times = [
        config.shanghai_time,
        config.cancun_time,
        config.prague_time,
        config.osaka_time,
        config.bpo1_time,
        config.bpo2_time,
        config.bpo3_time,
        config.bpo4_time,
        config.bpo5_time,
        config.amsterdam_time,
    ];
    times.into_iter().flatten().collect()
}

/// Activation blocks of forks that are scheduled by number.
fn fork_blocks(config: &ChainConfig) -> BTreeSet<u64> {
    let blocks = [
        config.homestead_block,
        config.dao_fork_block,
        config.eip150_block,
        config.eip155_block,
        config.eip158_block,
        config.byzantium_block,
        config.constantinople_block,
        config.petersburg_block,
        config.istanbul_block,
        config.muir_glacier_block,
        config.berlin_block,
        config.london_block,
        config.arrow_glacier_block,
        config.gray_glacier_block,
        config.merge_netsplit_block,
    ];
    blocks.into_iter().flatten().collect()
}

/// The rules from `time` on, on a chain at block `number`.
fn fork_config(parameters: &ChainParameters, number: u64, time: u64) -> Result<ForkConfig, String> {
    let genesis = parameters
        .genesis_block()
        .map_err(|error| error.to_string())?;
    let config = &parameters.genesis.config;
    // EIP-2124: forks that are active at genesis do not count.
    let mut fork_id = ForkHash::from(genesis.hash);
    let born = genesis.header.timestamp;
    let blocks = fork_blocks(config).into_iter();
    for block in blocks.filter(|block| (1..=number).contains(block)) {
        fork_id += block;
    }
    let times = fork_times(config).into_iter();
    for start in times.filter(|start| *start > born && *start <= time) {
        fork_id += start;
    }
    let spec = parameters.spec.fork_at(number, time);
    Ok(ForkConfig {
        activation_time: if time <= genesis.header.timestamp {
            0
        } else {
            time
        },
        blob_schedule: parameters.spec.blob_params_at(number, time),
        chain_id: U64::from(parameters.spec.chain_id),
        fork_id: Bytes::copy_from_slice(&fork_id.0),
        precompiles: precompiles(spec),
        system_contracts: system_contracts(spec, config.deposit_contract_address),
    })
}

fn precompiles(spec: SpecId) -> BTreeMap<&'static str, Address> {
    let all = Precompiles::new(PrecompileSpecId::from_spec_id(spec));
    let all = all.inner().values();
    all.map(|one| (one.id().name(), *one.address())).collect()
}

fn system_contracts(spec: SpecId, deposit_contract: Option<Address>) -> BTreeMap<String, Address> {
    let mut contracts = Vec::new();
    if spec.is_enabled_in(SpecId::CANCUN) {
        contracts.extend(SystemContract::cancun());
    }
    if spec.is_enabled_in(SpecId::PRAGUE) {
        contracts.extend(SystemContract::prague(deposit_contract));
    }
    let is_here = |contract: &SystemContract| {
        *contract != SystemContract::DepositContract || deposit_contract.is_some()
    };
    let here = contracts
        .into_iter()
        .filter(|(contract, _)| is_here(contract));
    here.map(|(contract, address)| (contract.to_string(), address))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chain::dev;

    #[test]
    fn forks_to_come_have_their_own_id_and_rules() {
        let mut genesis = dev::genesis([Address::ZERO], 1_000);
        genesis.config.osaka_time = Some(2_000);
        let parameters = ChainParameters::new(genesis).unwrap();
        let prague = fork_config(&parameters, 5, 1_500).unwrap();
        let osaka = fork_config(&parameters, 5, 2_000).unwrap();
        assert_eq!(osaka.activation_time, 2_000);
        // A chain whose genesis is after its forks, at its first block.
        let begun = fork_config(&parameters, 0, 0).unwrap();
        assert_eq!(
            (begun.activation_time, &begun.fork_id),
            (0, &prague.fork_id)
        );
        assert_ne!(prague.fork_id, osaka.fork_id);
        assert!(osaka.precompiles.contains_key("P256VERIFY"));
        assert!(!prague.precompiles.contains_key("P256VERIFY"));
        // A chain without a deposit contract has four system contracts.
        assert_eq!(prague.system_contracts.len(), 4);
        assert_eq!(prague.blob_schedule.unwrap().max_blob_count, 9);
    }
}
