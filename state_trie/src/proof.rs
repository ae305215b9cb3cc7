//! Proofs that a key is, or is not, in a trie (EIP-1186).

use crate::{
    error::TrieError,
    node::{
        Branch, EMPTY_ROOT, LeafValue, Place, Root, Storage, child_place, place_of, rlps,
        write_leaf,
    },
    path::{common_with, nibble},
    prepare::{Own, Prepared},
    trie::{Inner, Source, StateTrie},
};
use alloy_primitives::{Address, B256, Bytes, U256, keccak256, map::HashMap};

/// An account with the proof that it is, or is not, in the state, and the same of some of its slots.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AccountProof {
    /// The state root.
    pub root: B256,
    /// RLP of the nodes from the root to the account.
    pub proof: Vec<Bytes>,
    /// Nonce, balance and code hash; `None` where there is no account.
    pub account: Option<(u64, U256, B256)>,
    /// Root of the account's storage trie.
    pub storage_root: B256,
    /// The slots, in the order in which they were asked for.
    pub slots: Vec<SlotProof>,
}

/// A slot with the proof of its value.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SlotProof {
    /// The slot.
    pub slot: U256,
    /// Its value; zero where it is not in the trie.
    pub value: U256,
    /// RLP of the nodes from the storage root to the slot.
    pub proof: Vec<Bytes>,
}

impl StateTrie {
    /// Proves an account and some of its slots at the current version.
    pub fn proof<S: Source>(
        &self,
        address: Address,
        slots: &[U256],
        source: &S,
    ) -> Result<AccountProof, S::Error> {
        let inner = self.read();
        View::new(&inner, source).prove(address, slots)
    }

    /// Proves an account and some of its slots in a version that is not installed.
    pub fn proof_in<S: Source>(
        &self,
        version: &OtherVersion,
        address: Address,
        slots: &[U256],
        source: &S,
    ) -> Result<AccountProof, S::Error> {
        let inner = self.read();
        version.prepared.check(&inner)?;
        let view = View {
            root: &version.prepared.root,
            other: Some(version),
            stamp: version.stamp,
            ..View::new(&inner, source)
        };
        view.prove(address, slots)
    }
}

/// A version of the trie that is not installed: that of an earlier block, for example. It can be read until
/// the next update is installed.
#[derive(Debug)]
pub struct OtherVersion {
    prepared: Prepared,
    stamp: u64,
    /// What the version has of its own, by the id of the node.
    own: HashMap<u32, (usize, Own)>,
}

impl OtherVersion {
    /// The version after a prepared update. The source knows it by its stamp.
    pub fn new(prepared: Prepared, stamp: u64) -> Self {
        Self {
            own: prepared.own().collect(),
            prepared,
            stamp,
        }
    }

    /// The state root.
    pub const fn root(&self) -> B256 {
        self.prepared.root()
    }
}

/// A version of the trie, to read it.
struct View<'a, S> {
    inner: &'a Inner,
    root: &'a Root,
    /// A version that is not the current one.
    other: Option<&'a OtherVersion>,
    stamp: u64,
    source: &'a S,
}

/// The nodes on the path of a key.
struct Path {
    nodes: Vec<Bytes>,
    /// The leaf of the key, if it is there.
    leaf: Option<(LeafValue, Option<Storage>)>,
}

impl<'a, S: Source> View<'a, S> {
    fn new(inner: &'a Inner, source: &'a S) -> Self {
        Self {
            inner,
            root: &inner.root,
            other: None,
            stamp: inner.stamp,
            source,
        }
    }

    fn prove(&self, address: Address, slots: &[U256]) -> Result<AccountProof, S::Error> {
        let owner = keccak256(address);
        let path = self.path(&self.root.place, None, &owner)?;
        let mut found = AccountProof {
            root: self.root.hash,
            proof: path.nodes,
            account: None,
            storage_root: EMPTY_ROOT,
            slots: Vec::with_capacity(slots.len()),
        };
        let mut storage_place = Place::Empty;
        if let Some((value, storage)) = path.leaf {
            let LeafValue::Account {
                nonce,
                balance,
                code_hash,
            } = value
            else {
                return Err(TrieError::Inconsistent("a slot is where an account should be").into());
            };
            found.account = Some((nonce, balance, code_hash));
            if let Some(storage) = storage {
                found.storage_root = storage.root;
                storage_place = place_of(&storage);
            }
        }
        for slot in slots {
            let key = keccak256(slot.to_be_bytes::<32>());
            let path = self.path(&storage_place, Some(&owner), &key)?;
            let value = match path.leaf {
                Some((LeafValue::Slot(value), _)) => value,
                _ => U256::ZERO,
            };
            found.slots.push(SlotProof {
                slot: *slot,
                value,
                proof: path.nodes,
            });
        }
        Ok(found)
    }

    fn path(&self, root: &Place, owner: Option<&B256>, key: &B256) -> Result<Path, S::Error> {
        let mut nodes = Vec::new();
        let mut place = root.clone();
        let mut depth = 0;
        loop {
            let (link, tag) = match place {
                Place::Node(link, tag) => (link, tag),
                Place::Empty => {
                    return Ok(Path { nodes, leaf: None });
                }
                Place::Leaf { id, storage } => {
                    let (found, value) =
                        (self.source).read_leaf(owner, id, key, depth, self.stamp)?;
                    let mut rlp = Vec::new();
                    let storage_root = storage.as_ref().map_or(EMPTY_ROOT, |storage| storage.root);
                    write_leaf(&mut rlp, &found, depth, &value, &storage_root);
                    add(&mut nodes, rlp.into());
                    let leaf = (found == *key).then_some((value, storage.map(|it| *it)));
                    return Ok(Path { nodes, leaf });
                }
            };
            let visit = |branch: &Branch| {
                branch.check_depth(depth)?;
                let mut rlps = rlps(branch);
                let shared = common_with(&branch.prefix, key, depth);
                let leaves = shared < branch.prefix.len();
                // Behind an extension that is not the key's, nothing matters.
                rlps.truncate(if leaves { 1 } else { 2 });
                for rlp in rlps {
                    add(&mut nodes, rlp);
                }
                if leaves {
                    return Ok(Place::Empty);
                }
                depth += shared + 1;
                Ok(child_place(branch, nibble(key, depth - 1)))
            };
            let own = link.id().and_then(|id| {
                let other = self.other?;
                Some((other, id, other.own.get(&id)?))
            });
            let below = match own {
                None => (self.inner.nodes).with(link, tag, self.source, visit)?,
                Some((other, id, own)) => other.prepared.read(self.inner, id, *own, visit)?,
            };
            place = below.map_err(|error| self.source.damaged(link.0, error))?;
        }
    }
}

/// Adds a node, unless it is part of the node before.
fn add(nodes: &mut Vec<Bytes>, rlp: Bytes) {
    if nodes.is_empty() || rlp.len() >= 32 {
        nodes.push(rlp);
    }
}
