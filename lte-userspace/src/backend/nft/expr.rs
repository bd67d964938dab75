//! The words rules are made of: short names for the expressions and statements in use here.
//!
//! Of the comparisons only `==`, `!=`, `in` and `>=` appear: `Operator::LT` and `GT` are swapped
//! on output in nftables 0.6.3.

use nftables::expr::{
    BinaryOperation, CT, CTDir, Expression, Exthdr, Fib, FibFlag, FibResult, Meta, MetaKey,
    NamedExpression, Payload, PayloadBase, PayloadField, PayloadRaw, Prefix, SetItem,
};
use nftables::schema::SetType;
use nftables::stmt::{Counter, JumpTarget, Mangle, Match, NAT, NATFamily, Operator, Set, SetOp};
use nftables::types::NfFamily;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// A statement without borrowed parts.
pub(super) type Stmt = nftables::stmt::Statement<'static>;
/// An expression without borrowed parts.
pub(super) type Expr = Expression<'static>;

/// One of the two families, as far as rules differ between them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum RuleFamily {
    V4,
    V6,
}

impl RuleFamily {
    pub(super) const BOTH: [Self; 2] = [Self::V4, Self::V6];

    /// The network header's name, in payload expressions and as `meta protocol`.
    pub(super) const fn header(self) -> &'static str {
        match self {
            Self::V4 => "ip",
            Self::V6 => "ip6",
        }
    }

    /// Its ICMP, in payload expressions.
    pub(super) const fn icmp(self) -> &'static str {
        match self {
            Self::V4 => "icmp",
            Self::V6 => "icmpv6",
        }
    }

    /// No options, or extension headers, stand between its header and the transport's of this protocol.
    pub(super) fn is_bare(self, protocol: u8) -> Stmt {
        match self {
            // In words of four bytes.
            Self::V4 => eq(field("ip", "hdrlength"), number(5)),
            Self::V6 => eq(field("ip6", "nexthdr"), number(protocol.into())),
        }
    }

    /// Its value of `meta nfproto`.
    pub(super) const fn nfproto(self) -> &'static str {
        match self {
            Self::V4 => "ipv4",
            Self::V6 => "ipv6",
        }
    }

    /// The set of remembered remotes.
    pub(super) const fn remotes(self) -> &'static str {
        match self {
            Self::V4 => "remote4",
            Self::V6 => "remote6",
        }
    }

    /// The type of its addresses in sets.
    pub(super) const fn address_type(self) -> SetType {
        match self {
            Self::V4 => SetType::Ipv4Addr,
            Self::V6 => SetType::Ipv6Addr,
        }
    }

    /// Its last character, for the names of chains.
    pub(super) const fn digit(self) -> char {
        match self {
            Self::V4 => '4',
            Self::V6 => '6',
        }
    }
}

pub(super) fn text(text: impl Into<String>) -> Expr {
    Expression::String(text.into().into())
}

pub(super) const fn number(number: u32) -> Expr {
    Expression::Number(number)
}

pub(super) fn address(address: impl Into<IpAddr>) -> Expr {
    text(address.into().to_string())
}

/// The subnet that an address lies in. nft compares with what it is given, host bits and all.
pub(super) fn subnet(host: impl Into<IpAddr>, len: u8) -> Expr {
    let network: IpAddr = match host.into() {
        IpAddr::V4(host) => {
            let mask = u32::MAX
                .checked_shl(32 - u32::from(len.min(32)))
                .unwrap_or(0);
            Ipv4Addr::from_bits(host.to_bits() & mask).into()
        }
        IpAddr::V6(host) => {
            let mask = u128::MAX
                .checked_shl(128 - u32::from(len.min(128)))
                .unwrap_or(0);
            Ipv6Addr::from_bits(host.to_bits() & mask).into()
        }
    };
    let bits = if network.is_ipv4() { 32 } else { 128 };
    if len >= bits {
        return address(network);
    }
    Expression::Named(NamedExpression::Prefix(Prefix {
        addr: Box::new(address(network)),
        len: len.into(),
    }))
}

/// An anonymous set of numbers.
pub(super) fn any_of(numbers: impl IntoIterator<Item = u32>) -> Expr {
    let items = numbers
        .into_iter()
        .map(|n| SetItem::Element(number(n)))
        .collect();
    Expression::Named(NamedExpression::Set(items))
}

/// An anonymous set of addresses and subnets.
pub(super) fn any_subnet(subnets: impl IntoIterator<Item = Expr>) -> Expr {
    let items = subnets.into_iter().map(SetItem::Element).collect();
    Expression::Named(NamedExpression::Set(items))
}

pub(super) fn field(protocol: &'static str, field: &'static str) -> Expr {
    Expression::Named(NamedExpression::Payload(Payload::PayloadField(
        PayloadField {
            protocol: protocol.into(),
            field: field.into(),
        },
    )))
}

/// The fragment offset in an IPv6 fragment header (RFC 8200, 4.5); no match where there is none.
pub(super) fn ipv6_fragment_offset() -> Expr {
    Expression::Named(NamedExpression::Exthdr(Exthdr {
        name: "frag".into(),
        field: Some("frag-off".into()),
        offset: None,
    }))
}

/// The packet has this IPv6 extension header.
pub(super) fn exists(header: &'static str) -> Stmt {
    let header = Expression::Named(NamedExpression::Exthdr(Exthdr {
        name: header.into(),
        field: None,
        offset: None,
    }));
    eq(header, Expression::Boolean(true))
}

/// Bits of the packet counted from the start of the transport header.
pub(super) const fn transport(offset: u32, len: u32) -> Expr {
    Expression::Named(NamedExpression::Payload(Payload::PayloadRaw(PayloadRaw {
        base: PayloadBase::TH,
        offset,
        len,
    })))
}

pub(super) const fn meta(key: MetaKey) -> Expr {
    Expression::Named(NamedExpression::Meta(Meta { key }))
}

pub(super) fn ct(key: &'static str) -> Expr {
    Expression::Named(NamedExpression::CT(CT {
        key: key.into(),
        family: None,
        dir: None,
    }))
}

pub(super) fn ct_original(key: &'static str) -> Expr {
    Expression::Named(NamedExpression::CT(CT {
        key: key.into(),
        family: None,
        dir: Some(CTDir::Original),
    }))
}

/// What kind of address the packet's source is to this machine.
pub(super) fn source_kind() -> Expr {
    Expression::Named(NamedExpression::Fib(Fib {
        result: FibResult::Type,
        flags: [FibFlag::Saddr].into(),
    }))
}

pub(super) const fn concat(parts: Vec<Expr>) -> Expr {
    Expression::Named(NamedExpression::Concat(parts))
}

pub(super) fn and(left: Expr, mask: u32) -> Expr {
    Expression::BinaryOperation(Box::new(BinaryOperation::AND(left, number(mask))))
}

fn or(left: Expr, bits: u32) -> Expr {
    Expression::BinaryOperation(Box::new(BinaryOperation::OR(vec![left, number(bits)])))
}

const fn compare(left: Expr, op: Operator, right: Expr) -> Stmt {
    Stmt::Match(Match { left, right, op })
}

pub(super) const fn eq(left: Expr, right: Expr) -> Stmt {
    compare(left, Operator::EQ, right)
}

pub(super) const fn ne(left: Expr, right: Expr) -> Stmt {
    compare(left, Operator::NEQ, right)
}

pub(super) const fn at_least(left: Expr, right: Expr) -> Stmt {
    compare(left, Operator::GEQ, right)
}

/// Any of the right side's bits is set.
pub(super) const fn has(left: Expr, right: Expr) -> Stmt {
    compare(left, Operator::IN, right)
}

/// The named set has it.
pub(super) fn in_set(left: Expr, set: &str) -> Stmt {
    eq(left, text(format!("@{set}")))
}

/// Puts it into the named set, or starts its time-out anew.
pub(super) fn update_set(elem: Expr, set: &str) -> Stmt {
    Stmt::Set(Set {
        op: SetOp::Update,
        elem,
        set: format!("@{set}").into(),
    })
}

pub(super) fn count_named(name: &str) -> Stmt {
    Stmt::Counter(Counter::Named(name.to_owned().into()))
}

pub(super) const fn set(key: Expr, value: Expr) -> Stmt {
    Stmt::Mangle(Mangle { key, value })
}

/// Gives the bits `mask` of the key the value `bits`; its other bits stay.
pub(super) fn set_bits(key: Expr, bits: u32, mask: u32) -> Stmt {
    if mask == u32::MAX {
        return set(key, number(bits));
    }
    set(key.clone(), or(and(key, !mask), bits))
}

/// Makes the bits `mask` of the key zero; its other bits stay.
pub(super) fn clear_bits(key: Expr, mask: u32) -> Stmt {
    if mask == u32::MAX {
        return set(key, number(0));
    }
    set(key.clone(), and(key, !mask))
}

pub(super) fn source_nat(family: RuleFamily, to: impl Into<IpAddr>) -> Stmt {
    Stmt::SNAT(Some(NAT {
        addr: Some(address(to)),
        family: Some(match family {
            RuleFamily::V4 => NATFamily::IP,
            RuleFamily::V6 => NATFamily::IP6,
        }),
        port: None,
        flags: None,
    }))
}

pub(super) const fn accept() -> Stmt {
    Stmt::Accept(None)
}

pub(super) const fn drop() -> Stmt {
    Stmt::Drop(None)
}

pub(super) fn goto(chain: impl Into<String>) -> Stmt {
    Stmt::Goto(JumpTarget {
        target: chain.into().into(),
    })
}

/// The name of a table's family, as nft spells it.
pub(super) const fn family_name(family: NfFamily) -> &'static str {
    match family {
        NfFamily::IP => "ip",
        NfFamily::IP6 => "ip6",
        NfFamily::INet => "inet",
        NfFamily::ARP => "arp",
        NfFamily::Bridge => "bridge",
        NfFamily::NetDev => "netdev",
    }
}
