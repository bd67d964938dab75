//! One step of the story: what was expected and what was measured.

use serde::Serialize;

#[derive(Debug, Serialize)]
struct Measurement {
    good: bool,
    what: String,
}

/// A step.
#[derive(Debug, Serialize)]
pub(crate) struct Chapter {
    title: String,
    expected: Vec<String>,
    measured: Vec<Measurement>,
}

impl Chapter {
    pub(crate) fn new(title: &str, expected: &[&str]) -> Self {
        Self {
            title: title.to_owned(),
            expected: expected.iter().map(ToString::to_string).collect(),
            measured: Vec::new(),
        }
    }

    /// Notes what was measured and whether that is as expected.
    pub(crate) fn measured(&mut self, good: bool, what: impl Into<String>) {
        self.measured.push(Measurement {
            good,
            what: what.into(),
        });
    }

    /// Something was measured, and all of it is as expected.
    pub(crate) fn is_good(&self) -> bool {
        !self.measured.is_empty() && self.measured.iter().all(|one| one.good)
    }

    pub(crate) fn measurements(&self) -> impl Iterator<Item = (bool, &str)> {
        self.measured
            .iter()
            .map(|one| (one.good, one.what.as_str()))
    }
}
