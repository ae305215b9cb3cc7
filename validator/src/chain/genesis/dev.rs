//! The development chain: ten funded accounts with public keys and a public mnemonic.

use crate::chain::rules::fees;
use alloy_eips::{
    eip2935::{HISTORY_STORAGE_ADDRESS, HISTORY_STORAGE_CODE},
    eip4788::{BEACON_ROOTS_ADDRESS, BEACON_ROOTS_CODE},
    eip7002::{WITHDRAWAL_REQUEST_PREDEPLOY_ADDRESS, WITHDRAWAL_REQUEST_PREDEPLOY_CODE},
    eip7251::{CONSOLIDATION_REQUEST_PREDEPLOY_ADDRESS, CONSOLIDATION_REQUEST_PREDEPLOY_CODE},
};
use alloy_genesis::{ChainConfig, Genesis, GenesisAccount};
use alloy_primitives::{Address, B256, Bytes, U256, utils::parse_ether};
use alloy_signer_local::{LocalSignerError, MnemonicBuilder, PrivateKeySigner};
use std::time::{SystemTime, UNIX_EPOCH};

/// The mnemonic of every Ethereum development node. Its keys are public: never fund them elsewhere.
pub const MNEMONIC: &str = "test test test test test test test test test test test junk";

/// Accounts that are funded.
pub const ACCOUNTS: u32 = 10;

/// Chain id of the development chain, as geth and reth have it.
pub const CHAIN_ID: u64 = 1337;

/// Ether each account starts with.
const ETHER_EACH: &str = "10000";

/// Block gas limit: high enough for the base fee to stay where it is under a load that one machine
/// can make.
const GAS_LIMIT: u64 = 1_000_000_000;

/// The keys of the development accounts, in the order of their derivation.
pub fn signers() -> Result<Vec<PrivateKeySigner>, LocalSignerError> {
    let parent = MnemonicBuilder::from_phrase(MNEMONIC).build_parent_key()?;
    parent.children().take(ACCOUNTS as usize).collect()
}

/// The genesis of the development chain: Prague from the start, system contracts in place.
///
/// Prague rather than Osaka, because Osaka caps a transaction's gas at 2^24 (EIP-7825) and tools
/// that send a block's gas limit along would be refused.
pub fn genesis(funded: impl IntoIterator<Item = Address>, timestamp: u64) -> Genesis {
    let config = ChainConfig {
        chain_id: CHAIN_ID,
        homestead_block: Some(0),
        eip150_block: Some(0),
        eip155_block: Some(0),
        eip158_block: Some(0),
        byzantium_block: Some(0),
        constantinople_block: Some(0),
        petersburg_block: Some(0),
        istanbul_block: Some(0),
        muir_glacier_block: Some(0),
        berlin_block: Some(0),
        london_block: Some(0),
        arrow_glacier_block: Some(0),
        gray_glacier_block: Some(0),
        merge_netsplit_block: Some(0),
        shanghai_time: Some(0),
        cancun_time: Some(0),
        prague_time: Some(0),
        terminal_total_difficulty: Some(U256::ZERO),
        terminal_total_difficulty_passed: true,
        ..ChainConfig::default()
    };
    let balance = parse_ether(ETHER_EACH).expect("a number of ether");
    let mut alloc: std::collections::BTreeMap<Address, GenesisAccount> = funded
        .into_iter()
        .map(|address| (address, GenesisAccount::default().with_balance(balance)))
        .collect();
    for (address, code) in system_contracts() {
        let account = GenesisAccount::default()
            .with_nonce(Some(1))
            .with_code(Some(code));
        alloc.insert(address, account);
    }
    Genesis {
        config,
        timestamp,
        gas_limit: GAS_LIMIT,
        extra_data: Bytes::from_static(b"lockweave dev"),
        mix_hash: B256::ZERO,
        base_fee_per_gas: Some(u128::from(fees::INITIAL_BASE_FEE)),
        alloc,
        ..Genesis::default()
    }
}

/// The contracts that blocks call from Cancun (EIP-4788) and Prague (EIP-2935, 7002, 7251) on.
pub fn system_contracts() -> [(Address, Bytes); 4] {
    [
        (BEACON_ROOTS_ADDRESS, BEACON_ROOTS_CODE.clone()),
        (HISTORY_STORAGE_ADDRESS, HISTORY_STORAGE_CODE.clone()),
        (
            WITHDRAWAL_REQUEST_PREDEPLOY_ADDRESS,
            WITHDRAWAL_REQUEST_PREDEPLOY_CODE.clone(),
        ),
        (
            CONSOLIDATION_REQUEST_PREDEPLOY_ADDRESS,
            CONSOLIDATION_REQUEST_PREDEPLOY_CODE.clone(),
        ),
    ]
}

/// Seconds since the Unix epoch.
pub fn now() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |time| time.as_secs())
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloy_primitives::address;

    #[test]
    fn the_first_account_is_the_one_everybody_knows() {
        let signers = signers().unwrap();
        assert_eq!(signers.len(), 10);
        let first = address!("f39Fd6e51aad88F6F4ce6aB8827279cffFb92266");
        assert_eq!(signers[0].address(), first);
        let last = address!("a0Ee7A142d267C1f36714E4a8F75612F20a79720");
        assert_eq!(signers[9].address(), last);
    }
}
