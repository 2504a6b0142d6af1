use super::*;
use crate::executor::Executor;
use crate::gate::samples::{check, config, container};
use crate::gate::trial::Running;
use coracle_block::{Access, Disk, meta, replace_file};
use coracle_format::device::{Check, Probe, Restart};
use coracle_format::gpt::{Size, Table};
use coracle_format::guid::Guid;
use coracle_format::ipc::MESSAGE_BYTES;
use coracle_format::layout::Role;
use coracle_slots::history;
use coracle_slots::{Record, Slot, SlotState, Verdict};
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, recv, send, socketpair};
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::time::Instant;

const DISK_BYTES: u64 = 16 << 20;

/// A machine whose slot B runs on trial: an image file, a root with status files, and PID 1's end of the line.
struct Machine {
    directory: tempfile::TempDir,
    places: Places,
    line: Option<Line>,
    pid1: OwnedFd,
}

/// A trial on the image file whose reboot is a note.
struct OnFile<T> {
    inner: T,
    reboots: PathBuf,
}

impl<T: Trial> Trial for OnFile<T> {
    fn is_committed(&mut self) -> bool {
        self.inner.is_committed()
    }
    fn commit(&mut self) -> Result<()> {
        self.inner.commit()
    }
    fn fail(&mut self, reason: &str, at_ms: u64) -> Result<()> {
        self.inner.fail(reason, at_ms)
    }
    fn reboot(&mut self) -> Result<()> {
        std::fs::File::create(&self.reboots).doing("note a reboot in", &self.reboots).map(drop)?;
        Ok(())
    }
}

fn on_trial() -> Record {
    let record = Record::shipped([7; 32], 1 << 48, 0).written(Slot::B, [8; 32], 2 << 48, 0).unwrap();
    let record = record.arm(Slot::B).unwrap();
    record.begin_boot(record.choose(&[]))
}

impl Machine {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let places = Places::below(directory.path());
        let (ours, pid1) =
            socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None).unwrap();
        std::fs::create_dir_all(places.containers().parent().unwrap()).unwrap();
        std::fs::create_dir_all(places.baseline().parent().unwrap()).unwrap();
        let machine = Self { directory, places, line: Some(Line::over(Some(ours))), pid1 };
        std::fs::File::create(machine.path("kmsg")).unwrap();
        let image = std::fs::File::create(machine.path("disk.raw")).unwrap();
        image.set_len(DISK_BYTES).unwrap();
        let disk = machine.disk(Access::Write);
        let mut table = Table::new(Guid::from_random([1; 16]), disk.geometry()).unwrap();
        for (index, (role, bytes)) in
            [(Role::Meta, 1 << 20), (Role::SlotA, 2 << 20), (Role::SlotB, 2 << 20)].into_iter().enumerate()
        {
            let id = [u8::try_from(index).unwrap() + 2; 16];
            table.add(role, Guid::from_random(id), Size::Bytes(bytes)).unwrap();
        }
        disk.write_table(&table).unwrap();
        let meta = meta::partition(&disk, &table).unwrap();
        for offset in coracle_slots::COPY_OFFSETS {
            disk.write_within(&meta, offset, &on_trial().encode()).unwrap();
        }
        let boot = format!("disk=vda\nslot=B\ntrial=yes\nrelease={}\n", "08".repeat(32));
        replace_file(machine.places.boot(), boot.as_bytes(), 0o644).unwrap();
        machine
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn disk(&self, access: Access) -> Disk {
        Disk::open(&self.path("disk.raw"), access, 512, DISK_BYTES).unwrap()
    }

    fn executor(&self, access: Access) -> Executor {
        Executor::on(self.disk(access), Slot::B).unwrap()
    }

    /// The containers service says that `web` is in this state.
    fn web_is(&self, lines: &str) {
        let lines =
            lines.split_whitespace().fold(String::new(), |text, line| text + "container.web." + line + "\n");
        let text = format!("ready=yes\npid={}\n{lines}", std::process::id());
        replace_file(self.places.containers(), text.as_bytes(), 0o644).unwrap();
    }

    /// Runs the gate to its end.
    fn run(&mut self, config: &DeviceConfig) -> End {
        let kmsg = self.path("kmsg");
        let line = self.line.take().unwrap();
        let open = |access| Ok(self.executor(access));
        let mut trial =
            OnFile { inner: Running::new(open, Path::new("/nonexistent")), reboots: self.path("rebooted") };
        let mut service = Service::new(config, &self.places, (line, &kmsg), &mut trial).unwrap();
        // The machine starts with the test.
        let kernel_start = Instant::now();
        service.clock = Box::new(move || u64::try_from(kernel_start.elapsed().as_millis()).unwrap());
        service.begun = 0;
        service.run().unwrap()
    }

    fn state(&self) -> SlotState {
        self.executor(Access::Read).record().unwrap().state(Slot::B)
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.path("kmsg")).unwrap()
    }

    fn status(&self) -> String {
        std::fs::read_to_string(self.places.update()).unwrap()
    }

    /// Everything PID 1 was told.
    fn told(&self) -> Vec<Message> {
        let mut all = Vec::new();
        let mut buffer = [0; MESSAGE_BYTES];
        while let Ok((length, _)) = recv(&self.pid1, &mut buffer[..], RecvFlags::DONTWAIT) {
            if length == 0 {
                break;
            }
            all.extend(Message::decode(&buffer[..length]));
        }
        all
    }
}

/// A configuration with a deadline, which settles for one second.
fn within(seconds: u16, checks: Vec<Check>) -> DeviceConfig {
    let mut config = config(vec![container("web", Restart::Always)], checks);
    if let Some(update) = &mut config.update {
        update.settle_seconds = 1;
        update.deadline_seconds = seconds;
    }
    config
}

fn file_check(path: &Path) -> Check {
    Check { probe: Probe::File { path: path.to_str().unwrap().to_owned() }, ..check("data", 1_000, 100) }
}

#[test]
fn a_healthy_release_is_committed_and_pid_1_is_told() {
    let mut machine = Machine::new();
    machine.web_is("state=running since_ms=1 starts=1 last=none");
    let config = within(60, vec![file_check(machine.directory.path())]);
    assert_eq!(machine.run(&config), End::Committed);
    assert_eq!(machine.state(), SlotState::Good);
    let record = machine.executor(Access::Read).record().unwrap();
    assert_eq!((record.last_good(), record.floors().version), (Slot::B, 2 << 48));
    let history = machine.executor(Access::Read).history().unwrap();
    assert_eq!(history.last().map(|entry| entry.event), Some(history::Event::Committed));
    let told = machine.told();
    assert_eq!((told.first(), told.last()), (Some(&Message::Heartbeat), Some(&Message::Ready)));
    assert!(machine.log().contains("coracle: phase=commit ok ms="), "{}", machine.log());
    assert!(machine.status().starts_with("phase=committed\n"), "{}", machine.status());
    assert!(!machine.path("rebooted").exists());
}

#[test]
fn a_check_that_fails_until_the_deadline_ends_in_a_verdict_with_its_reason_and_a_reboot() {
    let mut machine = Machine::new();
    machine.web_is("state=running since_ms=1 starts=1 last=none");
    let config = within(5, vec![file_check(&machine.path("missing"))]);
    assert_eq!(machine.run(&config), End::Failed);
    assert_eq!(machine.state(), SlotState::Failed(Verdict::Unhealthy));
    let words = machine.executor(Access::Read).words().unwrap().unwrap();
    assert_eq!((words.stage.as_str(), words.verdict), ("health", Verdict::Unhealthy));
    assert!(words.reason.as_str().starts_with("check data: "), "{}", words.reason);
    assert!(words.reason.as_str().contains("missing is not there"), "{}", words.reason);
    assert!(machine.path("rebooted").exists());
    assert!(!machine.told().contains(&Message::Ready));
    let log = machine.log();
    assert!(log.contains("coracle-update: trial waits for check data"), "{log}");
    assert!(log.contains("coracle: phase=commit failed ms=") && log.contains("why=\"check data: "), "{log}");
    assert!(machine.status().starts_with("phase=failed\n"), "{}", machine.status());
}

#[test]
fn a_crash_loop_is_named_long_before_the_deadline() {
    let mut machine = Machine::new();
    machine.web_is("state=pausing starts=9 last=exit:7");
    let begun = Instant::now();
    assert_eq!(machine.run(&within(600, vec![])), End::Failed);
    assert!(begun.elapsed() < Duration::from_mins(1));
    let words = machine.executor(Access::Read).words().unwrap().unwrap();
    assert_eq!(words.reason.as_str(), "container web: ended with status 7, for the 9th time");
}

#[test]
fn a_machine_that_stops_leaves_the_trial_open() {
    let mut machine = Machine::new();
    machine.web_is("state=ended starts=1 last=signal:15");
    send(&machine.pid1, &Message::Stop.encode(), SendFlags::empty()).unwrap();
    assert_eq!(machine.run(&within(60, vec![])), End::Stopped);
    assert_eq!(machine.state(), SlotState::Trial { starts: 1 });
    assert!(!machine.path("rebooted").exists());
}

#[test]
fn a_commit_by_hand_ends_the_wait() {
    let mut machine = Machine::new();
    machine.web_is("state=held");
    machine.executor(Access::Write).commit().unwrap();
    assert_eq!(machine.run(&within(60, vec![])), End::Committed);
    assert_eq!(machine.told().last(), Some(&Message::Ready));
}

#[test]
fn a_baseline_is_taken_up_when_state_is_mounted() {
    let mut machine = Machine::new();
    machine.web_is("state=pausing starts=30 last=exit:1");
    let text = format!("release={}\ncontainer.web=sick\n", "08".repeat(32));
    let (baseline, pid1) = (machine.places.baseline().to_owned(), machine.pid1.try_clone().unwrap());
    replace_file(&baseline, text.as_bytes(), 0o600).unwrap();
    send(&pid1, &Message::StateMounted.encode(), SendFlags::empty()).unwrap();
    let mut config = within(60, vec![]);
    if let Some(update) = &mut config.update {
        update.gate = coracle_format::device::Gate::NoWorse;
    }
    assert_eq!(machine.run(&config), End::Committed);
}

#[test]
fn a_runtime_whose_process_is_gone_is_not_up() {
    let mut machine = Machine::new();
    machine.web_is("state=running since_ms=1 starts=1 last=none");
    let text = std::fs::read_to_string(machine.places.containers()).unwrap();
    // No process has this number: the kernel's limit is below it.
    let text = text.replace(&format!("pid={}", std::process::id()), "pid=4194305");
    replace_file(machine.places.containers(), text.as_bytes(), 0o644).unwrap();
    assert_eq!(machine.run(&within(5, vec![])), End::Failed);
    let words = machine.executor(Access::Read).words().unwrap().unwrap();
    assert_eq!(words.reason.as_str(), "runtime: its process is gone at the deadline");
}

#[test]
fn an_image_that_takes_no_updates_has_no_gate() {
    let mut machine = Machine::new();
    let mut config = within(60, vec![]);
    config.update = None;
    let line = machine.line.take().unwrap();
    let kmsg = machine.path("kmsg");
    let mut trial = Running::new(|access| Ok(machine.executor(access)), &kmsg);
    let refused = Service::new(&config, &machine.places, (line, &kmsg), &mut trial).map(drop);
    assert_eq!(refused.unwrap_err().kind(), Kind::Usage);
}
