//! Infers the access sets of steps that declare none.
//!
//! * `infer`: infers access sets by template, by simulation, or from the transaction alone.
//! * `templates`: the keys that calls of known code access.

mod infer;
mod templates;

pub use infer::{EvmInferrer, InferredPlan, TemplateScope};
pub use templates::{TemplateCache, TemplateCacheStats, Templates};
