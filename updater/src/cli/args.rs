//! Words to a command.

use crate::error::{Error, Kind, Result};
use crate::report::Style;

/// What `--help` prints.
pub(super) const HELP: &str = "\
Signed A/B updates of this machine

Usage: coracle-update [--json] COMMAND

Commands:
  status                    what runs, what both slots hold, what happened last
  check [SOURCE]            verify an update's metadata and say whether it would be applied
  apply [SOURCE] [--reboot] write an update to the spare slot and arm its trial
  confirm                   commit the release on trial by hand
  rollback [--reboot]       boot the other good slot next, and hold it
  retry [RELEASE]           allow a release that failed here (a prefix of its digest) to be applied again
  history                   what happened to both slots, oldest first

SOURCE is a bundle or a delta: a file, a block device, an http(s) address, or - for the standard input. Without it the
channel of the manifest is asked; apply then takes what it offers whatever waves and windows say.

Options:
  --full SOURCE
              with check and apply of a delta: the bundle of the same release, for what the delta cannot make here
  --json      one JSON object per line on standard output
  -h, --help  this text

Exit codes: 0 done; 1 failed; 2 usage wrong, nothing touched; 3 refused (signature, digest, version, policy)
";

/// Whether the machine is started again when the work is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Afterwards {
    /// It goes on.
    Stay,
    /// It is rebooted in order.
    Reboot,
}

/// Where an update is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Places {
    /// A bundle or a delta.
    pub(super) main: String,
    /// The bundle beside a delta.
    pub(super) full: Option<String>,
}

/// A command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Command {
    Help,
    Status,
    Check {
        places: Option<Places>,
    },
    Apply {
        places: Option<Places>,
        afterwards: Afterwards,
    },
    Confirm,
    Rollback {
        afterwards: Afterwards,
    },
    Retry {
        release: Option<String>,
    },
    History,
    /// Started by PID 1 on a trial: waits for health, then commits.
    Gate,
    /// Started by `apply`: takes the baseline of health.
    Survey,
    /// Started by `apply`: the part that speaks to the network.
    Fetch(Vec<String>),
    /// Started by PID 1 where a channel is configured: looks at it now and then.
    Follow,
    /// Started by `follow`: one look at the channel, or at a stick.
    Poll {
        archive: Option<String>,
    },
}

/// A command and how its result is shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Parsed {
    pub(super) command: Command,
    pub(super) style: Style,
}

/// Understands the arguments that follow the program's name.
pub(super) fn parse(arguments: &[String]) -> Result<Parsed> {
    if let [first, rest @ ..] = arguments
        && first == "fetch"
    {
        return Ok(Parsed { command: Command::Fetch(rest.to_vec()), style: Style::Human });
    }
    if let [first, option, path] = arguments
        && (first, option) == (&"poll".to_owned(), &"--archive".to_owned())
    {
        return Ok(Parsed { command: Command::Poll { archive: Some(path.clone()) }, style: Style::Human });
    }
    let mut words = Words::default();
    let mut arguments = arguments.iter();
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--full" => {
                let full = arguments.next().ok_or_else(|| usage("--full needs a SOURCE"))?;
                words.full = Some(full.clone());
            }
            "--json" => words.style = Style::Json,
            "--reboot" => words.reboot = true,
            "-h" | "--help" => words.help = true,
            option if option.starts_with('-') && option.len() > 1 => {
                return Err(usage(format!("unknown option {option}")));
            }
            _ => words.plain.push(argument.clone()),
        }
    }
    let style = words.style;
    Ok(Parsed { command: words.command()?, style })
}

#[derive(Default)]
struct Words {
    plain: Vec<String>,
    full: Option<String>,
    style: Style,
    reboot: bool,
    help: bool,
}

impl Words {
    fn command(self) -> Result<Command> {
        if self.help {
            return Ok(Command::Help);
        }
        let afterwards = if self.reboot { Afterwards::Reboot } else { Afterwards::Stay };
        let mut plain = self.plain.into_iter();
        let name = plain.next().ok_or_else(|| usage("no command is named"))?;
        let mut full = self.full;
        let mut operand = || plain.next();
        let mut places = |main: Option<String>| main.map(|main| Places { main, full: full.take() });
        let command = match name.as_str() {
            "help" => Command::Help,
            "status" => Command::Status,
            "check" => Command::Check { places: places(operand()) },
            "apply" => Command::Apply { places: places(operand()), afterwards },
            "confirm" => Command::Confirm,
            "rollback" => Command::Rollback { afterwards },
            "retry" => Command::Retry { release: operand() },
            "history" => Command::History,
            "gate" => Command::Gate,
            "poll" => Command::Poll { archive: None },
            crate::channel::follow::COMMAND => Command::Follow,
            crate::baseline::COMMAND => Command::Survey,
            other => return Err(usage(format!("unknown command {other}"))),
        };
        if full.is_some() {
            return Err(usage(format!("{name} does not take --full without the SOURCE of a delta")));
        }
        if let Some(more) = plain.next() {
            return Err(usage(format!("{name} does not take {more}")));
        }
        let reboots = matches!(command, Command::Apply { .. } | Command::Rollback { .. });
        if self.reboot && !reboots {
            return Err(usage(format!("{name} does not take --reboot")));
        }
        Ok(command)
    }
}

fn usage(message: impl Into<String>) -> Error {
    Error::new(Kind::Usage, message).hint("coracle-update --help lists the commands")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(line: &str) -> Result<Parsed> {
        let words: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
        parse(&words)
    }

    #[test]
    fn every_command_is_understood() {
        let places = |main: &str| Some(Places { main: main.to_owned(), full: None });
        let place = || places("u.bundle");
        let both = || Some(Places { main: "u.delta".to_owned(), full: Some("u.bundle".to_owned()) });
        let cases = [
            ("status", Command::Status),
            ("check u.bundle", Command::Check { places: place() }),
            ("apply u.bundle", Command::Apply { places: place(), afterwards: Afterwards::Stay }),
            ("apply -", Command::Apply { places: places("-"), afterwards: Afterwards::Stay }),
            ("apply --reboot u.bundle", Command::Apply { places: place(), afterwards: Afterwards::Reboot }),
            (
                "apply u.delta --full u.bundle",
                Command::Apply { places: both(), afterwards: Afterwards::Stay },
            ),
            ("check --full u.bundle u.delta", Command::Check { places: both() }),
            ("confirm", Command::Confirm),
            ("rollback --reboot", Command::Rollback { afterwards: Afterwards::Reboot }),
            ("retry", Command::Retry { release: None }),
            ("retry 0123abcd", Command::Retry { release: Some("0123abcd".to_owned()) }),
            ("history", Command::History),
            ("gate", Command::Gate),
            ("fetch --json x", Command::Fetch(vec!["--json".to_owned(), "x".to_owned()])),
            ("check --help", Command::Help),
            ("check", Command::Check { places: None }),
            ("apply", Command::Apply { places: None, afterwards: Afterwards::Stay }),
            ("follow", Command::Follow),
            ("poll", Command::Poll { archive: None }),
            ("poll --archive /dev/sdb", Command::Poll { archive: Some("/dev/sdb".to_owned()) }),
        ];
        for (line, command) in cases {
            assert_eq!(parsed(line).unwrap().command, command, "{line}");
        }
        assert_eq!(parsed("status --json").unwrap().style, Style::Json);
    }

    #[test]
    fn what_is_not_understood_is_a_usage_error_that_names_it() {
        let cases = [
            ("", "no command is named"),
            ("update", "unknown command update"),
            ("status --fast", "unknown option --fast"),
            ("status now", "status does not take now"),
            ("apply --full", "--full needs a SOURCE"),
            ("apply --full u.bundle", "apply does not take --full without the SOURCE of a delta"),
            ("history --full u.bundle", "history does not take --full without the SOURCE of a delta"),
            ("confirm --reboot", "confirm does not take --reboot"),
        ];
        for (line, message) in cases {
            let error = parsed(line).unwrap_err();
            assert_eq!((error.kind(), error.to_string().as_str()), (Kind::Usage, message), "{line}");
        }
    }
}
