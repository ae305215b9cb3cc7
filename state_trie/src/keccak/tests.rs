use super::{Implementation, Messages};
use alloy_primitives::{B256, b256, keccak256};
use proptest::collection::vec;
use proptest::prelude::{any, proptest};
use std::io::{self, Write};
use std::sync::Once;

/// The implementations that this processor can run. The others are named on standard error.
fn available() -> impl Iterator<Item = Implementation> {
    static WARNING: Once = Once::new();
    WARNING.call_once(|| {
        for implementation in Implementation::ALL {
            if !implementation.is_available() {
                // `eprintln!` would only show it where the test fails.
                writeln!(
                    io::stderr(),
                    "WARNING: {implementation:?} NOT TESTED: this processor lacks it"
                )
                .expect("standard error is open");
            }
        }
    });
    (Implementation::ALL.into_iter()).filter(|implementation| implementation.is_available())
}

fn check<'a>(messages: impl IntoIterator<Item = &'a [u8]>) {
    let mut batch = Messages::default();
    let mut expected = vec![B256::repeat_byte(1)];
    for message in messages {
        batch.push(message);
        expected.push(keccak256(message));
    }
    assert_eq!(batch.len() + 1, expected.len());
    for implementation in available() {
        let mut hashes = vec![B256::repeat_byte(1)];
        batch.hash_with(implementation, &mut hashes);
        assert_eq!(hashes, expected, "{implementation:?}");
    }
    let mut hashes = vec![B256::repeat_byte(1)];
    batch.hash(&mut hashes);
    assert_eq!(hashes, expected);
}

#[test]
fn known_answers() {
    let long = [0x61; 137];
    // The last three are from an implementation of the specification in Python, whose SHA3-256 is
    // that of its standard library.
    let known: [(&[u8], B256); 5] = [
        (
            b"",
            b256!("0xc5d2460186f7233c927e7db2dcc703c0e500b653ca82273b7bfad8045d85a470"),
        ),
        (
            b"abc",
            b256!("0x4e03657aea45a94fc7d47ba826c8d667c0d1e6e33a64a036ec44f58fa12d6c45"),
        ),
        (
            &long[..135],
            b256!("0x34367dc248bbd832f4e3e69dfaac2f92638bd0bbd18f2912ba4ef454919cf446"),
        ),
        (
            &long[..136],
            b256!("0xa6c4d403279fe3e0af03729caada8374b5ca54d8065329a3ebcaeb4b60aa386e"),
        ),
        (
            &long,
            b256!("0xd869f639c7046b4929fc92a4d988a8b22c55fbadb802c0c66ebcd484f1915f39"),
        ),
    ];
    for implementation in available() {
        // All lanes hold a message, whatever the width.
        for copies in [1, 8] {
            let mut messages = Messages::default();
            let mut expected = Vec::new();
            for (message, hash) in known {
                for _ in 0..copies {
                    messages.push(message);
                    expected.push(hash);
                }
            }
            let mut hashes = Vec::new();
            messages.hash_with(implementation, &mut hashes);
            assert_eq!(hashes, expected, "{implementation:?}");
        }
    }
}

#[test]
fn every_length_and_number() {
    let bytes: Vec<u8> = (0..=255).cycle().take(700).collect();
    for length in 0..bytes.len() {
        check((0..8).map(|lane| &bytes[lane..length.max(lane)]));
    }
    for count in 0..=20 {
        check((0..count).map(|_| &bytes[..100]));
    }
}

/// Lanes end at different blocks, and a message much longer than the others goes alone.
#[test]
fn very_different_lengths() {
    let bytes = vec![0xa5; 100_000];
    let lengths = [
        1, 100_000, 24_000, 3, 0, 270, 24_576, 24_000, 500, 135, 136, 1_000, 5_000,
    ];
    check(lengths.iter().map(|length| &bytes[..*length]));
}

#[test]
fn clear_keeps_nothing() {
    let mut messages = Messages::default();
    assert!(messages.is_empty());
    messages.push(&vec![7; 100_000]);
    messages.push(b"before");
    messages.clear();
    assert!(messages.is_empty());
    let returned = messages.push_with(|buffer| {
        buffer.extend_from_slice(b"ab");
        buffer.push(b'c');
        buffer.len()
    });
    assert_eq!((returned, messages.len()), (3, 1));
    let mut hashes = Vec::new();
    messages.hash(&mut hashes);
    assert_eq!(hashes, [keccak256(b"abc")]);
}

#[test]
#[should_panic(expected = "only appends")]
fn a_shorter_buffer_panics() {
    let mut messages = Messages::default();
    messages.push(b"message");
    messages.push_with(Vec::clear);
}

#[test]
fn a_lacking_implementation_panics() {
    for implementation in Implementation::ALL {
        let hash = || Messages::default().hash_with(implementation, &mut Vec::new());
        assert_eq!(
            std::panic::catch_unwind(hash).is_ok(),
            implementation.is_available()
        );
    }
}

#[test]
fn best_is_the_first_available() {
    assert_eq!(available().next(), Some(Implementation::best()));
    assert!(Implementation::Portable.is_available());
}

proptest! {
    #[test]
    fn random(messages in vec(vec(any::<u8>(), 0..=700), 0..=40)) {
        check(messages.iter().map(Vec::as_slice));
    }
}
