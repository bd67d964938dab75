//! The guard follows the device: what has been the modem stays closed under any name, until the config
//! identifies the modem by something else.

use super::identity::copies_mac;
use crate::config::ModemIdentity;
use crate::desired::{ClosedDevice, Facts};
use crate::kernel::hardware::{Hardware, format_mac};
use crate::kernel::link::ObservedLink;
use crate::state::{Baseline, ModemDevice, ModemDevices};

/// How many devices are kept that are not plugged in.
const MAX_ABSENT: usize = 4;

/// Closed devices: interfaces that are a modem device and not what the config takes for the modem.
pub(super) fn closed<'a>(
    links: &'a [ObservedLink],
    modem: Option<u32>,
    devices: &ModemDevices,
    identity: &ModemIdentity,
    hardware: impl Fn(&ObservedLink) -> Hardware,
) -> Vec<&'a ObservedLink> {
    if devices.identity != identity.to_string() {
        return Vec::new();
    }
    find_closed(links, modem, devices, hardware)
}

fn find_closed<'a>(
    links: &'a [ObservedLink],
    modem: Option<u32>,
    devices: &ModemDevices,
    hardware: impl Fn(&ObservedLink) -> Hardware,
) -> Vec<&'a ObservedLink> {
    let mut closed: Vec<&ObservedLink> = Vec::new();
    for device in &devices.known {
        let lives = links.iter().find(|link| device.index == Some(link.index));
        let is_it = |link: &&ObservedLink| is_same_device(device, link, &hardware);
        // Plugged in again, or after a boot: not beside the one that is the modem now, which may be of
        // the same make.
        let again = || links.iter().filter(|_| modem.is_none()).find(is_it);
        if let Some(link) = lives.or_else(again)
            && Some(link.index) != modem
            && closed.iter().all(|other| other.index != link.index)
        {
            closed.push(link);
        }
    }
    closed
}

/// Whether an interface of another number is the device.
fn is_same_device(
    device: &ModemDevice,
    link: &ObservedLink,
    hardware: &impl Fn(&ObservedLink) -> Hardware,
) -> bool {
    if link.loopback || link.wireguard || copies_mac(link) {
        return false;
    }
    let address = !device.address.is_empty() && device.address == format_mac(link.own_mac());
    // What has a kind is virtual, but for a modem's own.
    let is_device = || matches!(link.kind.as_deref(), None | Some("wwan"));
    address || is_device() && device.hardware.is_same_device(&hardware(link))
}

/// Warnings about closed devices.
pub(super) fn warnings(
    links: &[ObservedLink],
    baseline: &Baseline,
    facts: &Facts,
    hardware: impl Fn(&ObservedLink) -> Hardware,
) -> Vec<String> {
    let warning = |(index, device): (&u32, &ClosedDevice)| {
        let former_name = former_name(&baseline.devices, links, *index, &hardware)?;
        let name = &device.name;
        Some(format!(
            "{name} is the modem's device, which was {former_name} before: it stays closed, and the tunnel does not go by it; if it is to, set modem.interface = \"{name}\" in the config, or tell the modem by modem.mac"
        ))
    };
    facts.closed.iter().filter_map(warning).collect()
}

/// The devices that are kept closed by what is on record, without a config: in words.
pub fn kept_closed(links: &[ObservedLink], devices: &ModemDevices) -> Vec<String> {
    let modem = devices.known.iter().find_map(|device| {
        links
            .iter()
            .find(|link| device.index == Some(link.index) && device.name == link.name)
    });
    let words = |link: &ObservedLink| {
        let former_name =
            former_name(devices, links, link.index, &Hardware::of).unwrap_or_default();
        format!(
            "{} closed: it is the device that was {former_name}",
            link.name
        )
    };
    find_closed(links, modem.map(|link| link.index), devices, Hardware::of)
        .into_iter()
        .map(words)
        .collect()
}

/// The name that a device had when it was the modem.
pub(super) fn former_name<'a>(
    devices: &'a ModemDevices,
    links: &[ObservedLink],
    index: u32,
    hardware: &impl Fn(&ObservedLink) -> Hardware,
) -> Option<&'a str> {
    let link = links.iter().find(|link| link.index == index)?;
    let known = &devices.known;
    let device = known
        .iter()
        .find(|device| device.index == Some(index))
        .or_else(|| known.iter().find(|one| is_same_device(one, link, hardware)))?;
    Some(&device.name)
}

/// Records the modem's device.
pub(super) fn record(
    devices: &mut ModemDevices,
    identity: &ModemIdentity,
    links: &[ObservedLink],
    modem: Option<&ObservedLink>,
    hardware: impl Fn(&ObservedLink) -> Hardware,
) {
    let identity = identity.to_string();
    if devices.identity != identity {
        *devices = ModemDevices {
            identity,
            known: Vec::new(),
        };
    }
    let Some(modem) = modem else {
        return;
    };
    let known = &mut devices.known;
    if let Some(device) = known.iter_mut().find(|one| one.index == Some(modem.index)) {
        device.name.clone_from(&modem.name);
        return;
    }
    let device = ModemDevice {
        index: Some(modem.index),
        name: modem.name.clone(),
        address: format_mac(modem.own_mac()),
        hardware: hardware(modem),
    };
    let lives = |one: &ModemDevice| links.iter().any(|link| one.index == Some(link.index));
    let same = |one: &ModemDevice| one.address == device.address && one.hardware == device.hardware;
    // A device without an address and hardware data cannot be recognised again.
    let tells = |one: &ModemDevice| !one.address.is_empty() || one.hardware != Hardware::default();
    known.retain(|one| lives(one) || tells(one) && !same(one));
    let gone = known.iter().filter(|one| !lives(one)).count();
    if gone > MAX_ABSENT
        && let Some(oldest) = known.iter().position(|one| !lives(one))
    {
        known.remove(oldest);
    }
    known.push(device);
}

#[cfg(test)]
#[path = "modem_devices_tests.rs"]
mod tests;
