//! The modem's reverse-path filter, where others have loosened it.

use super::restore::sysctl_name;
use super::snapshot::Snapshot;
use crate::desired::{Object, Sysctl, SysctlKey};
use crate::state::Baseline;

/// How strict a filter is: the larger of the interface's setting and that of `all` counts
/// (`IN_DEV_MAXCONF`), 1 is strict, 2 loose, 0 none.
fn strictness(own: &str, all: &str) -> Option<u8> {
    let own: u8 = own.parse().ok()?;
    match own.max(all.parse().ok()?) {
        0 => Some(0),
        1 => Some(2),
        _ => Some(1),
    }
}

/// What the modem's own setting is to be: as it was found, where it has become looser since, else as it
/// is. One that is stricter, or was loose to begin with, is the owner's choice.
pub(super) fn restore(have: &Snapshot, baseline: &Baseline, modem: u32) -> Option<Object> {
    let link = have.link_at(modem)?;
    let all = have.rp_filter_of_all.as_deref()?;
    let now = have.sysctl(&link.name, SysctlKey::RpFilter)?;
    let before = baseline
        .interfaces
        .get(&modem)
        .and_then(|before| before.sysctls.get(&sysctl_name(SysctlKey::RpFilter)))
        .unwrap_or(now);
    let looser = strictness(now, all)? < strictness(before, all)?;
    Some(Object::Sysctl(Sysctl {
        interface: link.name.clone(),
        key: SysctlKey::RpFilter,
        value: if looser { before } else { now }.clone(),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strict_goes_before_loose_and_loose_before_none() {
        for (own, all, is) in [
            ("0", "0", 0),
            ("0", "1", 2),
            ("1", "0", 2),
            ("2", "1", 1),
            ("0", "2", 1),
        ] {
            assert_eq!(strictness(own, all), Some(is), "{own}, {all}");
        }
        assert_eq!(strictness("strict", "0"), None);
    }
}
