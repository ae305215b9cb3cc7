//! Logs, metrics and health, for operators.

mod logging;
mod metrics;

pub use logging::{LoggingError, start_logging};
pub use metrics::{MetricsError, OperationServer, describe};
