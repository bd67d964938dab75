//! The agent's program.

use std::process::ExitCode;

fn main() -> ExitCode {
    lte_userspace::cli::main()
}
