//! Licences, doubles and sources of the packages that the lock file has, by deny.toml.
//!
//! It is what `cargo deny check licenses bans sources` would say. That program takes 196 s of processor time
//! to build, on two cores more than a clean run of all lints may be delayed by, and is not to be had built;
//! this takes a second. Advisories are a matter of `cargo xtask audit`.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result};
use cargo_metadata::semver::{Version, VersionReq};
use cargo_metadata::{Metadata, MetadataCommand};
use serde::Deserialize;
use spdx::{Expression, Licensee, ParseMode};

use crate::host::workspace;

/// The file, from the workspace's root.
const FILE: &str = "deny.toml";

/// The keys of cargo-deny's config that are understood here; another one is an error, since it would be
/// taken for one that is held.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Deny {
    graph: Graph,
    /// cargo-deny's alone.
    #[serde(rename = "advisories")]
    _advisories: toml::Table,
    licenses: Licenses,
    bans: Bans,
    #[serde(rename = "sources")]
    _sources: Sources,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Graph {
    targets: Vec<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Licenses {
    allow: Vec<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Bans {
    #[serde(rename = "multiple-versions")]
    _multiple_versions: Level,
    skip: Vec<Skip>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Skip {
    /// A name, and which versions of it as in a manifest: `syn@2`.
    #[serde(rename = "crate")]
    package: String,
    #[serde(rename = "reason")]
    _reason: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Sources {
    #[serde(rename = "unknown-registry")]
    _unknown_registry: Level,
    #[serde(rename = "unknown-git")]
    _unknown_git: Level,
}

/// How bad it is. There is one level here.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Level {
    Deny,
}

/// A package, as far as it is judged.
#[derive(Debug, Clone)]
struct Package {
    name: String,
    version: Version,
    license: Option<String>,
    /// `None`: it is in the workspace.
    source: Option<String>,
    from_crates_io: bool,
}

/// Holds the lock file's packages, as far as one of the targets needs them.
pub(super) fn check() -> Result<()> {
    let text = std::fs::read_to_string(workspace::root().join(FILE))
        .with_context(|| format!("cannot read {FILE}"))?;
    let deny: Deny = toml::from_str(&text).with_context(|| FILE.to_owned())?;
    let mut packages = BTreeMap::new();
    for target in &deny.graph.targets {
        packages.extend(needed(target)?);
    }
    let packages: Vec<Package> = packages.into_values().collect();
    super::report(&judge(&deny, &packages)?)
}

/// The packages that this target needs, by their identity.
fn needed(target: &str) -> Result<BTreeMap<String, Package>> {
    let metadata = MetadataCommand::new()
        .current_dir(workspace::root())
        .other_options(["--locked", "--filter-platform", target].map(str::to_owned))
        .exec()
        .context("cannot read what the workspace depends on")?;
    Ok(resolved(&metadata))
}

fn resolved(metadata: &Metadata) -> BTreeMap<String, Package> {
    let nodes = metadata.resolve.iter().flat_map(|resolve| &resolve.nodes);
    nodes
        .map(|node| &metadata[&node.id])
        .map(|package| {
            let about = Package {
                name: package.name.to_string(),
                version: package.version.clone(),
                license: package.license.clone(),
                source: package.source.as_ref().map(|source| source.repr.clone()),
                from_crates_io: package
                    .source
                    .as_ref()
                    .is_some_and(cargo_metadata::Source::is_crates_io),
            };
            (package.id.repr.clone(), about)
        })
        .collect()
}

/// What is not allowed, a line each.
fn judge(deny: &Deny, packages: &[Package]) -> Result<Vec<String>> {
    let allowed = deny
        .licenses
        .allow
        .iter()
        .map(|name| Licensee::parse(name).with_context(|| format!("{FILE}: licence {name}")))
        .collect::<Result<Vec<_>>>()?;
    let mut found: Vec<String> = packages
        .iter()
        .flat_map(|package| [license(package, &allowed), source(package)])
        .flatten()
        .collect();
    found.extend(doubles(packages, &deny.bans.skip));
    Ok(found)
}

fn license(package: &Package, allowed: &[Licensee]) -> Option<String> {
    let Package { name, version, .. } = package;
    let Some(license) = &package.license else {
        return Some(format!("{name} {version} does not say its licence"));
    };
    // As cargo does: a slash is an old way to write OR.
    match Expression::parse_mode(license, ParseMode::LAX) {
        Err(error) => Some(format!(
            "{name} {version}: licence {license}: {}",
            error.reason
        )),
        Ok(expression) => {
            let may = expression.evaluate(|wanted| allowed.iter().any(|one| one.satisfies(wanted)));
            (!may).then(|| {
                format!("{name} {version}: licence {license} is not among those of {FILE}")
            })
        }
    }
}

fn source(package: &Package) -> Option<String> {
    let source = package.source.as_ref()?;
    (!package.from_crates_io).then(|| {
        format!(
            "{} {} is not from crates.io but from {source}",
            package.name, package.version
        )
    })
}

impl Skip {
    fn excuses(&self, package: &Package) -> bool {
        self.package
            .split_once('@')
            .is_some_and(|(name, versions)| {
                name == package.name
                    && VersionReq::parse(versions)
                        .is_ok_and(|versions| versions.matches(&package.version))
            })
    }
}

/// Packages that are there in several versions, and exceptions that are not needed any more.
fn doubles(packages: &[Package], skip: &[Skip]) -> Vec<String> {
    let mut versions: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    let counted = |package: &&Package| !skip.iter().any(|skip| skip.excuses(package));
    for package in packages.iter().filter(counted) {
        let of_name = versions.entry(&package.name).or_default();
        of_name.push(package.version.to_string());
    }
    let several = versions
        .into_iter()
        .filter(|(_, versions)| versions.len() > 1)
        .map(|(name, versions)| {
            format!(
                "{name} is there {} times ({}): `cargo tree --invert {name}@VERSION` says for whom; where it cannot be helped, {FILE} says why",
                versions.len(),
                versions.join(", ")
            )
        });
    let stale = skip
        .iter()
        .filter(|skip| !packages.iter().any(|package| skip.excuses(package)))
        .map(|skip| format!("{FILE}: {} is not there any more", skip.package));
    several.chain(stale).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn package(name: &str, version: &str) -> Package {
        Package {
            name: name.to_owned(),
            version: Version::parse(version).expect("it is one"),
            license: Some("MIT OR Apache-2.0".to_owned()),
            source: Some("registry".to_owned()),
            from_crates_io: true,
        }
    }

    fn told(packages: &[Package]) -> Vec<String> {
        let deny = toml::from_str(
            r#"
            graph = { targets = [] }
            advisories = { ignore = [] }
            licenses = { allow = ["MIT", "ISC"] }
            bans = { multiple-versions = "deny", skip = [{ crate = "old@1", reason = "why" }] }
            sources = { unknown-registry = "deny", unknown-git = "deny" }
            "#,
        )
        .expect("it is right");
        judge(&deny, packages).expect("the licences have names")
    }

    #[test]
    fn what_is_allowed_is_not_told() {
        let old = package("old", "1.0.0");
        assert_eq!(told(&[old, package("old", "2.0.0")]), [""; 0]);
    }

    #[test]
    fn a_licence_is_judged_by_its_expression() {
        for (license, allowed) in [
            (Some("MIT"), true),
            (Some("GPL-3.0-only OR ISC"), true),
            (Some("GPL-3.0-only/MIT"), true),
            (Some("(MIT OR Apache-2.0) AND ISC"), true),
            (Some("MIT AND GPL-3.0-only"), false),
            (Some("Apache-2.0"), false),
            (Some("Nobody's"), false),
            (None, false),
        ] {
            let mut one = package("old", "1.0.0");
            one.license = license.map(str::to_owned);
            assert_eq!(told(&[one]).is_empty(), allowed, "{license:?}");
        }
    }

    #[test]
    fn doubles_and_what_excuses_nothing_are_told() {
        let two = [package("a", "1.0.0"), package("a", "2.0.0")];
        let lines = told(&two);
        assert_eq!(lines.len(), 2, "{lines:?}");
        assert!(lines[0].starts_with("a is there 2 times (1.0.0, 2.0.0)"));
        assert_eq!(lines[1], "deny.toml: old@1 is not there any more");
    }

    #[test]
    fn other_sources_are_told() {
        let mut one = package("old", "1.0.0");
        one.from_crates_io = false;
        assert_eq!(
            told(&[one.clone()]),
            ["old 1.0.0 is not from crates.io but from registry"]
        );
        one.source = None;
        assert_eq!(told(&[one]), [""; 0]);
    }

    #[test]
    fn a_key_that_is_not_held_is_an_error() {
        let wrong = "[licenses]\nallow = []\nconfidence-threshold = 0.9\n";
        let error = toml::from_str::<Deny>(wrong).expect_err("it is not known here");
        assert!(
            error.to_string().contains("confidence-threshold"),
            "{error}"
        );
    }
}
