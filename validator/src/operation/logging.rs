//! Logs on standard error.

use crate::config::{Log, LogFormat};
use thiserror::Error;
use tracing_subscriber::{EnvFilter, fmt, util::TryInitError};

/// Why logs cannot be written.
#[derive(Debug, Error)]
pub enum LoggingError {
    /// The filter is invalid.
    #[error("{filter:?} is not a log filter: {source}; write one like info,rpc=debug")]
    Filter {
        /// The filter.
        filter: String,
        /// What is wrong with it.
        source: tracing_subscriber::filter::ParseError,
    },
    /// Another logger is installed.
    #[error("logs cannot be started: {0}")]
    Start(#[from] TryInitError),
}

/// How the log targets of the consensus engine begin.
const ENGINE: &str = "commonware";

/// Starts logging.
pub fn start_logging(log: &Log) -> Result<(), LoggingError> {
    use tracing_subscriber::util::SubscriberInitExt;
    let filter = EnvFilter::builder().parse(&log.filter);
    let filter = filter.map_err(|source| LoggingError::Filter {
        filter: log.filter.clone(),
        source,
    })?;
    // The consensus engine logs each view. Only its developers need that.
    let filter = if log.filter.contains(ENGINE) {
        filter
    } else {
        let quiet = format!("{ENGINE}=warn");
        filter.add_directive(quiet.parse().expect("a directive"))
    };
    let builder = fmt().with_env_filter(filter).with_writer(std::io::stderr);
    match log.format {
        LogFormat::Text => {
            use std::io::IsTerminal;
            builder
                .with_ansi(std::io::stderr().is_terminal())
                .finish()
                .try_init()?;
        }
        LogFormat::Json => builder.json().flatten_event(true).finish().try_init()?,
    }
    Ok(())
}
