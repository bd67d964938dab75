//! The seal: how a restarted agent knows its rules again.
//!
//! nft lists rules in other words than it was given, and each version in its own: what is read
//! cannot be compared with what was written. So after a load the tables are read back, and an
//! empty chain is added whose name holds two numbers: one for what was asked for, one for what
//! was read back. Later both are computed anew. A process that flushes, deletes, inserts or alters
//! anything breaks the second; other settings, or another version of the agent, the first. A new
//! version of nft may break the second too: then the rules are loaded once more, and sealed.

/// How the name of the seal begins.
pub(super) const SEAL: &str = "seal_";

/// The two numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Seal {
    /// Of the rules that were asked for.
    pub(super) wanted_hash: u64,
    /// Of what was read back.
    pub(super) loaded_hash: u64,
}

impl Seal {
    /// The name of the chain that is the seal.
    pub(super) fn name(self) -> String {
        format!("{SEAL}{:016x}_{:016x}", self.wanted_hash, self.loaded_hash)
    }

    /// From the name of a chain.
    pub(super) fn parse(name: &str) -> Option<Self> {
        let (wanted_hash, loaded_hash) = name.strip_prefix(SEAL)?.split_once('_')?;
        let number = |digits| u64::from_str_radix(digits, 16).ok();
        Some(Self {
            wanted_hash: number(wanted_hash)?,
            loaded_hash: number(loaded_hash)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seal_is_read_from_its_own_name_and_from_no_other() {
        let seal = Seal {
            wanted_hash: 0x0123_4567_89ab_cdef,
            loaded_hash: 7,
        };
        assert_eq!(seal.name(), "seal_0123456789abcdef_0000000000000007");
        assert_eq!(Seal::parse(&seal.name()), Some(seal));
        for other in ["seal_", "seal_1", "seal_x_1", "steer", "aseal_1_2"] {
            assert_eq!(Seal::parse(other), None, "{other}");
        }
    }
}
