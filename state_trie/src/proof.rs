//! Proofs that a key is, or is not, in a trie (EIP-1186).

use crate::{
    error::TrieError,
    history::{Undo, earlier},
    node::{
        Branch, EMPTY_ROOT, LeafValue, Place, Reference, Root, Storage, child_place, place_of,
        rlps, write_leaf,
    },
    path::{common_with, nibble},
    prepare::Prepared,
    trie::{Found, Inner, Source, StateTrie},
};
use alloy_primitives::{Address, B256, Bytes, U256, keccak256};

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

    /// Proves an account and some of its slots in the newest version whose stamp is not greater than this one.
    /// `None` if the trie does not keep it ([`keep_history`](Self::keep_history)).
    pub fn proof_at<S: Source>(
        &self,
        stamp: u64,
        address: Address,
        slots: &[U256],
        source: &S,
    ) -> Result<Option<AccountProof>, S::Error> {
        let inner = self.read();
        let view = View::at(&inner, stamp, source);
        view.map(|view| view.prove(address, slots)).transpose()
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
        let chain = inner.history.chain(&version.0, inner.version);
        let view = View {
            undos: chain.ok_or(TrieError::Stale)?,
            stamp: version.0.stamp,
            ..View::new(&inner, source)
        };
        view.prove(address, slots)
    }
}

/// A version of the trie that is not installed: that of an earlier block, for example. It can be read as long
/// as the trie keeps what the versions since changed ([`StateTrie::keep_history`]), or until the next update.
#[derive(Debug)]
pub struct OtherVersion(Undo);

impl OtherVersion {
    /// The version after a prepared update. The source knows it by its stamp.
    pub fn new(prepared: Prepared, stamp: u64) -> Self {
        Self(prepared.into_undo(stamp))
    }

    /// The state root.
    pub const fn root(&self) -> B256 {
        self.0.root.hash
    }

    /// Memory in bytes.
    pub fn memory_bytes(&self) -> usize {
        self.0.memory_bytes()
    }
}

#[cfg(test)]
impl StateTrie {
    /// The nodes on the path of a key that is not hashed, in a trie of slots.
    pub(crate) fn path_at<S: Source>(
        &self,
        stamp: u64,
        key: &B256,
        source: &S,
    ) -> Result<Vec<Bytes>, S::Error> {
        let inner = self.read();
        let view = View::at(&inner, stamp, source).ok_or(TrieError::Stale)?;
        view.path_of(key)
    }

    /// The same in a version that is not installed.
    pub(crate) fn path_in<S: Source>(
        &self,
        version: &OtherVersion,
        key: &B256,
        source: &S,
    ) -> Result<Vec<Bytes>, S::Error> {
        let inner = self.read();
        let view = View {
            undos: (inner.history.chain(&version.0, inner.version)).ok_or(TrieError::Stale)?,
            ..View::new(&inner, source)
        };
        view.path_of(key)
    }
}

#[cfg(test)]
impl<S: Source> View<'_, S> {
    fn path_of(&self, key: &B256) -> Result<Vec<Bytes>, S::Error> {
        let (view, inner) = (self, self.inner);
        let root = view.undos.first().map_or(&inner.root, |undo| &undo.root);
        let path = view.path(root, &inner.root.place, None, key)?;
        Ok(path.nodes)
    }
}

/// A version of the trie, to read it.
struct View<'a, S> {
    inner: &'a Inner,
    /// The way to the version from the current one, the last step first.
    undos: Vec<&'a Undo>,
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
            undos: Vec::new(),
            stamp: inner.stamp,
            source,
        }
    }

    /// The version with a stamp, if it is kept.
    fn at(inner: &'a Inner, stamp: u64, source: &'a S) -> Option<Self> {
        let mut undos = Vec::new();
        if stamp < inner.stamp {
            undos = (inner.history).chain(inner.history.to(stamp)?, inner.version)?;
        }
        Some(Self {
            undos,
            stamp,
            ..Self::new(inner, source)
        })
    }

    fn prove(&self, address: Address, slots: &[U256]) -> Result<AccountProof, S::Error> {
        let owner = keccak256(address);
        let current = &self.inner.root;
        let root = self.undos.first().map_or(current, |undo| &undo.root);
        let path = self.path(root, &current.place, None, &owner)?;
        let mut found = AccountProof {
            root: root.hash,
            proof: path.nodes,
            account: None,
            storage_root: EMPTY_ROOT,
            slots: Vec::with_capacity(slots.len()),
        };
        let mut storage_root = Root::default();
        let mut current = Place::Empty;
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
                storage_root = Root {
                    hash: storage.root,
                    place: place_of(&storage),
                };
                current = self.current_storage(&owner, &storage_root.place)?;
            }
        }
        for slot in slots {
            let key = keccak256(slot.to_be_bytes::<32>());
            let path = self.path(&storage_root, &current, Some(&owner), &key)?;
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

    /// The root of an account's storage trie in the current version; `root` is that in this version.
    fn current_storage(&self, owner: &B256, root: &Place) -> Result<Place, S::Error> {
        if self.undos.is_empty() {
            return Ok(root.clone());
        }
        // If another account's leaf is there, the account is gone, and undo has all of its storage.
        let found = (self.inner).find(&self.inner.root.place, owner, self.source)?;
        Ok(match found {
            Found::Leaf(_, Some(storage)) => place_of(&storage),
            _ => Place::Empty,
        })
    }

    /// The nodes on the path of a key below a root. `current` is what is there in the current version.
    fn path(
        &self,
        root: &Root,
        current: &Place,
        owner: Option<&B256>,
        key: &B256,
    ) -> Result<Path, S::Error> {
        let mut nodes = Vec::new();
        let mut place = root.place.clone();
        let mut reference = Some(Reference::hash(root.hash));
        let mut depth = 0;
        let mut current = (current.clone(), 0);
        loop {
            // In the current version nodes are what their parents name; an earlier one is put together.
            let is_named = |rlp: &[u8]| {
                let reference = reference.filter(|_| !self.undos.is_empty());
                reference.is_none_or(|reference| reference.names(rlp))
            };
            let wrong = TrieError::Inconsistent("a node is not the one that its parent names");
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
                    if !is_named(&rlp) {
                        return Err(wrong.into());
                    }
                    add(&mut nodes, rlp.into());
                    let leaf = (found == *key).then_some((value, storage.map(|it| *it)));
                    return Ok(Path { nodes, leaf });
                }
            };
            let from = depth;
            let visit = |branch: &Branch| {
                branch.check_depth(depth)?;
                let mut rlps = rlps(branch);
                if !is_named(&rlps[0]) {
                    return Err(wrong);
                }
                let shared = common_with(&branch.prefix, key, depth);
                let leaves = shared < branch.prefix.len();
                // Behind an extension that is not the key's, nothing matters.
                rlps.truncate(if leaves { 1 } else { 2 });
                for rlp in rlps {
                    add(&mut nodes, rlp);
                }
                if leaves {
                    return Ok((Place::Empty, None));
                }
                let of = nibble(key, depth + shared);
                depth += shared + 1;
                let reference = branch.child(of).map(|_| branch.reference(of));
                Ok((child_place(branch, of), reference))
            };
            let below = if self.undos.is_empty() {
                (self.inner.nodes).with(link, tag, self.source, visit)?
            } else {
                let at = self.inner.history.places.hash(owner, key, from);
                let current = || self.current(&mut current, key, from);
                let missing = TrieError::Inconsistent("an earlier node is not known");
                visit(&earlier(&self.undos, at, current)?.ok_or(missing)?)
            };
            (place, reference) = below.map_err(|error| self.source.damaged(link.0, error))?;
        }
    }

    /// The node at a depth on the path of a key in the current version, if one stands there. `at` is where the
    /// search is.
    fn current(
        &self,
        at: &mut (Place, usize),
        key: &B256,
        depth: usize,
    ) -> Result<Option<Branch>, S::Error> {
        while let (Place::Node(link, tag), from) = *at
            && from < depth
        {
            *at = self.inner.below((link, tag), key, from, self.source)?;
        }
        match *at {
            (Place::Node(link, tag), from) if from == depth => {
                let nodes = &self.inner.nodes;
                nodes.with(link, tag, self.source, Branch::clone).map(Some)
            }
            _ => Ok(None),
        }
    }
}

/// Adds a node, unless it is part of the node before.
fn add(nodes: &mut Vec<Bytes>, rlp: Bytes) {
    if nodes.is_empty() || rlp.len() >= 32 {
        nodes.push(rlp);
    }
}
