//! The daemon. Everything is in the library; see `lb_userspace::io::daemon`.

use std::process::ExitCode;

fn main() -> ExitCode {
    lb_userspace::io::daemon::main()
}
