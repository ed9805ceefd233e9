//! `completions` and `man`: what shells and `man` read, made from the command line itself.

use std::path::PathBuf;

use anyhow::Context;
use clap::{Args, Command};
use clap_complete::Shell;

#[derive(Args, Debug)]
#[command(
    after_help = "Examples:\n  bitcraps completions bash > /etc/bash_completion.d/bitcraps\n  bitcraps completions zsh > \"${fpath[1]}/_bitcraps\""
)]
pub struct CompletionsArgs {
    /// The shell.
    shell: Shell,
}

#[derive(Args, Debug)]
#[command(after_help = "Examples:\n  bitcraps man /usr/local/share/man/man1")]
pub struct ManArgs {
    /// The folder for the pages; it is made if it is not there, and pages in it are replaced.
    dir: PathBuf,
}

/// Prints completions.
pub fn completions(args: &CompletionsArgs, mut command: Command) -> anyhow::Result<()> {
    let mut text = Vec::new();
    clap_complete::generate(args.shell, &mut command, "bitcraps", &mut text);
    say!("{}", String::from_utf8(text).context("completions are text")?.trim_end());
    Ok(())
}

/// Writes a page for each command.
pub fn man(args: &ManArgs, command: Command) -> anyhow::Result<()> {
    std::fs::create_dir_all(&args.dir).with_context(|| args.dir.display().to_string())?;
    clap_mangen::generate_to(command, &args.dir).with_context(|| args.dir.display().to_string())?;
    say!("{}: the manual's pages; `man bitcraps` begins", args.dir.display());
    Ok(())
}
