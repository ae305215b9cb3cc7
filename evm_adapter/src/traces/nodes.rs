//! The words of a call as expressions over its inputs.

use super::{
    operation::Operation,
    program::{Call, Input},
};
use alloy_primitives::{U256, keccak256};
use std::{collections::HashMap, ops::Index};

/// Distinct words of a trace, at most. Register numbers have sixteen bits.
const NODES_MAX: usize = 8_192;
/// Maximum nesting of expressions, which bounds the recursion of the compiler.
const WORDS_DEEP_MAX: usize = 512;

/// A word, by its expression.
pub(super) type NodeId = usize;

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Kind {
    Constant(U256),
    Input(Input),
    Apply(Operation, Vec<NodeId>),
    /// The hash of words, of which only this many bytes count.
    Hash(Vec<NodeId>, usize),
    /// The value of a slot before the call.
    Loaded(usize),
    /// The gas left, by the gas charged without stores and the number of actions before it.
    GasLeft(u64, usize),
}

#[derive(Debug)]
pub(super) struct Node {
    pub(super) kind: Kind,
    /// Its value in the traced call.
    pub(super) value: U256,
    /// Number of low bits that can be set in any call.
    width: usize,
    /// Nesting of its expression.
    depth: usize,
}

/// A byte of memory or calldata: a word and the index in it, from the highest byte.
pub(super) type Byte = (NodeId, usize);

/// Bytes as words; the last word may count in part.
#[derive(Debug, Default)]
pub(super) struct Data {
    pub(super) nodes: Vec<NodeId>,
    pub(super) bytes: usize,
}

/// All words of a call, without duplicates.
#[derive(Debug, Default)]
pub(super) struct Nodes {
    nodes: Vec<Node>,
    known: HashMap<Kind, NodeId>,
}

impl Nodes {
    /// The hash of bytes.
    pub(super) fn hash(&mut self, bytes: &[Byte]) -> Option<NodeId> {
        let Data { nodes, bytes } = self.data(bytes)?;
        let words = nodes.iter().map(|node| self.value(*node));
        let words: Vec<u8> = words.flat_map(|word| word.to_be_bytes::<32>()).collect();
        let value = keccak256(&words[..bytes]).into();
        if nodes.iter().all(|node| self.is_constant(*node)) {
            return self.constant(value);
        }
        self.add(Kind::Hash(nodes, bytes), value, 256)
    }

    pub(super) fn data(&mut self, bytes: &[Byte]) -> Option<Data> {
        let nodes = bytes.chunks(32).map(|bytes| self.word(bytes));
        Some(Data {
            nodes: nodes.collect::<Option<_>>()?,
            bytes: bytes.len(),
        })
    }

    /// A word with these first bytes, padded with zeros.
    pub(super) fn word(&mut self, bytes: &[Byte]) -> Option<NodeId> {
        let (first, _) = bytes[0];
        if bytes.len() == 32
            && bytes
                .iter()
                .copied()
                .eq((0..32).map(|index| (first, index)))
        {
            return Some(first);
        }
        let zero = self.constant(U256::ZERO)?;
        let mut word = zero;
        let mut start = 0;
        while start < bytes.len() {
            let (node, index) = bytes[start];
            let rest = bytes[start..].iter().copied();
            let run = rest
                .zip(index..)
                .take_while(|(byte, index)| *byte == (node, *index));
            let end = start + run.count();
            if node != zero {
                let (operation, distance) = if start >= index {
                    (Operation::ShiftRight, start - index)
                } else {
                    (Operation::ShiftLeft, index - start)
                };
                let distance = self.constant(U256::from(8 * distance))?;
                let shifted = self.apply(operation, vec![distance, node])?;
                let mut mask = [0; 32];
                mask[start..end].fill(u8::MAX);
                let mask = self.constant(U256::from_be_bytes(mask))?;
                let part = self.apply(Operation::And, vec![shifted, mask])?;
                word = self.apply(Operation::Or, vec![word, part])?;
            }
            start = end;
        }
        Some(word)
    }

    pub(super) fn apply(&mut self, operation: Operation, operands: Vec<NodeId>) -> Option<NodeId> {
        if let Some(node) = self.simplify(operation, &operands) {
            return Some(node);
        }
        let operand = |index: usize| operands.get(index).map(|node| &self.nodes[*node]);
        let [a, b, c] = [0, 1, 2].map(operand);
        let value = |node: Option<&Node>| node.map_or(U256::ZERO, |node| node.value);
        let width = |node: Option<&Node>| node.map_or(256, |node| node.width);
        let result = operation.apply(value(a), value(b), value(c));
        if operands.iter().all(|node| self.is_constant(*node)) {
            return self.constant(result);
        }
        let shift = operands.first().filter(|node| self.is_constant(**node));
        let shift = shift.map(|node| self.nodes[*node].value);
        let width = operation.width([width(a), width(b), width(c)], shift);
        self.add(Kind::Apply(operation, operands), result, width)
    }

    /// An existing word that equals the result in every call.
    fn simplify(&mut self, operation: Operation, operands: &[NodeId]) -> Option<NodeId> {
        let constant = |node: NodeId| match self.nodes[node].kind {
            Kind::Constant(value) => Some(value),
            _ => None,
        };
        match (operation, operands) {
            (Operation::IsZero, [node]) => match &self.nodes[*node].kind {
                Kind::Apply(Operation::IsZero, inner) if self.nodes[inner[0]].width == 1 => {
                    Some(inner[0])
                }
                _ => None,
            },
            (Operation::And, [a, b]) => {
                [(*a, *b), (*b, *a)].into_iter().find_map(|(mask, node)| {
                    let mask = constant(mask)?;
                    let is_low = (mask & mask.wrapping_add(U256::ONE)).is_zero();
                    (is_low && self.nodes[node].width <= mask.bit_len()).then_some(node)
                })
            }
            (Operation::Add | Operation::Or | Operation::Xor, [a, b]) => {
                let zero = Some(U256::ZERO);
                match (constant(*a), constant(*b)) {
                    (first, _) if first == zero => Some(*b),
                    (_, second) if second == zero => Some(*a),
                    _ => None,
                }
            }
            // Calls of one kind have the same first four bytes of data.
            (Operation::ShiftRight | Operation::ShiftLeft | Operation::Div, [a, b]) => {
                let (word, by) = match operation {
                    Operation::Div => (*a, constant(*b)?),
                    _ => (*b, constant(*a)?),
                };
                if operation != Operation::Div && by.is_zero() {
                    return Some(word);
                }
                let cuts = match operation {
                    Operation::Div => by == U256::ONE << 224,
                    Operation::ShiftRight => by == U256::from(224),
                    _ => false,
                };
                let is_data = self.nodes[word].kind == Kind::Input(Input::Data(0));
                if cuts && is_data {
                    let selector = self.nodes[word].value >> 224;
                    return self.constant(selector);
                }
                None
            }
            _ => None,
        }
    }

    pub(super) fn input(&mut self, input: Input, call: &Call<'_>) -> Option<NodeId> {
        self.add(Kind::Input(input), input.of(call), input.width())
    }

    pub(super) fn constant(&mut self, value: U256) -> Option<NodeId> {
        self.add(Kind::Constant(value), value, value.bit_len())
    }

    pub(super) fn add(&mut self, kind: Kind, value: U256, width: usize) -> Option<NodeId> {
        if let Some(node) = self.known.get(&kind) {
            return Some(*node);
        }
        let node = self.nodes.len();
        let made_of: &[NodeId] = match &kind {
            Kind::Apply(_, nodes) | Kind::Hash(nodes, _) => nodes,
            _ => &[],
        };
        let deepest = made_of.iter().map(|node| self.nodes[*node].depth).max();
        let depth = deepest.map_or(0, |depth| depth + 1);
        (node < NODES_MAX && depth < WORDS_DEEP_MAX).then_some(())?;
        self.known.insert(kind.clone(), node);
        self.nodes.push(Node {
            kind,
            value,
            width,
            depth,
        });
        Some(node)
    }

    pub(super) fn is_constant(&self, node: NodeId) -> bool {
        matches!(self.nodes[node].kind, Kind::Constant(_))
    }

    /// The value of a word in the traced call.
    pub(super) fn value(&self, node: NodeId) -> U256 {
        self.nodes[node].value
    }

    pub(super) const fn len(&self) -> usize {
        self.nodes.len()
    }
}

impl Index<NodeId> for Nodes {
    type Output = Node;

    fn index(&self, node: NodeId) -> &Node {
        &self.nodes[node]
    }
}
