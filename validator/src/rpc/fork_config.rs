//! `eth_config` (EIP-7910): the fork that is, the next, and the last that is scheduled.

use super::{
    context::RpcContext,
    error::RpcError,
    message::{Params, Reply, reply},
};
use alloy_eips::{
    eip2124::ForkHash, eip2935::HISTORY_STORAGE_ADDRESS, eip4788::BEACON_ROOTS_ADDRESS,
    eip7002::WITHDRAWAL_REQUEST_PREDEPLOY_ADDRESS,
    eip7251::CONSOLIDATION_REQUEST_PREDEPLOY_ADDRESS,
};
use alloy_genesis::{ChainConfig, Genesis};
use alloy_primitives::{Address, B256, Bytes, U64};
use lockweave_evm_adapter::{ChainSpec, SpecId};
use serde_json::{Map, Value, json};

/// Precompiled contracts: the fork they came with, the low bytes of the address, the name.
const PRECOMPILES: [(SpecId, u16, &str); 18] = [
    (SpecId::FRONTIER, 0x01, "ECREC"),
    (SpecId::FRONTIER, 0x02, "SHA256"),
    (SpecId::FRONTIER, 0x03, "RIPEMD160"),
    (SpecId::FRONTIER, 0x04, "ID"),
    (SpecId::BYZANTIUM, 0x05, "MODEXP"),
    (SpecId::BYZANTIUM, 0x06, "BN254_ADD"),
    (SpecId::BYZANTIUM, 0x07, "BN254_MUL"),
    (SpecId::BYZANTIUM, 0x08, "BN254_PAIRING"),
    (SpecId::ISTANBUL, 0x09, "BLAKE2F"),
    (SpecId::CANCUN, 0x0a, "KZG_POINT_EVALUATION"),
    (SpecId::PRAGUE, 0x0b, "BLS12_G1ADD"),
    (SpecId::PRAGUE, 0x0c, "BLS12_G1MSM"),
    (SpecId::PRAGUE, 0x0d, "BLS12_G2ADD"),
    (SpecId::PRAGUE, 0x0e, "BLS12_G2MSM"),
    (SpecId::PRAGUE, 0x0f, "BLS12_PAIRING_CHECK"),
    (SpecId::PRAGUE, 0x10, "BLS12_MAP_FP_TO_G1"),
    (SpecId::PRAGUE, 0x11, "BLS12_MAP_FP2_TO_G2"),
    (SpecId::OSAKA, 0x0100, "P256VERIFY"),
];

/// The forks around the newest block.
pub(super) fn config(context: &RpcContext, _: &Params<'_>) -> Reply {
    let parameters = context.node.parameters();
    let head = context.node.head().block;
    let genesis = parameters.genesis_block();
    let genesis = genesis.map_err(|error| RpcError::internal(error.to_string()))?;
    let forks = Forks {
        chain: context.node.chain(),
        genesis: &parameters.genesis,
        genesis_hash: genesis.hash,
        number: head.number(),
        times: times(&parameters.genesis),
    };
    let now = head.header.timestamp;
    let current = forks.times.iter().rfind(|time| **time <= now);
    let next = forks.times.iter().find(|time| **time > now);
    let last = next.and(forks.times.last());
    reply(json!({
        "current": forks.describe(current.copied().unwrap_or_default()),
        "next": next.map(|time| forks.describe(*time)),
        "last": last.map(|time| forks.describe(*time)),
    }))
}

/// A chain's schedule.
struct Forks<'a> {
    chain: &'a ChainSpec,
    genesis: &'a Genesis,
    genesis_hash: B256,
    /// Forks from before there were times are those of this block.
    number: u64,
    /// When forks begin, in seconds since the Unix epoch, behind the genesis.
    times: Vec<u64>,
}

impl Forks<'_> {
    fn describe(&self, time: u64) -> Value {
        let at = time.max(self.genesis.timestamp);
        let fork = self.chain.fork_at(self.number, at);
        let blobs = self.chain.blob_params_at(self.number, at);
        let blobs = blobs.map(|blobs| {
            json!({
                "target": blobs.target_blob_count,
                "max": blobs.max_blob_count,
                "baseFeeUpdateFraction": u64::try_from(blobs.update_fraction).unwrap_or(u64::MAX),
            })
        });
        let precompiles = PRECOMPILES.into_iter();
        let precompiles = precompiles.filter(|(since, ..)| fork.is_enabled_in(*since));
        let precompiles = precompiles.map(|(_, low, name)| {
            let address = Address::left_padding_from(&low.to_be_bytes());
            (name.to_owned(), json!(address))
        });
        json!({
            "activationTime": time,
            "blobSchedule": blobs,
            "chainId": U64::from(self.chain.chain_id),
            "forkId": Bytes::from(self.fork_hash(time).0),
            "precompiles": precompiles.collect::<Map<_, _>>(),
            "systemContracts": self.system_contracts(fork),
        })
    }

    fn system_contracts(&self, fork: SpecId) -> Map<String, Value> {
        let deposits = self.genesis.config.deposit_contract_address;
        let contracts = [
            (SpecId::CANCUN, "BEACON_ROOTS", Some(BEACON_ROOTS_ADDRESS)),
            (
                SpecId::PRAGUE,
                "CONSOLIDATION_REQUEST_PREDEPLOY",
                Some(CONSOLIDATION_REQUEST_PREDEPLOY_ADDRESS),
            ),
            (SpecId::PRAGUE, "DEPOSIT_CONTRACT", deposits),
            (
                SpecId::PRAGUE,
                "HISTORY_STORAGE",
                Some(HISTORY_STORAGE_ADDRESS),
            ),
            (
                SpecId::PRAGUE,
                "WITHDRAWAL_REQUEST_PREDEPLOY",
                Some(WITHDRAWAL_REQUEST_PREDEPLOY_ADDRESS),
            ),
        ];
        let there = contracts.into_iter().filter_map(|(since, name, address)| {
            let address = address.filter(|_| fork.is_enabled_in(since))?;
            Some((format!("{name}_ADDRESS"), json!(address)))
        });
        there.collect()
    }

    /// The forks up to and with the one of a time, and the genesis, as one number (EIP-6122).
    fn fork_hash(&self, time: u64) -> ForkHash {
        let begun = self.times.iter().filter(|begins| **begins <= time);
        let mut hash = ForkHash::from(self.genesis_hash);
        for fork in numbers(&self.genesis.config)
            .into_iter()
            .chain(begun.copied())
        {
            hash += fork;
        }
        hash
    }
}

/// The blocks behind the genesis with which forks begin.
fn numbers(config: &ChainConfig) -> Vec<u64> {
    sorted(
        [
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
        ],
        0,
    )
}

/// The times behind the genesis at which forks begin.
fn times(genesis: &Genesis) -> Vec<u64> {
    let config = &genesis.config;
    sorted(
        [
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
        ],
        genesis.timestamp,
    )
}

fn sorted<const N: usize>(forks: [Option<u64>; N], behind: u64) -> Vec<u64> {
    let mut forks: Vec<u64> = forks.into_iter().flatten().collect();
    forks.retain(|fork| *fork > behind);
    forks.sort_unstable();
    forks.dedup();
    forks
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloy_primitives::b256;

    #[test]
    fn mainnet_forks_have_their_hashes() {
        let config = ChainConfig {
            homestead_block: Some(1_150_000),
            dao_fork_block: Some(1_920_000),
            eip150_block: Some(2_463_000),
            eip155_block: Some(2_675_000),
            eip158_block: Some(2_675_000),
            byzantium_block: Some(4_370_000),
            constantinople_block: Some(7_280_000),
            petersburg_block: Some(7_280_000),
            istanbul_block: Some(9_069_000),
            muir_glacier_block: Some(9_200_000),
            berlin_block: Some(12_244_000),
            london_block: Some(12_965_000),
            arrow_glacier_block: Some(13_773_000),
            gray_glacier_block: Some(15_050_000),
            shanghai_time: Some(1_681_338_455),
            cancun_time: Some(1_710_338_135),
            prague_time: Some(1_746_612_311),
            ..ChainConfig::default()
        };
        let genesis = Genesis {
            config,
            ..Genesis::default()
        };
        let forks = Forks {
            chain: &ChainSpec::mainnet(),
            genesis: &genesis,
            genesis_hash: b256!("d4e56740f876aef8c010b86a40d5f56745a118d0906a34e69aec8c0db1cb8fa3"),
            number: 20_000_000,
            times: times(&genesis),
        };
        let cancun = forks.describe(1_710_338_135);
        assert_eq!(cancun["forkId"], "0x9f3d2254");
        assert_eq!(cancun["blobSchedule"]["max"], 6);
        assert_eq!(cancun["precompiles"].as_object().map(Map::len), Some(10));
        assert_eq!(cancun["systemContracts"].as_object().map(Map::len), Some(1));
        let prague = forks.describe(1_746_612_311);
        assert_eq!(prague["forkId"], "0xc376cf8b");
        assert_eq!(prague["precompiles"].as_object().map(Map::len), Some(17));
    }
}
