//! Lines for the person at the terminal. All go to stderr: stdout belongs to what is run.

use std::fmt::Display;
use std::io::IsTerminal;

fn coloured(code: &str, text: &str) -> String {
    if std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none() {
        format!("\x1b[{code}m{text}\x1b[0m")
    } else {
        text.to_owned()
    }
}

/// A step that begins.
pub(crate) fn step(text: impl Display) {
    eprintln!("{} {text}", coloured("1;32", "==>"));
}

/// Something that is not as it should be, and does not stop us.
pub(crate) fn warn(text: impl Display) {
    eprintln!("{} {text}", coloured("1;33", "warning:"));
}

/// The error that stops us, in one line.
pub(crate) fn error(error: &anyhow::Error) {
    eprintln!("{} {error:#}", coloured("1;31", "error:"));
}
