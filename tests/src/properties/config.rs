//! Any text as a config file.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::LazyLock;

use lte_common::layout::ADMIN_PORTS;
use lte_userspace::backend::LinkHeader;
use lte_userspace::config::{Config, ConfigError, Problem};
use lte_userspace::desired::{Facts, ModemFacts, Object, OffloadKey, Queue, desired};

use crate::tempdir::TempDir;

/// A config that is right, if the key file lies beside it: what to begin altering with.
pub const EXAMPLE: &str = include_str!("config.toml");

const KEY: &str = "YAnz5TF+lXXJte14tji3zlMNq+hd2rYUIgJBgB3fBmk=\n";

/// A directory with a key in it, as long as the process lives.
static HOME: LazyLock<(TempDir, PathBuf)> = LazyLock::new(|| {
    let made = TempDir::new().and_then(|home| {
        home.write("private.key", 0o600, KEY)?;
        let path = home.path().join("config.toml");
        Ok((home, path))
    });
    made.unwrap_or_else(|error| panic!("a directory for the config: {error:#}"))
});

/// Checks a text as a config. One that is refused is so with places that are in it; what comes of
/// one that is taken keeps the invariants.
///
/// # Panics
/// Where that does not hold.
pub fn config(text: &str) {
    match Config::parse(text, &HOME.1) {
        Ok(config) => taken(&config),
        Err(ConfigError::Invalid { problems, .. }) => {
            assert!(!problems.is_empty(), "refused without a reason");
            for problem in &problems {
                is_a_place(problem, text);
            }
        }
        Err(error) => panic!("no file was to be read: {error}"),
    }
}

fn is_a_place(problem: &Problem, text: &str) {
    assert!(
        !problem.message.is_empty() && !problem.message.contains('\n'),
        "not one line: {problem:?}"
    );
    assert!(problem.line >= 1 && problem.column >= 1, "{problem:?}");
    // The end of the text is a place too, behind its last newline.
    let line = text.split('\n').nth(problem.line - 1);
    let line = line.unwrap_or_else(|| panic!("there is no such line: {problem:?}"));
    assert!(
        problem.column <= line.chars().count() + 1,
        "the line is shorter: {problem:?}"
    );
}

fn taken(config: &Config) {
    assert_eq!(config.routing.mark & !config.routing.mask, 0);
    assert!(config.modem.admin_ports.len() <= ADMIN_PORTS);
    assert!(config.modem.v4.is_some() || config.modem.v6.is_some());
    let modem = ModemFacts {
        index: 7,
        name: "wwan0".to_owned(),
        header: LinkHeader::Ethernet,
        ipv6: true,
        backstop: Some(Queue::FqCodel),
        joining: OffloadKey::ALL.into(),
    };
    let facts = Facts {
        modem: Some(modem),
        closed: BTreeMap::new(),
        uplinks: BTreeMap::new(),
        first_rule: 10,
        listen_port: config.tunnel.listen_port.unwrap_or(40000),
        resolved: BTreeMap::new(),
        backed_off: BTreeSet::new(),
    };
    let objects = desired(config, &facts);
    assert!(
        matches!(objects.first(), Some(Object::Guard(_))),
        "the guard is not the first: {objects:?}"
    );
    for object in &objects {
        if let Object::Route(route) = object {
            assert!(
                route.destination.prefix_len > 0 || route.table == config.routing.table,
                "a default route outside the tunnel's table: {route}"
            );
        }
    }
}
