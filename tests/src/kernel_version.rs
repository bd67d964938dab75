//! Which kernel this is.

use anyhow::{Result, bail};
use nix::sys::utsname::uname;

/// The running kernel's version: major, minor.
pub fn running() -> Result<(u32, u32)> {
    let name = uname()?;
    let release = name.release().to_string_lossy();
    let mut numbers = release.split(['.', '-']).map(str::parse);
    match (numbers.next(), numbers.next()) {
        (Some(Ok(major)), Some(Ok(minor))) => Ok((major, minor)),
        _ => bail!("no version in {release}"),
    }
}
