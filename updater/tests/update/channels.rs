//! What a machine does about its channel, with the real process that fetches and real servers on the loopback address.

use crate::fixture::{DISK_BYTES, Notes, Payload, SLOT_BYTES, noise, settings, ship, trusted_root, verified};
use crate::making::{by_files, delta};
use crate::shop::{CHANNEL, Fault, Files, NOW, Shop, Web, archive};
use coracle_block::model::Model;
use coracle_format::slot::Arch;
use coracle_rollout::State;
use coracle_rollout::windows::Windows;
use coracle_slots::{Slot, SlotState};
use coracle_update::channel::archive::Archive;
use coracle_update::channel::look::{Records, Viewer};
use coracle_update::channel::poll::{Heed, Outcome, Poll, waves};
use coracle_update::channel::repository::{Remote, Repository};
use coracle_update::channel::status::Status;
use coracle_update::channel::store::Store;
use coracle_update::error::Kind;
use coracle_update::executor::{Executor, Observer};
use std::path::Path;

/// A machine that runs 1.0 from slot A and follows a channel.
struct Machine {
    executor: Executor,
    directory: tempfile::TempDir,
    clock: Option<u64>,
    windows: Windows,
    heed: Heed,
    status: Status,
}

impl Machine {
    fn new() -> Self {
        Self::of_bytes(DISK_BYTES, SLOT_BYTES)
    }

    fn of_bytes(disk_bytes: u64, slot_bytes: u64) -> Self {
        let disk = Model::new(disk_bytes).disk().unwrap();
        ship(&disk, slot_bytes, &Payload::new("1.0"));
        Self {
            executor: Executor::on(disk, Slot::A).unwrap(),
            directory: tempfile::tempdir().unwrap(),
            clock: Some(NOW),
            windows: Windows::default(),
            heed: Heed::Windows,
            status: Status::default(),
        }
    }

    fn state(&self) -> std::path::PathBuf {
        self.directory.path().join("channel")
    }

    /// One poll, as a process of its own does it.
    fn poll(&mut self, web: &Web) -> coracle_update::Result<Outcome> {
        self.poll_watched(web, &mut Notes::default())
    }

    fn poll_watched(&mut self, web: &Web, observer: &mut dyn Observer) -> coracle_update::Result<Outcome> {
        let program = Path::new(env!("CARGO_BIN_EXE_coracle-update"));
        let mut remote = Remote::with_program(program, &web.url, 0).unwrap();
        self.poll_at(&mut remote, observer)
    }

    fn poll_at(
        &mut self,
        repository: &mut dyn Repository,
        observer: &mut dyn Observer,
    ) -> coracle_update::Result<Outcome> {
        let viewer = Viewer {
            executor: &self.executor,
            channel: CHANNEL,
            image: "hello",
            version: "1.0",
            arch: Arch::X86_64,
            trusted_root: trusted_root(),
            floor: 1_790_000_000,
            clock: self.clock,
            waves: waves(self.heed),
            records: Records::Raised,
        };
        let leftovers = self.directory.path().join("progress");
        let mut settings = settings();
        settings.leftovers = Some(&leftovers);
        let mut store = Store::new(&self.state());
        let poll = Poll { viewer, settings, windows: &self.windows, heed: self.heed };
        poll.run(repository, &mut store, observer, &mut self.status)
    }

    fn spare(&self) -> SlotState {
        self.executor.record().unwrap().state(Slot::B)
    }

    /// The kind of the error that a poll ends with; it must leave the slots alone.
    fn fails(&mut self, web: &Web) -> Kind {
        let before = self.executor.record().unwrap();
        let error = self.poll(web).unwrap_err();
        let after = self.executor.record().unwrap();
        assert_eq!(
            (after.state(Slot::A), after.state(Slot::B)),
            (before.state(Slot::A), before.state(Slot::B))
        );
        error.kind()
    }
}

const ARMED: SlotState = SlotState::Trial { starts: 0 };

fn new() -> Payload {
    Payload::new("2.0")
}

fn shop() -> Shop {
    Shop::new(&[new()])
}

#[test]
fn what_the_channel_offers_is_written_and_armed() {
    let (mut machine, web) = (Machine::new(), Web::serve(shop().publish()));
    assert_eq!(machine.poll(&web).unwrap(), Outcome::Armed);
    let bundles = web.take_asked().0.into_iter().filter(|asked| asked.contains(".bundle")).count();
    assert_eq!(bundles, 1, "the bundle is fetched once");
    assert_eq!(verified(machine.executor.disk(), Slot::B), Some(new().release()));
    assert_eq!((machine.spare(), machine.status.version.as_str()), (ARMED, "2.0.0"));
    let floors = machine.executor.record().unwrap().floors();
    assert_eq!((floors.timestamp_version, floors.issued), (1, NOW + 3600));
    assert_eq!(machine.poll(&web).unwrap(), Outcome::Nothing);
    assert_eq!(machine.status.state, "armed");
}

/// A release that is close to what the machine runs, and its delta.
fn with_delta() -> (Payload, Shop) {
    let old = Payload::new("1.0");
    let mut close = Payload { version: "2.0".to_owned(), ..old.clone() };
    close.boot[9] ^= 1;
    let mut shop = Shop::new(std::slice::from_ref(&close));
    shop.add_delta(&Payload::new("0.9"), b"nothing for this machine".to_vec());
    shop.add_delta(&old, delta(&old, &close, by_files(&old, &close)));
    (close, shop)
}

#[test]
fn a_delta_from_the_release_that_runs_is_taken_and_the_bundle_is_not() {
    let (mut machine, (close, mut shop)) = (Machine::new(), with_delta());
    let web = Web::serve(shop.publish());
    assert_eq!(machine.poll(&web).unwrap(), Outcome::Armed);
    let (asked, sent) = web.take_asked();
    let of = |what: &str| asked.iter().filter(|asked| asked.contains(what)).count();
    assert_eq!((of(".delta"), of(".bundle")), (1, 0), "{asked:?}");
    assert!(sent < 20_000, "{sent} bytes");
    assert_eq!(verified(machine.executor.disk(), Slot::B), Some(close.release()));
}

#[test]
fn a_delta_that_is_damaged_or_not_there_costs_the_bundle() {
    for lost in [true, false] {
        let (mut machine, (close, mut shop)) = (Machine::new(), with_delta());
        let mut files = shop.publish();
        let names: Vec<String> = files.keys().filter(|name| name.contains(".delta")).cloned().collect();
        for name in names {
            if lost {
                files.remove(&name);
            } else {
                files.get_mut(&name).unwrap()[20] ^= 1;
            }
        }
        let web = Web::serve(files);
        let mut notes = Notes::default();
        assert_eq!(machine.poll_watched(&web, &mut notes).unwrap(), Outcome::Armed, "{notes:?}");
        assert!(notes.0.iter().any(|note| note.ends_with("the bundle is taken instead")), "{notes:?}");
        assert_eq!(verified(machine.executor.disk(), Slot::B), Some(close.release()));
    }
}

#[test]
fn a_machine_that_runs_what_no_delta_starts_from_takes_the_bundle() {
    let old = Payload::new("0.8");
    let mut shop = shop();
    shop.add_delta(&old, delta(&old, &new(), by_files(&old, &new())));
    let (mut machine, web) = (Machine::new(), Web::serve(shop.publish()));
    assert_eq!(machine.poll(&web).unwrap(), Outcome::Armed);
    let (asked, _) = web.take_asked();
    assert!(!asked.iter().any(|asked| asked.contains(".delta")), "{asked:?}");
}

#[test]
fn a_stick_without_the_delta_brings_the_bundle() {
    let (mut machine, (close, mut shop)) = (Machine::new(), with_delta());
    let mut files = shop.publish();
    files.retain(|name, _| !name.contains(".delta"));
    let path = machine.directory.path().join("stick");
    coracle_block::replace_file(&path, &archive(&files), 0o600).unwrap();
    machine.heed = Heed::Nothing;
    let outcome = machine.poll_at(&mut Archive::open(&path, 0).unwrap(), &mut Notes::default());
    assert_eq!(outcome.unwrap(), Outcome::Armed);
    assert_eq!(verified(machine.executor.disk(), Slot::B), Some(close.release()));
}

#[test]
fn an_idle_look_takes_less_than_a_kilobyte_and_two_requests() {
    let (mut machine, mut shop) = (Machine::new(), shop());
    shop.newest().state = State::Paused;
    let web = Web::serve(shop.publish());
    assert_eq!(machine.poll(&web).unwrap(), Outcome::Nothing);
    assert_eq!(machine.status.state, "paused");
    web.take_asked();
    machine.poll(&web).unwrap();
    let (asked, sent) = web.take_asked();
    assert_eq!(asked, ["metadata/2.root.json", "metadata/timestamp.json"]);
    assert!(sent < 1000, "{sent} bytes");
}

#[test]
fn a_wave_opens_by_a_signed_date_and_never_by_the_clock() {
    let (mut machine, mut shop) = (Machine::new(), shop());
    let start = shop.issued + 2 * 3600;
    shop.wave_at(start);
    let web = Web::serve(shop.publish());
    for clock in [None, Some(NOW), Some(start + 1), Some(start + 1_000_000_000)] {
        machine.clock = clock;
        assert_eq!(machine.poll(&web).unwrap(), Outcome::Nothing, "{clock:?}");
        assert_eq!((machine.status.state.as_str(), machine.status.opens), ("waiting", start), "{clock:?}");
    }
    // The clock is back in 2001, which is none at all: the wave opens all the same.
    machine.clock = None;
    web.set(shop.publish());
    assert_eq!(machine.poll(&web).unwrap(), Outcome::Armed);
}

#[test]
fn a_clock_in_2099_costs_no_update_for_good() {
    let (mut machine, web) = (Machine::new(), Web::serve(shop().publish()));
    machine.clock = Some(4_070_908_800);
    assert_eq!(machine.fails(&web), Kind::Stale);
    machine.clock = Some(NOW);
    assert_eq!(machine.poll(&web).unwrap(), Outcome::Armed);
}

#[test]
fn outside_its_windows_a_machine_writes_and_does_not_arm_and_inside_one_it_arms() {
    let (mut machine, web) = (Machine::new(), Web::serve(shop().publish()));
    // 1 800 000 000 is a Friday, 08:00.
    machine.windows = Windows::parse(&["Sat 02:00-03:00"]).unwrap();
    let opens = (NOW / 86_400 + 1) * 86_400 + 2 * 3600;
    let expected = Outcome::Staged { opens: opens - (NOW + 3600), lasts: 3600 };
    assert_eq!(machine.poll(&web).unwrap(), expected);
    assert_eq!((machine.spare(), machine.status.opens), (SlotState::Written, opens));
    machine.clock = Some(opens + 60);
    assert_eq!(machine.poll(&web).unwrap(), Outcome::Armed);
    assert_eq!(machine.spare(), ARMED);
}

/// Changes what is published when the slot is compared, just before the release would be armed.
struct Meddler<'a>(&'a Web, Files);

impl Observer for Meddler<'_> {
    fn stage(&mut self, name: &'static str) {
        if name == "read back" {
            self.0.set(self.1.clone());
        }
    }
    fn progress(&mut self, _done: u64, _total: u64) {}
    fn note(&mut self, _text: &str) {}
}

#[test]
fn a_pause_between_writing_and_arming_keeps_the_release_from_being_armed() {
    for state in [State::Paused, State::Withdrawn { instead: None }] {
        let (mut machine, mut shop) = (Machine::new(), shop());
        let web = Web::serve(shop.publish());
        shop.newest().state = state;
        let paused = shop.publish();
        let error = machine.poll_watched(&web, &mut Meddler(&web, paused)).unwrap_err();
        assert_eq!(error.kind(), Kind::Policy);
        assert!(error.to_string().contains("no longer offered"), "{error}");
        assert_eq!(machine.spare(), SlotState::Written);
        shop.newest().state = State::Active;
        web.set(shop.publish());
        assert_eq!(machine.poll(&web).unwrap(), Outcome::Armed);
    }
}

#[test]
fn a_channel_that_cannot_be_asked_again_before_arming_arms_nothing() {
    let (mut machine, web) = (Machine::new(), Web::serve(shop().publish()));
    let mut without = shop().publish();
    without.remove("metadata/timestamp.json");
    machine.poll_watched(&web, &mut Meddler(&web, without)).unwrap_err();
    assert_eq!(machine.spare(), SlotState::Written);
}

#[test]
fn an_old_state_of_the_repository_is_refused_even_when_the_data_partition_was_wiped() {
    let (mut machine, mut shop) = (Machine::new(), shop());
    shop.newest().state = State::Paused;
    let old = shop.publish();
    let web = Web::serve(shop.publish());
    machine.poll(&web).unwrap();
    web.set(old);
    assert_eq!(machine.fails(&web), Kind::Stale);
    std::fs::remove_dir_all(machine.state()).unwrap();
    assert_eq!(machine.fails(&web), Kind::Stale);
}

#[test]
fn the_channel_of_another_board_or_image_offers_nothing() {
    let arm = Payload { arch: Arch::Aarch64, ..new() };
    let web = Web::serve(Shop::new(&[arm]).publish());
    assert_eq!(Machine::new().fails(&web), Kind::Foreign);
    let other = Payload { name: "other", ..new() };
    let web = Web::serve(Shop::new(&[other]).publish());
    assert_eq!(Machine::new().fails(&web), Kind::Foreign);
}

#[test]
fn a_server_that_misbehaves_is_given_up_and_asked_again_later() {
    let (mut machine, web) = (Machine::new(), Web::serve(shop().publish()));
    for (prefix, fault, kind) in [
        ("metadata/timestamp", Fault::Status(403), Kind::NotFound),
        ("metadata/timestamp", Fault::Status(404), Kind::NotFound),
        ("metadata/timestamp", Fault::Status(401), Kind::Network),
        ("metadata/timestamp", Fault::Redirects, Kind::Network),
        ("metadata/timestamp", Fault::Endless, Kind::Network),
        ("metadata/2.root", Fault::Endless, Kind::Network),
        ("metadata/1.snapshot", Fault::Endless, Kind::Network),
        ("metadata/1.snapshot", Fault::Lies, Kind::Digest),
        ("metadata/1.targets", Fault::Lies, Kind::Digest),
        ("metadata/1.stable", Fault::Lies, Kind::Digest),
        ("targets/stable/", Fault::Lies, Kind::Digest),
        ("targets/stable/", Fault::Status(404), Kind::NotFound),
    ] {
        web.fault(Some((prefix, fault)));
        assert_eq!(machine.fails(&web), kind, "{prefix} {fault:?}");
    }
    web.fault(None);
    assert_eq!(machine.poll(&web).unwrap(), Outcome::Armed);
}

#[test]
fn a_server_that_fails_or_cuts_is_asked_a_few_times_only() {
    let (mut machine, web) = (Machine::new(), Web::serve(shop().publish()));
    for fault in [Fault::Status(500), Fault::Cuts(100)] {
        web.fault(Some(("metadata/timestamp", fault)));
        web.take_asked();
        assert_eq!(machine.fails(&web), Kind::Network, "{fault:?}");
        let (asked, _) = web.take_asked();
        assert!(asked.len() <= 8, "{asked:?}");
    }
}

#[test]
fn a_download_that_was_interrupted_goes_on_in_the_next_process() {
    let mut machine = Machine::of_bytes(128 << 20, 40 << 20);
    let large = Payload { root: noise(9, 24 << 20), ..new() };
    let files = Shop::new(std::slice::from_ref(&large)).publish();
    let (bundle, whole) = files.iter().find(|(name, _)| name.ends_with(".bundle")).unwrap();
    let (bundle, whole, web) = (bundle.clone(), whole.len(), Web::serve(files));
    web.fault(Some((&bundle, Fault::Dies(whole * 3 / 4))));
    machine.poll(&web).unwrap_err();
    web.fault(None);
    web.take_asked();
    assert_eq!(machine.poll(&web).unwrap(), Outcome::Armed);
    let (asked, _) = web.take_asked();
    let from =
        asked.iter().find_map(|asked| asked.strip_prefix(&format!("{bundle} from "))?.parse::<usize>().ok());
    // What was synced before is at least half of what had come.
    assert!(from.is_some_and(|from| from > whole * 3 / 8), "{asked:?}");
    assert_eq!(verified(machine.executor.disk(), Slot::B), Some(large.release()));
}

#[test]
fn a_state_partition_that_takes_no_file_stops_no_update() {
    let (mut machine, web) = (Machine::new(), Web::serve(shop().publish()));
    coracle_block::replace_file(&machine.state(), b"a file", 0o600).unwrap();
    let mut notes = Notes::default();
    assert_eq!(machine.poll_watched(&web, &mut notes).unwrap(), Outcome::Armed);
    assert!(notes.0.iter().any(|note| note.ends_with("what the channel says is not kept")), "{:?}", notes.0);
}

#[test]
fn a_stick_brings_the_same_and_is_verified_the_same_way() {
    let (mut machine, mut shop) = (Machine::new(), shop());
    shop.wave_at(NOW * 2);
    let files = shop.publish();
    let path = machine.directory.path().join("stick");
    coracle_block::replace_file(&path, &archive(&files), 0o600).unwrap();
    machine.windows = Windows::parse(&["Sat 02:00-03:00"]).unwrap();
    machine.heed = Heed::Nothing;
    machine.clock = None;
    let outcome = machine.poll_at(&mut Archive::open(&path, 0).unwrap(), &mut Notes::default());
    assert_eq!(outcome.unwrap(), Outcome::Armed);
    assert_eq!(verified(machine.executor.disk(), Slot::B), Some(new().release()));
}

#[test]
fn a_stick_with_something_paused_or_forged_on_it_brings_nothing() {
    let (mut machine, mut shop) = (Machine::new(), shop());
    let path = machine.directory.path().join("stick");
    machine.heed = Heed::Nothing;
    let mut files = shop.publish();
    files.get_mut("metadata/1.targets.json").unwrap()[100] ^= 1;
    coracle_block::replace_file(&path, &archive(&files), 0o600).unwrap();
    let error = machine.poll_at(&mut Archive::open(&path, 0).unwrap(), &mut Notes::default()).unwrap_err();
    assert_eq!(error.kind(), Kind::Digest);
    shop.newest().state = State::Paused;
    coracle_block::replace_file(&path, &archive(&shop.publish()), 0o600).unwrap();
    let outcome = machine.poll_at(&mut Archive::open(&path, 0).unwrap(), &mut Notes::default());
    assert_eq!((outcome.unwrap(), machine.spare()), (Outcome::Nothing, SlotState::Empty));
}
