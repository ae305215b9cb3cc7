//! What an operator needs: logs, metrics and health.

mod logging;
mod metrics;

pub use logging::{LoggingError, start_logging};
pub use metrics::{MetricsError, OperationServer, describe};
