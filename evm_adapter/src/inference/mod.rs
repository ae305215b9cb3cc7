//! The access sets of steps that declare none.

mod infer;
mod templates;

pub use infer::{EvmInferrer, InferredPlan, TemplateScope};
pub(crate) use templates::Preimages;
pub use templates::{TemplateCache, TemplateCacheStats, Templates};
