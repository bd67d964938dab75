//! WireGuard's keys.

use std::fmt;
use std::fs::File;
use std::io::{self, Read as _};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::Path;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use x25519_dalek::StaticSecret;
use zeroize::Zeroizing;

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

/// A private key: never printed, in memory once however often it is cloned, wiped with the last clone. Compared
/// with another by its public half.
#[derive(Clone)]
pub struct PrivateKey {
    bytes: Arc<Zeroizing<[u8; KEY_LEN]>>,
    public: PublicKey,
}

impl PartialEq for PrivateKey {
    fn eq(&self, other: &Self) -> bool {
        self.public == other.public
    }
}

impl Eq for PrivateKey {}

impl PrivateKey {
    /// A key of given bytes, which are read where they are: a copy on the way would stay on the stack.
    pub fn new(bytes: &[u8; KEY_LEN]) -> Self {
        let mut own = Arc::new(Zeroizing::new([0; KEY_LEN]));
        if let Some(own) = Arc::get_mut(&mut own) {
            own.copy_from_slice(bytes);
        }
        // It is wiped when it is dropped.
        let secret = StaticSecret::from(**own);
        let public = PublicKey(x25519_dalek::PublicKey::from(&secret).to_bytes());
        Self { bytes: own, public }
    }

    /// The bytes, as the kernel takes them.
    pub fn expose(&self) -> &[u8; KEY_LEN] {
        &self.bytes
    }

    /// Its public half.
    pub const fn public(&self) -> PublicKey {
        self.public
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
    #[error("private key {path}: mode {mode:04o} lets other users access it: chmod 600 {path}")]
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

/// Reads a private key from a regular file that only its owner can read.
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
    let bytes = decode(text.trim()).map_err(content)?;
    Ok(PrivateKey::new(&bytes))
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test's own files are there")]
mod tests {
    use super::*;

    #[test]
    fn a_private_key_does_not_show() {
        let key = PrivateKey::new(&[0x41; 32]);
        let shown = format!("{key:?}");
        assert_eq!(shown, "PrivateKey(hidden)");
    }

    #[test]
    fn a_private_key_is_in_memory_once_and_known_by_its_public_half() {
        let key = PrivateKey::new(&[0xff; 32]);
        let clone = key.clone();
        assert!(std::ptr::eq(key.expose(), clone.expose()), "a second copy");
        // The kernel keeps it with the bits set that Curve25519 ignores.
        let mut kept = [0xff; 32];
        kept[0] = 0xf8;
        kept[31] = 0x7f;
        assert_eq!(key, PrivateKey::new(&kept));
        assert_ne!(key, PrivateKey::new(&[0xfe; 32].map(|byte| byte & 0x0f)));
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
