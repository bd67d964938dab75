//! A kernel without one of its modules.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

use crate::process::tool;
use crate::wait::{self, TIMEOUT};

/// Takes a module out of the kernel and keeps it from being loaded, until dropped. This is the whole
/// machine's matter: it is done for a second, and in a virtual machine.
#[derive(Debug)]
pub struct HiddenModule {
    /// `None` where the kernel loads no modules at all.
    loader: Option<String>,
}

impl HiddenModule {
    const LOADER: &str = "/proc/sys/kernel/modprobe";

    /// Whether the kernel has it built in, so that it cannot be hidden.
    pub fn cannot_be(module: &str) -> bool {
        // That fails for one that is built in where nothing lists those.
        drop(tool("modprobe", &[module], ""));
        !Path::new("/sys/module")
            .join(module)
            .join("initstate")
            .exists()
    }

    /// Hides it.
    pub fn new(module: &str) -> Result<Self> {
        if Path::new("/sys/module").join(module).exists() {
            // The kernel takes its time with the namespaces of the tests before.
            wait::until(TIMEOUT, "the module to be in nobody's use", || {
                Ok(tool("modprobe", &["-r", module], "").ok())
            })
            .with_context(|| format!("{module} is built in or in use"))?;
        }
        let loader = match fs::read_to_string(Self::LOADER) {
            Ok(loader) => Some(loader),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
            Err(error) => return Err(error).context(Self::LOADER),
        };
        if loader.is_some() {
            fs::write(Self::LOADER, "/nonexistent")?;
        }
        Ok(Self { loader })
    }
}

impl Drop for HiddenModule {
    fn drop(&mut self) {
        if let Some(loader) = &self.loader
            && let Err(error) = fs::write(Self::LOADER, loader.trim_end())
        {
            eprintln!("cannot restore {}: {error}", Self::LOADER);
        }
    }
}
