//! `config`: the effective configuration.

use super::Failure;
use clap::Args;
use lockweave_validator::{
    config::{Config, HistoryOptions, HttpOptions, Options},
    store::Retention,
};
use std::{
    io::{self, Write},
    net::SocketAddr,
    path::{Path, PathBuf},
    process::ExitCode,
};

/// Where a configuration comes from.
#[derive(Args, Clone, Debug, Default)]
pub(crate) struct Source {
    /// A configuration file [default: config.toml in the data folder, if it is there].
    #[arg(long, value_name = "FILE", env = "LOCKWEAVE_CONFIG")]
    config: Option<PathBuf>,
    #[command(flatten)]
    options: Options,
}

impl Source {
    /// Whether a flag or the environment states what to do with transactions without a chain id.
    pub(crate) const fn states_protection(&self) -> bool {
        self.options.pool.allow_unprotected.is_some()
    }

    /// Serves JSON-RPC here, unless a flag or the environment says otherwise.
    pub(crate) fn with_rpc(mut self, address: SocketAddr) -> Self {
        let lower = HttpOptions {
            addr: Some(address.ip()),
            port: Some(address.port()),
            ..HttpOptions::default()
        };
        self.options.http = self.options.http.over(lower);
        self
    }

    /// Flags override the environment, which overrides the file, which overrides defaults.
    pub(crate) fn load(self, datadir: Option<&Path>) -> Result<Config, Failure> {
        let usual = datadir.map(|datadir| datadir.join("config.toml"));
        Ok(self.options.load(self.config.as_deref(), usual)?)
    }
}

/// The source of the history options alone.
#[derive(Args, Clone, Debug, Default)]
pub(crate) struct HistorySource {
    /// A configuration file [default: config.toml in the data folder, if it is there].
    #[arg(long, value_name = "FILE", env = "LOCKWEAVE_CONFIG")]
    config: Option<PathBuf>,
    #[command(flatten)]
    history: HistoryOptions,
}

impl HistorySource {
    /// Flags override the environment, which overrides the file, which overrides defaults.
    pub(crate) fn load(self, datadir: &Path) -> Result<Retention, Failure> {
        let options = Options {
            history: self.history,
            ..Options::default()
        };
        let usual = Some(datadir.join("config.toml"));
        let config = options.load(self.config.as_deref(), usual)?;
        Ok(Retention::from(&config.history))
    }
}

/// Print the effective configuration, in the format of a configuration file.
#[derive(Debug, Args)]
pub(crate) struct ConfigArgs {
    /// The data folder.
    #[arg(long, value_name = "DIR", env = "LOCKWEAVE_DATADIR")]
    datadir: Option<PathBuf>,
    #[command(flatten)]
    source: Source,
}

pub(crate) fn run(args: ConfigArgs) -> Result<ExitCode, Failure> {
    let config = args.source.load(args.datadir.as_deref())?;
    let text = toml::to_string(&config).expect("a configuration is made of strings and numbers");
    io::stdout().lock().write_all(text.as_bytes())?;
    Ok(ExitCode::SUCCESS)
}
