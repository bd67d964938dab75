//! What an interface is in hardware, as sysfs has it.

use std::fs;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::link::ObservedLink;

/// What stays of a device when its interface gets another name. Virtual interfaces have none of it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hardware {
    /// Where it is plugged in, as in `pci0000:00/0000:00:14.0/usb1/1-2/1-2:1.0`.
    pub path: Option<String>,
    /// Its kind, vendor and product of USB, as in `12d1:14db`.
    pub product: Option<String>,
    /// Its serial number of USB.
    pub serial: Option<String>,
    /// Its driver.
    pub driver: Option<String>,
}

impl Hardware {
    /// Reads it. Nothing is known where `/sys` is another network namespace's.
    pub fn of(link: &ObservedLink) -> Self {
        Self::at(Path::new("/sys"), link)
    }

    fn at(sys: &Path, link: &ObservedLink) -> Self {
        let interface = sys.join("class/net").join(&link.name);
        let is = |name: &str, wanted: &str| text(&interface, name).as_deref() == Some(wanted);
        if !is("ifindex", &link.index.to_string())
            || !is("address", &format_mac(link.mac.as_deref()))
        {
            return Self::default();
        }
        let Ok(device) = fs::canonicalize(interface.join("device")) else {
            return Self::default();
        };
        let usb = device
            .ancestors()
            .find(|dir| dir.join("idVendor").is_file());
        let of_usb = |name| text(usb?, name);
        Self {
            path: device
                .strip_prefix(sys.join("devices"))
                .ok()
                .map(|path| path.display().to_string()),
            product: of_usb("idVendor")
                .zip(of_usb("idProduct"))
                .map(|(vendor, product)| format!("{vendor}:{product}")),
            serial: of_usb("serial").filter(|serial| !serial.is_empty()),
            driver: fs::read_link(device.join("driver"))
                .ok()
                .and_then(|path: PathBuf| Some(path.file_name()?.to_str()?.to_owned())),
        }
    }

    /// Whether two are one device: by its serial number, or in the same place the same kind.
    pub fn is_same_device(&self, other: &Self) -> bool {
        let same = |one: &Option<String>, two: &Option<String>| one.is_some() && one == two;
        let product = same(&self.product, &other.product);
        if self.serial.is_some() && other.serial.is_some() {
            return product && self.serial == other.serial;
        }
        product && same(&self.path, &other.path) && same(&self.driver, &other.driver)
    }
}

/// A hardware address in words, as sysfs has it.
pub fn format_mac(mac: Option<&[u8]>) -> String {
    let pairs = mac.unwrap_or_default().iter();
    let pairs: Vec<String> = pairs.map(|byte| format!("{byte:02x}")).collect();
    pairs.join(":")
}

fn text(directory: &Path, name: &str) -> Option<String> {
    let text = fs::read_to_string(directory.join(name)).ok()?;
    Some(text.trim().to_owned())
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test's own files are there")]
mod tests {
    use std::os::unix::fs::symlink;

    use rtnetlink::packet_route::link::{LinkAttribute, LinkMessage};

    use super::*;

    fn link(index: u32) -> ObservedLink {
        let mut message = LinkMessage::default();
        message.header.index = index;
        message
            .attributes
            .push(LinkAttribute::IfName("wwan0".to_owned()));
        let mac = LinkAttribute::Address(vec![2, 0, 0, 0, 0, 0xa]);
        message.attributes.push(mac);
        ObservedLink::from_message(message)
    }

    #[test]
    fn a_stick_is_told_by_what_stays() {
        let sys = std::env::temp_dir().join(format!("lte-sys-{}", std::process::id()));
        let stick = sys.join("devices/usb1/1-2");
        let device = stick.join("1-2:1.0");
        let interface = sys.join("class/net/wwan0");
        for dir in [&device, &interface, &sys.join("drivers/cdc_ether")] {
            fs::create_dir_all(dir).unwrap();
        }
        for (dir, name, text) in [
            (&stick, "idVendor", "12d1\n"),
            (&stick, "idProduct", "14db\n"),
            (&stick, "serial", "0123\n"),
            (&interface, "ifindex", "7\n"),
            (&interface, "address", "02:00:00:00:00:0a\n"),
        ] {
            fs::write(dir.join(name), text).unwrap();
        }
        symlink(&device, interface.join("device")).unwrap();
        symlink(sys.join("drivers/cdc_ether"), device.join("driver")).unwrap();
        let found = Hardware::at(&sys, &link(7));
        let wanted = Hardware {
            path: Some("usb1/1-2/1-2:1.0".to_owned()),
            product: Some("12d1:14db".to_owned()),
            serial: Some("0123".to_owned()),
            driver: Some("cdc_ether".to_owned()),
        };
        assert_eq!(found, wanted);
        // Another namespace's interface of that name.
        assert_eq!(Hardware::at(&sys, &link(8)), Hardware::default());
        fs::remove_dir_all(&sys).unwrap();

        let in_another_port = Hardware {
            path: Some("usb1/1-3/1-3:1.0".to_owned()),
            ..wanted.clone()
        };
        assert!(wanted.is_same_device(&in_another_port));
        let another = Hardware {
            serial: Some("0124".to_owned()),
            ..wanted.clone()
        };
        assert!(!wanted.is_same_device(&another));
        let without = |hardware: &Hardware| Hardware {
            serial: None,
            ..hardware.clone()
        };
        assert!(without(&wanted).is_same_device(&without(&wanted)));
        assert!(!without(&wanted).is_same_device(&without(&in_another_port)));
        assert!(!Hardware::default().is_same_device(&Hardware::default()));
    }
}
