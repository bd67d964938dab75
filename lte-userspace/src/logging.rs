//! One line an event, on stderr.

use std::io::{IsTerminal as _, Write as _};
use std::os::unix::fs::MetadataExt as _;

use log::{Level, LevelFilter, Log, Metadata, Record};

/// How lines begin.
#[derive(Debug, Clone, Copy)]
enum Style {
    /// `<4>`: the journal takes the priority off and keeps it.
    Journal,
    /// A coloured word.
    Terminal,
    /// A word.
    Plain,
}

struct Logger {
    style: Style,
    own: LevelFilter,
}

/// Starts logging; `verbose` adds our own debugging lines, and from two on those of the guard.
pub(crate) fn start(verbose: u8) {
    let style = if is_journal() {
        Style::Journal
    } else if std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none() {
        Style::Terminal
    } else {
        Style::Plain
    };
    let own = match verbose {
        0 => LevelFilter::Info,
        1 => LevelFilter::Debug,
        _ => LevelFilter::Trace,
    };
    if log::set_boxed_logger(Box::new(Logger { style, own })).is_ok() {
        log::set_max_level(own);
    }
}

/// Whether stderr is the journal itself, and not a child's redirected one.
fn is_journal() -> bool {
    let Ok(stream) = std::env::var("JOURNAL_STREAM") else {
        return false;
    };
    std::fs::metadata("/proc/self/fd/2")
        .is_ok_and(|stderr| stream == format!("{}:{}", stderr.dev(), stderr.ino()))
}

impl Log for Logger {
    /// Other crates only warn: what they trace includes what they send to the kernel, and there
    /// the private key.
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        let limit = if metadata.target().starts_with("lte_") {
            self.own
        } else {
            LevelFilter::Warn
        };
        metadata.level() <= limit
    }

    fn log(&self, record: &Record<'_>) {
        if !self.enabled(record.metadata()) {
            return;
        }
        let text = record.args().to_string().replace('\n', "; ");
        let line = format!("{}{text}\n", self.prefix(record.level()));
        // One write a line, so that lines of several processes do not mix. There is nowhere to
        // report a stderr that is gone.
        drop(std::io::stderr().write_all(line.as_bytes()));
    }

    fn flush(&self) {}
}

impl Logger {
    fn prefix(&self, level: Level) -> &'static str {
        match (self.style, level) {
            (Style::Journal, Level::Error) => "<3>",
            (Style::Journal, Level::Warn) => "<4>",
            (Style::Journal, Level::Info) => "<6>",
            (Style::Journal, _) => "<7>",
            (Style::Terminal, Level::Error) => "\x1b[31merror:\x1b[0m ",
            (Style::Terminal, Level::Warn) => "\x1b[33mwarning:\x1b[0m ",
            (Style::Plain, Level::Error) => "error: ",
            (Style::Plain, Level::Warn) => "warning: ",
            (_, Level::Info) => "",
            (_, _) => "debug: ",
        }
    }
}
