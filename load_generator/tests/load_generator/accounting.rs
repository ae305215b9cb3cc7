//! Every transaction is accounted for, even if the node misbehaves.

use std::time::Duration;

use crate::node::{Faults, start};
use lockweave_load_generator::{
    Account, Declarations, Endpoint, Hotness, Invariant, NoObserver, Options, Pace, Report, run,
};

fn open() -> Pace {
    Pace::constant(1000.0, Duration::from_millis(500))
}

async fn measure(faults: Faults, pace: Pace, drain: Duration) -> Report {
    let url = start(faults).await;
    let options = Options {
        endpoints: vec![Endpoint::new(&url, false).expect("loopback")],
        scenario: "transfers".to_owned(),
        pace,
        seed: 3,
        senders: 10,
        items: Some(7),
        hotness: Hotness::default(),
        mix: Vec::new(),
        trace: None,
        declarations: Declarations::None,
        fee_headroom: 10,
        funder: Account::from_hex(&"11".repeat(32)).expect("a key"),
        connections: 3,
        batch: 20,
        max_transactions: 10_000,
        signing_threads: 2,
        drain,
        refused_after: Duration::from_millis(20),
        silent_after: Duration::from_millis(100),
        repeat_share: 1.0,
    };
    run(&options, &mut NoObserver).await.expect("a run")
}

fn assert_all_included(report: &Report) {
    let summary = &report.summary;
    assert_eq!(
        (summary.sent, summary.included, summary.failed, summary.lost),
        (500, 500, 0, 0),
        "{report:?}"
    );
    assert_eq!(report.invariant, Invariant::Holds);
    assert!(report.is_sound());
}

const LONG: Duration = Duration::from_mins(1);

#[tokio::test]
async fn a_correct_node_includes_everything() {
    let report = measure(Faults::default(), open(), LONG).await;
    assert_all_included(&report);
    assert!(report.refusals.is_empty());
}

#[tokio::test]
async fn a_closed_loop_ends_by_its_count() {
    let pace = Pace::Closed {
        in_flight: 40,
        duration: LONG,
        count: 500,
    };
    assert_all_included(&measure(Faults::default(), pace, LONG).await);
}

#[tokio::test]
async fn refused_transactions_are_resent_and_reported() {
    let report = measure(
        Faults {
            refuse_every: 9,
            ..Faults::default()
        },
        open(),
        LONG,
    )
    .await;
    assert_all_included(&report);
    assert_eq!(
        report.refusals["txpool is full (##)"],
        report.refusals.values().sum::<u64>() - single(&report)
    );
    assert_eq!(report.refusals.values().sum::<u64>(), 500 / 9);
}

/// Refusals of transactions whose number has one or three digits: digits are blanked, not counted.
fn single(report: &Report) -> u64 {
    ["txpool is full (#)", "txpool is full (###)"]
        .iter()
        .filter_map(|kind| report.refusals.get(*kind))
        .sum()
}

#[tokio::test]
async fn dropped_transactions_are_resent() {
    let report = measure(
        Faults {
            drop_every: 11,
            ..Faults::default()
        },
        open(),
        LONG,
    )
    .await;
    assert_all_included(&report);
    assert!(report.repeats >= 500 / 11);
}

#[tokio::test]
async fn lost_answers_are_resolved() {
    let report = measure(
        Faults {
            lose_answer_every: 4,
            ..Faults::default()
        },
        open(),
        LONG,
    )
    .await;
    assert_all_included(&report);
    assert!(
        report
            .refusals
            .keys()
            .any(|kind| kind.contains("HTTP status")),
        "{report:?}"
    );
}

#[tokio::test]
async fn a_full_pool_is_reported() {
    let faults = Faults {
        refuse_from: 101,
        ..Faults::default()
    };
    let report = measure(faults, open(), Duration::from_millis(300)).await;
    let summary = &report.summary;
    assert_eq!((summary.sent, summary.lost), (500, 0), "{report:?}");
    assert_eq!(summary.included + summary.failed, 500);
    assert!(
        summary.included <= 100 && summary.failed >= 400,
        "{report:?}"
    );
    assert_eq!(report.invariant, Invariant::Holds);
}

#[tokio::test]
async fn a_node_without_block_receipts_is_supported() {
    let faults = Faults {
        no_block_receipts: true,
        ..Faults::default()
    };
    let report = measure(faults, open(), LONG).await;
    assert_all_included(&report);
    assert_eq!(report.troubles.values().sum::<u64>(), 1, "{report:?}");
    let in_blocks: u64 = report.blocks.iter().map(|block| block.transactions).sum();
    assert_eq!(in_blocks, 500);
}

#[tokio::test]
async fn transactions_never_submitted_do_not_count_as_sent() {
    let faults = Faults {
        slow: Duration::from_millis(400),
        ..Faults::default()
    };
    let report = measure(faults, open(), Duration::from_millis(300)).await;
    let summary = &report.summary;
    assert_eq!(report.intended, 500);
    assert!(report.unsent > 0 && summary.sent > 0, "{report:?}");
    assert_eq!(summary.sent + report.unsent, 500);
    assert_eq!(
        summary.sent,
        summary.included + summary.failed + summary.lost
    );
    assert!(report.overload[0].contains("never submitted"));
    assert!(!report.kept_up());
    // Waiting in the load generator counts.
    assert!(report.lag_ms.max >= 100.0, "{report:?}");
}

#[tokio::test]
async fn transactions_that_disappear_are_lost() {
    let faults = Faults {
        drop_from: 101,
        ..Faults::default()
    };
    let report = measure(faults, open(), Duration::from_millis(300)).await;
    assert_eq!(report.summary.sent, 500);
    assert!(report.summary.lost >= 400, "{report:?}");
    assert!(!report.is_sound());
}

#[tokio::test]
async fn a_broken_invariant_is_reported() {
    let report = measure(
        Faults {
            steal: true,
            ..Faults::default()
        },
        open(),
        LONG,
    )
    .await;
    assert_eq!(report.summary.included, 500);
    let Invariant::Broken(what) = &report.invariant else {
        panic!("{report:?}");
    };
    assert!(what.contains("the recipients' balance"), "{what}");
    assert!(!report.is_sound());
}
