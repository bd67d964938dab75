//! Single values.

use std::ops::Range;

use toml::Spanned;

use crate::config::cidr::Cidr;
use crate::config::error::Problems;
use crate::config::raw::Texts;

/// An address that an interface can have.
pub(super) fn host_address(cidr: &Cidr, span: &Range<usize>, problems: &mut Problems<'_>) {
    let ip = cidr.address;
    let edge = cidr.prefix_len < cidr.bits() - 1
        && (ip == cidr.network().address || (ip.is_ipv4() && ip == cidr.last()));
    if ip.is_unspecified() || ip.is_multicast() || ip.is_loopback() || edge || cidr.prefix_len == 0
    {
        problems.add(
            span.clone(),
            format_args!(
                "{cidr} is no address of a host: write the host's own address, as in 192.168.0.2/24"
            ),
        );
    }
}

pub(super) fn cidrs(
    texts: &Texts,
    problems: &mut Problems<'_>,
) -> Option<Vec<(Cidr, Range<usize>)>> {
    let parsed: Vec<Option<(Cidr, Range<usize>)>> = texts
        .all
        .iter()
        .map(|text| match text.get_ref().parse() {
            Ok(cidr) => Some((cidr, text.span())),
            Err(error) => {
                problems.add(text.span(), format_args!("`{}`: {error}", text.get_ref()));
                None
            }
        })
        .collect();
    parsed.into_iter().collect()
}

pub(super) fn number<T: TryFrom<i64> + TryInto<i64> + PartialOrd + Copy + std::fmt::Display>(
    value: &Spanned<i64>,
    name: &str,
    least: T,
    most: T,
    problems: &mut Problems<'_>,
) -> Option<T> {
    let number = T::try_from(*value.get_ref())
        .ok()
        .filter(|number| (least..=most).contains(number));
    if number.is_none() {
        problems.add(
            value.span(),
            format_args!(
                "{name} must be from {least} to {most}, not {}",
                value.get_ref()
            ),
        );
    }
    number
}

pub(super) fn interface_names(
    names: &[Spanned<String>],
    problems: &mut Problems<'_>,
) -> Option<Vec<String>> {
    let checked: Vec<Option<String>> = names
        .iter()
        .map(|name| interface_name(name, problems))
        .collect();
    checked.into_iter().collect()
}

pub(super) fn interface_name(
    name: &Spanned<String>,
    problems: &mut Problems<'_>,
) -> Option<String> {
    let text = name.get_ref();
    let why = if text.is_empty() || text == "." || text == ".." {
        "an interface needs a name"
    } else if text.len() > 15 {
        "an interface's name has at most 15 bytes"
    } else if text.contains(|c: char| c == '/' || c == ':' || c.is_whitespace() || c.is_control()) {
        "an interface's name has no `/`, no `:` and no blanks"
    } else {
        return Some(text.clone());
    };
    problems.add(name.span(), format_args!("`{text}`: {why}"));
    None
}

pub(super) fn mac_address(text: &Spanned<String>, problems: &mut Problems<'_>) -> Option<[u8; 6]> {
    let bytes: Vec<Option<u8>> = text
        .get_ref()
        .split([':', '-'])
        .map(|pair| {
            (pair.len() == 2 && pair.bytes().all(|byte| byte.is_ascii_hexdigit()))
                .then(|| u8::from_str_radix(pair, 16).ok())
                .flatten()
        })
        .collect();
    let mac = bytes
        .into_iter()
        .collect::<Option<Vec<u8>>>()
        .and_then(|bytes| <[u8; 6]>::try_from(bytes).ok());
    if mac.is_none() {
        problems.add(
            text.span(),
            format_args!(
                "`{}`: a MAC address is six pairs of hex digits, as in 34:4b:50:00:00:00",
                text.get_ref()
            ),
        );
    }
    mac
}
