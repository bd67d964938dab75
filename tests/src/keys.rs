//! The lab's WireGuard keys, made once by `wg genkey`: four processes fewer in each test.

use std::fmt;

/// A key pair. The private half is never shown.
#[derive(Clone, Copy)]
pub struct KeyPair {
    /// Base64.
    pub public: &'static str,
    private: &'static str,
}

impl fmt::Debug for KeyPair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyPair")
            .field("public", &self.public)
            .finish_non_exhaustive()
    }
}

impl KeyPair {
    /// The private half, base64, to be written into a key file.
    pub const fn private(&self) -> &'static str {
        self.private
    }
}

/// The router's.
pub const ROUTER: KeyPair = KeyPair {
    public: "8cpmr7rE3xdp18S+QjgnUriFWE79JdxgJ9CgjvSd0Tc=",
    private: "iNoTaGDM4QTr7O+VGs/8Zwi5BgYESO+maQQq+ls1fXI=",
};

/// The server's.
pub const SERVER: KeyPair = KeyPair {
    public: "5EnANmY4aaxXdIw+ZE92PQP4nAgJg+Pj2S6ouv0+Jgo=",
    private: "QOpkNYpCM/W6ermKj8cBAERGw9uV/O7KA47+x6h/elg=",
};

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;
    use crate::process::tool;

    #[test]
    fn each_half_is_the_others() {
        for pair in [ROUTER, SERVER] {
            let public = tool("wg", &["pubkey"], pair.private()).unwrap();
            assert_eq!(public.trim(), pair.public);
        }
    }
}
