//! The documents' pieces of config, held to the parser.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use anyhow::{Context as _, Result, ensure};
use lte_userspace::config::Config;

use super::{files, markdown};
use crate::host::workspace;

/// A config that is whole, which a piece is put into.
const WHOLE: &str = "packaging/config.toml";

/// Where the example wants the server's key, and one.
const KEY: (&str, &str) = (
    "REPLACE-BY-THE-SERVERS-PUBLIC-KEY",
    "q/R8Fy0uFHLZyLUGkhr1E2X2DVYBbU1bvs6EmyXdPlM=",
);

/// Lines by the heading that they stand under.
fn tables(text: &str) -> BTreeMap<String, Vec<String>> {
    let mut found: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let mut heading = String::new();
    for line in text.lines().filter(|line| !line.trim().is_empty()) {
        if line.starts_with('[') {
            line.trim_end().clone_into(&mut heading);
            found.entry(heading.clone()).or_default();
        } else if !line.starts_with('#') {
            let lines = found.entry(heading.clone()).or_default();
            lines.push(line.to_owned());
        }
    }
    found
}

/// The whole with a piece's keys in the place of its own.
fn with(whole: &str, piece: &str) -> String {
    let key = |line: &str| {
        let key = line.split('=').next().unwrap_or_default();
        key.trim().to_owned()
    };
    let mut all = tables(whole);
    for (heading, lines) in tables(piece) {
        let old = all.entry(heading).or_default();
        old.retain(|line| !lines.iter().any(|new| key(new) == key(line)));
        old.extend(lines);
    }
    // Keys without a heading come first, and `[tunnel]` before `[[tunnel.peer]]`.
    let mut order: Vec<_> = all.into_iter().collect();
    order.sort_by_key(|(heading, _)| heading.starts_with("[["));
    order.sort_by_key(|(heading, _)| !heading.is_empty());
    let lines = order
        .into_iter()
        .flat_map(|(heading, lines)| std::iter::once(heading).chain(lines));
    lines.map(|line| line + "\n").collect()
}

/// The parser's word on a piece.
fn taken(piece: &str) -> Result<()> {
    let whole = fs::read_to_string(workspace::root().join(WHOLE))?;
    let dir = tempfile::tempdir()?;
    let private = dir.path().join("private.key");
    fs::write(&private, format!("{}\n", KEY.1))?;
    fs::set_permissions(&private, fs::Permissions::from_mode(0o600))?;
    let whole = whole
        .replace(KEY.0, KEY.1)
        .replace("/etc/lte-backup/private.key", "private.key");
    let text = with(&whole, piece);
    Config::parse(&text, &dir.path().join("config.toml"))
        .map(drop)
        .with_context(|| text)
}

#[test]
fn the_documents_configs_are_taken() -> Result<()> {
    let mut count = 0;
    for (name, text) in files("*.md")? {
        let toml = markdown::code(&text).into_iter();
        for code in toml.filter(|code| code.language.as_deref() == Some("toml")) {
            count += 1;
            taken(&code.text).with_context(|| format!("{name}:{}", code.line))?;
        }
    }
    ensure!(count > 0, "no document has a piece of config");
    Ok(())
}

#[test]
fn a_piece_that_is_wrong_is_refused() -> Result<()> {
    taken("")?;
    taken("[modem]\naddress = \"192.168.0.3/24\"\n")?;
    taken("backend = \"nft\"\n[routing]\ntable = 77\n")?;
    let tell = |piece| taken(piece).err().map(|error| format!("{error:#}"));
    let unknown = tell("[modem]\ngatway = \"192.168.0.1\"\n").context("a key that is not there")?;
    ensure!(unknown.contains("gatway"), "{unknown}");
    // The piece replaces what the whole says: with both it would be a double.
    let other = tell("[modem]\ngateway = \"10.0.0.1\"\n").context("a gateway elsewhere")?;
    ensure!(!other.contains("duplicate"), "{other}");
    Ok(())
}
