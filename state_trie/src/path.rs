//! Paths in the trie: the nibbles of a hashed key, and their compact encoding.

use alloy_primitives::B256;

/// Nibbles of a hashed key.
pub(crate) const KEY_NIBBLES: usize = 64;

/// The nibble of a key at an index.
#[inline]
pub(crate) fn nibble(key: &B256, index: usize) -> u8 {
    let byte = key[index / 2];
    if index.is_multiple_of(2) {
        byte >> 4
    } else {
        byte & 15
    }
}

/// Sets the nibble of a key at an index.
pub(crate) fn set_nibble(key: &mut B256, index: usize, nibble: u8) {
    let byte = &mut key[index / 2];
    *byte = if index.is_multiple_of(2) {
        *byte & 0x0f | nibble << 4
    } else {
        *byte & 0xf0 | nibble
    };
}

/// The number of nibbles that two keys share from the beginning.
pub(crate) fn common(left: &B256, right: &B256) -> usize {
    for (index, (left, right)) in left.iter().zip(right).enumerate() {
        if left != right {
            return 2 * index + usize::from(left >> 4 == right >> 4);
        }
    }
    KEY_NIBBLES
}

/// Whether a key begins with the first `nibbles` nibbles of a path.
pub fn is_below(key: &B256, path: &B256, nibbles: usize) -> bool {
    common(key, path) >= nibbles
}

/// The number of nibbles that `prefix` shares with a key from index `from` on.
pub(crate) fn common_with(prefix: &[u8], key: &B256, from: usize) -> usize {
    (prefix.iter().enumerate())
        .take_while(|(index, nibble_of)| nibble(key, from + index) == **nibble_of)
        .count()
}

/// The nibbles of a key in a range.
pub(crate) fn nibbles(key: &B256, from: usize, to: usize) -> Box<[u8]> {
    (from..to).map(|index| nibble(key, index)).collect()
}

/// Length of the compact encoding of this many nibbles.
pub(crate) const fn compact_len(nibbles: usize) -> usize {
    nibbles / 2 + 1
}

/// Appends the compact encoding of a leaf's path, the nibbles of `key` from `from` to the end
/// (yellow paper, appendix C), without its RLP header.
pub(crate) fn write_leaf_path(out: &mut Vec<u8>, key: &B256, from: usize) {
    if from.is_multiple_of(2) {
        out.push(0x20);
    } else {
        out.push(0x30 | nibble(key, from));
    }
    out.extend_from_slice(&key[from.div_ceil(2)..]);
}

/// Appends the compact encoding of an extension's path, without its RLP header.
pub(crate) fn write_extension_path(out: &mut Vec<u8>, nibbles: &[u8]) {
    let rest = if nibbles.len().is_multiple_of(2) {
        out.push(0);
        nibbles
    } else {
        out.push(0x10 | nibbles[0]);
        &nibbles[1..]
    };
    out.extend(rest.chunks_exact(2).map(|pair| pair[0] << 4 | pair[1]));
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloy_trie::Nibbles;

    #[test]
    fn paths_are_encoded_as_alloy_does() {
        let key = alloy_primitives::keccak256(b"key");
        for from in 0..=KEY_NIBBLES {
            let mut out = Vec::new();
            write_leaf_path(&mut out, &key, from);
            let nibbles = Nibbles::unpack(key).slice(from..);
            assert_eq!(
                out,
                alloy_trie::nodes::encode_path_leaf(&nibbles, true).to_vec()
            );
            assert_eq!(out.len(), compact_len(KEY_NIBBLES - from));
            let mut out = Vec::new();
            write_extension_path(&mut out, &self::nibbles(&key, from, KEY_NIBBLES));
            assert_eq!(
                out,
                alloy_trie::nodes::encode_path_leaf(&nibbles, false).to_vec()
            );
        }
    }

    #[test]
    fn common_prefixes_are_counted_in_nibbles() {
        let key = B256::repeat_byte(0x12);
        let mut other = key;
        other[5] = 0x13;
        assert_eq!(common(&key, &other), 11);
        other[5] = 0x22;
        assert_eq!(common(&key, &other), 10);
        assert_eq!(common(&key, &key), KEY_NIBBLES);
        assert_eq!(common_with(&[1, 2, 1, 3], &key, 0), 3);
        assert_eq!(common_with(&[2, 1, 2], &key, 1), 3);
    }
}
