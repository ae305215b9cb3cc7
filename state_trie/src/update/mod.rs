//! Applies sorted changes to tries and hashes what they changed.
//!
//! A subtree that changes is an [`Item`]. Items go down the trie level by level: each takes its branch,
//! distributes its changes among the children, and makes items of the children that are more than a leaf
//! to set. On the way back up, each level hashes its new leaves together, then its branches, so that
//! vector lanes are full. Preparing changes no node: an item works on a copy, and the original is noted as
//! replaced; or, if only references of its children change, on a patch, which is applied to the node later.
//!
//! Any number of tries are updated together, so that a thousand small storage tries fill the lanes as one
//! large trie does.
//!
//! Top-down; a file uses only files below it:
//!
//! * `run`: levels and threads
//! * `down`: distributes changes among children
//! * `up`: puts changed children into their branches, and hashes
//! * `item`: subtrees that change, and what they become

mod down;
mod item;
mod run;
mod up;

pub(crate) use item::{
    Item, LeafChange, Leaves, NewLeaf, NewNode, NewStorage, Output, Patch, Spares, Subtree, Update,
    count,
};
pub(crate) use up::patched;
