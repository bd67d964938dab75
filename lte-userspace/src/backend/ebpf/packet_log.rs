//! The lines that programs write about packets, when they are asked to.
//!
//! A program writes numbers, which are named here: each name would be another way through the program for the
//! verifier, and a dozen of them in each of its ways are more than it follows.

use std::time::Duration;

use aya_log::EbpfLogger;
use log::{Log, Metadata, Record};
use lte_common::policy::{Class, Hook};

use crate::backend::BackendError;

/// How often the lines are read.
const INTERVAL: Duration = Duration::from_millis(200);

/// Reads the lines of an object's programs as long as the process lives. Needs a runtime of tokio's.
pub(super) fn read(ebpf: &mut aya::Ebpf) -> Result<(), BackendError> {
    let mut logger = EbpfLogger::init_with_logger(ebpf, NamedLines)
        .map_err(|e| BackendError::failed("read the programs' log", e))?;
    tokio::spawn(async move {
        let mut tick = tokio::time::interval(INTERVAL);
        loop {
            tick.tick().await;
            logger.flush();
        }
    });
    Ok(())
}

/// Hands lines on to the process's log, with names.
struct NamedLines;

impl Log for NamedLines {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        log::logger().enabled(metadata)
    }

    fn log(&self, record: &Record<'_>) {
        let line = record.args().to_string();
        let line = named(&line).unwrap_or(line);
        log::logger().log(
            &Record::builder()
                .metadata(record.metadata().clone())
                .args(format_args!("{line}"))
                .module_path(record.module_path())
                .file(record.file())
                .line(record.line())
                .build(),
        );
    }

    fn flush(&self) {
        log::logger().flush();
    }
}

/// The line with the names of its hook and its class, which it begins with as numbers.
fn named(line: &str) -> Option<String> {
    let (numbers, rest) = line.split_once(": ")?;
    let (hook, class) = numbers.split_once(' ')?;
    let (hook, class): (u32, u8) = (hook.parse().ok()?, class.parse().ok()?);
    let hook = Hook::ALL.into_iter().find(|known| *known as u32 == hook)?;
    let class = Class::ALL.iter().find(|known| **known as u8 == class)?;
    Some(format!("{} {}: {rest}", hook.name(), class.name()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_named_and_other_lines_stay() {
        let class = Class::DropForwarded as u8;
        let line = format!("0 {class}: 128 bytes");
        assert_eq!(
            named(&line).as_deref(),
            Some("modem-out drop-forwarded: 128 bytes")
        );
        for other in [
            "",
            "0 255: 1 bytes",
            "9 0: 1 bytes",
            "a line of another kind: 3",
        ] {
            assert_eq!(named(other), None, "{other}");
        }
    }
}
