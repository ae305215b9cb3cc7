//! Reports of finished runs.
//!
//! * `compare`: two reports with confidence intervals
//! * `html`: a report as a page
//! * `plot`: plots as SVG
//! * `model`: the report itself

mod compare;
mod html;
mod model;
mod plot;

pub use compare::{Comparison, compare, differing_settings};
pub use html::html_page;
pub use model::{Invariant, KindCounts, Report, RunInfo, Summary};
pub use plot::short_number;
