//! Every transaction is accounted for, whatever the node does to it.

mod support;

use std::time::Duration;

use lockweave_load_generator::{
    Options, Report, accounts::Account, client::Endpoint, pacing::Pace, run, scenario::Scenario,
};
use support::{Faults, start};

const OPEN: Pace = Pace::Open {
    rate: 1000.0,
    duration: Duration::from_millis(500),
};

async fn measure(faults: Faults, pace: Pace, drain: Duration) -> Report {
    let url = start(faults).await;
    let options = Options {
        endpoint: Endpoint::new(&url, false).expect("loopback"),
        scenario: Scenario::Transfers,
        pace,
        seed: 3,
        senders: 10,
        recipients: 7,
        funder: Account::from_hex(&"11".repeat(32)).expect("a key"),
        connections: 3,
        batch: 20,
        max_transactions: 10_000,
        signing_threads: 2,
        drain,
        refused_after: Duration::from_millis(20),
        silent_after: Duration::from_millis(100),
    };
    run(&options, |_, _| {}).await.expect("a run")
}

fn assert_all_included(report: &Report) {
    let summary = &report.summary;
    assert_eq!(
        (summary.sent, summary.included, summary.failed, summary.lost),
        (500, 500, 0, 0),
        "{report:?}"
    );
    assert_eq!(report.invariant, Ok(true));
    assert!(report.is_sound());
}

const LONG: Duration = Duration::from_mins(1);

#[tokio::test]
async fn a_good_node_includes_everything() {
    let report = measure(Faults::default(), OPEN, LONG).await;
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
async fn refused_transactions_are_offered_again_and_told() {
    let report = measure(
        Faults {
            refuse_every: 9,
            ..Faults::default()
        },
        OPEN,
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
async fn forgotten_transactions_stall_nobody() {
    let report = measure(
        Faults {
            drop_every: 11,
            ..Faults::default()
        },
        OPEN,
        LONG,
    )
    .await;
    assert_all_included(&report);
    assert!(report.repeats >= 500 / 11);
}

#[tokio::test]
async fn lost_answers_are_found_out() {
    let report = measure(
        Faults {
            lose_answer_every: 4,
            ..Faults::default()
        },
        OPEN,
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
async fn a_full_node_is_said_to_be_full() {
    let faults = Faults {
        refuse_from: 101,
        ..Faults::default()
    };
    let report = measure(faults, OPEN, Duration::from_millis(300)).await;
    let summary = &report.summary;
    assert_eq!((summary.sent, summary.lost), (500, 0), "{report:?}");
    assert_eq!(summary.included + summary.failed, 500);
    assert!(
        summary.included <= 100 && summary.failed >= 400,
        "{report:?}"
    );
    assert_eq!(report.invariant, Ok(true));
}

#[tokio::test]
async fn what_never_shows_up_is_lost() {
    let faults = Faults {
        drop_from: 101,
        ..Faults::default()
    };
    let report = measure(faults, OPEN, Duration::from_millis(300)).await;
    assert_eq!(report.summary.sent, 500);
    assert!(report.summary.lost >= 400, "{report:?}");
    assert!(!report.is_sound());
}

#[tokio::test]
async fn a_broken_invariant_is_told() {
    let report = measure(
        Faults {
            steal: true,
            ..Faults::default()
        },
        OPEN,
        LONG,
    )
    .await;
    assert_eq!(report.summary.included, 500);
    assert!(
        report
            .invariant
            .as_ref()
            .is_err_and(|what| what.contains("recipients gained 0")),
        "{report:?}"
    );
    assert!(!report.is_sound());
}
