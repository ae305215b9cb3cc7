//! A node's key, which signs its votes and authenticates its connections.

use super::error::NetworkError;
use commonware_codec::{DecodeExt, Encode};
use commonware_cryptography::{
    Signer,
    ed25519::{PrivateKey, PublicKey},
};
use std::{
    fs::{self, OpenOptions},
    io::{self, Write},
    os::unix::fs::{OpenOptionsExt, PermissionsExt},
    path::Path,
};

/// The permissions of a key file: its owner reads and writes.
const MODE: u32 = 0o600;

/// Makes a key from the system's randomness.
pub fn generate() -> io::Result<PrivateKey> {
    let mut seed = [0; 32];
    fs::File::open("/dev/urandom")
        .and_then(|mut random| io::Read::read_exact(&mut random, &mut seed))?;
    let key = PrivateKey::decode(seed.to_vec());
    Ok(key.expect("every seed is a key"))
}

/// Writes a key to a new file that only its owner can read. A file that exists is an error.
pub fn create(path: &Path, key: &PrivateKey) -> Result<(), NetworkError> {
    let failed = |source| NetworkError::WriteKey {
        path: path.display().to_string(),
        source,
    };
    let mut options = OpenOptions::new();
    let options = options.write(true).create_new(true).mode(MODE);
    let mut file = options.open(path).map_err(failed)?;
    let text = alloy_primitives::hex::encode(key.encode());
    writeln!(file, "{text}")
        .and_then(|()| file.sync_all())
        .map_err(failed)
}

/// Reads a key. A file that others than its owner can read is an error.
pub fn read(path: &Path) -> Result<PrivateKey, NetworkError> {
    let name = || path.display().to_string();
    let failed = |source| NetworkError::ReadKey {
        path: name(),
        source,
    };
    let mode = fs::metadata(path).map_err(failed)?.permissions().mode();
    if mode & 0o077 != 0 {
        return Err(NetworkError::OpenKey {
            path: name(),
            mode: mode & 0o777,
        });
    }
    let text = fs::read_to_string(path).map_err(failed)?;
    let bytes = alloy_primitives::hex::decode(text.trim()).ok();
    let key = bytes.and_then(|bytes| PrivateKey::decode(bytes).ok());
    key.ok_or_else(|| NetworkError::MalformedKey { path: name() })
}

/// A public key as text: 64 hexadecimal digits.
pub fn to_text(key: &PublicKey) -> String {
    alloy_primitives::hex::encode(key.encode())
}

/// A public key from its text.
pub fn from_text(text: &str) -> Option<PublicKey> {
    let bytes = alloy_primitives::hex::decode(text).ok()?;
    PublicKey::decode(bytes).ok()
}

/// The public key of a private key, as text.
pub fn public(key: &PrivateKey) -> String {
    to_text(&key.public_key())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_comes_back_from_its_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("node.key");
        let key = generate().unwrap();
        create(&path, &key).unwrap();
        assert_eq!(public(&read(&path).unwrap()), public(&key));
        assert_eq!(from_text(&public(&key)), Some(key.public_key()));
        let mode = fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, MODE);
        assert!(create(&path, &key).is_err(), "a key file was overwritten");
    }

    #[test]
    fn a_key_that_others_can_read_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("node.key");
        create(&path, &generate().unwrap()).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        assert!(matches!(
            read(&path),
            Err(NetworkError::OpenKey { mode: 0o644, .. })
        ));
    }

    #[test]
    fn what_is_not_a_key_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("node.key");
        for text in ["", "zz", "00", &"0".repeat(66)] {
            let _ = fs::remove_file(&path);
            let mut options = OpenOptions::new();
            let mut file = options
                .write(true)
                .create_new(true)
                .mode(MODE)
                .open(&path)
                .unwrap();
            file.write_all(text.as_bytes()).unwrap();
            assert!(
                matches!(read(&path), Err(NetworkError::MalformedKey { .. })),
                "{text}"
            );
        }
    }
}
