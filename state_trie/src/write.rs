//! Writes the nodes that are only in memory, and frees memory of those that are written.

use crate::{
    codec,
    error::TrieError,
    node::{Branch, NodeLink, Place, Root, nibbles_of, tag_of},
    trie::{Inner, Nodes, Source, StateTrie},
};
use std::sync::atomic::Ordering;

/// Where nodes are written.
pub trait NodeWriter {
    /// Why a write failed.
    type Error: From<TrieError>;

    /// Writes a node; returns its location.
    fn write(&mut self, node: &[u8]) -> Result<u64, Self::Error>;
}

/// A version that is being written to disk. While it is, updates go on.
#[derive(Debug)]
#[must_use = "the trie keeps the version in memory until `finish_writing`"]
pub struct Writing {
    version: u64,
    root: Root,
    /// Nodes that got a location.
    written: Vec<u32>,
    /// Memory of the nodes to write.
    bytes: usize,
}

/// What is on disk after a version was written.
#[derive(Clone, Debug)]
pub struct Written {
    /// The root, for [`StateTrie::open`].
    pub root: Vec<u8>,
    /// Locations that the version does not contain any more.
    pub stale: Vec<u64>,
}

/// Nodes that are freed while no update goes on.
const RELEASED_TOGETHER: usize = 1024;

impl StateTrie {
    /// An empty trie.
    pub fn new() -> Self {
        Self::default()
    }

    /// The trie with this root, whose nodes are on disk; `None` if it is not a root.
    pub fn open(root: &[u8]) -> Option<Self> {
        codec::decode_root(root).map(Self::from_root)
    }

    /// Begins to write the current version. One is written at a time.
    pub fn start_writing(&self) -> Writing {
        let mut inner = self.inner.write();
        inner.writing = Some(inner.version);
        Writing {
            version: inner.version,
            root: inner.root.clone(),
            written: Vec::new(),
            bytes: inner.unwritten_bytes,
        }
    }

    /// Writes the nodes that are not on disk, children first.
    pub fn write<W: NodeWriter>(
        &self,
        writing: &mut Writing,
        writer: &mut W,
    ) -> Result<Written, W::Error> {
        let mut buffer = Vec::new();
        match writing.root.place.clone() {
            Place::Node(link, tag) => {
                self.write_node(link, tag, writing, writer, &mut buffer)?;
            }
            Place::Leaf {
                storage: Some(storage),
                ..
            } if storage.is_node => {
                let link = NodeLink(storage.link);
                self.write_node(link, tag_of(&storage.root.0), writing, writer, &mut buffer)?;
            }
            _ => {}
        }
        let inner = self.read();
        let root = codec::encode_root(&writing.root, |link| inner.locate(link));
        let is_stale = |version: u64| version <= writing.version;
        let stale = (inner.stale.iter()).filter(|(version, _)| is_stale(*version));
        Ok(Written {
            root,
            stale: stale.map(|(_, location)| *location).collect(),
        })
    }

    fn write_node<W: NodeWriter>(
        &self,
        link: NodeLink,
        tag: [u8; 8],
        writing: &mut Writing,
        writer: &mut W,
        buffer: &mut Vec<u8>,
    ) -> Result<(), W::Error> {
        let Some(id) = link.id() else {
            return Ok(());
        };
        let children: Vec<(NodeLink, [u8; 8])> = {
            let inner = self.read();
            let node = inner.written_node(id)?;
            if node.location() != 0 {
                return Ok(());
            }
            let nodes = nibbles_of(node.nodes).map(|nibble| {
                let child = node.child(nibble).expect("a branch has its children");
                (NodeLink(child.link), tag_of(&child.reference))
            });
            let storages = (node.storages.iter())
                .filter(|storage| storage.is_node)
                .map(|storage| (NodeLink(storage.link), tag_of(&storage.root.0)));
            let in_memory = |(link, _): &(NodeLink, [u8; 8])| link.id().is_some();
            nodes.chain(storages).filter(in_memory).collect()
        };
        for (link, tag) in children {
            self.write_node(link, tag, writing, writer, buffer)?;
        }
        buffer.clear();
        {
            let inner = self.read();
            let node = inner.written_node(id)?;
            codec::encode(node, tag, |link| inner.locate(link), buffer);
        }
        let location = writer.write(buffer)?;
        let inner = self.read();
        let node = inner.written_node(id)?;
        node.location.store(location, Ordering::Release);
        writing.written.push(id);
        Ok(())
    }

    /// Ends the writing of a version. If the version is not durable, its nodes count as not written.
    ///
    /// Freeing what the version kept can take longer than a block, so updates go on meanwhile.
    pub fn finish_writing(&self, writing: Writing, is_durable: bool) {
        let (preserved, retired, mut stale) = {
            let mut inner = self.inner.write();
            inner.writing = None;
            if is_durable {
                inner.written = writing.version;
                inner.unwritten_bytes = inner.unwritten_bytes.saturating_sub(writing.bytes);
            } else {
                for id in writing.written {
                    if let Ok(node) = inner.written_node(id) {
                        node.location.store(0, Ordering::Release);
                    }
                }
            }
            inner.take_kept()
        };
        if is_durable {
            stale.retain(|(version, _)| *version > writing.version);
        }
        let mut bytes = 0;
        for (version, node) in preserved.into_values() {
            bytes += node.memory_bytes();
            if node.location() != 0 {
                stale.push((version, node.location()));
            }
        }
        self.add_stale(stale, bytes);
        for retired in retired.chunks(RELEASED_TOGETHER) {
            self.release(retired);
        }
    }

    /// Frees memory of nodes that are on disk, if there is more than `bytes`: in a part of the trie, so
    /// that no call takes long, and those that have not changed for a long time. Updates that are
    /// prepared and not installed are stale afterwards.
    pub fn trim(&self, bytes: usize) {
        /// Nodes younger than this many versions stay, if that is enough.
        const AGES: [u64; 4] = [64, 16, 4, 0];
        if self.memory_bytes() <= bytes {
            self.trim_steps.store(0, Ordering::Relaxed);
            return;
        }
        let step = self.trim_steps.fetch_add(1, Ordering::Relaxed);
        let age = AGES[(step / 16).min(AGES.len() - 1)];
        let part = u8::try_from(step % 16).unwrap_or(0);
        let newest = {
            let inner = self.read();
            inner.written.min(inner.version.saturating_sub(age))
        };
        self.trim_part(part, newest);
    }

    /// Frees nodes up to a version below one child of the root.
    fn trim_part(&self, part: u8, newest: u64) {
        let mut guard = self.inner.write();
        let inner = &mut *guard;
        if inner.writing.is_some() {
            return;
        }
        let Place::Node(root, _) = inner.root.place else {
            return;
        };
        let Some((top, branch)) = root.id().and_then(|id| Some((id, inner.nodes.get(id)?))) else {
            return;
        };
        let child = branch.child(part).filter(|_| branch.is_node(part));
        let mut open: Vec<u32> = child
            .and_then(|child| NodeLink(child.link).id())
            .into_iter()
            .collect();
        // The storages of accounts below the root itself belong to the first part.
        if part == 0 {
            open.push(top);
        }
        let mut freed = Vec::new();
        while let Some(id) = open.pop() {
            let Some(node) = inner.nodes.get(id) else {
                continue;
            };
            let links: Vec<(u64, bool, usize)> = (nibbles_of(node.nodes))
                .filter(|_| id != top)
                .filter_map(|nibble| Some((node.child(nibble)?.link, false, nibble.into())))
                .chain(
                    (node.storages.iter().enumerate()).filter_map(|(index, storage)| {
                        storage.is_node.then_some((storage.link, true, index))
                    }),
                )
                .collect();
            for (link, is_storage, at) in links {
                let Some(below) = NodeLink(link).id() else {
                    continue;
                };
                let Some(child) = inner.nodes.get(below) else {
                    continue;
                };
                let location = child.location();
                if location == 0 || child.version > newest {
                    open.push(below);
                    continue;
                }
                inner.collect(below, &mut freed);
                if let Some(node) = inner.node_mut(id) {
                    if is_storage {
                        node.storages[at].link = location;
                    } else {
                        node.set_link(u8::try_from(at).unwrap_or(0), location);
                    }
                }
            }
        }
        self.evict(inner, freed);
    }
}

impl Inner {
    /// A node of the version that is being written.
    fn written_node(&self, id: u32) -> Result<&Branch, TrieError> {
        let missing = TrieError::Inconsistent("a node to write is not in memory");
        match self.preserved.get(&id) {
            Some((_, node)) => Ok(node),
            None => self.nodes.get(id).ok_or(missing),
        }
    }

    /// The location of a node that was written.
    fn locate(&self, link: NodeLink) -> u64 {
        match link.id() {
            Some(id) => self.written_node(id).map_or(0, Branch::location),
            None => link.0,
        }
    }

    /// Collects a node and those below it in memory.
    fn collect(&self, id: u32, ids: &mut Vec<u32>) {
        ids.push(id);
        let Some(node) = self.nodes.get(id) else {
            return;
        };
        let nodes = nibbles_of(node.nodes).filter_map(|nibble| node.child(nibble));
        let storages = node.storages.iter().filter(|storage| storage.is_node);
        let links = nodes
            .map(|child| child.link)
            .chain(storages.map(|storage| storage.link));
        for id in links.filter_map(|link| NodeLink(link).id()) {
            self.collect(id, ids);
        }
    }
}

/// Reads every node of a trie on disk, to check it. `visit` receives each location.
pub fn walk<S: Source>(
    root: &[u8],
    source: &S,
    mut visit: impl FnMut(u64),
) -> Result<(), S::Error> {
    let root = codec::decode_root(root).ok_or(TrieError::Damaged("the root is not one"))?;
    // Each with its depth, and whether it is in a storage trie.
    let mut open = Vec::new();
    match root.place {
        Place::Node(link, tag) => open.push((link, tag, 0, false)),
        Place::Leaf {
            storage: Some(storage),
            ..
        } if storage.is_node => {
            open.push((NodeLink(storage.link), tag_of(&storage.root.0), 0, true));
        }
        _ => {}
    }
    while let Some((link, tag, depth, is_storage)) = open.pop() {
        visit(link.0);
        let node = Nodes::read(link.0, tag, source)?;
        (node.check_depth(depth)).map_err(|error| source.damaged(link.0, error))?;
        let below = depth + node.prefix.len() + 1;
        for nibble in nibbles_of(node.nodes) {
            let child = node.child(nibble).expect("a branch has its children");
            let tag = tag_of(&child.reference);
            open.push((NodeLink(child.link), tag, below, is_storage));
        }
        if is_storage && !node.storages.is_empty() {
            let error = TrieError::Damaged("a slot has storage");
            return Err(source.damaged(link.0, error));
        }
        for storage in node.storages.iter().filter(|storage| storage.is_node) {
            open.push((NodeLink(storage.link), tag_of(&storage.root.0), 0, true));
        }
    }
    Ok(())
}
