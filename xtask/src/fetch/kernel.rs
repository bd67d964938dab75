//! Debian's cloud kernels: fetched, and their modules packed for the guest.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{BufWriter, Write as _};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::str::FromStr;

use anyhow::{Context as _, Result, bail};
use serde::{Deserialize, Serialize};

use super::apt::{self, Apt};
use super::debian::{self, Package};
use crate::host::cache::{Cache, check_sha256, fresh_dir, sha256};
use crate::host::{command, say, tools};
use crate::image::cpio::{Entry, Tree};
use crate::image::modules::{self, Dependencies};
use crate::vm::protocol::MODULES;

/// Raised when what we keep of a kernel changes: what older calls have kept is then made anew.
const FORMAT: u32 = 1;

/// The series of the matrix, oldest first.
const SERIES: [&str; 4] = ["5.10", "6.1", "6.12", "7.2"];

/// A kernel series of the matrix.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Series(usize);

impl Series {
    /// All, oldest first.
    pub(crate) fn all() -> impl Iterator<Item = Self> {
        (0..SERIES.len()).map(Self)
    }

    /// The newest.
    pub(crate) fn newest() -> Self {
        Self(SERIES.len() - 1)
    }

    /// As `6.1`.
    pub(crate) fn name(self) -> &'static str {
        SERIES[self.0]
    }
}

impl std::fmt::Display for Series {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Series {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::all()
            .find(|series| series.name() == text)
            .ok_or_else(|| format!("the kernels are {}", SERIES.join(", ")))
    }
}

/// A kernel that can be booted.
#[derive(Debug, Clone)]
pub(crate) struct Kernel {
    pub(crate) series: Series,
    /// The compressed kernel.
    pub(crate) image: PathBuf,
    /// An initramfs archive with `/lib/modules/<release>` and the list of those to load first.
    pub(crate) modules: PathBuf,
}

/// What was kept, and the sums by which it is known again.
#[derive(Debug, Serialize, Deserialize)]
struct Stamp {
    format: u32,
    package: String,
    version: String,
    release: String,
    image_sha256: String,
    modules_sha256: String,
    /// The modules that were looked for.
    modules: Vec<String>,
}

/// The kernel, fetched if it is not in the cache.
pub(crate) fn ready(cache: &Cache, series: Series) -> Result<Kernel> {
    kept(cache, series).or_else(|_| {
        let _lock = cache.lock()?;
        // Another call may have fetched it while we waited.
        kept(cache, series).or_else(|_| {
            make(cache, series).with_context(|| format!("kernel {series} cannot be had"))?;
            kept(cache, series)
        })
    })
}

fn place(cache: &Cache, series: Series) -> PathBuf {
    cache.path("kernels").join(series.name())
}

fn kept(cache: &Cache, series: Series) -> Result<Kernel> {
    let dir = place(cache, series);
    let stamp: Stamp = serde_json::from_slice(&fs::read(dir.join("stamp.json"))?)?;
    if stamp.format != FORMAT || !stamp.modules.iter().eq(modules::all()) {
        bail!("kept by another version of this program");
    }
    let kernel = Kernel {
        series,
        image: dir.join("vmlinuz"),
        modules: dir.join("modules.cpio"),
    };
    check_sha256(&kernel.image, &stamp.image_sha256)?;
    check_sha256(&kernel.modules, &stamp.modules_sha256)?;
    Ok(kernel)
}

fn make(cache: &Cache, series: Series) -> Result<()> {
    say::step(format_args!(
        "kernel {series} is not in the cache: fetching it"
    ));
    tools::require(&tools::MODULES, "packing a kernel's modules")?;
    let apt = Apt::update(cache)?;
    let packages = packages(&apt, series)?;
    let new = fresh_dir(&cache.path("kernels").join(format!("{series}.new")))?;
    let unpacked = new.join("unpacked");
    for package in &packages {
        apt::unpack(&apt.download(package)?, &unpacked)?;
    }
    let image = find(&unpacked, |name| name.starts_with("vmlinuz"))?
        .context("the packages have no vmlinuz")?;
    let tree = find(&unpacked, |name| name == "modules.builtin")?
        .context("the packages have no modules.builtin")?;
    let tree = tree.parent().context("modules.builtin lies nowhere")?;
    let release = tree
        .file_name()
        .context("the modules lie in no release's directory")?
        .to_string_lossy()
        .into_owned();
    pack_modules(series, tree, &release, &new)?;
    fs::rename(&image, new.join("vmlinuz")).context("cannot keep the kernel")?;
    fs::remove_dir_all(&unpacked)?;
    let stamp = Stamp {
        format: FORMAT,
        package: packages[0].name.clone(),
        version: packages[0].version.clone(),
        release,
        image_sha256: sha256(&new.join("vmlinuz"))?,
        modules_sha256: sha256(&new.join("modules.cpio"))?,
        modules: modules::all().map(str::to_owned).collect(),
    };
    fs::write(new.join("stamp.json"), serde_json::to_vec_pretty(&stamp)?)?;
    let old = place(cache, series);
    if old.exists() {
        fs::remove_dir_all(&old)?;
    }
    fs::rename(&new, &old).with_context(|| format!("cannot keep {}", old.display()))?;
    say::step(format_args!("kernel {series} is {}", stamp.version));
    Ok(())
}

/// The packages that make a kernel: the image, and in newer suites what it is split into.
fn packages(apt: &Apt, series: Series) -> Result<Vec<Package>> {
    let images = apt.packages("linux-image-", debian::is_kernel_image)?;
    let Some(image) = debian::newest_kernel(&images, series.name()) else {
        let newest: BTreeSet<&str> = images.iter().map(|one| one.version.as_str()).collect();
        let have = newest.into_iter().collect::<Vec<_>>().join(", ");
        return Err(apt
            .not_found(&format!("a cloud kernel of series {series}"))
            .context(format!("there are {have}")));
    };
    let mut found = vec![image.clone()];
    for part in debian::kernel_parts(&image.depends) {
        let versions = apt.packages(&part, |name| name == part)?;
        let version = versions
            .into_iter()
            .find(|one| one.version == image.version)
            .ok_or_else(|| apt.not_found(&format!("{part} {}", image.version)))?;
        found.push(version);
    }
    Ok(found)
}

/// Picks the modules, takes their compression off and writes the archive.
fn pack_modules(series: Series, tree: &Path, release: &str, new: &Path) -> Result<()> {
    let base = new.join("picked");
    let picked = base.join("lib/modules").join(release);
    let builtin = modules::builtin(&fs::read_to_string(tree.join("modules.builtin"))?);
    depmod(tree, release)?;
    let all = Dependencies::parse(&fs::read_to_string(tree.join("modules.dep"))?);
    let mut preload = String::new();
    for name in modules::REQUIRED {
        if all.has(name) {
            preload.push_str(name);
            preload.push('\n');
        } else if !builtin.contains(name) {
            bail!("kernel {series} ({release}) has no {name}, neither as a module nor built in");
        }
    }
    let mut files = Vec::new();
    for path in all.selection() {
        let to = picked.join(&path);
        if let Some(dir) = to.parent() {
            fs::create_dir_all(dir)?;
        }
        fs::copy(tree.join(&path), &to).with_context(|| format!("cannot copy module {path}"))?;
        files.push(to);
    }
    decompress(&files)?;
    for list in [
        "modules.builtin",
        "modules.builtin.modinfo",
        "modules.order",
    ] {
        if tree.join(list).exists() {
            fs::copy(tree.join(list), picked.join(list))?;
        }
    }
    depmod(&picked, release)?;
    let mut archive = Tree::default();
    archive.put_dir(&picked, &Path::new("/usr/lib/modules").join(release))?;
    archive.put(MODULES, Entry::Bytes(preload.into_bytes(), 0o644));
    let mut file = BufWriter::new(File::create(new.join("modules.cpio"))?);
    archive.write(&mut file)?;
    file.flush()?;
    fs::remove_dir_all(&base)?;
    Ok(())
}

/// Writes the lists of dependencies and aliases beside the modules.
fn depmod(tree: &Path, release: &str) -> Result<()> {
    // depmod wants the modules under <base>/lib/modules; a split package has them under usr/lib.
    let base = tree
        .ancestors()
        .nth(3)
        .context("a module tree lies three directories deep")?;
    command::output(
        Command::new(tools::path("depmod")?)
            .arg("-b")
            .arg(base)
            .arg(release),
    )?;
    Ok(())
}

/// Takes the compression off, so that the guest's modprobe need not know it.
fn decompress(files: &[PathBuf]) -> Result<()> {
    for (extension, program) in [("xz", "xz"), ("zst", "zstd"), ("gz", "gzip")] {
        let of_kind: Vec<&PathBuf> = files
            .iter()
            .filter(|file| file.extension().is_some_and(|end| end == extension))
            .collect();
        if of_kind.is_empty() {
            continue;
        }
        let mut unpack = Command::new(tools::path(program)?);
        unpack.args(["-d", "-q"]);
        if program == "zstd" {
            unpack.arg("--rm");
        }
        command::output(unpack.args(of_kind))?;
    }
    Ok(())
}

/// The first file below a directory whose name will do.
fn find(dir: &Path, wanted: impl Fn(&str) -> bool + Copy) -> Result<Option<PathBuf>> {
    for entry in fs::read_dir(dir).with_context(|| format!("cannot read {}", dir.display()))? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            if let Some(found) = find(&entry.path(), wanted)? {
                return Ok(Some(found));
            }
        } else if wanted(&entry.file_name().to_string_lossy()) {
            return Ok(Some(entry.path()));
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_matrix_parses_by_name_only() {
        assert_eq!(
            "6.1".parse::<Series>().expect("in the matrix").name(),
            "6.1"
        );
        assert_eq!(Series::newest().name(), "7.2");
        let error = "6".parse::<Series>().expect_err("not in the matrix");
        assert!(error.contains("5.10, 6.1, 6.12, 7.2"), "{error}");
    }
}
