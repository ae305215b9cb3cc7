//! Accounts: senders and recipients derived from a seed, the funder from a mnemonic or a key.

use alloy_primitives::{Address, B256, hex, keccak256};
use alloy_signer_local::{MnemonicBuilder, coins_bip39::English};
use secp256k1::{PublicKey, Secp256k1, SecretKey, SignOnly};
use std::sync::LazyLock;

use crate::error::LoadError;

/// The signing context of libsecp256k1, created once.
pub(crate) static SIGNING: LazyLock<Secp256k1<SignOnly>> = LazyLock::new(Secp256k1::signing_only);

/// An address and its key.
#[derive(Clone)]
pub struct Account {
    /// Address of the public key.
    pub address: Address,
    /// Secret key.
    pub key: SecretKey,
}

impl std::fmt::Debug for Account {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Never logs the key.
        formatter
            .debug_struct("Account")
            .field("address", &self.address)
            .finish_non_exhaustive()
    }
}

impl Account {
    /// The account with a 32-byte secret key.
    pub fn from_secret(secret: B256) -> Result<Self, LoadError> {
        let key = SecretKey::from_byte_array(secret.0)
            .map_err(|error| LoadError::Key(error.to_string()))?;
        let public = PublicKey::from_secret_key(&SIGNING, &key).serialize_uncompressed();
        Ok(Self {
            address: Address::from_raw_public_key(&public[1..]),
            key,
        })
    }

    /// Account `index` of a BIP-39 mnemonic, on the path m/44'/60'/0'/0/index.
    pub fn from_mnemonic(phrase: &str, index: u32) -> Result<Self, LoadError> {
        let signer = MnemonicBuilder::<English>::default()
            .phrase(phrase)
            .index(index)
            .and_then(|builder| builder.build())
            .map_err(|error| LoadError::Key(error.to_string()))?;
        Self::from_secret(signer.to_bytes())
    }

    /// The account with a hexadecimal key.
    pub fn from_hex(text: &str) -> Result<Self, LoadError> {
        let bytes = hex::decode(text.trim()).map_err(|error| LoadError::Key(error.to_string()))?;
        let secret = B256::try_from(bytes.as_slice())
            .map_err(|_| LoadError::Key(format!("a key has 32 bytes, this one {}", bytes.len())))?;
        Self::from_secret(secret)
    }
}

/// `count` senders from a seed: key i is keccak256("lockweave-loadgen sender" ‖ seed ‖ i).
pub fn senders(seed: u64, count: u32) -> Result<Vec<Account>, LoadError> {
    (0..count)
        .map(|index| Account::from_secret(derive(b"lockweave-loadgen sender", seed, index)))
        .collect()
}

/// `count` addresses from a seed, without known keys.
pub fn recipients(seed: u64, count: u32) -> Vec<Address> {
    (0..count)
        .map(|index| Address::from_word(derive(b"lockweave-loadgen recipient", seed, index)))
        .collect()
}

fn derive(label: &[u8], seed: u64, index: u32) -> B256 {
    keccak256([label, &seed.to_be_bytes(), &index.to_be_bytes()].concat())
}

#[cfg(test)]
mod tests {
    use alloy_primitives::address;

    use super::{Account, recipients, senders};

    #[test]
    fn the_well_known_mnemonic_gives_the_well_known_account() {
        let phrase = "test test test test test test test test test test test junk";
        let account = Account::from_mnemonic(phrase, 0).expect("a valid mnemonic");
        assert_eq!(
            account.address,
            address!("f39Fd6e51aad88F6F4ce6aB8827279cffFb92266")
        );
        let key = "0xac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80";
        assert_eq!(
            Account::from_hex(key).expect("a valid key").address,
            account.address
        );
        assert!(Account::from_mnemonic("not a mnemonic", 0).is_err());
        assert!(Account::from_hex("0x00").is_err());
    }

    #[test]
    fn a_seed_decides_the_accounts() {
        let first = senders(7, 3).expect("keys");
        assert_eq!(first[2].address, senders(7, 4).expect("keys")[2].address);
        assert_ne!(first[2].address, senders(8, 3).expect("keys")[2].address);
        assert_eq!(recipients(7, 2)[1], recipients(7, 5)[1]);
    }
}
