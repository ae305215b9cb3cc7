//! Configuration: flags override the environment, which overrides a TOML file, which overrides defaults.
//!
//! Each section exists twice: with optional values, as flags, environment and file state them, and resolved,
//! with a value for every option, as `config` prints them.

use clap::{Args, ValueEnum};
use serde::{Deserialize, Serialize};
use std::{
    fs, io,
    net::{IpAddr, Ipv4Addr},
    num::NonZeroUsize,
    path::{Path, PathBuf},
    thread,
};
use thiserror::Error;

/// Why a configuration cannot be used.
#[derive(Debug, Error)]
#[expect(missing_docs, reason = "the messages say what the variants mean")]
pub enum ConfigError {
    #[error("cannot read the configuration file {path}: {source}")]
    Read { path: String, source: io::Error },
    #[error("{path} is not a configuration: {source}")]
    Parse {
        path: String,
        source: Box<toml::de::Error>,
    },
    #[error("{option} is {value}, {why}")]
    Value {
        option: &'static str,
        value: String,
        why: &'static str,
    },
}

/// The help of an option: its documentation and its default. clap is given no defaults, because a default
/// would override the file.
fn help<T: Serialize>(doc: &[&str], between: &str, default: T) -> String {
    let default = toml::Value::try_from(default).expect("a value of a configuration is TOML");
    let doc = doc.concat();
    let doc = doc.trim().trim_end_matches('.');
    format!("{doc}{between}[default: {}]", argument(&default))
}

/// A value as written on the command line.
fn argument(value: &toml::Value) -> String {
    match value {
        toml::Value::String(text) => text.clone(),
        toml::Value::Array(values) => {
            let values: Vec<_> = values.iter().map(argument).collect();
            values.join(",")
        }
        other => other.to_string(),
    }
}

/// Generates a section: options with a flag, an environment variable and a key in the file, and the resolved
/// values.
macro_rules! section {
    (
        $(#[$section:meta])*
        $name:ident / $options:ident {
            $(
                $(#[doc = $doc:literal])*
                $id:literal $flag:literal $env:literal $field:ident: $ty:ty = $default:expr
                    $(, $attribute:ident = $value:expr)*;
            )*
        }
    ) => {
        $(#[$section])*
        ///
        /// As stated: with a value only for options that are given.
        #[derive(Args, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
        #[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
        pub struct $options {
            $(
                $(#[doc = $doc])*
                #[arg(
                    id = $id, long = $flag, env = $env,
                    help = help::<$ty>(&[$($doc),*], " ", $default),
                    long_help = help::<$ty>(&[$($doc),*], "\n\n", $default)
                    $(, $attribute = $value)*
                )]
                #[serde(skip_serializing_if = "Option::is_none")]
                pub $field: Option<$ty>,
            )*
        }

        $(#[$section])*
        #[derive(Clone, Debug, PartialEq, Serialize)]
        #[serde(rename_all = "kebab-case")]
        pub struct $name {
            $(
                $(#[doc = $doc])*
                pub $field: $ty,
            )*
        }

        impl $options {
            /// These options, with missing values from a lower layer.
            pub fn over(self, lower: Self) -> Self {
                Self { $($field: self.$field.or(lower.$field),)* }
            }

            /// The values, with defaults for missing ones.
            pub fn resolve(self) -> $name {
                $name { $($field: self.$field.unwrap_or_else(|| $default),)* }
            }
        }

        impl Default for $name {
            fn default() -> Self {
                $options::default().resolve()
            }
        }
    };
}

section! {
    /// HTTP and WebSocket.
    Http / HttpOptions {
        /// Address of HTTP and WebSocket.
        "http_addr" "http.addr" "LOCKWEAVE_HTTP_ADDR" addr: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST), value_name = "ADDRESS";
        /// Port of HTTP and WebSocket; 0 takes a free one.
        "http_port" "http.port" "LOCKWEAVE_HTTP_PORT" port: u16 = 8545, value_name = "PORT";
        /// Origin that browsers may call from, `*` for all; may be given several times.
        "http_cors" "http.cors" "LOCKWEAVE_HTTP_CORS" cors: Vec<String> = vec!["*".to_owned()], value_name = "ORIGIN", value_delimiter = ',';
        /// Largest request in bytes.
        "http_request_bytes" "http.request-bytes-max" "LOCKWEAVE_HTTP_REQUEST_BYTES_MAX" request_bytes_max: usize = 16 << 20, value_name = "BYTES";
        /// Largest response in bytes.
        "http_response_bytes" "http.response-bytes-max" "LOCKWEAVE_HTTP_RESPONSE_BYTES_MAX" response_bytes_max: usize = 64 << 20, value_name = "BYTES";
        /// Most calls in a batch.
        "http_batch" "http.batch-calls-max" "LOCKWEAVE_HTTP_BATCH_CALLS_MAX" batch_calls_max: usize = 10_000, value_name = "N";
        /// Most connections.
        "http_connections" "http.connections-max" "LOCKWEAVE_HTTP_CONNECTIONS_MAX" connections_max: usize = 16_384, value_name = "N";
        /// Most gas of a call.
        "http_gas_cap" "http.gas-cap" "LOCKWEAVE_HTTP_GAS_CAP" gas_cap: u64 = 50_000_000, value_name = "GAS";
        /// Milliseconds a call may take.
        "http_call_timeout" "http.call-timeout" "LOCKWEAVE_HTTP_CALL_TIMEOUT" call_timeout: u64 = 5_000, value_name = "MS";
        /// Most blocks of a log query.
        "http_log_blocks" "http.log-blocks-max" "LOCKWEAVE_HTTP_LOG_BLOCKS_MAX" log_blocks_max: u64 = 100_000, value_name = "N";
        /// Most logs of a query.
        "http_logs" "http.logs-max" "LOCKWEAVE_HTTP_LOGS_MAX" logs_max: usize = 50_000, value_name = "N";
    }
}

section! {
    /// Block production.
    Producer / ProducerOptions {
        /// Milliseconds between blocks; 0 makes a block as soon as there is a transaction.
        "block_time" "block-time" "LOCKWEAVE_BLOCK_TIME" block_time: u64 = 400, value_name = "MS";
        /// Milliseconds without a block after which an empty one is made; 0 makes none.
        "empty_block_time" "empty-block-time" "LOCKWEAVE_EMPTY_BLOCK_TIME" empty_block_time: u64 = 0, value_name = "MS";
        /// Whether to make blocks; if not, the node only serves its chain.
        "produce" "produce" "LOCKWEAVE_PRODUCE" produce: bool = true, value_name = "BOOL", num_args = 1;
        /// Worker threads that execute transactions, and as many that recover senders; by default one of each per core.
        "threads" "threads" "LOCKWEAVE_THREADS" threads: NonZeroUsize = cores(), value_name = "N", value_parser = threads;
        /// Account that receives the tips.
        "beneficiary" "beneficiary" "LOCKWEAVE_BENEFICIARY" beneficiary: alloy_primitives::Address = alloy_primitives::Address::ZERO, value_name = "ADDRESS";
        /// Text in the headers of blocks that this node makes; at most 32 bytes.
        "extra_data" "extra-data" "LOCKWEAVE_EXTRA_DATA" extra_data: String = "lockweave".to_owned(), value_name = "TEXT";
    }
}

section! {
    /// Waiting transactions.
    PoolLimits / PoolOptions {
        /// Most waiting transactions.
        "pool_transactions" "pool.transactions-max" "LOCKWEAVE_POOL_TRANSACTIONS_MAX" transactions_max: usize = 100_000, value_name = "N";
        /// Most waiting transactions of one sender.
        "pool_per_sender" "pool.per-sender-max" "LOCKWEAVE_POOL_PER_SENDER_MAX" per_sender_max: usize = 8_192, value_name = "N";
        /// Most of these after a nonce gap.
        "pool_gapped" "pool.queued-per-sender-max" "LOCKWEAVE_POOL_QUEUED_PER_SENDER_MAX" queued_per_sender_max: usize = 1_024, value_name = "N";
        /// Percent by which a replacement has to outbid the transaction it replaces.
        "pool_bump" "pool.price-bump" "LOCKWEAVE_POOL_PRICE_BUMP" price_bump: u32 = 10, value_name = "PERCENT";
        /// File that keeps waiting transactions over a restart, relative to the data folder; `transactions.journal` if the flag has no value. Without it they are lost when the node stops.
        "pool_journal" "pool.journal" "LOCKWEAVE_POOL_JOURNAL" journal: String = String::new(), value_name = "FILE", num_args = 0..=1, default_missing_value = "transactions.journal";
        /// Whether transactions without a chain id are accepted; on a development chain they are, unless a flag or the environment forbids it.
        "pool_unprotected" "pool.allow-unprotected" "LOCKWEAVE_POOL_ALLOW_UNPROTECTED" allow_unprotected: bool = false, value_name = "BOOL";
    }
}

section! {
    /// How much history is kept.
    History / HistoryOptions {
        /// Blocks before the newest whose states can be read.
        "history_states" "history.state-blocks" "LOCKWEAVE_HISTORY_STATE_BLOCKS" state_blocks: u64 = 256, value_name = "N";
        /// Newest blocks whose bodies and receipts are kept.
        "history_bodies" "history.body-blocks" "LOCKWEAVE_HISTORY_BODY_BLOCKS" body_blocks: u64 = 100_000, value_name = "N";
        /// Memory of the state trie in MiB; its nodes take some 90 bytes an account or slot, and what does not fit is read from disk. Nodes of earlier blocks take up to half as much in addition.
        "trie_memory" "trie-memory" "LOCKWEAVE_TRIE_MEMORY" trie_memory: usize = 2_048, value_name = "MIB";
        /// Most transactions that can be found by hash; about 100 bytes of memory each, and 1.5 kB if the chain is in memory.
        "history_transactions" "history.transactions" "LOCKWEAVE_HISTORY_TRANSACTIONS" transactions: usize = 1_000_000, value_name = "N";
    }
}

section! {
    /// Metrics and health, on a port of their own.
    MetricsServer / MetricsOptions {
        /// Whether to serve Prometheus metrics and health.
        "metrics" "metrics" "LOCKWEAVE_METRICS" enabled: bool = false, num_args = 0..=1, default_missing_value = "true", value_name = "BOOL";
        /// Address of metrics and health.
        "metrics_addr" "metrics.addr" "LOCKWEAVE_METRICS_ADDR" addr: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST), value_name = "ADDRESS";
        /// Port of metrics and health; 0 takes a free one.
        "metrics_port" "metrics.port" "LOCKWEAVE_METRICS_PORT" port: u16 = 9_545, value_name = "PORT";
    }
}

section! {
    /// Logs, on standard error.
    Log / LogOptions {
        /// What to log, by target and level, as in `info,rpc=debug`.
        "log_filter" "log.filter" "LOCKWEAVE_LOG_FILTER" filter: String = "info".to_owned(), value_name = "FILTER";
        /// Format of the logs.
        "log_format" "log.format" "LOCKWEAVE_LOG_FORMAT" format: LogFormat = LogFormat::Text;
    }
}

/// The format of logs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LogFormat {
    /// Plain text.
    Text,
    /// One JSON object a line.
    Json,
}

/// All options, as one layer states them.
#[derive(Args, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Options {
    /// Block production.
    #[command(flatten)]
    pub producer: ProducerOptions,
    /// HTTP and WebSocket.
    #[command(flatten)]
    pub http: HttpOptions,
    /// Waiting transactions.
    #[command(flatten)]
    pub pool: PoolOptions,
    /// How much history is kept.
    #[command(flatten)]
    pub history: HistoryOptions,
    /// Metrics and health.
    #[command(flatten)]
    pub metrics: MetricsOptions,
    /// Logs.
    #[command(flatten)]
    pub log: LogOptions,
}

/// The effective configuration.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Config {
    /// Block production.
    pub producer: Producer,
    /// HTTP and WebSocket.
    pub http: Http,
    /// Waiting transactions.
    pub pool: PoolLimits,
    /// How much history is kept.
    pub history: History,
    /// Metrics and health.
    pub metrics: MetricsServer,
    /// Logs.
    pub log: Log,
}

impl Options {
    /// Reads the options of a file.
    pub fn read(path: &Path) -> Result<Self, ConfigError> {
        let shown = || path.display().to_string();
        let text = fs::read_to_string(path).map_err(|source| ConfigError::Read {
            path: shown(),
            source,
        })?;
        toml::from_str(&text).map_err(|source| ConfigError::Parse {
            path: shown(),
            source: Box::new(source),
        })
    }

    /// These options, with missing values from a lower layer.
    pub fn over(self, lower: Self) -> Self {
        Self {
            producer: self.producer.over(lower.producer),
            http: self.http.over(lower.http),
            pool: self.pool.over(lower.pool),
            history: self.history.over(lower.history),
            metrics: self.metrics.over(lower.metrics),
            log: self.log.over(lower.log),
        }
    }

    /// Adds the values of the file, if there is one, and defaults.
    ///
    /// `stated` is a file that was named and must exist; `usual` one that may exist.
    pub fn load(
        self,
        stated: Option<&Path>,
        usual: Option<PathBuf>,
    ) -> Result<Config, ConfigError> {
        let path = stated
            .map(Path::to_owned)
            .or(usual.filter(|path| path.exists()));
        let file = path.map_or(Ok(Self::default()), |path| Self::read(&path))?;
        self.over(file).resolve()
    }

    /// The checked values, with defaults for missing ones.
    pub fn resolve(self) -> Result<Config, ConfigError> {
        let config = Config {
            producer: self.producer.resolve(),
            http: self.http.resolve(),
            pool: self.pool.resolve(),
            history: self.history.resolve(),
            metrics: self.metrics.resolve(),
            log: self.log.resolve(),
        };
        if config.producer.extra_data.len() > 32 {
            return Err(ConfigError::Value {
                option: "extra-data",
                value: config.producer.extra_data,
                why: "but a header has room for 32 bytes",
            });
        }
        Ok(config)
    }
}

/// More threads than this are taken for a typing error.
const THREADS_MAX: usize = 1024;

/// Parses a number of threads.
pub fn threads(text: &str) -> Result<NonZeroUsize, String> {
    match text.parse() {
        Ok(threads) if NonZeroUsize::get(threads) <= THREADS_MAX => Ok(threads),
        _ => Err(format!("a number from 1 to {THREADS_MAX} is needed")),
    }
}

/// The number of available cores.
fn cores() -> NonZeroUsize {
    thread::available_parallelism().unwrap_or(NonZeroUsize::MIN)
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::{CommandFactory, Parser};

    #[test]
    fn upper_layers_win_value_by_value() {
        let file: Options =
            toml::from_str("[http]\nport = 1\nbatch-calls-max = 7\n[producer]\nblock-time = 0")
                .unwrap();
        let mut flags = Options::default();
        flags.http.port = Some(2);
        let config = flags.over(file).resolve().unwrap();
        assert_eq!(config.http.port, 2);
        assert_eq!(config.http.batch_calls_max, 7);
        assert_eq!(config.producer.block_time, 0);
        assert_eq!(config.pool, PoolLimits::default());
    }

    /// The options as a command has them.
    #[derive(Debug, clap::Parser)]
    struct Command {
        #[command(flatten)]
        options: Options,
    }

    #[test]
    fn the_help_of_every_option_says_its_default() {
        let mut arguments = vec!["command".to_owned()];
        let command = Command::command();
        for option in command.get_arguments().filter(|one| one.get_id() != "help") {
            let flag = option.get_long().unwrap();
            let help = option.get_help().unwrap().to_string();
            let default = help
                .split_once(" [default: ")
                .and_then(|(_, rest)| rest.strip_suffix(']'));
            let default = default.unwrap_or_else(|| panic!("--{flag}: {help}"));
            arguments.push(format!("--{flag}={default}"));
        }
        assert!(arguments.len() > 30, "{arguments:?}");
        let stated = Command::try_parse_from(arguments).unwrap().options;
        let all = toml::Value::try_from(&stated).unwrap();
        assert_eq!(all, toml::Value::try_from(Config::default()).unwrap());
    }

    #[test]
    fn a_file_with_an_unknown_key_is_refused() {
        let unknown = toml::from_str::<Options>("[http]\nprot = 1");
        assert!(unknown.unwrap_err().to_string().contains("prot"));
    }

    #[test]
    fn what_is_printed_can_be_read_again() {
        let config = Config::default();
        let text = toml::to_string(&config).unwrap();
        let read: Options = toml::from_str(&text).unwrap();
        assert_eq!(read.resolve().unwrap(), config);
    }
}
