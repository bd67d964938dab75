//! The two backends, and how a scenario becomes a test for each.

use std::fmt;

/// Which of the agent's backends a test is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Backend {
    /// TC eBPF programs.
    Ebpf,
    /// An nftables table.
    Nft,
}

impl fmt::Display for Backend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Ebpf => "ebpf",
            Self::Nft => "nft",
        })
    }
}

/// Makes tests of scenarios: functions from [`Backend`] to `anyhow::Result<()>`.
///
/// Each becomes `ebpf::<name>`, and `<backend>::<name>` for every backend listed here.
#[macro_export]
macro_rules! for_each_backend {
    ($($scenario:ident),+ $(,)?) => {
        $crate::for_each_backend!(@backend ebpf Ebpf $($scenario)+);
        $crate::for_each_backend!(@backend nft Nft $($scenario)+);
    };
    (@backend $module:ident $backend:ident $($scenario:ident)+) => {
        mod $module {
            $(
                #[test]
                fn $scenario() -> anyhow::Result<()> {
                    super::$scenario($crate::backend::Backend::$backend)
                }
            )+
        }
    };
}
