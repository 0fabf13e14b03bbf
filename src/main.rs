//! The command line `mtls`.

use std::process::ExitCode;

fn main() -> ExitCode {
    mtls::run(std::env::args_os())
}
