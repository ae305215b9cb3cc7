//! Templates: what a call touches, from what earlier calls of the same code touched.
//!
//! Most calls of a contract touch the same few slots, and others whose place follows from who calls
//! and with what: `balances[caller]` is the slot `keccak(caller . 0)`. A template says so, and with
//! it the access set of a call is known without running it.
//!
//! 1. A simulation of a call notes its Keccak preimages (`Preimages`). Every
//!    key that it touched is then explained (`derive`): as a constant, by the caller, a piece
//!    of calldata, the value of a slot touched before, or a hash or sum of these. What has several
//!    explanations keeps them all (`Expression`).
//! 2. The next call of the same code and selector is laid beside it (`shape`): what explains both is
//!    kept. Calls that went another way through the code make another shape, a few at most; what is
//!    predicted is the union.
//! 3. When what was learned has predicted a further call, it is compiled (`program`) and
//!    published (`cache`), and from then on calls are not simulated but now and then, to see whether
//!    the template still fits.
//!
//! A template that was wrong is withdrawn, and must predict twice as many calls as the last time before
//! it is used again; a few times, and it never is. Code whose calls touch too much, or have nothing in
//! common, is left to simulation.
//!
//! **Architecture invariant:** a template is a guess. Whoever uses one runs the call under a grant of
//! what was predicted, and a call that leaves it has no effect; so what a hostile contract teaches costs
//! time, never a result.

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
