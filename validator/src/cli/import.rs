//! `import`: blocks from a file.

use super::Failure;
use lockweave_validator::{
    chain::{
        ChainParameters,
        import::{Imported, Importer},
        rlp_file::RlpBlocks,
    },
    store::ChainStore,
};
use std::{fs::File, io::BufReader, path::Path, sync::Arc};
use tracing::info;

/// Adds the blocks of a file to a chain; how many were new.
pub(super) fn add_blocks(
    parameters: &ChainParameters,
    store: &Arc<dyn ChainStore>,
    path: &Path,
) -> Result<usize, Failure> {
    let file = File::open(path).map_err(|source| Failure::File {
        path: path.display().to_string(),
        source,
    })?;
    let mut importer = Importer::new(parameters.clone(), Arc::clone(store));
    let mut added = 0;
    for block in RlpBlocks::new(BufReader::new(file)) {
        added += usize::from(importer.import(block?)? == Imported::Added);
    }
    let head = store.head();
    info!(target: "import", added, head = head.number(), hash = %head.hash, "imported");
    Ok(added)
}
