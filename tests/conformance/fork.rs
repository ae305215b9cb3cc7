//! The forks and fork transitions that fixtures name.

use alloy_eips::eip7840::BlobParams;
use alloy_primitives::{U64, U256};
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

/// The fork that a fixture means.
pub(crate) fn spec(fork: &str) -> Option<SpecId> {
    Some(match fork {
        "Frontier" => SpecId::FRONTIER,
        "Homestead" => SpecId::HOMESTEAD,
        "EIP150" => SpecId::TANGERINE,
        "EIP158" => SpecId::SPURIOUS_DRAGON,
        "Byzantium" => SpecId::BYZANTIUM,
        // Fixtures say nothing of Constantinople as it was before EIP-1283 was taken out that
        // differs from what it was afterwards.
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

/// The schedule of a network: a fork (`Osaka`), or two and when the second begins
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

/// The forks of a network and when they begin.
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
