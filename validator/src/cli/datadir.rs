//! Opens the chain of a command.

use super::Failure;
use alloy_signer_local::PrivateKeySigner;
use clap::Args;
use lockweave_validator::{
    chain::{ChainParameters, dev},
    store::{ChainStore, Datadir, DurableStore, MemoryStore, Retention},
};
use std::{
    path::{Path, PathBuf},
    sync::Arc,
};
use tracing::info;

/// The data folder of commands that need one.
#[derive(Args, Clone, Debug)]
pub(crate) struct DatadirArgs {
    /// The data folder.
    #[arg(long, value_name = "DIR", env = "LOCKWEAVE_DATADIR")]
    pub(super) datadir: PathBuf,
}

/// An open chain.
pub(super) struct Opened {
    pub(super) parameters: ChainParameters,
    pub(super) store: Arc<dyn ChainStore>,
}

/// The development chain and its keys.
pub(super) fn development() -> Result<(ChainParameters, Vec<PrivateKeySigner>), Failure> {
    let signers = dev::signers()?;
    let funded = signers.iter().map(PrivateKeySigner::address);
    let parameters = ChainParameters::new(dev::genesis(funded, dev::now()))?;
    Ok((parameters, signers))
}

/// Opens a folder that must hold a chain; changes nothing in one that does not.
pub(super) fn existing(path: &Path) -> Result<(Datadir, ChainParameters), Failure> {
    let no_chain = || Failure::NoChain {
        path: path.display().to_string(),
    };
    if !Datadir::has_chain(path) {
        return Err(no_chain());
    }
    let datadir = Datadir::open(path)?;
    let parameters = datadir.parameters()?.ok_or_else(no_chain)?;
    Ok((datadir, parameters))
}

/// Opens the chain of a folder. `wanted` is the expected chain: it is created if the folder is empty,
/// otherwise it must be the one there.
pub(super) fn open(
    path: &Path,
    wanted: Option<&ChainParameters>,
    is_development: bool,
    retention: Retention,
) -> Result<Opened, Failure> {
    let Some(wanted) = wanted else {
        let (datadir, parameters) = existing(path)?;
        return stored(datadir, parameters, retention);
    };
    let datadir = Datadir::open(path)?;
    let parameters = match datadir.parameters()? {
        // The genesis of a development chain has the time of its creation, so a folder keeps its own.
        Some(known) if is_development => {
            let id = known.spec.chain_id;
            if id != wanted.spec.chain_id {
                return Err(Failure::NotDevelopment {
                    path: path.display().to_string(),
                    id,
                });
            }
            known
        }
        Some(_) => wanted.clone(),
        None => {
            let hash = datadir.init(wanted)?;
            info!(target: "node", %hash, path = %path.display(), "made a chain");
            wanted.clone()
        }
    };
    stored(datadir, parameters, retention)
}

fn stored(
    datadir: Datadir,
    parameters: ChainParameters,
    retention: Retention,
) -> Result<Opened, Failure> {
    let store = Arc::new(DurableStore::open(datadir, &parameters, retention)?);
    Ok(Opened { parameters, store })
}

/// A chain in memory.
pub(super) fn in_memory(
    parameters: ChainParameters,
    retention: Retention,
) -> Result<Opened, Failure> {
    let genesis = parameters.genesis_block()?;
    let delta = parameters.genesis_delta();
    let store = Arc::new(MemoryStore::new(retention, genesis, &delta));
    Ok(Opened { parameters, store })
}
