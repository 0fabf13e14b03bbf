//! `mtls man`: the manual pages, made from the same text as `--help`.

use clap::CommandFactory;
use clap_mangen::Man;

use crate::cli::{Cli, ManArgs};
use crate::error::Error;
use crate::ui::Ui;

/// Runs the command.
pub fn run(args: &ManArgs, ui: &Ui) -> Result<(), Error> {
    let pages = pages().map_err(|why| Error::failed("the manual pages could not be made").because(why))?;
    if let Some(directory) = &args.out {
        let failed = |why| Error::failed(format!("`{}` could not be written", directory.display())).because(why);
        std::fs::create_dir_all(directory).map_err(failed)?;
        for (name, page) in pages {
            std::fs::write(directory.join(name), page).map_err(failed)?;
        }
        return Ok(());
    }
    let wanted = match &args.command {
        None => "mtls.1".to_owned(),
        Some(command) => {
            let cli = Cli::command();
            let found = cli.find_subcommand(command).map(|found| format!("mtls-{}.1", found.get_name()));
            found.ok_or_else(|| Error::usage(format!("there is no command `{command}`")))?
        }
    };
    pages.iter().filter(|(name, _)| *name == wanted).try_for_each(|(_, page)| ui.document(page))
}

/// Every page with its file name: that of the tool, then one for each command.
pub fn pages() -> std::io::Result<Vec<(String, Vec<u8>)>> {
    let mut cli = Cli::command().disable_help_subcommand(true);
    cli.build();
    let render = |command: clap::Command| {
        let man = Man::new(command);
        let mut page = Vec::new();
        man.render(&mut page)?;
        Ok((man.get_filename(), page))
    };
    let commands = cli.get_subcommands().cloned();
    std::iter::once(cli.clone()).chain(commands).map(render).collect()
}
