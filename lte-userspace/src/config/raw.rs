//! The file's shape, as serde reads it; what the values mean is decided in `check`.

use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, SeqAccess, Visitor};
use toml::Spanned;

/// Which backend the file asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum BackendChoice {
    /// eBPF where it can run, else nftables.
    #[default]
    Auto,
    /// TC eBPF programs, or fail.
    Ebpf,
    /// nftables, or fail.
    Nft,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Raw {
    #[serde(default)]
    pub(super) backend: BackendChoice,
    pub(super) modem: Spanned<RawModem>,
    pub(super) tunnel: Spanned<RawTunnel>,
    #[serde(default)]
    pub(super) routing: RawRouting,
    pub(super) uplinks: Option<RawUplinks>,
    pub(super) budget: Option<RawBudget>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawModem {
    pub(super) interface: Option<Spanned<String>>,
    pub(super) mac: Option<Spanned<String>>,
    pub(super) address: Texts,
    pub(super) gateway: Option<Texts>,
    pub(super) admin_address: Option<Texts>,
    pub(super) admin_ports: Option<Vec<Spanned<i64>>>,
    pub(super) name_servers: Option<Texts>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawTunnel {
    pub(super) interface: Option<Spanned<String>>,
    pub(super) address: Texts,
    pub(super) private_key_file: Spanned<String>,
    pub(super) listen_port: Option<Spanned<i64>>,
    pub(super) mtu: Option<Spanned<i64>>,
    #[serde(alias = "handshake_patience")]
    pub(super) handshake_retry_for: Option<Spanned<i64>>,
    #[serde(alias = "handshake_pause")]
    pub(super) handshake_retry_interval: Option<Spanned<i64>>,
    #[serde(default)]
    pub(super) peer: Vec<Spanned<RawPeer>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawPeer {
    pub(super) public_key: Spanned<String>,
    pub(super) endpoint: Spanned<String>,
    pub(super) allowed_ips: Texts,
    pub(super) persistent_keepalive: Option<Spanned<i64>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawRouting {
    pub(super) table: Option<Spanned<i64>>,
    pub(super) mark: Option<Spanned<i64>>,
    pub(super) mask: Option<Spanned<i64>>,
    pub(super) rule_priority: Option<Spanned<i64>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawUplinks {
    pub(super) interfaces: Option<Vec<Spanned<String>>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawBudget {
    pub(super) limit: Spanned<String>,
    pub(super) renews: Option<Spanned<String>>,
    pub(super) overhead_per_packet: Option<Spanned<i64>>,
}

/// One string or an array of strings, each with its place.
#[derive(Debug)]
pub(super) struct Texts {
    pub(super) all: Vec<Spanned<String>>,
    pub(super) span: std::ops::Range<usize>,
}

/// The same, before a lone string has its place.
enum OneOrMany {
    One(String),
    Many(Vec<Spanned<String>>),
}

impl<'de> Deserialize<'de> for OneOrMany {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either;

        impl<'de> Visitor<'de> for Either {
            type Value = OneOrMany;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string or an array of strings")
            }

            fn visit_str<E>(self, text: &str) -> Result<OneOrMany, E> {
                Ok(OneOrMany::One(text.to_owned()))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<OneOrMany, A::Error> {
                let mut all = Vec::new();
                while let Some(text) = seq.next_element()? {
                    all.push(text);
                }
                Ok(OneOrMany::Many(all))
            }
        }

        deserializer.deserialize_any(Either)
    }
}

impl<'de> Deserialize<'de> for Texts {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let spanned = Spanned::<OneOrMany>::deserialize(deserializer)?;
        let span = spanned.span();
        let all = match spanned.into_inner() {
            OneOrMany::One(text) => vec![Spanned::new(span.clone(), text)],
            OneOrMany::Many(all) => all,
        };
        Ok(Self { all, span })
    }
}
