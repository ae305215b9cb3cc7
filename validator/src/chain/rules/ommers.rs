//! The uncles of a proof-of-work block (yellow paper, section 11.1): at most two, each a child of one of the
//! last ancestors before the parent, not an ancestor, and not included before.

use super::header::{HeaderRules, InvalidHeader, check_header};
use crate::chain::block::ChainBlock;
use alloy_consensus::Header;
use alloy_primitives::B256;
use lockweave_evm_adapter::ChainSpec;
use thiserror::Error;

/// Uncles a block may have.
const OMMERS_MAX: usize = 2;
/// Ancestors that must be known: an uncle is a child of any of them but the youngest.
pub const GENERATIONS: usize = 7;

/// Why an uncle is invalid.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[expect(missing_docs, reason = "the messages say what the variants mean")]
pub enum InvalidOmmer {
    #[error("the block has {count} uncles, more than {OMMERS_MAX}")]
    TooMany { count: usize },
    #[error("the uncle {hash} was an uncle already")]
    Again { hash: B256 },
    #[error("the uncle {hash} is an ancestor")]
    Ancestor { hash: B256 },
    #[error(
        "the uncle {hash} is a child of {parent}, which is none of the {GENERATIONS} youngest \
         ancestors, or the youngest"
    )]
    Parent { hash: B256, parent: B256 },
    #[error("the uncle {hash}: {source}")]
    Header {
        hash: B256,
        source: Box<InvalidHeader>,
    },
}

/// An ancestor of a block with uncles.
#[derive(Clone, Debug)]
pub struct Ancestor {
    /// Its hash.
    pub hash: B256,
    /// Its header.
    pub header: Header,
    /// The hashes of its uncles.
    pub ommers: Vec<B256>,
}

impl From<&ChainBlock> for Ancestor {
    fn from(block: &ChainBlock) -> Self {
        Self {
            hash: block.hash,
            header: block.header.clone(),
            ommers: block.ommers.iter().map(Header::hash_slow).collect(),
        }
    }
}

/// Checks the uncles of a block against its [`GENERATIONS`] youngest ancestors, the parent first; fewer if
/// the chain is shorter. Seals are not checked.
pub fn check_ommers(
    spec: &ChainSpec,
    ommers: &[Header],
    ancestors: &[Ancestor],
) -> Result<(), InvalidOmmer> {
    let ancestors = &ancestors[..ancestors.len().min(GENERATIONS)];
    if ommers.len() > OMMERS_MAX {
        let count = ommers.len();
        return Err(InvalidOmmer::TooMany { count });
    }
    let known = ancestors.iter().flat_map(|ancestor| &ancestor.ommers);
    let mut known: Vec<B256> = known.copied().collect();
    for ommer in ommers {
        let hash = ommer.hash_slow();
        if known.contains(&hash) {
            return Err(InvalidOmmer::Again { hash });
        }
        known.push(hash);
        if ancestors.iter().any(|ancestor| ancestor.hash == hash) {
            return Err(InvalidOmmer::Ancestor { hash });
        }
        let mut old_enough = ancestors.iter().skip(1);
        let parent = old_enough.find(|ancestor| ancestor.hash == ommer.parent_hash);
        let parent = parent.ok_or(InvalidOmmer::Parent {
            hash,
            parent: ommer.parent_hash,
        })?;
        let rules = HeaderRules::Ethereum;
        check_header(spec, &parent.header, parent.hash, ommer, rules)
            .map_err(Box::new)
            .map_err(|source| InvalidOmmer::Header { hash, source })?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::difficulty::next_difficulty;
    use super::*;
    use alloy_primitives::{Bytes, U256};
    use lockweave_evm_adapter::SpecId;

    fn spec() -> ChainSpec {
        ChainSpec::single_fork(1, SpecId::BYZANTIUM)
    }

    fn child(parent: &Header, extra: u8) -> Header {
        let timestamp = parent.timestamp + 10;
        Header {
            parent_hash: parent.hash_slow(),
            number: parent.number + 1,
            timestamp,
            difficulty: next_difficulty(&spec(), parent, timestamp),
            extra_data: Bytes::from([extra]),
            ..parent.clone()
        }
    }

    /// The ten youngest blocks of a chain, the youngest first.
    fn ancestors() -> Vec<Ancestor> {
        let genesis = Header {
            gas_limit: 1_000_000,
            difficulty: U256::from(1_000_000),
            ..Header::default()
        };
        let mut headers = vec![genesis];
        for _ in 0..9 {
            let next = child(&headers[headers.len() - 1], 0);
            headers.push(next);
        }
        let headers = headers.into_iter().rev();
        headers
            .map(|header| Ancestor {
                hash: header.hash_slow(),
                header,
                ommers: Vec::new(),
            })
            .collect()
    }

    #[test]
    fn uncles_are_of_the_last_generations() {
        let ancestors = ancestors();
        let of = |generation: usize| child(&ancestors[generation].header, 1);
        for generation in 1..GENERATIONS {
            assert_eq!(check_ommers(&spec(), &[of(generation)], &ancestors), Ok(()));
        }
        for generation in [0, GENERATIONS, GENERATIONS + 1] {
            let ommer = of(generation);
            let (hash, parent) = (ommer.hash_slow(), ommer.parent_hash);
            let refused = check_ommers(&spec(), &[ommer], &ancestors);
            assert_eq!(refused, Err(InvalidOmmer::Parent { hash, parent }));
        }
        let both = [of(1), of(2)];
        assert_eq!(check_ommers(&spec(), &both, &ancestors), Ok(()));
    }

    #[test]
    fn uncles_are_new_and_well_formed() {
        let mut ancestors = ancestors();
        let ommer = child(&ancestors[2].header, 1);
        let hash = ommer.hash_slow();
        let twice = [ommer.clone(), ommer.clone()];
        let again = Err(InvalidOmmer::Again { hash });
        assert_eq!(check_ommers(&spec(), &twice, &ancestors), again);
        ancestors[1].ommers.push(hash);
        assert_eq!(check_ommers(&spec(), &twice[..1], &ancestors), again);
        ancestors[1].ommers.clear();
        let three = [twice[0].clone(), twice[0].clone(), twice[0].clone()];
        let refused = check_ommers(&spec(), &three, &ancestors);
        assert_eq!(refused, Err(InvalidOmmer::TooMany { count: 3 }));
        let own = ancestors[1].header.clone();
        let refused = check_ommers(&spec(), &[own], &ancestors);
        let hash = ancestors[1].hash;
        assert_eq!(refused, Err(InvalidOmmer::Ancestor { hash }));
        let changes: [fn(&mut Header); 5] = [
            |header| header.number += 1,
            |header| header.timestamp -= 10,
            |header| header.gas_limit += 1_000,
            |header| header.difficulty += U256::from(1),
            |header| header.extra_data = vec![0; 33].into(),
        ];
        for change in changes {
            let mut wrong = ommer.clone();
            change(&mut wrong);
            let refused = check_ommers(&spec(), &[wrong], &ancestors);
            assert!(
                matches!(refused, Err(InvalidOmmer::Header { .. })),
                "{refused:?}"
            );
        }
    }
}
