//! The fields of a block's header that a proof needs, read from its RLP.

use alloy_primitives::{B256, keccak256};
use alloy_rlp::Decodable;
use thiserror::Error;

/// Where the fields are in a header.
const PARENT_HASH: usize = 0;
const STATE_ROOT: usize = 3;
const NUMBER: usize = 8;
/// Fields of the oldest form of a header, before EIP-1559. Later forms have more.
const FIELDS_MIN: usize = 15;

/// Why bytes are not a header.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum MalformedHeader {
    /// The bytes are not a list of strings, or a field has another type.
    #[error("it is not the RLP of a header: {0}")]
    Rlp(#[from] alloy_rlp::Error),
    /// There are more bytes than the header has.
    #[error("{0} bytes follow the header")]
    TrailingBytes(usize),
    /// There are fewer fields than a header has.
    #[error("it has {0} fields, fewer than {FIELDS_MIN}")]
    TooFewFields(usize),
}

/// What a proof needs of a header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) hash: B256,
    pub(crate) parent_hash: B256,
    pub(crate) state_root: B256,
    pub(crate) number: u64,
}

impl Header {
    pub(crate) fn decode(rlp: &[u8]) -> Result<Self, MalformedHeader> {
        let mut rest = rlp;
        let mut fields = alloy_rlp::Header::decode_bytes(&mut rest, true)?;
        if !rest.is_empty() {
            return Err(MalformedHeader::TrailingBytes(rest.len()));
        }
        let mut header = Self {
            hash: keccak256(rlp),
            parent_hash: B256::ZERO,
            state_root: B256::ZERO,
            number: 0,
        };
        let mut count = 0;
        while !fields.is_empty() {
            match count {
                PARENT_HASH => header.parent_hash = B256::decode(&mut fields)?,
                STATE_ROOT => header.state_root = B256::decode(&mut fields)?,
                NUMBER => header.number = u64::decode(&mut fields)?,
                _ => {
                    alloy_rlp::Header::decode_bytes(&mut fields, false)?;
                }
            }
            count += 1;
        }
        if count < FIELDS_MIN {
            return Err(MalformedHeader::TooFewFields(count));
        }
        Ok(header)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloy_primitives::{Bytes, hex};

    /// The first block of Ethereum's main network after the genesis.
    fn block_1() -> Vec<u8> {
        let before = hex!(
            "f90211a0d4e56740f876aef8c010b86a40d5f56745a118d0906a34e69aec8c0db1cb8fa3a01dcc4de8dec7"
            "5d7aab85b567b6ccd41ad312451b948a7413f0a142fd40d493479405a56e2d52c817161883f50c441c3228"
            "cfe54d9fa0d67e4d450343046425ae4271474353857ab860dbc0a1dde64b41b5cd3a532bf3a056e81f171b"
            "cc55a6ff8345e692c0f86e5b48e01b996cadc001622fb5e363b421a056e81f171bcc55a6ff8345e692c0f8"
            "6e5b48e01b996cadc001622fb5e363b421b90100"
        );
        let after = hex!(
            "8503ff80000001821388808455ba422499476574682f76312e302e302f6c696e75782f676f312e342e32a0"
            "969b900de27b6ac6a67742365dd65f55a0526c41fd18e1b16f1a1215c2e66f5988539bd4979fef1ec4"
        );
        [&before[..], &[0; 256], &after].concat()
    }

    #[test]
    fn a_header_of_ethereum_is_read() {
        let header = Header::decode(&block_1()).unwrap();
        assert_eq!(header.number, 1);
        assert_eq!(
            header.hash.0,
            hex!("88e96d4537bea4d9c05d12549907b32561d3bf31f45aae734cdc119f13406cb6")
        );
        assert_eq!(
            header.parent_hash.0,
            hex!("d4e56740f876aef8c010b86a40d5f56745a118d0906a34e69aec8c0db1cb8fa3")
        );
        assert_eq!(
            header.state_root.0,
            hex!("d67e4d450343046425ae4271474353857ab860dbc0a1dde64b41b5cd3a532bf3")
        );
    }

    #[test]
    fn every_prefix_is_refused() {
        let mut longer = block_1();
        for end in 0..longer.len() {
            assert!(Header::decode(&longer[..end]).is_err(), "{end} bytes");
        }
        longer.push(0);
        assert_eq!(
            Header::decode(&longer),
            Err(MalformedHeader::TrailingBytes(1))
        );
    }

    fn list(fields: &[Vec<u8>]) -> Vec<u8> {
        let payload = fields.concat();
        let mut list = Vec::new();
        let header = alloy_rlp::Header {
            list: true,
            payload_length: payload.len(),
        };
        header.encode(&mut list);
        [list, payload].concat()
    }

    fn fields() -> Vec<Vec<u8>> {
        let mut fields = vec![alloy_rlp::encode(Bytes::new()); FIELDS_MIN];
        fields[PARENT_HASH] = alloy_rlp::encode(B256::repeat_byte(1));
        fields[STATE_ROOT] = alloy_rlp::encode(B256::repeat_byte(2));
        fields[NUMBER] = alloy_rlp::encode(3_u64);
        fields
    }

    #[test]
    fn wrong_fields_are_refused() {
        assert_eq!(Header::decode(&list(&fields())).unwrap().number, 3);
        let few = &fields()[..FIELDS_MIN - 1];
        assert_eq!(
            Header::decode(&list(few)),
            Err(MalformedHeader::TooFewFields(FIELDS_MIN - 1))
        );
        let wrong: [(usize, Vec<u8>); 6] = [
            (PARENT_HASH, alloy_rlp::encode(Bytes::from(vec![1; 31]))),
            (STATE_ROOT, alloy_rlp::encode(Bytes::from(vec![1; 33]))),
            // A number of more than 64 bits, one with a zero in front, and one that is a list.
            (NUMBER, alloy_rlp::encode(Bytes::from(vec![1; 9]))),
            (NUMBER, vec![0x82, 0, 1]),
            (NUMBER, vec![0xc1, 1]),
            (FIELDS_MIN - 1, vec![0xc0]),
        ];
        for (index, field) in wrong {
            let mut fields = fields();
            fields[index] = field;
            assert!(Header::decode(&list(&fields)).is_err(), "field {index}");
        }
        let mut more = fields();
        more.push(alloy_rlp::encode(7_u64));
        assert!(Header::decode(&list(&more)).is_ok());
    }
}
