//! From the file's shape to a config that can be relied on. All problems are gathered.

use std::path::Path;

use toml::Spanned;

use super::budget::{Budget, Renews, parse_renews, parse_size};
use super::error::Problems;
use super::raw::{Raw, RawBudget, RawRouting};
use super::{Config, Routing, Uplinks};

mod admin;
mod modem;
mod tunnel;
mod value;

use value::number;

/// The tunnel's interface where the file names none.
const DEFAULT_TUNNEL: &str = "wg-lte";

/// The place of our rules where the file names none: behind the local table's (0), with room between.
const DEFAULT_PRIORITY: u32 = 10;
/// Well before the rule of the main table (32766).
const LAST_PRIORITY: u32 = 32_000;

/// Checks everything and builds the config; on any problem nothing.
pub(super) fn check(raw: Raw, directory: &Path, problems: &mut Problems<'_>) -> Option<Config> {
    check_distinct_interfaces(&raw, problems);
    let modem = modem::modem(raw.modem.into_inner(), problems);
    let tunnel = tunnel::tunnel(raw.tunnel, directory, modem.as_ref(), problems);
    let routing = routing(&raw.routing, problems);
    let uplinks = match raw.uplinks.and_then(|uplinks| uplinks.interfaces) {
        None => Some(Uplinks::DefaultRoutes),
        Some(names) => value::interface_names(&names, problems).map(Uplinks::Named),
    };
    let budget = raw.budget.map(|raw| budget(&raw, problems));
    let config = Config {
        backend: raw.backend,
        modem: modem?,
        tunnel: tunnel?,
        routing: routing?,
        uplinks: uplinks?,
        budget: budget.map_or(Some(None), |budget| budget.map(Some))?,
    };
    problems.is_empty().then_some(config)
}

/// The guard treats modem, tunnel and uplinks differently, so one interface has one part.
fn check_distinct_interfaces(raw: &Raw, problems: &mut Problems<'_>) {
    let modem = raw.modem.get_ref();
    let tunnel = raw.tunnel.get_ref();
    let uplinks = raw.uplinks.as_ref().and_then(|u| u.interfaces.as_ref());
    let mut taken: Vec<&str> = vec![
        tunnel
            .interface
            .as_ref()
            .map_or(DEFAULT_TUNNEL, |name| name.get_ref()),
    ];
    for name in modem.interface.iter().chain(uplinks.into_iter().flatten()) {
        let text = name.get_ref().as_str();
        if taken.contains(&text) {
            problems.add(
                name.span(),
                format_args!("the modem, the tunnel and the uplinks must be different interfaces: `{text}` is named twice"),
            );
        }
        taken.push(text);
    }
}

fn routing(raw: &RawRouting, problems: &mut Problems<'_>) -> Option<Routing> {
    let mut field = |value: &Option<Spanned<i64>>, name: &str, default: u32| match value {
        None => Some(default),
        Some(value) => number(value, name, 1, u32::MAX, problems),
    };
    let found = Routing {
        table: field(&raw.table, "table", 123)?,
        mark: field(&raw.mark, "mark", 0x7b)?,
        mask: field(&raw.mask, "mask", 0xff)?,
        rule_priority: match &raw.rule_priority {
            None => DEFAULT_PRIORITY,
            Some(value) => number(value, "rule_priority", 1, LAST_PRIORITY, problems)?,
        },
    };
    if let (253..=255, Some(table)) = (found.table, &raw.table) {
        problems.add(
            table.span(),
            "tables 253 to 255 are the kernel's default, main and local: take another, as 123",
        );
    }
    if found.mark & !found.mask != 0
        && let Some(place) = raw.mark.as_ref().or(raw.mask.as_ref())
    {
        problems.add(
            place.span(),
            format_args!(
                "mark {:#x} has bits outside mask {:#x}: it must lie within",
                found.mark, found.mask
            ),
        );
    }
    Some(found)
}

fn budget(raw: &RawBudget, problems: &mut Problems<'_>) -> Option<Budget> {
    let limit = match parse_size(raw.limit.get_ref()) {
        Ok(0) => Err("it must be above zero".to_owned()),
        limit => limit,
    };
    if let Err(error) = &limit {
        problems.add(raw.limit.span(), format_args!("limit: {error}"));
    }
    let renews = match &raw.renews {
        None => Some(Renews::Never),
        Some(text) => parse_renews(text.get_ref())
            .map_err(|error| problems.add(text.span(), format_args!("renews: {error}")))
            .ok(),
    };
    let overhead = raw.overhead_per_packet.as_ref().map_or(Some(0), |bytes| {
        number(bytes, "overhead_per_packet", 0, 1500_u16, problems)
    });
    Some(Budget {
        limit: limit.ok()?,
        renews: renews?,
        overhead_per_packet: overhead?,
    })
}
