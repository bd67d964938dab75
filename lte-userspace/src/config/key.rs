//! WireGuard's keys.

use std::fmt;
use std::fs::File;
use std::io::{self, Read as _};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use defguard_wireguard_rs::key::Key;
use zeroize::{Zeroize as _, Zeroizing};

/// Bytes in a key.
pub const KEY_LEN: usize = 32;

/// A peer's public key.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PublicKey(pub [u8; KEY_LEN]);

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&STANDARD.encode(self.0))
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PublicKey({self})")
    }
}

/// A private key: never printed, wiped when dropped.
#[derive(Clone, PartialEq, Eq)]
pub struct PrivateKey([u8; KEY_LEN]);

impl Drop for PrivateKey {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

impl PrivateKey {
    /// The bytes, for the kernel's eyes.
    pub const fn expose(&self) -> &[u8; KEY_LEN] {
        &self.0
    }

    /// Its public half.
    pub fn public(&self) -> PublicKey {
        PublicKey(Key::new(self.0).public_key().as_array())
    }

    /// A key of given bytes.
    pub const fn from_bytes(bytes: [u8; KEY_LEN]) -> Self {
        Self(bytes)
    }
}

impl fmt::Debug for PrivateKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PrivateKey(hidden)")
    }
}

/// Why a text is no key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// The text is not base64.
    #[error("it is not base64: a key is 44 characters, as `wg genkey` and `wg pubkey` print it")]
    Base64,
    /// It decodes to another number of bytes.
    #[error(
        "it decodes to {0} bytes where a key has 32: 44 characters, as `wg genkey` and `wg pubkey` print it"
    )]
    Length(usize),
}

fn decode(text: &str) -> Result<Zeroizing<[u8; KEY_LEN]>, KeyError> {
    let bytes = Zeroizing::new(STANDARD.decode(text).map_err(|_| KeyError::Base64)?);
    let key = <[u8; KEY_LEN]>::try_from(bytes.as_slice());
    key.map(Zeroizing::new)
        .map_err(|_| KeyError::Length(bytes.len()))
}

impl std::str::FromStr for PublicKey {
    type Err = KeyError;

    fn from_str(text: &str) -> Result<Self, KeyError> {
        Ok(Self(*decode(text)?))
    }
}

/// Why a private key's file is refused.
#[derive(Debug, thiserror::Error)]
pub enum KeyFileError {
    /// The system refuses.
    #[error("private key {path}: {source}")]
    Io {
        /// The file.
        path: String,
        /// What the system says.
        source: io::Error,
    },
    /// It is a directory, a device or a pipe.
    #[error("private key {0}: not a regular file")]
    NotRegular(String),
    /// Others than its owner may read it.
    #[error("private key {path}: mode {mode:04o} lets others at it: chmod 600 {path}")]
    Mode {
        /// The file.
        path: String,
        /// Its permission bits.
        mode: u32,
    },
    /// Its owner is neither root nor the one who runs this.
    #[error("private key {path}: belongs to user {uid}: chown root {path}")]
    Owner {
        /// The file.
        path: String,
        /// Its owner.
        uid: u32,
    },
    /// It holds no key.
    #[error("private key {path}: no key: {source}")]
    Content {
        /// The file.
        path: String,
        /// Why.
        source: KeyError,
    },
}

/// Reads a private key from a regular file that nobody but its owner can read.
pub fn read_private_key(path: &Path) -> Result<PrivateKey, KeyFileError> {
    let name = || path.display().to_string();
    let io = |source| KeyFileError::Io {
        path: name(),
        source,
    };
    // Opening a pipe would wait for its writer, so look first; what is opened is looked at again.
    if !path.metadata().map_err(io)?.is_file() {
        return Err(KeyFileError::NotRegular(name()));
    }
    let mut file = File::open(path).map_err(io)?;
    let metadata = file.metadata().map_err(io)?;
    if !metadata.is_file() {
        return Err(KeyFileError::NotRegular(name()));
    }
    let mode = metadata.permissions().mode() & 0o7777;
    if mode & !0o600 != 0 {
        return Err(KeyFileError::Mode { path: name(), mode });
    }
    let uid = metadata.uid();
    if uid != 0 && uid != rustix::process::geteuid().as_raw() {
        return Err(KeyFileError::Owner { path: name(), uid });
    }
    // A key and a newline need 45 bytes; more than this is no key file.
    let mut text = Zeroizing::new([0_u8; 256]);
    let mut filled = 0;
    while filled < text.len() {
        match file.read(&mut text[filled..]).map_err(io)? {
            0 => break,
            n => filled += n,
        }
    }
    let content = |source| KeyFileError::Content {
        path: name(),
        source,
    };
    let text = std::str::from_utf8(&text[..filled]).map_err(|_| content(KeyError::Base64))?;
    let mut bytes = *decode(text.trim()).map_err(content)?;
    let key = PrivateKey::from_bytes(bytes);
    bytes.zeroize();
    Ok(key)
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test's own files are there")]
mod tests {
    use super::*;

    #[test]
    fn a_private_key_does_not_show() {
        let key = PrivateKey::from_bytes([0x41; 32]);
        let shown = format!("{key:?}");
        assert_eq!(shown, "PrivateKey(hidden)");
    }

    #[test]
    fn public_keys_go_round() {
        let text = "q/R8Fy0uFHLZyLUGkhr1E2X2DVYBbU1bvs6EmyXdPlM=";
        let key: PublicKey = text.parse().unwrap();
        assert_eq!(key.to_string(), text);
        assert_eq!("AAAA".parse::<PublicKey>(), Err(KeyError::Length(3)));
        assert_eq!("nonsense!".parse::<PublicKey>(), Err(KeyError::Base64));
    }
}
