//! The account of what happened: printed chapter by chapter, or as JSON at the end.

use std::io::{Write, stdout};
use std::time::Instant;

use anyhow::Result;
use serde::Serialize;

use crate::chapter::Chapter;

/// What is printed, and where.
#[derive(Debug, Serialize)]
pub(crate) struct Account {
    #[serde(skip)]
    json: bool,
    #[serde(skip)]
    opened: Instant,
    about: Vec<String>,
    chapters: Vec<Chapter>,
    table: Vec<String>,
}

impl Account {
    pub(crate) fn new(json: bool) -> Self {
        Self {
            json,
            opened: Instant::now(),
            about: Vec::new(),
            chapters: Vec::new(),
            table: Vec::new(),
        }
    }

    /// A line before the first chapter.
    pub(crate) fn about(&mut self, line: impl Into<String>) -> Result<()> {
        let line = line.into();
        self.print(&line)?;
        self.about.push(line);
        Ok(())
    }

    /// Opens a chapter, runs it, and prints its result. Its error is part of it.
    pub(crate) fn chapter(
        &mut self,
        title: &str,
        expected: &[&str],
        play: impl FnOnce(&mut Chapter) -> Result<()>,
    ) -> Result<()> {
        let mut chapter = Chapter::new(title, expected);
        self.print(&format!("\n{}. {title}", self.chapters.len() + 1))?;
        for (number, line) in expected.iter().enumerate() {
            let label = if number == 0 { "expected" } else { "" };
            self.print(&format!("   {label:<9} {line}"))?;
        }
        if let Err(error) = play(&mut chapter) {
            chapter.measured(false, format!("{error:#}"));
        }
        for (number, (good, line)) in chapter.measurements().enumerate() {
            let label = if number == 0 { "measured" } else { "" };
            let sign = if good { ' ' } else { '!' };
            self.print(&format!("   {label:<9}{sign}{line}"))?;
        }
        let verdict = if chapter.is_good() {
            "as expected"
        } else {
            "NOT as expected"
        };
        self.print(&format!("   => {verdict}"))?;
        self.chapters.push(chapter);
        Ok(())
    }

    /// A line of the table of packets.
    pub(crate) fn line(&mut self, line: impl Into<String>) -> Result<()> {
        let line = line.into();
        self.print(&line)?;
        self.table.push(line);
        Ok(())
    }

    /// The last word. Whether all chapters were as expected, and the story came to its end.
    pub(crate) fn close(&mut self, told: Result<()>) -> Result<bool> {
        let good = self.chapters.iter().filter(|one| one.is_good()).count();
        let all = self.chapters.len();
        if self.json {
            println!("{}", serde_json::to_string_pretty(self)?);
        }
        told?;
        self.print(&format!(
            "\n{good} of {all} steps as expected, in {:.1} s.",
            self.opened.elapsed().as_secs_f32()
        ))?;
        Ok(all > 0 && good == all)
    }

    fn print(&self, line: &str) -> Result<()> {
        if !self.json {
            let mut out = stdout().lock();
            writeln!(out, "{line}")?;
            out.flush()?;
        }
        Ok(())
    }
}
