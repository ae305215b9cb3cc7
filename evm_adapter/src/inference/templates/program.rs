//! A template in the form in which it is used: a short program whose results are keys.

use super::{
    expression::{Expression, Leaf, Piece, Source},
    inputs::{Inputs, Width},
    observation::{KEYS_MAX, Observation, hash_value},
    shape::{Shape, ShapePart},
};
use crate::machine::SlotPreimage;
use alloy_primitives::{Address, B256, U256, keccak256, map::HashMap};
use lockweave_runtime::{AccessEntry, AccessMode, StateError, StateKey};

/// Values of a program, at most.
const NODES_MAX: usize = 1_024;

/// The place of a computed value.
type Place = u16;

/// How to compute a value.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Node {
    Constant(U256),
    Caller,
    Target,
    Beneficiary,
    Calldata(u16, Width),
    /// The value of a slot before the call: account and slot, shift, width.
    Load(Place, Place, u8, Width),
    Keccak(Box<[Chunk]>),
    Sum(Place, Place),
}

/// A piece of a preimage.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Chunk {
    Bytes(Box<[u8]>),
    Value(Place, Width),
}

/// A key that the program predicts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct PredictedKey {
    address: Place,
    part: PredictedPart,
    mode: AccessMode,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum PredictedPart {
    Account,
    Code,
    Slot(Place),
}

/// The state that a prediction reads slots from and adds keys to.
pub(crate) trait PredictedState {
    /// The value of a slot.
    fn peek(&mut self, key: StateKey) -> Result<U256, StateError>;

    /// Stores a hash that the call will need as well.
    fn keep_hash(&mut self, preimage: &SlotPreimage, hash: U256) {
        let _ = (preimage, hash);
    }

    /// Adds a predicted access.
    fn expect(&mut self, entry: AccessEntry) -> Result<(), StateError>;
}

/// A template ready to predict.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Program {
    /// Each depends only on earlier ones.
    nodes: Vec<Node>,
    keys: Vec<PredictedKey>,
}

impl Program {
    /// Compiles shapes into one program that predicts the union of their keys. `None` if that is too
    /// large.
    pub(crate) fn compile<'a>(shapes: impl Iterator<Item = &'a Shape>) -> Option<Self> {
        let mut compiler = Compiler::default();
        for shape in shapes {
            compiler.add(shape)?;
        }
        (compiler.keys.len() <= KEYS_MAX).then_some(Self {
            nodes: compiler.nodes,
            keys: compiler.keys,
        })
    }

    /// Maximum number of predicted keys.
    pub(crate) fn keys(&self) -> usize {
        self.keys.len()
    }

    /// Predicts the keys of a call. `entry` hashes slot preimages; `values` is scratch memory.
    pub(crate) fn predict(
        &self,
        inputs: &Inputs<'_>,
        state: &mut impl PredictedState,
        mut entry: impl FnMut(&SlotPreimage) -> U256,
        values: &mut Vec<U256>,
    ) -> Result<(), StateError> {
        values.clear();
        for node in &self.nodes {
            let value = evaluate(node, inputs, state, &mut entry, values)?;
            values.push(value);
        }
        for key in &self.keys {
            let address = address(values[usize::from(key.address)]);
            let state_key = match key.part {
                PredictedPart::Account => StateKey::account(address),
                PredictedPart::Code => StateKey::code(address),
                PredictedPart::Slot(slot) => StateKey::slot(address, values[usize::from(slot)]),
            };
            let (key, mode) = (state_key, key.mode);
            state.expect(AccessEntry { key, mode })?;
        }
        Ok(())
    }

    /// If the prediction covers a call's keys, the number of unneeded keys.
    pub(crate) fn covers(&self, observation: &Observation<'_>) -> Option<usize> {
        let mut replay = Replay {
            observation,
            predicted: HashMap::default(),
        };
        let entry = |preimage: &SlotPreimage| hash_value(keccak256(preimage));
        self.predict(&observation.inputs, &mut replay, entry, &mut Vec::new())
            .ok()?;
        let covered = observation.keys.iter().all(|observed| {
            let predicted = replay.predicted.get(&observed.entry.key);
            predicted.is_some_and(|mode| mode.allows(observed.entry.mode))
        });
        covered.then(|| {
            replay
                .predicted
                .len()
                .saturating_sub(observation.keys.len())
        })
    }
}

fn address(value: U256) -> Address {
    Address::from_word(B256::from(value))
}

fn evaluate(
    node: &Node,
    inputs: &Inputs<'_>,
    state: &mut impl PredictedState,
    mut entry: impl FnMut(&SlotPreimage) -> U256,
    values: &[U256],
) -> Result<U256, StateError> {
    let value = |place: Place| values[usize::from(place)];
    let of_address = |address: Address| U256::from_be_slice(address.as_slice());
    Ok(match node {
        Node::Constant(value) => *value,
        Node::Caller => of_address(inputs.caller),
        Node::Target => of_address(inputs.target),
        Node::Beneficiary => of_address(inputs.beneficiary),
        Node::Calldata(offset, Width::Word) => inputs.word(usize::from(*offset)),
        Node::Calldata(offset, Width::Address) => inputs.address(usize::from(*offset)),
        Node::Load(account, slot, shift, width) => {
            let held = state.peek(StateKey::slot(address(value(*account)), value(*slot)))?;
            let held = held >> usize::from(*shift);
            match width {
                Width::Word => held,
                Width::Address => (held << 96) >> 96,
            }
        }
        Node::Keccak(chunks) => {
            let entry = |preimage: &SlotPreimage| {
                let hash = entry(preimage);
                state.keep_hash(preimage, hash);
                hash
            };
            hash(chunks, entry, value)
        }
        // Slot numbers wrap, as the EVM's words do.
        Node::Sum(base, more) => value(*base).wrapping_add(value(*more)),
    })
}

/// Hashes concatenated values and bytes.
fn hash(
    chunks: &[Chunk],
    mut entry: impl FnMut(&SlotPreimage) -> U256,
    value: impl Fn(Place) -> U256,
) -> U256 {
    // A key and a slot, nearly always.
    if let [
        Chunk::Value(first, Width::Word),
        Chunk::Value(second, Width::Word),
    ] = chunks
    {
        let mut words = [0; 64];
        words[..32].copy_from_slice(&value(*first).to_be_bytes::<32>());
        words[32..].copy_from_slice(&value(*second).to_be_bytes::<32>());
        return entry(&words);
    }
    let mut preimage = Vec::with_capacity(160);
    for chunk in chunks {
        match chunk {
            Chunk::Bytes(bytes) => preimage.extend_from_slice(bytes),
            Chunk::Value(place, width) => {
                let bytes = value(*place).to_be_bytes::<32>();
                let start = match width {
                    Width::Word => 0,
                    Width::Address => 12,
                };
                preimage.extend_from_slice(&bytes[start..]);
            }
        }
    }
    hash_value(keccak256(preimage))
}

/// A prediction on one call's observed values, to be compared with its keys.
struct Replay<'a> {
    observation: &'a Observation<'a>,
    predicted: HashMap<StateKey, AccessMode>,
}

impl PredictedState for Replay<'_> {
    fn peek(&mut self, key: StateKey) -> Result<U256, StateError> {
        // Slots that the call did not read are unknown, and no accessed slot depends on them.
        Ok(self.observation.slot(&key).unwrap_or_default())
    }

    fn expect(&mut self, entry: AccessEntry) -> Result<(), StateError> {
        let mode = self.predicted.entry(entry.key).or_insert(entry.mode);
        *mode = mode.union(entry.mode);
        Ok(())
    }
}

#[derive(Default)]
struct Compiler {
    nodes: Vec<Node>,
    places: HashMap<Node, Place>,
    keys: Vec<PredictedKey>,
}

impl Compiler {
    fn add(&mut self, shape: &Shape) -> Option<()> {
        // The account and slot of each key so far, for those that follow from its value.
        let mut slots: Vec<Option<(Place, Place)>> = Vec::with_capacity(shape.keys.len());
        for key in &shape.keys {
            let address = self.expression(&key.address, &slots)?;
            let part = match &key.part {
                ShapePart::Account => PredictedPart::Account,
                ShapePart::Code => PredictedPart::Code,
                ShapePart::Slot(slot) => PredictedPart::Slot(self.expression(slot, &slots)?),
            };
            slots.push(match part {
                PredictedPart::Slot(slot) => Some((address, slot)),
                _ => None,
            });
            let same = |known: &&mut PredictedKey| (known.address, known.part) == (address, part);
            match self.keys.iter_mut().find(same) {
                Some(known) => known.mode = known.mode.union(key.mode),
                None => self.keys.push(PredictedKey {
                    address,
                    part,
                    mode: key.mode,
                }),
            }
        }
        Some(())
    }

    fn expression(
        &mut self,
        expression: &Expression,
        slots: &[Option<(Place, Place)>],
    ) -> Option<Place> {
        match expression {
            Expression::Leaf(leaf) => self.leaf(leaf, slots),
            Expression::Sum(base, more) => {
                let base = self.expression(base, slots)?;
                let more = self.leaf(more, slots)?;
                self.node(Node::Sum(base, more))
            }
            Expression::Keccak(pieces) => {
                let chunks = pieces.iter().map(|piece| {
                    Some(match piece {
                        Piece::Bytes(bytes) => Chunk::Bytes(bytes.clone().into_boxed_slice()),
                        Piece::Value(value, width) => {
                            Chunk::Value(self.expression(value, slots)?, *width)
                        }
                    })
                });
                let chunks = chunks.collect::<Option<_>>()?;
                self.node(Node::Keccak(chunks))
            }
        }
    }

    fn leaf(&mut self, leaf: &Leaf, slots: &[Option<(Place, Place)>]) -> Option<Place> {
        let node = match leaf.choice() {
            None => Node::Constant(leaf.value),
            Some(Source::Caller) => Node::Caller,
            Some(Source::Target) => Node::Target,
            Some(Source::Beneficiary) => Node::Beneficiary,
            Some(Source::Calldata { offset, width }) => Node::Calldata(offset, width),
            Some(Source::Slot { key, shift, width }) => {
                let (account, slot) = slots.get(usize::from(key)).copied().flatten()?;
                Node::Load(account, slot, shift, width)
            }
        };
        self.node(node)
    }

    /// The place of a value; equal values are computed once.
    fn node(&mut self, node: Node) -> Option<Place> {
        if let Some(place) = self.places.get(&node) {
            return Some(*place);
        }
        if self.nodes.len() == NODES_MAX {
            return None;
        }
        let place = Place::try_from(self.nodes.len()).ok()?;
        self.nodes.push(node.clone());
        self.places.insert(node, place);
        Some(place)
    }
}
