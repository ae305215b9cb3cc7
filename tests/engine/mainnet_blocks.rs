//! Recorded mainnet blocks are right with every worker count.
//!
//! They come from `mainnet_blocks.tar.zst` in `LOCKWEAVE_FIXTURES`, else `../shared/fixtures`. Without
//! the archive the test says so and passes.

use lockweave::ChainSpec;
use lockweave_validator::{
    recorded::RecordedBlocks,
    replay::{AccessSource, ReplayOptions, Replayer, TemplateUse, report::Summary},
};
use std::{num::NonZeroUsize, path::PathBuf};

/// The archive of recorded blocks. Without it a line says that the test is left out.
pub(crate) fn archive() -> Option<PathBuf> {
    let fixtures = std::env::var_os("LOCKWEAVE_FIXTURES").map_or_else(
        || PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../shared/fixtures"),
        PathBuf::from,
    );
    let archive = fixtures.join("mainnet_blocks.tar.zst");
    if archive.exists() {
        Some(archive)
    } else {
        println!("no {}: left out", archive.display());
        None
    }
}

#[test]
fn recorded_blocks_are_right_with_every_worker_count() {
    let Some(archive) = archive() else { return };
    let by_sets = [1, 2, 3, 4, 8].map(|threads| (threads, AccessSource::Recorded));
    let by_lists = [1, 4].map(|threads| (threads, AccessSource::Bal));
    let inferred = [1, 2, 3, 4, 8].map(|threads| (threads, AccessSource::Inferred));
    for (threads, access) in by_sets.into_iter().chain(by_lists).chain(inferred) {
        let options = ReplayOptions {
            threads: NonZeroUsize::new(threads).expect("not zero"),
            access,
            repeat: NonZeroUsize::MIN.saturating_add(1),
            templates: TemplateUse::On,
        };
        let mut replayer = Replayer::new(options, ChainSpec::mainnet()).expect("threads start");
        let mut summary = Summary::default();
        for block in RecordedBlocks::open(&archive, None).expect("a sound archive") {
            let report = replayer
                .replay(block.expect("a sound block"))
                .expect("a complete recording");
            assert!(
                report.is_ok(),
                "block {}: {:?}",
                report.block,
                report.problems
            );
            summary.add(&report);
        }
        assert_eq!(summary.failed, 0);
        println!(
            "{threads} workers, {access:?}: {} blocks are right",
            summary.ok
        );
    }
}
