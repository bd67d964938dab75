//! The documents' commands, held to the command lines that there are.

use std::collections::BTreeSet;

use anyhow::Result;
use clap::CommandFactory as _;
use clap::error::ErrorKind;

use super::{files, markdown};
use crate::Cli;
use crate::host::workspace;

/// Languages of a fence that may hold commands.
const SHELLS: [&str; 4] = ["", "sh", "bash", "console"];

/// What cargo has to find by name.
#[derive(Debug)]
struct Targets {
    packages: BTreeSet<String>,
    tests: BTreeSet<String>,
    programs: BTreeSet<String>,
}

impl Targets {
    fn of_the_workspace() -> Result<Self> {
        let metadata = cargo_metadata::MetadataCommand::new()
            .current_dir(workspace::root())
            .no_deps()
            .exec()?;
        let named = |kind: cargo_metadata::TargetKind| {
            let targets = metadata.packages.iter().flat_map(|one| &one.targets);
            targets
                .filter(|target| target.kind.contains(&kind))
                .map(|target| target.name.clone())
                .collect()
        };
        Ok(Self {
            packages: metadata
                .packages
                .iter()
                .map(|package| package.name.to_string())
                .collect(),
            tests: named(cargo_metadata::TargetKind::Test),
            programs: named(cargo_metadata::TargetKind::Bin),
        })
    }
}

/// The simple commands of a text: without comments, and each part of a pipe or list alone.
fn simple(text: &str) -> Vec<(usize, Vec<String>)> {
    let mut found = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let line = line.trim_start_matches(['$', ' ']);
        let line = match line.split_once(" #") {
            Some((command, _)) => command,
            None if line.starts_with('#') => "",
            None => line,
        };
        for part in line.split(['|', ';', '&']) {
            let words: Vec<String> = part.split_whitespace().map(unquoted).collect();
            found.push((number, words));
        }
    }
    found
}

fn unquoted(word: &str) -> String {
    word.trim_matches(['\'', '"']).to_owned()
}

/// What is wrong with a command; nothing, too, where it is none of ours.
fn judge(words: &[String], targets: &Targets) -> Option<String> {
    let words: Vec<&str> = words
        .iter()
        .map(String::as_str)
        .skip_while(|word| *word == "sudo" || word.contains('=') && !word.starts_with('-'))
        .collect();
    let (first, rest) = words.split_first()?;
    if first.rsplit('/').next() == Some("lte-userspace") && !first.ends_with('/') {
        // The name of a unit test.
        let is_test = rest.first().is_some_and(|word| word.starts_with("(lib)::"));
        return if is_test { None } else { agent(rest) };
    }
    let (second, rest) = rest.split_first().filter(|_| *first == "cargo")?;
    match *second {
        // Alone it is the program's name.
        "xtask" => match rest.split_first() {
            None => None,
            Some((&"run", ours)) if ours.first() != Some(&"--lab") => agent(ours),
            _ => parsed(Cli::command().name("cargo xtask"), rest),
        },
        "test" | "run" => named(rest, targets),
        _ => None,
    }
}

fn agent(words: &[&str]) -> Option<String> {
    parsed(lte_userspace::cli::command(), words)
}

fn parsed(command: clap::Command, words: &[&str]) -> Option<String> {
    let name = command.get_name().to_owned();
    let all = std::iter::once(name.as_str()).chain(words.iter().copied());
    let error = command.try_get_matches_from(all).err()?;
    let asked = matches!(
        error.kind(),
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion
    );
    // What follows is its usage.
    (!asked).then(|| {
        error
            .to_string()
            .lines()
            .next()
            .unwrap_or_default()
            .to_owned()
    })
}

/// Names that cargo would not find.
fn named(words: &[&str], targets: &Targets) -> Option<String> {
    let ours = words.iter().take_while(|word| **word != "--");
    let next = words.iter().skip(1);
    let missing = ours.zip(next).find(|(option, name)| {
        let known = match **option {
            "-p" | "--package" => &targets.packages,
            "--test" => &targets.tests,
            "--bin" => &targets.programs,
            _ => return false,
        };
        !known.contains(**name)
    });
    missing.map(|(option, name)| format!("cargo knows no {option} {name}"))
}

/// What is wrong in a document, a line each, and how many commands of ours it has.
fn document(name: &str, text: &str, targets: &Targets) -> (Vec<String>, usize) {
    let mut wrong = Vec::new();
    let mut count = 0;
    let shells = markdown::code(text).into_iter().filter(|code| {
        let language = code.language.as_deref();
        language.is_none_or(|language| SHELLS.contains(&language))
    });
    for code in shells {
        for (number, words) in simple(&code.text) {
            count +=
                usize::from(words.iter().any(|word| {
                    word == "xtask" || word.rsplit('/').next() == Some("lte-userspace")
                }));
            if let Some(why) = judge(&words, targets) {
                let line = code.line + number;
                wrong.push(format!("{name}:{line}: `{}`: {why}", words.join(" ")));
            }
        }
    }
    (wrong, count)
}

#[test]
fn the_documents_commands_are_there() -> Result<()> {
    let targets = Targets::of_the_workspace()?;
    let (mut wrong, mut count) = (Vec::new(), 0);
    for (name, text) in files("*.md")? {
        let (more, commands) = document(&name, &text, &targets);
        wrong.extend(more);
        count += commands;
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(
        count > 30,
        "{count} commands are too few: they are not found"
    );
    Ok(())
}

#[test]
fn the_units_commands_are_there() -> Result<()> {
    let targets = Targets::of_the_workspace()?;
    let mut count = 0;
    for (name, text) in files("packaging/*.service")? {
        for command in text
            .lines()
            .filter_map(|line| line.strip_prefix("ExecStart="))
        {
            count += 1;
            for (_, words) in simple(command) {
                assert_eq!(judge(&words, &targets), None, "{name}");
            }
        }
    }
    assert_eq!(count, 1);
    Ok(())
}

#[test]
fn the_examples_of_help_are_there() -> Result<()> {
    let targets = Targets::of_the_workspace()?;
    let command = lte_userspace::cli::command();
    for one in command.get_subcommands().chain([&command]) {
        let help = one.get_after_help().map(ToString::to_string);
        let help = help.unwrap_or_default();
        let (_, example) = help.split_once("Example:\n").unwrap_or_default();
        let commands = simple(example.lines().next().unwrap_or_default());
        let name = one.get_name();
        assert!(commands[0].1.len() > 1, "{name} has no example: {help}");
        for (_, words) in commands {
            assert_eq!(judge(&words, &targets), None, "{name}");
        }
    }
    Ok(())
}

#[test]
fn a_command_that_is_not_there_is_told() -> Result<()> {
    let targets = Targets::of_the_workspace()?;
    let wrong = |text: &str| document("a.md", text, &targets).0;
    for good in [
        "`lte-userspace`",
        "`sudo lte-userspace plan --json | jq '.steps[] | .x'`",
        "`LTE_X=1 target/debug/lte-userspace --backend nft`",
        "```\ncargo xtask run plan # why?\n```",
        "```sh\ncargo xtask run --lab && cargo xtask lint\n```",
        "`cargo test -p lte-tests --test tunnel -- --test x`",
        "`lte-userspace/src/lib.rs`, `cargo xtask`",
        "`lte-userspace (lib)::config::tests::a_test`",
        "```toml\ncargo xtask nothing\n```",
    ] {
        assert_eq!(wrong(good), [""; 0], "{good}");
    }
    for bad in [
        "`lte-userspace mend`",
        "`lte-userspace --backend tc`",
        "```\ntrue && sudo lte-userspace plan --yaml\n```",
        "`cargo xtask lint --gently`",
        "`cargo\nxtask nothing`",
        "`cargo xtask run mend`",
        "`cargo test -p lte-test`",
        "`cargo test -p lte-tests --test nothing`",
    ] {
        assert_eq!(wrong(bad).len(), 1, "{bad}");
    }
    Ok(())
}
