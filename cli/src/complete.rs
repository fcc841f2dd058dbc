//! `baton completions` and `baton man`: what shells and manuals know of the command line, from its own
//! definition.

use crate::context::Context;
use crate::failure::Failure;
use baton_data::files::write_whole;
use clap::Command;
use clap_complete::Shell;
use serde_json::json;
use std::path::PathBuf;

/// Print the completions of a shell
#[derive(clap::Args)]
#[command(
    after_help = "Example:\n  baton completions bash > ~/.local/share/bash-completion/completions/baton"
)]
pub struct Completions {
    /// Which shell
    #[arg(value_name = "SHELL")]
    shell: Shell,
}

/// Write the manual, a page for each verb
#[derive(clap::Args)]
#[command(after_help = "Example:\n  baton man ~/.local/share/man/man1")]
pub struct Man {
    /// A folder, made if it is not there
    #[arg(value_name = "FOLDER")]
    folder: PathBuf,
}

impl Completions {
    pub fn run(self, context: &Context) -> Result<(), Failure> {
        let mut script = vec![];
        clap_complete::generate(self.shell, &mut (context.command)(), "baton", &mut script);
        let script = String::from_utf8(script).expect("completions are text");
        context.output.result(
            || json!({ "shell": self.shell.to_string(), "script": script }),
            || script.clone(),
        )
    }
}

impl Man {
    pub fn run(self, context: &Context) -> Result<(), Failure> {
        let mut whole = (context.command)().disable_help_subcommand(true);
        whole.build();
        self.pages(whole)?;
        let folder = self.folder.display().to_string();
        context.output.result(
            || json!({ "folder": folder }),
            || format!("the pages are in {folder}\n"),
        )
    }

    /// Writes the page of a verb and those of the verbs within.
    fn pages(&self, command: Command) -> Result<(), Failure> {
        for within in command.get_subcommands() {
            self.pages(within.clone())?;
        }
        let page = clap_mangen::Man::new(command);
        let path = self.folder.join(page.get_filename());
        let mut text = vec![];
        let rendered = page.render(&mut text);
        rendered.map_err(|why| Failure::new(format!("{}: {why}", path.display())))?;
        Ok(write_whole(&path, &text)?)
    }
}
