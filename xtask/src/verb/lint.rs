//! `cargo xtask lint`: formatting, clippy's lints, and rules of the house that neither knows.

use std::path::Path;
use std::process::{Command, ExitCode};

use anyhow::{Context as _, Result};

use crate::fetch::toolchain::Toolchain;
use crate::host::cache::Cache;
use crate::host::{command, say, workspace};

/// A file has one subject; one that is longer than this has two.
const MAX_LINES: usize = 600;

/// Check formatting, clippy's lints and the rules of the house
#[derive(Debug, clap::Args)]
pub(crate) struct Args {}

/// Runs the verb. All checks run, so that one call shows all there is to mend.
pub(crate) fn run(_args: &Args) -> Result<ExitCode> {
    let toolchain = Toolchain::ready(&Cache::open()?)?;
    let mut well = true;
    let mut check = |what: &str, result: Result<()>| {
        if let Err(error) = result {
            say::error(&error.context(what.to_owned()));
            well = false;
        }
    };
    say::step("formatting");
    check(
        "formatting",
        command::run(workspace::cargo().args(["fmt", "--all", "--check"])),
    );
    say::step("clippy, on the host's packages");
    check("clippy", clippy(&toolchain));
    say::step("clippy, on the eBPF programs");
    check("clippy for eBPF", clippy_ebpf(&toolchain));
    say::step("rules of the house");
    check("rules of the house", house_rules());
    Ok(if well {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

fn clippy(toolchain: &Toolchain) -> Result<()> {
    command::run(
        toolchain
            .cargo()?
            .args(["clippy", "--quiet", "--workspace", "--exclude", "lte-ebpf"])
            .args(["--all-targets", "--", "-D", "warnings"]),
    )
}

/// For the target it is built for, with the same unstable option as the build.
fn clippy_ebpf(toolchain: &Toolchain) -> Result<()> {
    command::run(
        toolchain
            .cargo()?
            .args(["clippy", "--quiet", "--package", "lte-ebpf", "--release"])
            .args(["--target", "bpfel-unknown-none", "-Z", "build-std=core"])
            .args(["--", "-D", "warnings"])
            .env("RUSTC_BOOTSTRAP", "1"),
    )
}

/// Looks at every file that git knows or would take.
fn house_rules() -> Result<()> {
    let list = command::output(Command::new("git").current_dir(workspace::root()).args([
        "ls-files",
        "--cached",
        "--others",
        "--exclude-standard",
        "--",
        "*.rs",
    ]))?;
    let mut broken = Vec::new();
    for name in list.lines() {
        let path = workspace::root().join(name);
        if !path.exists() {
            continue;
        }
        let text = std::fs::read_to_string(&path)
            .with_context(|| format!("cannot read {}", path.display()))?;
        broken.extend(judge(Path::new(name), &text));
    }
    if broken.is_empty() {
        return Ok(());
    }
    for line in &broken {
        eprintln!("{line}");
    }
    anyhow::bail!("{} broken", broken.len())
}

/// What a source file does that it should not.
fn judge(path: &Path, text: &str) -> Vec<String> {
    let mut found = Vec::new();
    let lines = text.lines().count();
    if lines > MAX_LINES {
        found.push(format!(
            "{}: {lines} lines, of {MAX_LINES} at most: part it by subject",
            path.display()
        ));
    }
    // In two pieces, so that this line does not find itself.
    for unfinished in [concat!("to", "do!("), concat!("unimple", "mented!(")] {
        for (number, _) in text
            .lines()
            .enumerate()
            .filter(|(_, line)| line.contains(unfinished))
        {
            found.push(format!(
                "{}:{}: {unfinished}) is unfinished work",
                path.display(),
                number + 1
            ));
        }
    }
    found.extend(examples(path, text));
    found
}

/// Code in a doc comment, which nobody runs: to build the packages once more for doctests costs half a
/// minute, and there are none.
fn examples(path: &Path, text: &str) -> Vec<String> {
    let mut open = false;
    let mut found = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let line = line.trim_start();
        let doc = line.strip_prefix("///").or(line.strip_prefix("//!"));
        let Some(kind) = doc.and_then(|doc| doc.trim().strip_prefix("```")) else {
            continue;
        };
        if !open && kind != "text" {
            found.push(format!(
                "{}:{}: an example that is not run: make a test of it, or ```text",
                path.display(),
                number + 1
            ));
        }
        open = !open;
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn examples_are_text() {
        let path = Path::new("a.rs");
        assert!(judge(path, "/// ```text\n/// a b\n/// ```\n").is_empty());
        let found = judge(path, "fn a() {}\n    //! ```\n    //! a();\n    //! ```\n");
        assert_eq!(found.len(), 1);
        assert!(found[0].starts_with("a.rs:2: "), "{found:?}");
    }

    #[test]
    fn long_and_unfinished_files_are_found() {
        let path = Path::new("a.rs");
        assert!(judge(path, "fn main() {}\n").is_empty());
        assert_eq!(judge(path, &"\n".repeat(MAX_LINES + 1)).len(), 1);
        let unfinished = concat!("fn a() {}\nfn b() { to", "do!() }\n");
        let found = judge(path, unfinished);
        assert_eq!(found.len(), 1);
        assert!(found[0].starts_with("a.rs:2: "), "{found:?}");
    }
}
