//! `mtls completion`: a script that completes commands and flags.

use clap::CommandFactory;

use crate::cli::{Cli, CompletionArgs, Shell};
use crate::error::Error;
use crate::ui::Ui;

/// Runs the command.
pub fn run(args: &CompletionArgs, ui: &Ui) -> Result<(), Error> {
    ui.document(&script(args.shell))
}

/// The script for a shell.
pub fn script(shell: Shell) -> Vec<u8> {
    let shell = match shell {
        Shell::Bash => clap_complete::Shell::Bash,
        Shell::Zsh => clap_complete::Shell::Zsh,
        Shell::Fish => clap_complete::Shell::Fish,
        Shell::PowerShell => clap_complete::Shell::PowerShell,
    };
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "mtls", &mut script);
    script
}
