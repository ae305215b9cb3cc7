//! A file of consecutive blocks in RLP, as `export` and other clients write it.

use super::chain_block::Envelope;
use alloy_consensus::Block;
use alloy_rlp::Decodable;
use std::io::{self, BufRead, Read};
use thiserror::Error;

/// Bytes of one block at most.
const BLOCK_BYTES_MAX: usize = 256 << 20;

/// Why blocks cannot be read.
#[derive(Debug, Error)]
#[expect(missing_docs, reason = "the messages say what the variants mean")]
pub enum RlpFileError {
    #[error("cannot read block {index} of the file: {source}")]
    Read { index: usize, source: io::Error },
    #[error("what should be block {index} of the file is not one: {source}")]
    Malformed {
        index: usize,
        source: alloy_rlp::Error,
    },
    #[error("block {index} of the file says it has {bytes} bytes, more than {BLOCK_BYTES_MAX}")]
    TooLarge { index: usize, bytes: usize },
}

/// Reads blocks one by one.
#[derive(Debug)]
pub struct RlpBlocks<R> {
    reader: R,
    index: usize,
    failed: bool,
}

impl<R: BufRead> RlpBlocks<R> {
    /// Blocks of a file.
    pub const fn new(reader: R) -> Self {
        Self {
            reader,
            index: 0,
            failed: false,
        }
    }

    fn read(&mut self) -> Result<Option<Block<Envelope>>, RlpFileError> {
        let index = self.index;
        let read = |source| RlpFileError::Read { index, source };
        if self.reader.fill_buf().map_err(read)?.is_empty() {
            return Ok(None);
        }
        // The first byte gives the number of bytes of the list's length.
        let mut head = [0_u8; 9];
        self.reader.read_exact(&mut head[..1]).map_err(read)?;
        let length_bytes = usize::from(head[0].saturating_sub(0xf7));
        let length_bytes = if head[0] >= 0xf8 { length_bytes } else { 0 };
        self.reader
            .read_exact(&mut head[1..=length_bytes])
            .map_err(read)?;
        let malformed = |source| RlpFileError::Malformed { index, source };
        let bytes = match head[0] {
            0..0xc0 => return Err(malformed(alloy_rlp::Error::UnexpectedString)),
            short @ 0xc0..0xf8 => usize::from(short - 0xc0),
            _ => {
                let mut length = [0; 8];
                length[8 - length_bytes..].copy_from_slice(&head[1..=length_bytes]);
                usize::try_from(u64::from_be_bytes(length)).unwrap_or(usize::MAX)
            }
        };
        if bytes > BLOCK_BYTES_MAX {
            return Err(RlpFileError::TooLarge { index, bytes });
        }
        let mut encoded = head[..=length_bytes].to_vec();
        // Memory grows with the bytes read, not with the stated length, which may be damaged.
        let mut body = Vec::new();
        let wanted = bytes as u64;
        let found = (&mut self.reader)
            .take(wanted)
            .read_to_end(&mut body)
            .map_err(read)?;
        if found < bytes {
            return Err(read(io::ErrorKind::UnexpectedEof.into()));
        }
        encoded.append(&mut body);
        let mut rest = &encoded[..];
        let block = Block::decode(&mut rest).map_err(malformed)?;
        if !rest.is_empty() {
            return Err(malformed(alloy_rlp::Error::UnexpectedLength));
        }
        Ok(Some(block))
    }
}

impl<R: BufRead> Iterator for RlpBlocks<R> {
    type Item = Result<Block<Envelope>, RlpFileError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.failed {
            return None;
        }
        let block = self.read();
        self.failed = block.is_err();
        self.index += 1;
        block.transpose()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloy_rlp::Encodable;

    fn encoded(number: u64, extra: usize) -> Vec<u8> {
        let mut block = Block::<Envelope>::default();
        block.header.number = number;
        block.header.extra_data = vec![7; extra].into();
        let mut out = Vec::new();
        block.encode(&mut out);
        out
    }

    #[test]
    fn blocks_are_read_one_by_one() {
        let file = [encoded(1, 0), encoded(2, 40), encoded(3, 300)].concat();
        let numbers: Vec<u64> = RlpBlocks::new(&file[..])
            .map(|block| block.unwrap().header.number)
            .collect();
        assert_eq!(numbers, [1, 2, 3]);
    }

    #[test]
    fn damage_is_named_and_ends_the_reading() {
        let mut cut = encoded(1, 0);
        cut.truncate(cut.len() - 1);
        let mut blocks = RlpBlocks::new(&cut[..]);
        assert!(matches!(
            blocks.next(),
            Some(Err(RlpFileError::Read { index: 0, .. }))
        ));
        assert!(blocks.next().is_none());
        let text = b"hello";
        let mut blocks = RlpBlocks::new(&text[..]);
        assert!(matches!(
            blocks.next(),
            Some(Err(RlpFileError::Malformed { .. }))
        ));
        let huge = [0xff; 9];
        let mut blocks = RlpBlocks::new(&huge[..]);
        assert!(matches!(
            blocks.next(),
            Some(Err(RlpFileError::TooLarge { .. }))
        ));
    }
}
