//! The access sets of steps that declare none.

mod infer;
mod templates;

pub use infer::{EvmInferrer, InferredPlan, TemplateScope};
pub use templates::{TemplateCache, TemplateCacheStats, Templates};
