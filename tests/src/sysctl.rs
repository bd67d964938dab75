//! `/proc/sys/net` of a namespace. It shows the namespace of the thread that reads it.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

use crate::netns::Netns;

/// Entries whose value changes by itself, that cannot be read, or that are no setting.
const NOT_STATE: &[&str] = &["flush", "stable_secret", "tcp_fastopen_key", "netfilter"];

/// Writes values, each as `("ipv4/ip_forward", "1")`, in order.
pub fn set(netns: &Netns, values: &[(&str, &str)]) -> Result<()> {
    netns
        .run(|| {
            for (key, value) in values {
                fs::write(path(key), value).with_context(|| format!("net/{key} = {value}"))?;
            }
            Ok(())
        })
        .with_context(|| format!("sysctl in {}", netns.name()))
}

/// Reads one value, as `"ipv4/conf/all/rp_filter"`.
pub fn get(netns: &Netns, key: &str) -> Result<String> {
    netns
        .run(|| Ok(fs::read_to_string(path(key))?.trim().to_owned()))
        .with_context(|| format!("sysctl net/{key} in {}", netns.name()))
}

/// All settings of IPv4 and IPv6, for every interface, as `("ipv4/conf/wan/rp_filter", "1")`.
pub fn all(netns: &Netns) -> Result<Vec<(String, String)>> {
    netns.run(|| {
        let mut found = Vec::new();
        for family in ["ipv4", "ipv6"] {
            walk(&path(family), family, &mut found)?;
        }
        Ok(found)
    })
}

fn path(key: &str) -> std::path::PathBuf {
    Path::new("/proc/sys/net").join(key)
}

fn walk(directory: &Path, prefix: &str, found: &mut Vec<(String, String)>) -> Result<()> {
    for entry in fs::read_dir(directory).with_context(|| directory.display().to_string())? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if NOT_STATE.contains(&name.as_str()) {
            continue;
        }
        let key = format!("{prefix}/{name}");
        if entry.file_type()?.is_dir() {
            walk(&entry.path(), &key, found)?;
        } else {
            let value = fs::read_to_string(entry.path()).with_context(|| format!("net/{key}"))?;
            found.push((key, value.trim().to_owned()));
        }
    }
    Ok(())
}
