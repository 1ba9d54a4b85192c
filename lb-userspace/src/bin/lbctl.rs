//! The operator's tool. Everything is in the library; see `lb_userspace::control::cli`.

use std::process::ExitCode;

fn main() -> ExitCode {
    lb_userspace::control::cli::main()
}
