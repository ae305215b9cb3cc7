//! Templates: the keys that a call accesses, learned from earlier calls of the same code.
//!
//! Most calls of a contract access the same few slots, and others that follow from caller and calldata:
//! `balances[caller]` is the slot `keccak(caller . 0)`. A template holds these expressions and predicts the access set
//! of a call without running it.
//!
//! 1. A simulation of a call records its Keccak preimages (`Preimages`). Every accessed key is then explained
//!    (`derive`): as a constant, by the caller, a piece of calldata, the value of an earlier slot, or a hash or sum of
//!    these. A value with several explanations keeps them all (`Expression`).
//! 2. The next call of the same code and selector is unified with it (`shape`): common explanations are kept. Calls on
//!    other execution paths make other shapes, a few at most; the prediction is the union.
//! 3. When the shapes have predicted a further call, they are compiled (`program`) and published (`cache`). From then on
//!    calls are simulated only now and then, to check that the template still fits.
//!
//! A wrong template is invalidated, and must predict twice as many calls as before until it is used again. After a few
//! invalidations it is given up. Code whose calls access too many keys, or have nothing in common, is simulated.
//!
//! **Architecture invariant:** a template is a guess. A predicted call runs under a grant of the predicted keys, and a
//! call that violates it has no effect. So a hostile contract costs time, never a wrong result.
//!
//! * `cache`: learns, stores and publishes templates.
//! * `program`: a template ready to predict.
//! * `shape`: the keys of calls on one execution path, with their explanations.
//! * `derive`: all explanations of a word.
//! * `observation`: the keys, values and hashes of one call.
//! * `expression`: hypotheses about the origin of a word.
//! * `inputs`: the inputs of a call.

mod cache;
mod derive;
mod expression;
mod inputs;
mod observation;
mod program;
mod shape;

pub(crate) use cache::LookUp;
pub use cache::{TemplateCache, TemplateCacheStats, Templates};
pub(crate) use inputs::Inputs;
pub(crate) use observation::Observation;
pub(crate) use program::PredictedState;

#[cfg(test)]
mod tests;
