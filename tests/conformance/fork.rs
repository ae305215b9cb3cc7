//! The forks and fork transitions that fixtures name.

use alloy_eips::eip7840::BlobParams;
use alloy_genesis::ChainConfig;
use alloy_primitives::{Address, U64, U256};
use lockweave::evm::{Activation, ChainSpec, SpecId};
use serde::Deserialize;
use std::collections::BTreeMap;

/// A chain's configuration in a fixture.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Config {
    chainid: U64,
    #[serde(default)]
    blob_schedule: BTreeMap<String, BlobSchedule>,
}

/// Blob parameters of a fork.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct BlobSchedule {
    target: U64,
    max: U64,
    base_fee_update_fraction: U256,
}

/// The fork by a fixture's name for it.
pub(crate) fn spec(fork: &str) -> Option<SpecId> {
    Some(match fork {
        "Frontier" => SpecId::FRONTIER,
        "Homestead" => SpecId::HOMESTEAD,
        "EIP150" => SpecId::TANGERINE,
        "EIP158" => SpecId::SPURIOUS_DRAGON,
        "Byzantium" => SpecId::BYZANTIUM,
        // No fixture depends on EIP-1283, which Constantinople had and Petersburg removed.
        "Constantinople" | "ConstantinopleFix" => SpecId::PETERSBURG,
        "Istanbul" => SpecId::ISTANBUL,
        "Berlin" => SpecId::BERLIN,
        "London" => SpecId::LONDON,
        "Paris" | "Merge" => SpecId::MERGE,
        "Shanghai" => SpecId::SHANGHAI,
        "Cancun" => SpecId::CANCUN,
        "Prague" => SpecId::PRAGUE,
        // At the fixtures' commit Amsterdam is Osaka with block access lists (EIP-7928).
        "Osaka" | "BPO1" | "BPO2" | "BPO3" | "BPO4" | "BPO5" | "Amsterdam" => SpecId::OSAKA,
        _ => return None,
    })
}

/// The schedule of a network: one fork (`Osaka`), or two and the start of the second
/// (`PragueToOsakaAtTime15k`, `BerlinToLondonAt5`).
pub(crate) fn chain_spec(network: &str, config: Option<&Config>) -> Option<ChainSpec> {
    let chain_id = config.map_or(1, |config| config.chainid.to());
    let mut chain = ChainSpec::single_fork(chain_id, SpecId::FRONTIER);
    chain.forks.clear();
    for (name, start) in phases(network)? {
        chain.forks.push((start, spec(name)?));
        if name == "Amsterdam" {
            chain.block_access_lists = Some(start);
        }
        let blobs = config.and_then(|config| config.blob_schedule.get(name));
        if let Some(blobs) = blobs {
            let time = match start {
                Activation::Timestamp(time) => time,
                Activation::Number(_) => 0,
            };
            chain
                .blob_schedule
                .push((time, blob_params(spec(name)?, blobs)));
        }
    }
    Some(chain)
}

/// The forks of a network and their starts.
fn phases(network: &str) -> Option<Vec<(&str, Activation)>> {
    let first = |name| (name, Activation::Number(0));
    let Some((forks, start)) = network.rsplit_once("At") else {
        return Some(vec![first(network)]);
    };
    let (before, after) = forks.split_once("To")?;
    let (make, number): (fn(u64) -> Activation, &str) = match start.strip_prefix("Time") {
        Some(time) => (Activation::Timestamp, time),
        None => (Activation::Number, start),
    };
    let number: u64 = match number.strip_suffix('k') {
        Some(thousands) => thousands.parse::<u64>().ok()?.checked_mul(1_000)?,
        None => number.parse().ok()?,
    };
    Some(vec![first(before), (after, make(number))])
}

fn blob_params(fork: SpecId, blobs: &BlobSchedule) -> BlobParams {
    let of_fork = if fork.is_enabled_in(SpecId::OSAKA) {
        BlobParams::osaka()
    } else {
        BlobParams::cancun()
    };
    let max_blob_count: u64 = blobs.max.to();
    let max_blobs_per_tx = if fork.is_enabled_in(SpecId::OSAKA) {
        of_fork.max_blobs_per_tx.min(max_blob_count)
    } else {
        max_blob_count
    };
    BlobParams {
        target_blob_count: blobs.target.to(),
        max_blob_count,
        update_fraction: blobs.base_fee_update_fraction.to(),
        max_blobs_per_tx,
        ..of_fork
    }
}

/// A schedule in the form of a genesis file.
pub(crate) fn chain_config(chain: &ChainSpec, deposit_contract: Address) -> ChainConfig {
    let start = |fork: SpecId| {
        let mut forks = chain.forks.iter();
        let (start, _) = forks.find(|(_, scheduled)| scheduled.is_enabled_in(fork))?;
        Some(match start {
            Activation::Number(at) | Activation::Timestamp(at) => *at,
        })
    };
    let merge = start(SpecId::MERGE);
    let mut config = ChainConfig {
        chain_id: chain.chain_id,
        homestead_block: start(SpecId::HOMESTEAD),
        eip150_block: start(SpecId::TANGERINE),
        eip158_block: start(SpecId::SPURIOUS_DRAGON),
        byzantium_block: start(SpecId::BYZANTIUM),
        petersburg_block: start(SpecId::PETERSBURG),
        istanbul_block: start(SpecId::ISTANBUL),
        berlin_block: start(SpecId::BERLIN),
        london_block: start(SpecId::LONDON),
        merge_netsplit_block: merge,
        terminal_total_difficulty: (merge == Some(0)).then_some(U256::ZERO),
        shanghai_time: start(SpecId::SHANGHAI),
        cancun_time: start(SpecId::CANCUN),
        prague_time: start(SpecId::PRAGUE),
        osaka_time: start(SpecId::OSAKA),
        amsterdam_time: chain.block_access_lists.map(|start| match start {
            Activation::Number(at) | Activation::Timestamp(at) => at,
        }),
        deposit_contract_address: Some(deposit_contract),
        ..ChainConfig::default()
    };
    let names = [
        ("amsterdam", config.amsterdam_time),
        ("osaka", config.osaka_time),
        ("prague", config.prague_time),
        ("cancun", config.cancun_time),
    ];
    for (time, params) in &chain.blob_schedule {
        if let Some((name, _)) = names.iter().find(|(_, start)| *start == Some(*time)) {
            config.blob_schedule.insert((*name).to_owned(), *params);
        }
    }
    config
}
