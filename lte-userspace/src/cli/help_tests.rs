//! What `--help` prints.

use clap::error::ErrorKind;

use crate::golden;

/// The terminal's width, which is otherwise that of the user's terminal.
const WIDTH: usize = 100;

/// As clap prints it after these words.
fn help(words: &[&str]) -> String {
    let words = [&["lte-userspace"], words, &["--help"]].concat();
    let error = super::command()
        .term_width(WIDTH)
        .try_get_matches_from(words)
        .expect_err("help is no run");
    assert_eq!(error.kind(), ErrorKind::DisplayHelp, "{error}");
    error.to_string()
}

#[test]
fn what_is_printed() {
    golden::assert("src/cli/golden/help.txt", &help(&[]));
    let command = super::command();
    for command in command.get_subcommands() {
        let name = command.get_name();
        golden::assert(&format!("src/cli/golden/help-{name}.txt"), &help(&[name]));
    }
}
