//! Reads the body of a request, up to a limit.

use axum::body::{Body, Bytes, HttpBody};
use futures_util::StreamExt;

/// A body over the limit is read and discarded up to this many times the limit: a client that is still
/// sending does not see the response of a server that closes the connection.
const DISCARDED_LIMITS: usize = 4;

/// Bytes that are reserved for a body in several pieces whose length is known. Longer bodies, and those of
/// unknown length, grow as they arrive.
const EXPECTED_BYTES_MAX: u64 = 4 << 20;

/// The result of reading a body.
pub(crate) enum Read {
    Whole(Bytes),
    /// It is larger than allowed.
    TooLarge,
    /// The client closed the connection.
    Broken,
}

/// Reads a body of at most `limit` bytes.
pub(crate) async fn read(body: Body, limit: usize) -> Read {
    let expected = body.size_hint().exact().unwrap_or_default();
    let expected = usize::try_from(expected.min(EXPECTED_BYTES_MAX)).unwrap_or_default();
    let mut chunks = body.into_data_stream();
    let mut first: Option<Bytes> = None;
    let mut rest: Vec<u8> = Vec::new();
    let mut length = 0_usize;
    while let Some(chunk) = chunks.next().await {
        let Ok(chunk) = chunk else {
            return Read::Broken;
        };
        length = length.saturating_add(chunk.len());
        if length > limit.saturating_mul(DISCARDED_LIMITS) {
            return Read::TooLarge;
        }
        if length > limit {
            (first, rest) = (None, Vec::new());
            continue;
        }
        // Most bodies arrive in one piece, which is not copied.
        match (&first, rest.is_empty()) {
            (None, true) => first = Some(chunk),
            (Some(begin), true) => {
                rest.reserve_exact(expected.min(limit));
                rest.extend_from_slice(begin);
                rest.extend_from_slice(&chunk);
            }
            (_, false) => rest.extend_from_slice(&chunk),
        }
    }
    if length > limit {
        return Read::TooLarge;
    }
    let is_single = rest.is_empty();
    Read::Whole(match first {
        Some(only) if is_single => only,
        _ => rest.into(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::stream;

    async fn read_chunks(sizes: &[usize], limit: usize) -> Option<usize> {
        let chunks: Vec<_> = (sizes.iter())
            .map(|size| Ok::<_, std::io::Error>(Bytes::from(vec![7; *size])))
            .collect();
        match read(Body::from_stream(stream::iter(chunks)), limit).await {
            Read::Whole(bytes) => {
                assert!(bytes.iter().all(|byte| *byte == 7));
                Some(bytes.len())
            }
            Read::TooLarge => None,
            Read::Broken => panic!("nothing broke"),
        }
    }

    #[tokio::test]
    async fn bodies_up_to_the_limit_are_read() {
        assert_eq!(read_chunks(&[], 10).await, Some(0));
        assert_eq!(read_chunks(&[10], 10).await, Some(10));
        assert_eq!(read_chunks(&[0, 4, 0, 3, 3], 10).await, Some(10));
        assert_eq!(read_chunks(&[11], 10).await, None);
        assert_eq!(read_chunks(&[6, 5], 10).await, None);
        assert_eq!(read_chunks(&[6, 60, 5], 10).await, None);
    }

    #[tokio::test]
    async fn who_breaks_off_is_told_from_who_sends_too_much() {
        let broken = [
            Ok(Bytes::from_static(b"x")),
            Err(std::io::Error::other("gone")),
        ];
        let read = read(Body::from_stream(stream::iter(broken)), 10).await;
        assert!(matches!(read, Read::Broken));
    }
}
