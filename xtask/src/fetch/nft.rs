//! The nft of a kernel's guests, so that the backend is tested with an old one and a new one: this
//! machine's own where it will do, else Debian's, with the libraries and the loader of its suite.

use std::fs::{self, File};
use std::io::{BufWriter, Write as _};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};
use serde::{Deserialize, Serialize};

use super::apt::{self, Apt};
use super::debian;
use super::kernel::Series;
use crate::host::cache::{Cache, check_sha256, fresh_dir, sha256};
use crate::host::{command, say};
use crate::image::cpio::{Entry, Tree};
use crate::image::elf;

/// Raised when what we keep changes: what older calls have kept is then made anew.
const FORMAT: u32 = 1;

/// The guest's directory with the program, its loader and its libraries.
const HOME: &str = "/opt/nft";

/// Where the guest looks for nft: the wrapper replaces this machine's.
const WRAPPER: &str = "/usr/sbin/nft";

/// The program that Debian's libraries of this architecture are loaded by.
const LOADER: &str = "ld-linux-x86-64.so.2";

/// Where packages have libraries, before and after Debian gave `/lib` up.
const LIBRARY_DIRS: [&str; 2] = ["usr/lib/x86_64-linux-gnu", "lib/x86_64-linux-gnu"];

/// An nft to test with, and the suite that has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Wanted {
    /// The beginning of its version.
    series: &'static str,
    suite: &'static str,
}

/// The oldest that the agent takes.
const OLD: Wanted = Wanted {
    series: "1.0.6",
    suite: "bookworm",
};

const NEW: Wanted = Wanted {
    series: "1.1",
    suite: "trixie",
};

/// An nft for a guest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Nft {
    pub(crate) version: String,
    /// An initramfs archive that brings it; none where it is this machine's, which a guest has anyway.
    pub(crate) archive: Option<PathBuf>,
}

/// What was kept, and the sum by which it is known again.
#[derive(Debug, Serialize, Deserialize)]
struct Stamp {
    format: u32,
    version: String,
    sha256: String,
}

/// The nft that goes with a kernel, fetched if neither this machine nor the cache has it.
pub(crate) fn ready(cache: &Cache, kernel: Series) -> Result<Nft> {
    let wanted = wanted(kernel);
    if let Some(version) = own_version().filter(|own| debian::is_of_series(own, wanted.series)) {
        return Ok(Nft {
            version,
            archive: None,
        });
    }
    kept(cache, wanted).or_else(|_| {
        let _lock = cache.lock()?;
        // Another call may have fetched it while we waited.
        kept(cache, wanted).or_else(|_| {
            make(cache, wanted).with_context(|| {
                format!("nft {} of {} cannot be had", wanted.series, wanted.suite)
            })?;
            kept(cache, wanted)
        })
    })
}

/// Old kernels have the old one, as the distributions that came with them do.
fn wanted(kernel: Series) -> Wanted {
    match kernel.name() {
        "5.10" | "6.1" => OLD,
        _ => NEW,
    }
}

/// This machine's, if it has one and that one speaks.
fn own_version() -> Option<String> {
    let program = command::which("nft")?;
    let said = command::output(Command::new(program).arg("--version")).ok()?;
    said_version(&said).map(str::to_owned)
}

/// `1.0.6` of `nftables v1.0.6 (Lester Gooch #5)`.
fn said_version(said: &str) -> Option<&str> {
    said.split_once(" v")?.1.split_whitespace().next()
}

fn place(cache: &Cache, wanted: Wanted) -> PathBuf {
    cache.path("nft").join(wanted.series)
}

fn kept(cache: &Cache, wanted: Wanted) -> Result<Nft> {
    let dir = place(cache, wanted);
    let stamp: Stamp = serde_json::from_slice(&fs::read(dir.join("stamp.json"))?)?;
    if stamp.format != FORMAT {
        bail!("kept by another version of this program");
    }
    let archive = dir.join("nft.cpio");
    check_sha256(&archive, &stamp.sha256)?;
    Ok(Nft {
        version: stamp.version,
        archive: Some(archive),
    })
}

fn make(cache: &Cache, wanted: Wanted) -> Result<()> {
    let Wanted { series, suite } = wanted;
    say::step(format_args!(
        "nft {series} is neither this machine's nor in the cache: fetching {suite}'s"
    ));
    let apt = Apt::update(cache)?;
    let packages = apt.with_dependencies("nftables", suite)?;
    let version = packages
        .iter()
        .find(|package| package.name == "nftables")
        .map(|package| package.version.clone())
        .context("apt would install nftables without nftables")?;
    if !debian::is_of_series(&version, series) {
        bail!("{suite} has nftables {version}, which is not of series {series}");
    }
    let new = fresh_dir(&cache.path("nft").join(format!("{series}.new")))?;
    let unpacked = new.join("unpacked");
    for package in &packages {
        apt::unpack(&apt.download(package)?, &unpacked)?;
    }
    let mut file = BufWriter::new(File::create(new.join("nft.cpio"))?);
    tree(&unpacked)?.write(&mut file)?;
    file.flush()?;
    fs::remove_dir_all(&unpacked)?;
    let stamp = Stamp {
        format: FORMAT,
        version: debian::upstream(&version).to_owned(),
        sha256: sha256(&new.join("nft.cpio"))?,
    };
    fs::write(new.join("stamp.json"), serde_json::to_vec_pretty(&stamp)?)?;
    let old = place(cache, wanted);
    if old.exists() {
        fs::remove_dir_all(&old)?;
    }
    fs::rename(&new, &old).with_context(|| format!("cannot keep {}", old.display()))?;
    say::step(format_args!("nft {series} is {version}"));
    Ok(())
}

/// The program, its loader and the libraries it needs in a directory of their own, and a wrapper
/// that has it loaded from there: the guest's other programs keep this machine's.
fn tree(unpacked: &Path) -> Result<Tree> {
    let program = unpacked.join("usr/sbin/nft");
    let dirs: Vec<PathBuf> = LIBRARY_DIRS.iter().map(|dir| unpacked.join(dir)).collect();
    let loader = dirs
        .iter()
        .map(|dir| dir.join(LOADER))
        .find(|file| file.is_file())
        .with_context(|| format!("the packages have no {LOADER}"))?;
    let listed = command::output(
        Command::new(&loader)
            .arg("--library-path")
            .arg(std::env::join_paths(&dirs)?)
            .arg("--list")
            .arg(&program),
    )
    .context("the packages have no nft that can be loaded")?;
    let mut tree = Tree::default();
    let home = Path::new(HOME);
    tree.put(home.join("nft"), Entry::Host(program, 0o755));
    tree.put(home.join(LOADER), Entry::Host(loader, 0o755));
    for (name, library) in libraries(&listed, unpacked)? {
        tree.put(home.join(name), Entry::Host(library, 0o755));
    }
    tree.put(WRAPPER, Entry::Bytes(wrapper().into_bytes(), 0o755));
    Ok(tree)
}

/// The libraries that a loader has listed, by name. All must be the packages': one that the loader
/// found on this machine would be of another suite, and not be there in the guest.
fn libraries(listed: &str, unpacked: &Path) -> Result<Vec<(String, PathBuf)>> {
    let mut found = Vec::new();
    for library in elf::parse_ldd(listed)? {
        let name = library.file_name().unwrap_or_default().to_string_lossy();
        if !library.starts_with(unpacked) {
            bail!("nft needs {name}, which none of the packages has");
        }
        found.push((name.into_owned(), library));
    }
    if found.is_empty() {
        bail!("the loader lists no library of nft");
    }
    Ok(found)
}

/// busybox's shell, since it starts fast.
fn wrapper() -> String {
    format!(
        "#!/usr/bin/busybox sh\n\
         exec {HOME}/{LOADER} --library-path {HOME} {HOME}/nft \"$@\"\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_matrix_has_both() {
        let series: Vec<_> = Series::all().map(|kernel| wanted(kernel).series).collect();
        assert_eq!(series, ["1.0.6", "1.0.6", "1.1", "1.1"]);
    }

    #[test]
    fn the_version_is_read_as_nft_says_it() {
        let said = "nftables v1.0.6 (Lester Gooch #5)\n";
        assert_eq!(said_version(said), Some("1.0.6"));
        assert_eq!(said_version("busybox"), None);
    }

    #[test]
    fn a_library_of_this_machine_is_refused() {
        let own = "\tlinux-vdso.so.1 (0x1)\n\
                   \tlibmnl.so.0 => /x/usr/lib/libmnl.so.0 (0x2)\n\
                   \t/lib64/ld-linux-x86-64.so.2 => /x/lib/ld-linux-x86-64.so.2 (0x3)\n";
        let found = libraries(own, Path::new("/x")).expect("all are below /x");
        let names: Vec<_> = found.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["libmnl.so.0", LOADER]);
        let foreign = format!("{own}\tlibgmp.so.10 => /usr/lib/libgmp.so.10 (0x4)\n");
        let error = libraries(&foreign, Path::new("/x")).expect_err("one is not");
        assert!(error.to_string().contains("needs libgmp.so.10"), "{error}");
        assert!(libraries("", Path::new("/x")).is_err());
    }

    #[test]
    fn the_wrapper_passes_every_argument_as_it_is() {
        let text = wrapper();
        assert!(text.starts_with("#!/usr/bin/busybox sh\nexec /opt/nft/ld-linux"));
        assert!(text.ends_with(" /opt/nft/nft \"$@\"\n"), "{text}");
    }
}
