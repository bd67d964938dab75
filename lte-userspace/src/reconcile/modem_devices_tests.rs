use rtnetlink::packet_route::link::{InfoKind, LinkAttribute, LinkInfo, LinkMessage};

use super::*;

const MAC: [u8; 6] = [2, 0, 0, 0, 0, 0xa];
const OTHER: [u8; 6] = [2, 0, 0, 0, 0, 0xb];

fn link(index: u32, name: &str, mac: [u8; 6]) -> ObservedLink {
    let mut message = LinkMessage::default();
    message.header.index = index;
    message.attributes = vec![
        LinkAttribute::IfName(name.to_owned()),
        LinkAttribute::Address(mac.into()),
    ];
    ObservedLink::from_message(message)
}

fn identity() -> ModemIdentity {
    ModemIdentity::Interface("modem".to_owned())
}

fn unknown(_: &ObservedLink) -> Hardware {
    Hardware::default()
}

/// What is remembered of a modem with this number and address.
fn known(index: u32, mac: [u8; 6]) -> ModemDevices {
    let mut devices = ModemDevices::default();
    let modem = link(index, "modem", mac);
    let links = [modem.clone()];
    record(&mut devices, &identity(), &links, Some(&modem), unknown);
    devices
}

fn closed_of(links: &[ObservedLink], modem: Option<u32>, devices: &ModemDevices) -> Vec<u32> {
    closed(links, modem, devices, &identity(), unknown)
        .iter()
        .map(|link| link.index)
        .collect()
}

#[test]
fn a_former_modem_stays_closed_under_another_name() {
    let devices = known(3, MAC);
    let links = [link(2, "wan", OTHER), link(3, "wwan0", MAC)];
    assert_eq!(closed_of(&links, None, &devices), [3]);
    // Its address may have been changed, too.
    let links = [link(2, "wan", OTHER), link(3, "wwan0", [2; 6])];
    assert_eq!(closed_of(&links, None, &devices), [3]);
}

#[test]
fn plugged_in_again_it_is_told_by_its_address() {
    let devices = known(3, MAC);
    let links = [link(2, "wan", OTHER), link(8, "wwan0", MAC)];
    assert_eq!(closed_of(&links, None, &devices), [8]);
    // Or by its serial number.
    let stick = |serial: &str| Hardware {
        product: Some("12d1:14db".to_owned()),
        serial: Some(serial.to_owned()),
        ..Hardware::default()
    };
    let mut devices = ModemDevices::default();
    let modem = link(3, "modem", MAC);
    record(
        &mut devices,
        &identity(),
        std::slice::from_ref(&modem),
        Some(&modem),
        |_| stick("1"),
    );
    let links = [link(2, "wan", OTHER), link(8, "wwan0", [2; 6])];
    let serial = |link: &ObservedLink| stick(if link.index == 8 { "1" } else { "2" });
    let found = closed(&links, None, &devices, &identity(), serial);
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].index, 8);
}

#[test]
fn what_has_the_address_from_it_is_not_it() {
    let devices = known(3, MAC);
    let mut bridge = link(8, "br0", MAC);
    bridge.kind = Some("bridge".to_owned());
    assert!(closed_of(&[bridge], None, &devices).is_empty());
    let infos = LinkAttribute::LinkInfo(vec![LinkInfo::Kind(InfoKind::Bond)]);
    let mut message = LinkMessage::default();
    message.attributes = vec![infos, LinkAttribute::Address(MAC.into())];
    assert!(closed_of(&[ObservedLink::from_message(message)], None, &devices).is_empty());
}

#[test]
fn the_modem_itself_and_its_like_beside_it_are_open() {
    let devices = known(3, MAC);
    let links = [link(3, "modem", MAC), link(9, "wan", MAC)];
    assert!(closed_of(&links, Some(3), &devices).is_empty());
}

#[test]
fn another_stick_has_its_name_and_it_is_still_there() {
    let devices = known(3, MAC);
    let links = [link(3, "wwan1", MAC), link(9, "modem", OTHER)];
    assert_eq!(closed_of(&links, Some(9), &devices), [3]);
}

#[test]
fn another_config_knows_nothing_of_it() {
    let mut devices = known(3, MAC);
    let links = [link(3, "wwan0", MAC)];
    let other = ModemIdentity::Interface("lte0".to_owned());
    assert!(closed(&links, None, &devices, &other, unknown).is_empty());
    record(&mut devices, &other, &links, None, unknown);
    assert!(devices.known.is_empty());
}

#[test]
fn no_more_are_remembered_than_there_is_reason_to() {
    let mut devices = known(1, MAC);
    for index in 2..40 {
        let mac = [2, 0, 0, 0, 0, u8::try_from(index).unwrap_or_default()];
        let modem = link(index, "modem", mac);
        let links = [modem.clone()];
        record(&mut devices, &identity(), &links, Some(&modem), unknown);
    }
    assert!(devices.known.len() <= MAX_ABSENT + 1, "{devices:?}");
    // The same stick, plugged in again and again.
    for index in 40..80 {
        let modem = link(index, "modem", MAC);
        let links = [modem.clone()];
        record(&mut devices, &identity(), &links, Some(&modem), unknown);
    }
    let same = devices
        .known
        .iter()
        .filter(|one| one.address == format_mac(Some(&MAC)));
    assert_eq!(same.count(), 1);
}
