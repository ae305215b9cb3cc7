//! Logs, metrics and health, for operators.

mod health;
mod logging;
mod metrics;

pub use health::health_pages;
pub use logging::{LoggingError, start_logging};
pub use metrics::{MetricsError, OperationServer, describe};
