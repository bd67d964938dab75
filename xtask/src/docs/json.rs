//! The document of what is printed as JSON, held to the snapshots of the commands.

use std::collections::BTreeSet;

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use super::files;

const DOCUMENT: &str = "docs/json.md";
const SNAPSHOTS: &str = "lte-userspace/src/cli/golden/*.json";

/// The commands that print JSON, which are the document's headings and the snapshots' names, before a dash.
const COMMANDS: [&str; 3] = ["status", "plan", "doctor"];

/// The keys of a value that hold no further ones, as the document writes them.
fn keys(value: &Value, at: &str, found: &mut BTreeSet<String>) {
    match value {
        Value::Object(fields) => {
            for (name, field) in fields {
                let dot = if at.is_empty() { "" } else { "." };
                keys(field, &format!("{at}{dot}{name}"), found);
            }
        }
        Value::Array(elements) => {
            let at = format!("{at}[]");
            for element in elements {
                keys(element, &at, found);
            }
        }
        _ => {
            found.insert(at.to_owned());
        }
    }
}

/// The keys in the first column of the table under a heading.
fn documented(text: &str, command: &str) -> BTreeSet<String> {
    let heading = format!("## {command}");
    text.lines()
        .skip_while(|line| *line != heading)
        .skip(1)
        .take_while(|line| !line.starts_with("## "))
        .filter_map(|line| line.strip_prefix("| ")?.split(" | ").next())
        .flat_map(|cell| cell.split(", "))
        .filter_map(|key| key.strip_prefix('`')?.strip_suffix('`'))
        .map(str::to_owned)
        .collect()
}

/// The keys in all snapshots of a command.
fn printed(command: &str) -> Result<BTreeSet<String>> {
    let mut found = BTreeSet::new();
    for (name, text) in files(SNAPSHOTS)? {
        let file = name.rsplit('/').next().unwrap_or_default();
        let of = file.trim_end_matches(".json").split('-').next();
        if of == Some(command) {
            let value: Value = serde_json::from_str(&text).with_context(|| name)?;
            keys(&value, "", &mut found);
        }
    }
    // An object that is not there at all.
    found.remove("tunnel");
    Ok(found)
}

#[test]
fn each_key_that_is_printed_is_documented_and_the_other_way_about() -> Result<()> {
    let document = files(DOCUMENT)?;
    let (_, text) = document.first().context(DOCUMENT)?;
    for command in COMMANDS {
        let (documented, printed) = (documented(text, command), printed(command)?);
        ensure!(!printed.is_empty(), "{command}: no snapshot of its JSON");
        let missing: Vec<_> = printed.difference(&documented).collect();
        ensure!(
            missing.is_empty(),
            "{command}: not in {DOCUMENT}: {missing:?}"
        );
        let stale: Vec<_> = documented.difference(&printed).collect();
        ensure!(stale.is_empty(), "{command}: not printed: {stale:?}");
    }
    Ok(())
}
