use super::*;
use crate::cli::{hand, history};
use crate::error::Kind;
use crate::executor::Failure;
use coracle_block::meta::{self, Others};
use coracle_block::model::Model;
use coracle_format::device::{Clock, DeviceConfig, Gate, Network, OnFailure, Update};
use coracle_format::gpt::{Size, Table};
use coracle_format::guid::Guid;
use coracle_format::layout::Role;
use coracle_slots::Verdict;

const OURS: [u8; 32] = [0xa1; 32];
const THEIRS: [u8; 32] = [0xb2; 32];

fn image() -> Image {
    let update = Update {
        deadline_seconds: 300,
        settle_seconds: 10,
        gate: Gate::Healthy,
        download_rate: 0,
        write_rate: 0,
        channel: None,
        epoch: 0,
    };
    let config = DeviceConfig {
        image_name: "hello".to_owned(),
        image_version: "1.0".to_owned(),
        on_failure: OnFailure::Reboot,
        hostname: String::new(),
        modules: Vec::new(),
        watchdog_seconds: 0,
        sysctl: Vec::new(),
        network: Network::default(),
        clock: Clock::default(),
        containers: Vec::new(),
        stop_seconds: 1,
        update: Some(update.clone()),
        checks: Vec::new(),
        control: None,
    };
    Image { config, update }
}

/// A disk whose slot A runs.
fn machine() -> Executor {
    Executor::on(shipped().disk().unwrap(), Slot::A).unwrap()
}

fn shipped() -> Model {
    let model = Model::new(8 << 20);
    let disk = model.disk().unwrap();
    let mut table = Table::new(Guid::from_random([1; 16]), disk.geometry()).unwrap();
    for role in [Role::Meta, Role::SlotA, Role::SlotB] {
        table.add(role, Guid::from_random([2; 16]), Size::Bytes(1 << 20)).unwrap();
    }
    disk.write_table(&table).unwrap();
    let partition = meta::partition(&disk, &table).unwrap();
    disk.write_within(&partition, 0, &Record::shipped(OURS, 1 << 48, 0).encode()).unwrap();
    model
}

/// The same disk with slot B on trial, which runs now.
fn on_trial() -> Executor {
    let disk = shipped().disk().unwrap();
    let table = disk.read_table().unwrap();
    meta::change(&disk, &table, None, Others::Wait, |record| {
        let armed = record.clear(Slot::B)?.written(Slot::B, THEIRS, 2 << 48, 0)?.arm(Slot::B)?;
        Ok(armed.begin_boot(armed.choose(&[])))
    })
    .unwrap();
    Executor::on(disk, Slot::B).unwrap()
}

/// What a command prints on standard output.
fn printed(style: Style, command: impl FnOnce(&mut Report<'_>) -> Result<()>) -> String {
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let mut report = Report::new(&mut out, &mut err);
    report.set_style(style);
    command(&mut report).unwrap();
    String::from_utf8(out).unwrap()
}

fn shown(executor: &Executor, style: Style, state: StatePartition) -> String {
    printed(style, |report| show(executor, &image(), state, report))
}

#[test]
fn a_fresh_machine_shows_its_slots() {
    let expected = "\
hello 1.0 runs from slot A

  slot      state  version  release
  A (runs)  good   1.0.0    a1a1a1a1a1a1
  B         empty  -        -

  record     ok
  next boot  slot A (last good)
  hold       no
  floors     version 1.0.0, epoch 0, root 0, released -
";
    assert_eq!(shown(&machine(), Style::Human, StatePartition::Mounted), expected);
}

#[test]
fn a_trial_that_failed_shows_its_last_words() {
    let executor = on_trial();
    let text = shown(&executor, Style::Human, StatePartition::Mounted);
    assert!(text.starts_with("hello 1.0 runs from slot B, on trial\n"), "{text}");
    let failure = Failure {
        verdict: Verdict::Unhealthy,
        stage: "check api",
        reason: "refused \u{1b}[2J",
        boot_ms: 31_000,
        log: b"one\ntwo\x07\n",
    };
    executor.fail_with(&failure).unwrap();
    let text = shown(&executor, Style::Human, StatePartition::Missing);
    let expected = "
  slot      state               version  release
  A         good                1.0.0    a1a1a1a1a1a1
  B (runs)  failed (unhealthy)  2.0.0    b2b2b2b2b2b2

  record     ok
  next boot  slot A (last good)
  hold       no
  floors     version 1.0.0, epoch 0, root 0, released -
  failed     release b2b2b2b2b2b2 (unhealthy)
  state      not mounted: an interrupted update would start over

last words of release b2b2b2b2b2b2 in slot B
  verdict  unhealthy
  stage    check api
  reason   refused ?[2J
  after    31000 ms
  | one
  | two?
";
    assert_eq!(text, format!("hello 1.0 runs from slot B\n{expected}"));
}

#[test]
fn the_object_has_everything_on_one_line() {
    let executor = on_trial();
    let expected = concat!(
        r#"{"v":0,"event":"status","image":"hello","version":"1.0","running":"B","on_trial":true,"#,
        r#""record":"ok","record_faults":[],"slots":["#,
        r#"{"slot":"A","state":"good","starts":null,"verdict":null,"version":"1.0.0","release":"A1"},"#,
        r#"{"slot":"B","state":"trial","starts":1,"verdict":null,"version":"2.0.0","release":"B2"}],"#,
        r#""next_slot":"B","next_reason":"on trial","hold":false,"misses":0,"selector_broken":false,"#,
        r#""floors":{"version":"1.0.0","epoch":0,"root_version":0,"released":0},"failed":[],"#,
        r#""last_words":null,"state_mounted":true,"channel":null}"#,
        "\n"
    );
    let expected = expected.replace("A1", &hex(&OURS)).replace("B2", &hex(&THEIRS));
    assert_eq!(shown(&executor, Style::Json, StatePartition::Mounted), expected);
}

#[test]
fn an_unreadable_record_is_said_and_everything_else_shown() {
    let executor = machine();
    let table = executor.disk().read_table().unwrap();
    let partition = meta::partition(executor.disk(), &table).unwrap();
    executor.disk().write_within(&partition, 0, &[0; 4096]).unwrap();
    let text = shown(&executor, Style::Human, StatePartition::Missing);
    let none = NotARecord::Magic;
    let line = format!("record     UNREADABLE ({none}; {none}): this is what the slots themselves say");
    assert!(text.contains(&line), "{text}");
    assert!(text.contains("  A (runs)  good   -        -\n"), "{text}");
    let text = shown(&executor, Style::Json, StatePartition::Missing);
    let object = format!(r#""record":"unreadable","record_faults":["{none}","{none}"]"#);
    assert!(text.contains(&object), "{text}");
}

#[test]
fn only_a_trial_can_be_confirmed() {
    let mut nowhere = (Vec::new(), Vec::new());
    let mut report = Report::new(&mut nowhere.0, &mut nowhere.1);
    let error = hand::confirm(&machine(), &mut report).unwrap_err();
    assert_eq!(error.kind(), Kind::Policy);
    assert_eq!(error.to_string(), "cannot confirm the release in slot A: it is not on trial, it is good");
    let executor = on_trial();
    let text = printed(Style::Human, |report| hand::confirm(&executor, report));
    assert_eq!(text, "release b2b2b2b2b2b2 in slot B is committed\n");
    assert_eq!(executor.record().unwrap().state(Slot::B), SlotState::Good);
    assert_eq!(executor.record().unwrap().floors().version, 2 << 48);
}

#[test]
fn a_rollback_holds_until_it_is_retried() {
    let executor = on_trial();
    let text = printed(Style::Human, |report| hand::roll_back(&executor, report));
    let expected =
        "slot A (release a1a1a1a1a1a1) boots next, and no update is armed until coracle-update retry\n";
    assert_eq!(text, expected);
    let record = executor.record().unwrap();
    assert_eq!((record.hold(), record.blocked(&THEIRS)), (true, Some(Verdict::ByHand)));
    let text = printed(Style::Json, |report| hand::retry(&executor, Some("B2b2"), report));
    let expected = format!(
        "{{\"v\":0,\"event\":\"retried\",\"release\":\"{}\",\"hold_released\":true}}\n",
        hex(&THEIRS)
    );
    assert_eq!(text, expected);
    let record = executor.record().unwrap();
    assert_eq!((record.hold(), record.blocked(&THEIRS)), (false, None));
    let told: Vec<String> = executor.history().unwrap().iter().map(|entry| entry.event.to_string()).collect();
    assert_eq!(told, ["rolled back", "hold released", "retried"]);
}

#[test]
fn what_cannot_be_retried_or_rolled_back_says_why() {
    let mut nowhere = (Vec::new(), Vec::new());
    let mut report = Report::new(&mut nowhere.0, &mut nowhere.1);
    let executor = machine();
    let error = hand::retry(&executor, None, &mut report).unwrap_err();
    assert_eq!(error.to_string(), "cannot retry: no release has failed here, and nothing is held");
    let error = hand::retry(&executor, Some("ff"), &mut report).unwrap_err();
    assert_eq!((error.kind(), error.kind().exit().code()), (Kind::Usage, 2));
    let error = hand::roll_back(&executor, &mut report).unwrap_err();
    assert_eq!(
        (error.kind(), error.to_string().as_str()),
        (Kind::Policy, "cannot go back to slot B: it is empty")
    );
}

#[test]
fn the_history_is_a_table_or_a_line_each() {
    let executor = on_trial();
    assert_eq!(
        printed(Style::Human, |report| history::show(&executor, report)),
        "nothing has happened to the slots yet\n"
    );
    let mut entry =
        coracle_slots::history::Entry::new(coracle_slots::history::Event::Failed, Slot::B, THEIRS);
    entry.at = 1_795_313_437;
    entry.verdict = Some(Verdict::Deadline);
    entry.detail = coracle_slots::Text::cut("web is not ready");
    let table = executor.disk().read_table().unwrap();
    let partition = meta::partition(executor.disk(), &table).unwrap();
    meta::append_history(executor.disk(), &partition, entry).unwrap();
    assert_eq!(
        printed(Style::Human, |report| history::show(&executor, report)),
        "  2026-11-22 02:10:37 UTC  slot B  failed  -  b2b2b2b2b2b2  deadline: web is not ready\n"
    );
    let expected = format!(
        "{{\"v\":0,\"event\":\"history\",\"sequence\":1,\"at\":1795313437,\"what\":\"failed\",\"slot\":\"B\",\
         \"version\":\"\",\"release\":\"{}\",\"verdict\":\"deadline\",\"detail\":\"web is not ready\"}}\n",
        hex(&THEIRS)
    );
    assert_eq!(printed(Style::Json, |report| history::show(&executor, report)), expected);
}

#[test]
fn an_image_without_updates_says_so() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("device.cfg");
    let mut config = image().config;
    config.update = None;
    let bytes = coracle_format::device::encode(&config).unwrap();
    coracle_block::replace_file(&path, &bytes, 0o600).unwrap();
    let error = Image::read(&path).unwrap_err();
    let expected = "the image \"hello\" takes no updates: its manifest has no [update]";
    assert_eq!((error.to_string().as_str(), error.kind().exit().code()), (expected, 2));
}
