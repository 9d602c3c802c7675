//! `completions` and `man`: shell completions and the manual page, generated from the grammar of the command line.

use std::io::{self, Write};

use clap::{Command, CommandFactory};
use clap_complete::aot;
use clap_mangen::Man;

use super::args::{CommandLine, Shell};
use super::{CompletionsArgs, Failure, print};

/// The program's name.
const NAME: &str = "talkover-exporter";

/// The sections of the manual page that are not generated. Lines that begin with a dot are roff commands.
const MORE: &str = r#".SH ENVIRONMENT
.TP
\fBTALKOVER_EXPORTER_CONFIG\fR
The configuration file if \fB\-\-config\fR is not given.
.TP
\fBTALKOVER_EXPORTER__\fISECTION\fB__\fIKEY\fR
Overrides a setting of the file, for example TALKOVER_EXPORTER__POLL__MIN_INTERVAL=10s.
.TP
\fBTALKOVER_TOKEN\fR
The API token, unless token_file or token_env says otherwise.
.TP
\fBOTEL_EXPORTER_OTLP_ENDPOINT\fR and related variables
Where spans are sent; they take precedence over the file.
.TP
\fBLISTEN_FDS\fR
Set by systemd's socket activation: the daemon serves on the socket that systemd passes.
.TP
\fBNO_COLOR\fR
Disables colours on terminals.
.SH "EXIT STATUS"
.TP
\fB0\fR
Done.
.TP
\fB1\fR
Failed while running.
.TP
\fB2\fR
The command line or the configuration is wrong.
.SH FILES
.TP
\fI/etc/talkover\-exporter/config.yml\fR
The configuration of the Debian package.
.TP
\fI/var/lib/talkover\-exporter/\fR
Its state.
"#;

/// Prints the completions of a shell.
pub(super) fn run(args: &CompletionsArgs) -> Result<(), Failure> {
    let shell = match args.shell {
        Shell::Bash => aot::Shell::Bash,
        Shell::Zsh => aot::Shell::Zsh,
        Shell::Fish => aot::Shell::Fish,
    };
    let mut script = Vec::new();
    aot::generate(shell, &mut CommandLine::command(), NAME, &mut script);
    print(&String::from_utf8_lossy(&script))
}

/// Prints the manual page.
pub(super) fn man() -> Result<(), Failure> {
    let page = manual(CommandLine::command()).map_err(Failure::running)?;
    print(&String::from_utf8_lossy(&page))
}

/// Renders one page for all commands: people look for `man talkover-exporter`, not for a page per command.
fn manual(mut grammar: Command) -> io::Result<Vec<u8>> {
    grammar = grammar.disable_help_subcommand(true);
    grammar.build();
    let commands: Vec<Command> = grammar.get_subcommands().cloned().collect();
    let man = Man::new(grammar.subcommand_help_heading("COMMANDS")).manual("User Commands");
    let mut page = Vec::new();
    man.render_title(&mut page)?;
    man.render_name_section(&mut page)?;
    man.render_synopsis_section(&mut page)?;
    man.render_description_section(&mut page)?;
    man.render_options_section(&mut page)?;
    for command in commands {
        let title = command.get_name().to_uppercase();
        writeln!(page, ".SH \"COMMAND {title}\"")?;
        page.extend(section(command)?);
    }
    page.extend(MORE.as_bytes());
    Ok(page)
}

/// Renders one command: like a page of its own, but with its sections one level below.
fn section(command: Command) -> io::Result<Vec<u8>> {
    let has_more = command.get_after_help().is_some();
    // Options of the whole program are documented there.
    let man = Man::new(
        command.mut_args(|arg| if ["help", "version"].contains(&arg.get_id().as_str()) { arg.hide(true) } else { arg }),
    );
    let mut text = Vec::new();
    man.render_synopsis_section(&mut text)?;
    man.render_description_section(&mut text)?;
    man.render_options_section(&mut text)?;
    if has_more {
        man.render_extra_section(&mut text)?;
    }
    let lines = String::from_utf8_lossy(&text).into_owned();
    let lines = lines.lines().filter(|line| !line.starts_with(".ie ") && !line.starts_with(".el "));
    let lines = lines.map(|line| match line.strip_prefix(".SH ") {
        Some("DESCRIPTION" | "SYNOPSIS" | "EXTRA") => ".PP\n".to_owned(),
        Some(title) => format!(".SS {title}\n"),
        None => format!("{line}\n"),
    });
    Ok(lines.collect::<String>().into_bytes())
}
