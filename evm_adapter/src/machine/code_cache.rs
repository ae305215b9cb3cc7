//! A worker's own handles on the code that it runs.
//!
//! revm counts references to a bytecode at every load and call. If all workers shared one handle on a
//! popular token's code, or on empty code, every transaction on every core would write to the same counter.
//! Therefore each worker has its own handles, with their own counters; bytes and jump tables stay shared.

// Rebuilding a handle from analysed parts is `unsafe` in revm.
#![allow(unsafe_code)]

use alloy_primitives::{Bytes, map::B256Map};
use lockweave_runtime::CodeRef;
use revm::bytecode::Bytecode;

/// Handles kept, at most. A full cache is cleared.
const HANDLES_MAX: usize = 4_096;

/// Bytecodes by hash, with their own reference counts.
#[derive(Debug)]
pub(crate) struct CodeCache {
    handles: B256Map<Bytecode>,
    empty: Bytecode,
}

impl CodeCache {
    /// revm's form of a code, which is analysed once in the code's lifetime.
    pub(crate) fn get(&mut self, code: &CodeRef) -> Bytecode {
        let Some(code) = code.get() else {
            return self.empty.clone();
        };
        let hash = code.hash();
        if let Some(handle) = self.handles.get(&hash) {
            return handle.clone();
        }
        let handle = own_handle(&code.analysed(analyse));
        if self.handles.len() >= HANDLES_MAX {
            self.handles.clear();
        }
        self.handles.insert(hash, handle.clone());
        handle
    }
}

impl Default for CodeCache {
    fn default() -> Self {
        Self {
            handles: B256Map::default(),
            empty: own_handle(&Bytecode::default()),
        }
    }
}

/// A delegation designator (EIP-7702), or a program. Old contracts may begin with the same bytes without being a
/// designator.
fn analyse(bytes: &Bytes) -> Bytecode {
    Bytecode::new_raw_checked(bytes.clone()).unwrap_or_else(|_| Bytecode::new_legacy(bytes.clone()))
}

/// The same bytecode with its own reference count.
fn own_handle(shared: &Bytecode) -> Bytecode {
    match shared.legacy_jump_table() {
        Some(jump_table) => {
            let (padded, len) = (shared.bytecode().clone(), shared.len());
            // SAFETY: `new_analyzed` requires that the bytes are padded, and that length and jump table
            // belong to them. All three come unchanged from one bytecode that revm analysed.
            unsafe { Bytecode::new_analyzed(padded, len, jump_table.clone()) }
        }
        None => shared.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use lockweave_runtime::Code;
    use revm::bytecode::opcode;
    use std::sync::Arc;

    fn code(bytes: &[u8]) -> CodeRef {
        CodeRef::new(Arc::new(Code::new(Bytes::copy_from_slice(bytes))))
    }

    #[test]
    fn handles_hold_the_analysed_code() {
        let mut cache = CodeCache::default();
        let program = code(&[opcode::JUMPDEST, opcode::PUSH1, 0]);
        let first = cache.get(&program);
        let second = cache.get(&program);
        assert_eq!(first, second);
        assert_eq!(
            first.original_byte_slice(),
            [opcode::JUMPDEST, opcode::PUSH1, 0]
        );
        assert_eq!(
            first.legacy_jump_table().map(|table| table.is_valid(0)),
            Some(true)
        );
        assert_eq!(first.hash_slow(), program.hash());
    }

    #[test]
    fn no_code_is_empty_code() {
        let empty = CodeCache::default().get(&CodeRef::EMPTY);
        assert!(empty.is_empty() && !empty.is_eip7702());
        assert_eq!(empty, Bytecode::default());
        assert_eq!(empty.hash_slow(), CodeRef::EMPTY.hash());
    }

    #[test]
    fn a_lookalike_of_a_delegation_is_a_program() {
        let mut cache = CodeCache::default();
        assert!(!cache.get(&code(&[0xef, 0x01, 0x00, 0x01])).is_eip7702());
        let mut designator = vec![0xef, 0x01, 0x00];
        designator.extend_from_slice(&[7; 20]);
        assert!(cache.get(&code(&designator)).is_eip7702());
    }
}
