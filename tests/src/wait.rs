//! Waiting on conditions, with a deadline.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};

/// How long any single step of the lab may take where a test says nothing else.
///
/// An emulated processor is some ten times slower than a real one, and may have to share that one
/// with others.
pub const TIMEOUT: Duration = Duration::from_secs(45);

/// Asks `look` until it has an answer. Past the deadline: an error that names `what`.
pub fn until<T>(
    within: Duration,
    what: &str,
    mut look: impl FnMut() -> Result<Option<T>>,
) -> Result<T> {
    let deadline = Instant::now() + within;
    loop {
        if let Some(found) = look()? {
            return Ok(found);
        }
        if Instant::now() >= deadline {
            bail!("waited {within:?} in vain for {what}");
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}
