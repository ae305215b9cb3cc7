//! A genesis file in geth's format, and what follows from it.

use crate::chain::{block::ChainBlock, rules::fees};
use alloy_consensus::{Header, constants::EMPTY_ROOT_HASH, constants::EMPTY_WITHDRAWALS};
use alloy_eips::{
    eip4895::Withdrawals, eip7685::EMPTY_REQUESTS_HASH, eip7840::BlobParams,
    eip7928::EMPTY_BLOCK_ACCESS_LIST_HASH,
};
use alloy_genesis::{ChainConfig, Genesis};
use alloy_primitives::{B64, B256, Bytes};
use lockweave_evm_adapter::{Activation, ChainSpec, SpecId};
use lockweave_runtime::{Account, Code, StateDelta};
use lockweave_state_trie::{MemoryTrie, TrieError};
use serde::{Deserialize, de::IgnoredAny};
use std::{
    fs, io,
    path::Path,
    sync::{Arc, OnceLock},
};
use thiserror::Error;

/// Why a genesis cannot be used.
#[derive(Debug, Error)]
#[expect(missing_docs, reason = "the messages say what the variants mean")]
pub enum GenesisError {
    #[error("cannot read the genesis file {path}: {source}")]
    Read { path: String, source: io::Error },
    #[error("{path} is not a genesis file in geth's format: {source}")]
    Parse {
        path: String,
        source: serde_json::Error,
    },
    #[error(
        "the genesis file {path} states no chain id: add it to \"config\", \
         as in {{\"config\": {{\"chainId\": 1337, ...}}, ...}}; transactions are signed for it"
    )]
    NoChainId { path: String },
    #[error(
        "the genesis schedules {later} (at {later_at}) before {earlier} (at {earlier_at}); \
         forks must be scheduled in Ethereum's order"
    )]
    Order {
        earlier: &'static str,
        earlier_at: u64,
        later: &'static str,
        later_at: u64,
    },
    #[error("the genesis' {field} is too large")]
    TooLarge { field: &'static str },
    #[error(transparent)]
    Trie(TrieError),
}

/// A chain's rules and its genesis.
#[derive(Clone, Debug)]
pub struct ChainParameters {
    /// Chain id and fork schedule.
    pub spec: Arc<ChainSpec>,
    /// The genesis file's content.
    pub genesis: Arc<Genesis>,
    /// The first block, once it was computed.
    first: Arc<OnceLock<ChainBlock>>,
}

impl ChainParameters {
    /// The chain that a genesis describes.
    pub fn new(genesis: Genesis) -> Result<Self, GenesisError> {
        Ok(Self::with_rules(chain_spec(&genesis.config)?, genesis))
    }

    /// A chain with this genesis and other rules than it states.
    pub fn with_rules(spec: ChainSpec, genesis: Genesis) -> Self {
        Self {
            spec: Arc::new(spec),
            genesis: Arc::new(genesis),
            first: Arc::default(),
        }
    }

    /// Reads a genesis file.
    pub fn read(path: &Path) -> Result<Self, GenesisError> {
        let shown = path.display().to_string();
        let text = fs::read_to_string(path).map_err(|source| GenesisError::Read {
            path: shown.clone(),
            source,
        })?;
        Self::parse(&text, &shown)
    }

    /// Parses a genesis file's text; `name` is used in errors.
    pub fn parse(text: &str, name: &str) -> Result<Self, GenesisError> {
        let parse_error = |source| GenesisError::Parse {
            path: name.to_owned(),
            source,
        };
        let genesis = serde_json::from_str(text).map_err(parse_error)?;
        let stated: Stated = serde_json::from_str(text).map_err(parse_error)?;
        if (stated.config).is_none_or(|config| config.chain_id.is_none()) {
            let path = name.to_owned();
            return Err(GenesisError::NoChainId { path });
        }
        Self::new(genesis)
    }

    /// The state at genesis, as a change of the empty state.
    pub fn genesis_delta(&self) -> StateDelta {
        let mut delta = StateDelta::default();
        for (address, account) in &self.genesis.alloc {
            let code = account.code.clone().unwrap_or_default();
            let code = Arc::new(Code::new(code));
            delta.accounts.push((
                *address,
                Some(Account {
                    nonce: account.nonce.unwrap_or_default(),
                    balance: account.balance,
                    code_hash: code.hash(),
                }),
            ));
            if !code.bytes().is_empty() {
                delta.codes.push(code);
            }
            for (slot, value) in account.storage.iter().flatten() {
                if !value.is_zero() {
                    let (slot, value) = ((*slot).into(), (*value).into());
                    delta.slots.push((*address, slot, value));
                }
            }
        }
        delta
    }

    /// The genesis block. The first call computes its state root.
    pub fn genesis_block(&self) -> Result<ChainBlock, GenesisError> {
        if let Some(first) = self.first.get() {
            return Ok(first.clone());
        }
        let first = self.make_genesis_block()?;
        Ok(self.first.get_or_init(|| first).clone())
    }

    fn make_genesis_block(&self) -> Result<ChainBlock, GenesisError> {
        let genesis = &self.genesis;
        let number = genesis.number.unwrap_or_default();
        let fork = self.spec.fork_at(number, genesis.timestamp);
        let root = MemoryTrie::of(&self.genesis_delta())
            .map_err(GenesisError::Trie)?
            .root();
        let base_fee = match genesis.base_fee_per_gas {
            Some(fee) => u64::try_from(fee).map_err(|_| GenesisError::TooLarge {
                field: "baseFeePerGas",
            })?,
            None => fees::INITIAL_BASE_FEE,
        };
        let is = |since: SpecId| fork.is_enabled_in(since);
        let header = Header {
            parent_hash: genesis.parent_hash.unwrap_or_default(),
            number,
            beneficiary: genesis.coinbase,
            difficulty: genesis.difficulty,
            gas_limit: genesis.gas_limit,
            timestamp: genesis.timestamp,
            extra_data: genesis.extra_data.clone(),
            mix_hash: genesis.mix_hash,
            nonce: B64::from(genesis.nonce),
            state_root: root,
            transactions_root: EMPTY_ROOT_HASH,
            receipts_root: EMPTY_ROOT_HASH,
            base_fee_per_gas: is(SpecId::LONDON).then_some(base_fee),
            withdrawals_root: is(SpecId::SHANGHAI).then_some(EMPTY_WITHDRAWALS),
            blob_gas_used: is(SpecId::CANCUN).then(|| genesis.blob_gas_used.unwrap_or_default()),
            excess_blob_gas: is(SpecId::CANCUN)
                .then(|| genesis.excess_blob_gas.unwrap_or_default()),
            parent_beacon_block_root: is(SpecId::CANCUN).then_some(B256::ZERO),
            requests_hash: is(SpecId::PRAGUE).then_some(EMPTY_REQUESTS_HASH),
            block_access_list_hash: (self.spec.has_access_list(number, genesis.timestamp))
                .then_some(EMPTY_BLOCK_ACCESS_LIST_HASH),
            ..Header::default()
        };
        Ok(ChainBlock {
            hash: header.hash_slow(),
            withdrawals: is(SpecId::SHANGHAI).then(Withdrawals::default),
            header,
            ..ChainBlock::default()
        })
    }

    /// The genesis as compact JSON, to be kept with the chain.
    pub fn to_json(&self) -> Bytes {
        serde_json::to_vec(&*self.genesis)
            .expect("a genesis is made of strings and numbers")
            .into()
    }
}

/// The field that a genesis file must state: parsers would otherwise default to Ethereum's chain id.
#[derive(Deserialize)]
struct Stated {
    config: Option<StatedConfig>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct StatedConfig {
    chain_id: Option<IgnoredAny>,
}

/// The fork schedule of a chain configuration.
fn chain_spec(config: &ChainConfig) -> Result<ChainSpec, GenesisError> {
    use Activation::{Number, Timestamp};
    // revm has Constantinople's opcodes in Petersburg; the two differ in EIP-1283 alone, which no
    // public chain ran.
    let petersburg = [config.constantinople_block, config.petersburg_block];
    let petersburg = petersburg.into_iter().flatten().min();
    let merged_from_start = config.terminal_total_difficulty_passed
        || config
            .terminal_total_difficulty
            .is_some_and(|ttd| ttd.is_zero());
    let merge = config
        .merge_netsplit_block
        .or_else(|| merged_from_start.then_some(0));
    let blocks = [
        ("homestead", config.homestead_block, SpecId::HOMESTEAD),
        ("eip150", config.eip150_block, SpecId::TANGERINE),
        ("eip158", config.eip158_block, SpecId::SPURIOUS_DRAGON),
        ("byzantium", config.byzantium_block, SpecId::BYZANTIUM),
        ("petersburg", petersburg, SpecId::PETERSBURG),
        ("istanbul", config.istanbul_block, SpecId::ISTANBUL),
        ("berlin", config.berlin_block, SpecId::BERLIN),
        ("london", config.london_block, SpecId::LONDON),
        ("merge", merge, SpecId::MERGE),
    ];
    let times = [
        ("shanghai", config.shanghai_time, SpecId::SHANGHAI),
        ("cancun", config.cancun_time, SpecId::CANCUN),
        ("prague", config.prague_time, SpecId::PRAGUE),
        ("osaka", config.osaka_time, SpecId::OSAKA),
    ];
    check_order(&blocks)?;
    check_order(&times)?;
    let mut forks = vec![(Number(0), SpecId::FRONTIER)];
    let scheduled =
        |at: Option<u64>, fork, make: fn(u64) -> Activation| at.map(|at| (make(at), fork));
    forks.extend((blocks.iter()).filter_map(|(_, at, fork)| scheduled(*at, *fork, Number)));
    forks.extend((times.iter()).filter_map(|(_, at, fork)| scheduled(*at, *fork, Timestamp)));
    Ok(ChainSpec {
        chain_id: config.chain_id,
        forks,
        blob_schedule: blob_schedule(config),
        // Of Amsterdam's rules these are settled; a block with more is refused for its header.
        block_access_lists: config.amsterdam_time.map(Timestamp),
        glaciers: glaciers(config),
        dao_fork: config.dao_fork_block.filter(|_| config.dao_fork_support),
    })
}

/// When the difficulty bomb was put off apart from the forks (EIP-2384, EIP-4345, EIP-5133).
fn glaciers(config: &ChainConfig) -> Vec<(u64, u64)> {
    let glaciers = [
        (config.muir_glacier_block, 9_000_000),
        (config.arrow_glacier_block, 10_700_000),
        (config.gray_glacier_block, 11_400_000),
    ];
    let scheduled = |(start, delay): (Option<u64>, u64)| Some((start?, delay));
    glaciers.into_iter().filter_map(scheduled).collect()
}

/// Refuses schedules in which a later fork begins before an earlier one.
fn check_order(forks: &[(&'static str, Option<u64>, SpecId)]) -> Result<(), GenesisError> {
    let mut last: Option<(&'static str, u64)> = None;
    for (later, at, _) in forks {
        let Some(later_at) = *at else { continue };
        if let Some((earlier, earlier_at)) = last
            && earlier_at > later_at
        {
            return Err(GenesisError::Order {
                earlier,
                earlier_at,
                later,
                later_at,
            });
        }
        last = Some((later, later_at));
    }
    Ok(())
}

/// Blob parameters by time, where the genesis states them (EIP-7840, EIP-7892).
fn blob_schedule(config: &ChainConfig) -> Vec<(u64, BlobParams)> {
    let starts = [
        ("cancun", config.cancun_time),
        ("prague", config.prague_time),
        ("osaka", config.osaka_time),
        ("bpo1", config.bpo1_time),
        ("bpo2", config.bpo2_time),
        ("bpo3", config.bpo3_time),
        ("bpo4", config.bpo4_time),
        ("bpo5", config.bpo5_time),
        ("amsterdam", config.amsterdam_time),
    ];
    let osaka = config.osaka_time;
    let mut schedule: Vec<(u64, BlobParams)> = starts
        .into_iter()
        .filter_map(|(name, start)| {
            let (start, stated) = (start?, config.blob_schedule.get(name)?);
            let of_fork = if osaka.is_some_and(|osaka| start >= osaka) {
                BlobParams::osaka()
            } else {
                BlobParams::cancun()
            };
            let params = BlobParams {
                target_blob_count: stated.target_blob_count,
                max_blob_count: stated.max_blob_count,
                update_fraction: stated.update_fraction,
                max_blobs_per_tx: of_fork.max_blobs_per_tx.min(stated.max_blob_count),
                ..of_fork
            };
            Some((start, params))
        })
        .collect();
    schedule.sort_by_key(|(start, _)| *start);
    schedule
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloy_primitives::{Address, b256};

    #[test]
    fn forks_out_of_order_are_refused() {
        let text = r#"{"config":{"chainId":5,"homesteadBlock":0,"eip150Block":9,"eip158Block":3},
            "gasLimit":"0x1","difficulty":"0x1","alloc":{}}"#;
        let error = ChainParameters::parse(text, "here").unwrap_err();
        assert!(
            matches!(
                error,
                GenesisError::Order {
                    later: "eip158",
                    ..
                }
            ),
            "{error}"
        );
    }

    #[test]
    fn a_genesis_without_a_chain_id_is_refused() {
        for config in ["", r#""config":{},"#, r#""config":{"homesteadBlock":0},"#] {
            let text = format!(r#"{{{config}"gasLimit":"0x1","difficulty":"0x1","alloc":{{}}}}"#);
            let error = ChainParameters::parse(&text, "here").unwrap_err();
            assert!(matches!(error, GenesisError::NoChainId { .. }), "{error}");
            assert!(error.to_string().contains(r#"{"config": {"chainId": 1337"#));
        }
    }

    #[test]
    fn an_empty_genesis_has_the_empty_root() {
        let text = r#"{"config":{"chainId":5},"gasLimit":"0x1","difficulty":"0x1","alloc":{}}"#;
        let parameters = ChainParameters::parse(text, "here").unwrap();
        let block = parameters.genesis_block().unwrap();
        assert_eq!(
            block.header.state_root,
            b256!("56e81f171bcc55a6ff8345e692c0f86e5b48e01b996cadc001622fb5e363b421")
        );
        assert_eq!(block.header.base_fee_per_gas, None);
    }

    #[test]
    fn the_development_chain_is_on_prague() {
        let genesis = super::super::dev::genesis([Address::ZERO], 7);
        let parameters = ChainParameters::new(genesis).unwrap();
        assert_eq!(parameters.spec.fork_at(0, 7), SpecId::PRAGUE);
        let header = parameters.genesis_block().unwrap().header;
        assert!(header.requests_hash.is_some());
        let again = ChainParameters::parse(
            std::str::from_utf8(&parameters.to_json()).unwrap(),
            "its own JSON",
        );
        assert_eq!(again.unwrap().genesis_block().unwrap().header, header);
    }
}
