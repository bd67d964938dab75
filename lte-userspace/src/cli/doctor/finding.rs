//! What the doctor says.

use std::fmt;

use serde::Serialize;

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Grade {
    /// It is as it should be.
    Ok,
    /// The tunnel works, or could; something is weaker than it might be.
    Warning,
    /// The tunnel does not work, or will not when it is needed.
    Fault,
}

impl Grade {
    const fn label(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warning => "warning",
            Self::Fault => "fault",
        }
    }

    /// The colour of its word (ECMA-48, SGR).
    const fn colour(self) -> u8 {
        match self {
            Self::Ok => 32,
            Self::Warning => 33,
            Self::Fault => 31,
        }
    }
}

/// One finding.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Finding {
    /// How bad it is.
    pub(super) grade: Grade,
    /// What it is about, in one word.
    pub(super) about: &'static str,
    /// What was found, and what to do about it, in one line.
    pub(super) text: String,
}

impl Finding {
    pub(super) fn ok(about: &'static str, text: impl Into<String>) -> Self {
        Self::new(Grade::Ok, about, &text.into())
    }

    pub(super) fn warning(about: &'static str, text: impl Into<String>) -> Self {
        Self::new(Grade::Warning, about, &text.into())
    }

    pub(super) fn fault(about: &'static str, text: impl Into<String>) -> Self {
        Self::new(Grade::Fault, about, &text.into())
    }

    /// A cause's lines are put into one.
    fn new(grade: Grade, about: &'static str, text: &str) -> Self {
        Self {
            grade,
            about,
            text: text.replace('\n', "; "),
        }
    }

    /// As a line; on a terminal its grade is coloured.
    pub(super) fn line(&self, coloured: bool) -> impl fmt::Display {
        let word = self.grade.label();
        let (begin, end) = if coloured {
            (format!("\x1b[{}m", self.grade.colour()), "\x1b[0m")
        } else {
            (String::new(), "")
        };
        format!("{begin}{word:<7}{end}  {:<8}  {}", self.about, self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_finding_is_one_line() {
        let finding = Finding::fault("config", "one\ntwo");
        assert_eq!(
            finding.line(false).to_string(),
            "fault    config    one; two"
        );
        assert_eq!(
            finding.line(true).to_string(),
            "\x1b[31mfault  \x1b[0m  config    one; two"
        );
    }
}
