//! `coracle ctl`.

use super::args;
use crate::{
    context::Context,
    ctl::{Client, Heard, OperatorKey, Payload},
    error::{Doing as _, Error, Exit, Kind, Result},
    report::{Step, Unit},
    show::Format,
};
use coracle_format::control::{ApplyFrom, LogFrom, Output, Request};
use std::{
    fs::File,
    io::{self, Read, Write as _},
    path::Path,
    sync::Arc,
    time::Duration,
};

/// Makes one request and ends as the machine says.
pub(super) fn run(ctx: &Context, args: &args::Ctl, format: Format) -> Result<Exit> {
    let key = OperatorKey::load(&args.key)?;
    let json = format == Format::Json;
    let (request, mut file) = request(&args.action, json)?;
    let within = Duration::from_secs(args.wait);
    let cancel = Some(Arc::clone(&ctx.cancel));
    let mut client = Client::connect_within(&args.to, &key, within, cancel)?;
    let machine = client.machine();
    ctx.report.detail(format!(
        "machine {:032x}: {} {}",
        u128::from_be_bytes(machine.machine),
        plain(&machine.image),
        plain(&machine.version)
    ));
    let mut shown = Shown { ctx, step: None, name: format!("send {}", request.word()), total: 0 };
    shown.total = request.stream_bytes().unwrap_or(0);
    let payload: Payload<'_> = file.as_mut().map(|file| {
        let file: &mut dyn Read = file;
        file
    });
    let code = match client.run(&request, payload, None, &mut |heard| shown.show(&heard)) {
        // This is how following a log ends.
        Err(error) if error.kind() == Kind::Interrupted && is_followed(&request) => 0,
        outcome => outcome?,
    };
    shown.end();
    match (code, &request) {
        (0, Request::Reboot) => ctx.report.info("the machine reboots"),
        (0, Request::PowerOff) => ctx.report.info("the machine powers off"),
        (_, _) => {}
    }
    Ok(exit(code))
}

const fn is_followed(request: &Request) -> bool {
    matches!(request, Request::Logs { follow: true, .. })
}

const fn exit(code: u8) -> Exit {
    match code {
        0 => Exit::Done,
        2 => Exit::Usage,
        3 => Exit::Refused,
        _ => Exit::Failed,
    }
}

/// The request, and the file whose bytes go with it.
fn request(action: &args::CtlAction, json: bool) -> Result<(Request, Option<File>)> {
    let mut file = None;
    let request = match action {
        args::CtlAction::Status => Request::Status { json },
        args::CtlAction::Logs { container, lines, follow } => Request::Logs {
            from: container.clone().map_or(LogFrom::Kernel, LogFrom::Container),
            tail: *lines,
            follow: *follow,
        },
        args::CtlAction::Check { place } => {
            let from = whence(place, &mut file)?;
            Request::Check { from, json }
        }
        args::CtlAction::Apply { place, reboot } => {
            let from = whence(place, &mut file)?;
            Request::Apply { from, reboot: *reboot, json }
        }
        args::CtlAction::Confirm => Request::Confirm { json },
        args::CtlAction::Rollback { reboot } => Request::Rollback { reboot: *reboot, json },
        args::CtlAction::Retry { release } => {
            Request::Retry { release: release.clone().unwrap_or_default(), json }
        }
        args::CtlAction::History => Request::History { json },
        args::CtlAction::Reboot => Request::Reboot,
        args::CtlAction::Poweroff => Request::PowerOff,
    };
    if Request::decode(&request.encode()).as_ref() != Some(&request) {
        return Err(Error::new(Kind::Usage, format!("{} cannot be asked for like this", request.word()))
            .hint("names are lower-case, digests hexadecimal, addresses begin with http:// or https://, devices with /dev/ or /state/"));
    }
    Ok((request, file))
}

fn whence(place: &args::CtlPlace, file: &mut Option<File>) -> Result<ApplyFrom> {
    let source = match (&place.device, &place.source) {
        (Some(device), _) => return Ok(ApplyFrom::Path(device.clone())),
        (None, Some(source)) => source,
        (None, None) => return Err(Error::new(Kind::Usage, "no place of the update is named")),
    };
    if source.starts_with("http://") || source.starts_with("https://") {
        return Ok(ApplyFrom::Address(source.to_owned()));
    }
    let path = Path::new(source);
    let opened = File::open(path).doing("open", path)?;
    let bytes = opened.metadata().doing("look at", path)?.len();
    *file = Some(opened);
    Ok(ApplyFrom::Stream(bytes))
}

/// What the machine tells, as it is shown.
struct Shown<'a> {
    ctx: &'a Context,
    step: Option<Step>,
    name: String,
    total: u64,
}

impl Shown<'_> {
    fn show(&mut self, heard: &Heard<'_>) -> Result<()> {
        match heard {
            Heard::Output(Output::Standard, bytes) => super::print(&text(bytes)),
            Heard::Output(Output::Error, bytes) => {
                // There is nowhere left to tell that telling failed.
                drop(io::stderr().write_all(text(bytes).as_bytes()));
                Ok(())
            }
            Heard::Passed(bytes) => {
                if self.total > 0 {
                    let step = self.step.get_or_insert_with(|| self.ctx.report.step(&self.name));
                    step.progress(*bytes, self.total, Unit::Bytes);
                    if *bytes >= self.total {
                        self.end();
                        self.total = 0;
                    }
                }
                Ok(())
            }
        }
    }

    fn end(&mut self) {
        if let Some(step) = self.step.take() {
            step.done("sent");
        }
    }
}

/// A machine's output without what could steer a terminal.
fn text(bytes: &[u8]) -> String {
    let harmless = |letter: char| !letter.is_control() || matches!(letter, '\n' | '\t');
    String::from_utf8_lossy(bytes).chars().map(|letter| if harmless(letter) { letter } else { '?' }).collect()
}

fn plain(text: &str) -> String {
    text.chars().filter(|letter| !letter.is_control()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn output_cannot_steer_the_terminal() {
        assert_eq!(text(b"a\x1b[2J\tb\n\xff"), "a?[2J\tb\n\u{fffd}");
    }

    #[test]
    fn the_machines_exit_code_is_taken_over() {
        assert_eq!([0, 1, 2, 3, 77].map(|code| exit(code).code()), [0, 1, 2, 3, 1]);
    }

    #[test]
    fn a_file_is_announced_with_its_size_and_an_address_is_passed_on() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("u.bundle");
        crate::files::replace(&path, b"12345").unwrap();
        let apply = |source: String| asked(Some(source), None);
        let file = apply(path.display().to_string()).unwrap();
        assert_eq!(file, Request::Apply { from: ApplyFrom::Stream(5), reboot: false, json: false });
        let address = apply("https://h/u".to_owned()).unwrap();
        let from = ApplyFrom::Address("https://h/u".to_owned());
        assert_eq!(address, Request::Apply { from, reboot: false, json: false });
        assert_eq!(apply("http://a b".to_owned()).unwrap_err().kind(), Kind::Usage);
    }

    fn asked(source: Option<String>, device: Option<&str>) -> Result<Request> {
        let place = args::CtlPlace { source, device: device.map(str::to_owned) };
        request(&args::CtlAction::Apply { place, reboot: false }, false).map(|(request, _)| request)
    }

    #[test]
    fn a_device_is_the_machines_and_is_not_looked_for_here() {
        let from = ApplyFrom::Path("/dev/there-only".to_owned());
        let expected = Request::Apply { from, reboot: false, json: false };
        assert_eq!(asked(None, Some("/dev/there-only")).unwrap(), expected);
        for device in ["/etc/passwd", "vdb", "/state/../etc/passwd", "https://h/u", ""] {
            assert_eq!(asked(None, Some(device)).unwrap_err().kind(), Kind::Usage, "{device}");
        }
    }

    #[test]
    fn an_update_has_one_place() {
        use clap::Parser as _;
        let parse = |place: &[&str]| {
            let words = ["coracle", "ctl", "--to", "vsock:3", "--key", "k", "apply"];
            args::Cli::try_parse_from(words.iter().chain(place)).is_ok()
        };
        assert!(parse(&["u.bundle"]) && parse(&["--device", "/dev/vdb"]));
        assert!(!parse(&[]) && !parse(&["u.bundle", "--device", "/dev/vdb"]));
    }
}
