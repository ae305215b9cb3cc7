//! The validators in the state: the storage of the system contract.

use crate::{chain::ChainParameters, network::error::NetworkError};
use alloy_genesis::GenesisAccount;
use alloy_primitives::{Address, B256, Bytes, U256, keccak256};
use alloy_sol_types::{SolCall as _, sol};
use lockweave_engine::can_be_listed;
use lockweave_finality::{InvalidSet, Network, VALIDATORS_MAX, ValidatorSet, contract};
use lockweave_runtime::{StateError, StateView};
use serde::Deserialize;
use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv6Addr, SocketAddr},
    num::NonZeroU64,
};

sol! {
    function add(bytes32 key, address account, bytes16 ip, uint16 port);
}

/// The compiled contract.
const ARTIFACT: &str = include_str!("../../../contracts/Validators.json");
/// Bits of the fields in a member's first slot.
const PORT: usize = 160;
const POSITION: usize = 176;
/// Blocks of an epoch, at least.
pub const EPOCH_BLOCKS_MIN: u64 = 8;

/// A validator, as the contract has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// Its public key.
    pub key: [u8; 32],
    /// Who may change its address.
    pub account: Address,
    /// Where the other nodes reach it, if the contract says it.
    pub address: Option<SocketAddr>,
}

/// What is wrong with the validators in a state.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say what the variants mean")]
pub enum MembersError {
    #[error(transparent)]
    State(#[from] StateError),
    #[error(transparent)]
    Set(#[from] InvalidSet),
}

/// The field of a genesis that says that there is a network.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Own {
    epoch_blocks: NonZeroU64,
}

/// The contract with these members, for a genesis. Its id, which signatures begin with, follows from the keys.
pub fn genesis_account(owner: Address, members: &[Member]) -> GenesisAccount {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Artifact {
        deployed_bytecode: Bytes,
    }
    let artifact: Artifact = serde_json::from_str(ARTIFACT).expect("the artifact is JSON");
    let mut keys: Vec<[u8; 32]> = members.iter().map(|member| member.key).collect();
    keys.sort_unstable();
    let mut storage = BTreeMap::from([
        (contract::OWNER, owner.into_word()),
        (contract::NETWORK, keccak256(keys.as_flattened())),
        (contract::KEY_COUNT, U256::from(members.len()).into()),
    ]);
    for (index, member) in (0_u64..).zip(members) {
        storage.insert(contract::key_slot(index), member.key.into());
        let slot = contract::member_slot(&member.key);
        let [first, second] = member.words(index);
        storage.insert(slot, first);
        storage.insert(contract::next_slot(slot), second);
    }
    storage.retain(|_, value| !value.is_zero());
    GenesisAccount {
        nonce: Some(1),
        code: Some(artifact.deployed_bytecode),
        storage: Some(storage),
        ..GenesisAccount::default()
    }
}

impl Member {
    /// Its two slots, as the contract packs them.
    fn words(&self, index: u64) -> [B256; 2] {
        let account = U256::from_be_bytes(self.account.into_word().0);
        let position = U256::from(index + 1) << POSITION;
        let Some(address) = self.address else {
            return [(account | position).into(), B256::ZERO];
        };
        let port = U256::from(address.port()) << PORT;
        [
            (account | port | position).into(),
            U256::from(u128::from(ipv6(address.ip()))).into(),
        ]
    }

    fn from_words(key: [u8; 32], [first, second]: [U256; 2]) -> Self {
        let port: U256 = (first >> PORT) & U256::from(u16::MAX);
        let port = port.to::<u16>();
        let ip = second.wrapping_to::<u128>();
        let ip = Ipv6Addr::from(ip).to_canonical();
        Self {
            key,
            account: Address::from_word(first.into()),
            address: (port != 0).then(|| SocketAddr::new(ip, port)),
        }
    }
}

/// The address as the contract has it: one of IPv4 is mapped.
const fn ipv6(ip: IpAddr) -> Ipv6Addr {
    match ip {
        IpAddr::V4(ip) => ip.to_ipv6_mapped(),
        IpAddr::V6(ip) => ip,
    }
}

/// The contract's call that adds a member. The owner has to send it.
pub fn add_call(member: &Member) -> Bytes {
    let (ip, port) = match member.address {
        Some(address) => (ipv6(address.ip()).octets(), address.port()),
        None => ([0; 16], 0),
    };
    let call = addCall {
        key: member.key.into(),
        account: member.account,
        ip: ip.into(),
        port,
    };
    call.abi_encode().into()
}

/// The network of a genesis, if it has one, and its first validators.
pub fn genesis_set(parameters: &ChainParameters) -> Result<Option<ValidatorSet>, NetworkError> {
    let genesis = &parameters.genesis;
    let own = (genesis.config.extra_fields).get_deserialized::<Own>("lockweave");
    let Some(own) = own.transpose().map_err(NetworkError::GenesisField)? else {
        return Ok(None);
    };
    if own.epoch_blocks.get() < EPOCH_BLOCKS_MIN {
        return Err(NetworkError::EpochBlocks(own.epoch_blocks.get()));
    }
    let fork = (parameters.spec).fork_at(genesis.number.unwrap_or_default(), genesis.timestamp);
    if !can_be_listed(fork) {
        return Err(NetworkError::Fork);
    }
    let storage = genesis_storage(parameters).ok_or(NetworkError::NoContract)?;
    let slot = |slot: B256| Ok::<_, InvalidSet>(storage.get(&slot).copied().unwrap_or_default());
    let network = Network {
        id: slot(contract::NETWORK)?,
        epoch_blocks: own.epoch_blocks,
    };
    Ok(Some(ValidatorSet::read(network, 0, slot)?))
}

/// The members in a genesis.
pub fn genesis_members(parameters: &ChainParameters) -> Vec<Member> {
    let storage = genesis_storage(parameters);
    let read = |slot: B256| {
        let value = storage.and_then(|storage| storage.get(&slot));
        Ok::<U256, StateError>(value.copied().unwrap_or_default().into())
    };
    read_members(read).expect("a map can be read")
}

fn genesis_storage(parameters: &ChainParameters) -> Option<&BTreeMap<B256, B256>> {
    let account = parameters.genesis.alloc.get(&contract::ADDRESS)?;
    account.storage.as_ref()
}

/// How often the members have changed.
pub fn changes(state: &dyn StateView) -> Result<U256, StateError> {
    read(state, contract::CHANGES)
}

/// The members in a state.
pub fn members(state: &dyn StateView) -> Result<Vec<Member>, StateError> {
    read_members(|slot| read(state, slot))
}

fn read_members(
    read: impl Fn(B256) -> Result<U256, StateError>,
) -> Result<Vec<Member>, StateError> {
    let count = read(contract::KEY_COUNT)?.saturating_to::<u64>();
    let count = count.min(VALIDATORS_MAX as u64);
    let members = (0..count).map(|index| {
        let key = read(contract::key_slot(index))?.to_be_bytes();
        let slot = contract::member_slot(&key);
        let words = [read(slot)?, read(contract::next_slot(slot))?];
        Ok(Member::from_words(key, words))
    });
    members.collect()
}

/// The validators of the epoch that follows a state.
pub fn next_set(
    state: &dyn StateView,
    network: Network,
    first_epoch: u64,
) -> Result<ValidatorSet, MembersError> {
    ValidatorSet::read(network, first_epoch, |slot| Ok(read(state, slot)?.into()))
}

fn read(state: &dyn StateView, slot: B256) -> Result<U256, StateError> {
    state.slot(contract::ADDRESS, slot.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloy_primitives::hex;

    #[test]
    fn members_are_packed_as_the_contract_does() {
        let member = |address: Option<&str>| Member {
            key: [7; 32],
            account: Address::repeat_byte(0xab),
            address: address.map(|address| address.parse().unwrap()),
        };
        for address in [None, Some("10.1.2.3:4567"), Some("[2001:db8::1]:1")] {
            let member = member(address);
            let words = member.words(4).map(|word| U256::from_be_bytes(word.0));
            assert_eq!(words[0] >> POSITION, U256::from(5));
            assert_eq!(Member::from_words([7; 32], words), member);
        }
        let [first, second] = member(Some("10.1.2.3:4567")).words(0);
        let expected = "00000000000000000001 11d7 abababababababababababababababababababab";
        let expected = expected.replace(' ', "");
        assert_eq!(hex::encode(first), expected);
        assert_eq!(
            hex::encode(&second[16..]),
            "00000000000000000000ffff0a010203"
        );
    }
}
