//! Debian packages of other suites, through apt with a configuration of its own: its lists, cache
//! and sources lie in our cache, and the machine's apt is left alone. Nothing is installed.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};

use super::debian::{Package, parse_installed, parse_stanzas};
use crate::host::cache::{Cache, check_sha256};
use crate::host::{command, say, tools};

/// The suites that have the kernels, rust-src and nft.
const SUITES: [&str; 6] = [
    "bullseye",
    "bookworm",
    "bookworm-backports",
    "trixie",
    "trixie-backports",
    "forky",
];

/// Lists are not fetched again for so long: a suite moves on a few times a day.
const FRESH: Duration = Duration::from_mins(30);

/// Debian's keys, and the package that has them on Debian and Ubuntu.
const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

/// The machine's hooks around an update are not for ours; expired lists of an archived suite are
/// as good as they were; we want no translations and no software catalogues.
const SETTINGS: &str = r#"APT::Architecture "amd64";
#clear APT::Architectures;
APT::Architectures { "amd64"; };
#clear APT::Update::Pre-Invoke;
#clear APT::Update::Post-Invoke;
#clear APT::Update::Post-Invoke-Success;
#clear DPkg::Post-Invoke;
APT::Sandbox::User "root";
Acquire::Languages "none";
Acquire::Check-Valid-Until "false";
Acquire::Retries "3";
Acquire::IndexTargets::deb::DEP-11::DefaultEnabled "false";
Acquire::IndexTargets::deb::DEP-11-icons::DefaultEnabled "false";
Acquire::IndexTargets::deb::CNF::DefaultEnabled "false";
"#;

/// apt with our configuration.
#[derive(Debug)]
pub(crate) struct Apt {
    dir: PathBuf,
    debs: PathBuf,
    /// What went wrong with the lists, if anything: some suites may be there all the same.
    update_failure: Option<String>,
}

impl Apt {
    /// Writes the configuration and fetches the lists.
    pub(crate) fn update(cache: &Cache) -> Result<Self> {
        if command::which("apt-get").is_none() {
            bail!(
                "kernels, rust-src and nft come from Debian packages, and this machine has no apt-get"
            );
        }
        if !Path::new(KEYRING).exists() {
            say::step("Debian's keys are missing: installing debian-archive-keyring");
            tools::install(&["debian-archive-keyring"])?;
        }
        let dir = cache.dir("apt")?;
        for sub in ["lists/partial", "cache/archives/partial"] {
            cache.dir(Path::new("apt").join(sub))?;
        }
        let write = |name: &str, text: &str| {
            let path = dir.join(name);
            fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))
        };
        let sources = sources(&mirrors()?);
        if fs::read_to_string(dir.join("sources.list")).ok().as_ref() != Some(&sources) {
            fs::remove_file(dir.join("updated")).ok();
        }
        write("sources.list", &sources)?;
        write("status", "")?;
        write("apt.conf", &format!("{SETTINGS}{}", directories(&dir)))?;
        let mut apt = Self {
            debs: cache.dir("debs")?,
            dir: dir.clone(),
            update_failure: None,
        };
        if apt.lists_are_fresh() {
            return Ok(apt);
        }
        say::step("fetching the package lists of Debian's suites");
        match command::output(apt.command("apt-get").args([
            "-q",
            "-o",
            "APT::Update::Error-Mode=any",
            "update",
        ])) {
            Ok(_) => write("updated", "")?,
            Err(error) => apt.update_failure = Some(format!("{error:#}")),
        }
        Ok(apt)
    }

    fn lists_are_fresh(&self) -> bool {
        fs::metadata(self.dir.join("updated"))
            .and_then(|meta| meta.modified())
            .ok()
            .and_then(|at| at.elapsed().ok())
            .is_some_and(|age| age < FRESH)
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command
            .arg("-c")
            .arg(self.dir.join("apt.conf"))
            .current_dir(&self.debs);
        command
    }

    /// All versions of all packages whose name begins so and is wanted.
    pub(crate) fn packages(
        &self,
        prefix: &str,
        wanted: impl Fn(&str) -> bool,
    ) -> Result<Vec<Package>> {
        let names = command::output(self.command("apt-cache").args(["pkgnames", prefix]))?;
        let mut names: Vec<&str> = names.lines().filter(|name| wanted(name)).collect();
        if names.is_empty() {
            return Ok(Vec::new());
        }
        names.sort_unstable();
        let text = command::output(self.command("apt-cache").arg("show").args(names))?;
        Ok(parse_stanzas(&text))
    }

    /// A package of a suite with all that it depends on: what installing it would bring to a machine
    /// that has nothing.
    pub(crate) fn with_dependencies(&self, name: &str, suite: &str) -> Result<Vec<Package>> {
        let said = command::output(
            self.command("apt-get")
                .args(["-s", "--no-install-recommends", "-o"])
                .arg(format!("APT::Default-Release={suite}"))
                .args(["install", name]),
        )
        .map_err(|error| match &self.update_failure {
            // apt says only that it does not know the suite.
            Some(_) => self.not_found(&format!("{name} of {suite}")),
            None => error,
        })?;
        let wanted = parse_installed(&said);
        let exact = wanted
            .iter()
            .map(|(name, version)| format!("{name}={version}"));
        let text = command::output(self.command("apt-cache").arg("show").args(exact))?;
        let known = parse_stanzas(&text);
        wanted
            .into_iter()
            .map(|(name, version)| {
                let mut found = known.iter();
                found
                    .find(|one| one.name == name && one.version == version)
                    .cloned()
                    .ok_or_else(|| self.not_found(&format!("{name} {version}")))
            })
            .collect()
    }

    /// Why a package may not have been found: the lists that failed, else that no suite has it.
    pub(crate) fn not_found(&self, what: &str) -> anyhow::Error {
        let suites = SUITES.join(", ");
        match &self.update_failure {
            Some(failure) => anyhow::anyhow!(
                "{what} is not in the package lists that could be fetched ({failure}); \
                 set LTE_DEBIAN_MIRROR to a mirror that has it"
            ),
            None => anyhow::anyhow!(
                "{what} is in none of {suites}; set LTE_DEBIAN_MIRROR to a mirror that has it"
            ),
        }
    }

    /// Fetches a package's archive, unless it is there already. apt checks the signature of the
    /// lists, and that the archive is what they say; we check again what lies in the cache.
    pub(crate) fn download(&self, package: &Package) -> Result<PathBuf> {
        if let Some(there) = self.archive(package)? {
            if check_sha256(&there, &package.sha256).is_ok() {
                return Ok(there);
            }
            fs::remove_file(&there)
                .with_context(|| format!("cannot remove the damaged {}", there.display()))?;
        }
        say::step(format_args!(
            "fetching {} {} ({} MB)",
            package.name,
            package.version,
            package.size.div_ceil(1_000_000)
        ));
        let done = command::run(
            self.command("apt-get")
                .args(["-qq", "download"])
                .arg(format!("{}={}", package.name, package.version)),
        );
        if done.is_err() {
            // Perhaps the suite has moved on since: the next call is to look again.
            fs::remove_file(self.dir.join("updated")).ok();
        }
        done?;
        let fetched = self
            .archive(package)?
            .with_context(|| format!("apt-get download left no archive of {}", package.name))?;
        check_sha256(&fetched, &package.sha256)?;
        Ok(fetched)
    }

    /// The archive in the cache: apt names it `name_version_arch.deb`, a colon escaped.
    fn archive(&self, package: &Package) -> Result<Option<PathBuf>> {
        let start = format!("{}_{}_", package.name, package.version.replace(':', "%3a"));
        for entry in fs::read_dir(&self.debs)? {
            let entry = entry?;
            if entry.file_name().to_string_lossy().starts_with(&start) {
                return Ok(Some(entry.path()));
            }
        }
        Ok(None)
    }
}

/// Unpacks a package's archive, fresh, into a directory.
pub(crate) fn unpack(archive: &Path, into: &Path) -> Result<()> {
    fs::create_dir_all(into).with_context(|| format!("cannot make {}", into.display()))?;
    command::output(Command::new("dpkg-deb").arg("-x").arg(archive).arg(into))?;
    Ok(())
}

/// The mirrors to fetch from: named by hand, else those that the machine's own apt has Debian from.
fn mirrors() -> Result<Vec<String>> {
    if let Some(own) = std::env::var("LTE_DEBIAN_MIRROR")
        .ok()
        .filter(|value| !value.trim().is_empty())
    {
        return Ok(own.split_whitespace().map(str::to_owned).collect());
    }
    let known = || -> Result<Vec<String>> {
        let text = command::output(Command::new("apt-get").args([
            "indextargets",
            "--format",
            "$(REPO_URI)\t$(LABEL)",
        ]))?;
        Ok(debian_mirrors(&text))
    };
    let mut found = known()?;
    if found.is_empty() {
        // A fresh machine has sources but no lists, and the label stands in the lists.
        tools::update()?;
        found = known()?;
    }
    if found.is_empty() {
        bail!(
            "this machine's apt knows no Debian mirror to fetch packages from: \
             set LTE_DEBIAN_MIRROR to one"
        );
    }
    Ok(found)
}

/// The addresses labelled `Debian`: security, backports by others and third parties are labelled
/// otherwise.
fn debian_mirrors(targets: &str) -> Vec<String> {
    let mut found: Vec<String> = targets
        .lines()
        .filter_map(|line| line.split_once('\t'))
        .filter(|(_, label)| label.trim() == "Debian")
        .map(|(address, _)| address.to_owned())
        .collect();
    found.sort();
    found.dedup();
    found
}

fn sources(mirrors: &[String]) -> String {
    mirrors
        .iter()
        .flat_map(|mirror| {
            SUITES.map(|suite| format!("deb [signed-by={KEYRING}] {mirror} {suite} main\n"))
        })
        .collect()
}

fn directories(dir: &Path) -> String {
    let dir = dir.display();
    format!(
        "Dir::State::Lists \"{dir}/lists\";\n\
         Dir::State::Status \"{dir}/status\";\n\
         Dir::Cache \"{dir}/cache\";\n\
         Dir::Cache::pkgcache \"pkgcache.bin\";\n\
         Dir::Cache::srcpkgcache \"srcpkgcache.bin\";\n\
         Dir::Etc::SourceList \"{dir}/sources.list\";\n\
         Dir::Etc::SourceParts \"/dev/null\";\n\
         Dir::Etc::Preferences \"/dev/null\";\n\
         Dir::Etc::PreferencesParts \"/dev/null\";\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_debians_own_mirror_is_taken() {
        let targets = "http://a.example/debian/\tDebian\n\
                       http://a.example/debian/\tDebian\n\
                       http://a.example/debian-security/\tDebian-Security\n\
                       http://b.example/debian/\tDebian Backports\n\
                       http://c.example/ubuntu/\tUbuntu\n\
                       http://d.example/\t$(LABEL)\n";
        assert_eq!(debian_mirrors(targets), ["http://a.example/debian/"]);
    }
}
