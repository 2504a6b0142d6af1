//! The command line: one file per verb, one place where errors are printed and exit codes chosen.
//!
//! stdout carries data, stderr everything else; with `--json` stdout carries one event per line.

mod args;
mod bench;
mod build;
mod channel;
mod completions;
mod ctl;
mod delta;
mod device;
mod inspect;
mod keys;
mod lock;
mod man;
mod publish;
mod run;
mod sign;
mod vendor;
mod verify;

pub use args::{Cli, Verb};

use crate::{
    cache::Cache,
    context::{self, Context, Network},
    error::{Error, Exit, Kind, Result},
    show::{self, Format},
};
use clap::Parser as _;
use serde_json::json;
use std::{
    ffi::OsString,
    io::{self, Write as _},
    process::ExitCode,
};

/// Runs `coracle` with these arguments (the program's name first).
pub fn main(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    let cli = match Cli::try_parse_from(args) {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version go to stdout and are a success; clap knows which is which.
            drop(error.print());
            let exit = if error.use_stderr() { Exit::Usage } else { Exit::Done };
            return code(exit);
        }
    };
    let format = cli.global.format();
    match run(cli) {
        Ok(exit) => code(exit),
        Err(error) => {
            fail(&error, format);
            code(error.kind().exit())
        }
    }
}

fn run(cli: Cli) -> Result<Exit> {
    let global = cli.global;
    let report = show::report(global.format(), global.verbosity());
    let root = global.cache.clone().map_or_else(Cache::default_root, Ok)?;
    let mut ctx = Context::new(Cache::open(root)?, report);
    if global.offline {
        ctx.network = Network::Offline;
    }
    stop_on_signals(&ctx)?;
    match cli.verb {
        Verb::Build(verb) => build::run(&ctx, &verb, global.format()),
        Verb::Run(verb) => run::run(&ctx, &verb, global.format()),
        Verb::Lock(verb) => lock::run(&ctx, &verb, global.format()),
        Verb::Vendor(verb) => vendor::run(&ctx, &verb),
        Verb::Keys(verb) => keys::run(&ctx, &verb, global.format()),
        Verb::Publish(verb) => publish::run(&ctx, &verb, global.format()),
        Verb::Channel(verb) => channel::run(&ctx, &verb, global.format()),
        Verb::Delta(verb) => delta::run(&ctx, &verb, global.format()),
        Verb::Sign(verb) => sign::run(&ctx, &verb, global.format()),
        Verb::Inspect(verb) => inspect::run(&verb, global.format()),
        Verb::Verify(verb) => verify::run(&ctx, &verb, global.format()),
        Verb::Bench(verb) => bench::run(&ctx, &verb, global.format()),
        // The machine decides how this ends.
        Verb::Ctl(verb) => return ctl::run(&ctx, &verb, global.format()),
        Verb::Device(verb) => device::run(&ctx, &verb, global.format()),
        Verb::Completions(verb) => completions::run(&verb),
        Verb::Man(verb) => man::run(&verb),
    }?;
    Ok(Exit::Done)
}

/// Ctrl-C and SIGTERM ask the work to stop, and never end the process themselves: a machine that it has started would be
/// left behind. While a machine powers off, a second one ends the machine at once.
fn stop_on_signals(ctx: &Context) -> Result<()> {
    use signal_hook::{consts, flag};
    for signal in [consts::SIGINT, consts::SIGTERM] {
        flag::register(signal, std::sync::Arc::clone(&ctx.cancel))
            .map_err(|source| Error::new(Kind::Internal, "cannot watch for Ctrl-C").because(source))?;
    }
    Ok(())
}

/// Prints an error: text on stderr, and with `--json` an event on stdout as well.
fn fail(error: &Error, format: Format) {
    // Whoever pressed Ctrl-C knows why; which package was being read does not matter.
    let interrupted = context::interrupted();
    let error = if error.kind() == Kind::Interrupted { &interrupted } else { error };
    // There is nowhere left to tell that telling failed.
    drop(io::stderr().write_all(error.render().as_bytes()));
    if format == Format::Json {
        let line = json!({
            "v": show::SCHEMA, "event": "error", "kind": error.kind().word(),
            "message": error.to_string(), "hint": error.hint_text(),
        });
        drop(writeln!(io::stdout(), "{line}"));
    }
}

/// Writes lines of data to stdout: as they are, or each as an event of this name.
fn say(format: Format, event: &str, text: &str) -> Result<()> {
    match format {
        Format::Human => print(text),
        Format::Json => {
            let line = |text| format!("{}\n", json!({"v": show::SCHEMA, "event": event, "text": text}));
            print(&text.lines().map(line).collect::<String>())
        }
    }
}

/// Writes data to stdout. A reader that closed its end (`| head`) is no error.
fn print(text: &str) -> Result<()> {
    match io::stdout().write_all(text.as_bytes()).and_then(|()| io::stdout().flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(Error::new(Kind::Io, "cannot write to standard output").because(error))
        }
        _ => Ok(()),
    }
}

fn code(exit: Exit) -> ExitCode {
    ExitCode::from(exit.code())
}
