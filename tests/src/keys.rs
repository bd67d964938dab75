//! WireGuard keys for one run of the lab, made by `wg`.

use std::fmt;
use std::sync::OnceLock;

use anyhow::{Result, anyhow};

use crate::process::tool;

/// A key pair. The private half is never shown.
#[derive(Clone)]
pub struct KeyPair {
    /// Base64.
    pub public: String,
    private: String,
}

impl fmt::Debug for KeyPair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyPair")
            .field("public", &self.public)
            .finish_non_exhaustive()
    }
}

impl KeyPair {
    fn generate() -> Result<Self> {
        let private = tool("wg", &["genkey"], "")?.trim().to_owned();
        let public = tool("wg", &["pubkey"], &private)?.trim().to_owned();
        Ok(Self { public, private })
    }

    /// The private half, base64, to be written into a key file.
    pub fn private(&self) -> &str {
        &self.private
    }
}

/// The router's and the server's pairs.
#[derive(Debug, Clone)]
pub struct Keys {
    /// The router's.
    pub router: KeyPair,
    /// The server's.
    pub peer: KeyPair,
}

/// The pairs of this run: the same for every lab of the process.
pub fn keys() -> Result<&'static Keys> {
    static KEYS: OnceLock<Result<Keys, String>> = OnceLock::new();
    KEYS.get_or_init(|| {
        let make = || -> Result<Keys> {
            Ok(Keys {
                router: KeyPair::generate()?,
                peer: KeyPair::generate()?,
            })
        };
        make().map_err(|error| format!("{error:#}"))
    })
    .as_ref()
    .map_err(|error| anyhow!("making keys: {error}"))
}
