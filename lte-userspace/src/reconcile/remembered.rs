//! The guard follows the device: what has been the modem stays closed under any name, until the config
//! tells the modem by something else.

use super::identity::copies_an_address;
use crate::config::ModemIdentity;
use crate::desired::{Closed, Facts};
use crate::kernel::hardware::{Hardware, words};
use crate::kernel::link::Found;
use crate::state::{Device, Devices, Record};

/// How many devices are remembered that are not plugged in.
const GONE_AT_MOST: usize = 4;

/// Interfaces that are the modem's device and not what the config takes for the modem.
pub(super) fn closed<'a>(
    links: &'a [Found],
    modem: Option<u32>,
    devices: &Devices,
    identity: &ModemIdentity,
    hardware: impl Fn(&Found) -> Hardware,
) -> Vec<&'a Found> {
    if devices.identity != identity.to_string() {
        return Vec::new();
    }
    among(links, modem, devices, hardware)
}

fn among<'a>(
    links: &'a [Found],
    modem: Option<u32>,
    devices: &Devices,
    hardware: impl Fn(&Found) -> Hardware,
) -> Vec<&'a Found> {
    let mut closed: Vec<&Found> = Vec::new();
    for device in &devices.known {
        let lives = links.iter().find(|link| device.index == Some(link.index));
        let is_it = |link: &&Found| is_again(device, link, &hardware);
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
fn is_again(device: &Device, link: &Found, hardware: &impl Fn(&Found) -> Hardware) -> bool {
    if link.loopback || link.wireguard || copies_an_address(link) {
        return false;
    }
    let address = !device.address.is_empty() && device.address == words(link.own_mac());
    // What has a kind is virtual, but for a modem's own.
    let is_device = || matches!(link.kind.as_deref(), None | Some("wwan"));
    address || is_device() && device.hardware.is(&hardware(link))
}

/// What is said of devices that are kept closed.
pub(super) fn warnings(links: &[Found], record: &Record, facts: &Facts) -> Vec<String> {
    let warning = |(index, device): (&u32, &Closed)| {
        let was = was(&record.devices, links, *index)?;
        let name = &device.name;
        Some(format!(
            "{name} is the modem's device, which was {was} before: it stays closed, and the tunnel does not go by it; if it is to, set modem.interface = \"{name}\" in the config, or tell the modem by modem.mac"
        ))
    };
    facts.closed.iter().filter_map(warning).collect()
}

/// The devices that are kept closed by what is on record, without a config: in words.
pub fn kept_closed(links: &[Found], devices: &Devices) -> Vec<String> {
    let modem = devices.known.iter().find_map(|device| {
        links
            .iter()
            .find(|link| device.index == Some(link.index) && device.name == link.name)
    });
    let words = |link: &Found| {
        let was = was(devices, links, link.index).unwrap_or_default();
        format!("{} closed: it is the device that was {was}", link.name)
    };
    among(links, modem.map(|link| link.index), devices, Hardware::of)
        .into_iter()
        .map(words)
        .collect()
}

/// The name that a device had when it was the modem.
pub(super) fn was<'a>(devices: &'a Devices, links: &[Found], index: u32) -> Option<&'a str> {
    let link = links.iter().find(|link| link.index == index)?;
    let known = &devices.known;
    let device = known
        .iter()
        .find(|device| device.index == Some(index))
        .or_else(|| known.iter().find(|one| is_again(one, link, &Hardware::of)))?;
    Some(&device.name)
}

/// Notes the modem.
pub(super) fn note(
    devices: &mut Devices,
    identity: &ModemIdentity,
    links: &[Found],
    modem: Option<&Found>,
    hardware: impl Fn(&Found) -> Hardware,
) {
    let identity = identity.to_string();
    if devices.identity != identity {
        *devices = Devices {
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
    let device = Device {
        index: Some(modem.index),
        name: modem.name.clone(),
        address: words(modem.own_mac()),
        hardware: hardware(modem),
    };
    let lives = |one: &Device| links.iter().any(|link| one.index == Some(link.index));
    let same = |one: &Device| one.address == device.address && one.hardware == device.hardware;
    // Of what cannot be told from others nothing is left when it has gone.
    let tells = |one: &Device| !one.address.is_empty() || one.hardware != Hardware::default();
    known.retain(|one| lives(one) || tells(one) && !same(one));
    let gone = known.iter().filter(|one| !lives(one)).count();
    if gone > GONE_AT_MOST
        && let Some(oldest) = known.iter().position(|one| !lives(one))
    {
        known.remove(oldest);
    }
    known.push(device);
}

#[cfg(test)]
#[path = "remembered_tests.rs"]
mod tests;
