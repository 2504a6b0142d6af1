mod deltas;
pub(crate) mod fixture;
mod refusals;
mod stick;

use super::{change::prepare, *};
use crate::{
    channel::{self, Turn, Which, check, promote, refresh, steer},
    error::Exit,
    keys::{Change, Rotation, rotate},
};
use coracle_format::slot::Arch;
use coracle_rollout::{Rollout, State as Taken, document};
use coracle_trust::Role;
use fixture::{DAY, NOW, Yard, request, version, wave};
use std::{env, fs};

/// What a machine with the first root sees of `stable`.
fn seen(yard: &Yard) -> Rollout {
    let mut client = Client::new(&yard.repository);
    let mut trusted = client.refresh(&yard.root(), yard.now).unwrap();
    let path = document::path("stable", "shop", Arch::X86_64);
    let target = client.target(&mut trusted, &path).unwrap().unwrap();
    let bytes = fs::read(yard.repository.dir().join(TARGETS).join(target.file())).unwrap();
    assert!(target.is(&bytes));
    Rollout::parse(&bytes).unwrap()
}

fn versions(rollout: &Rollout) -> Vec<String> {
    rollout.releases.iter().map(|release| release.version.to_string()).collect()
}

#[test]
fn the_documents_of_a_repository_are_the_recorded_ones() {
    let mut yard = Yard::open();
    let waves = vec![wave(100, NOW), wave(10_000, NOW + 3 * DAY)];
    yard.publish(&yard.request("1.0.0")).unwrap();
    yard.now += DAY;
    let request =
        Request { waves: Waves::Dates(waves), minimum: Some(version("1.0.0")), ..yard.request("2.0.0") };
    yard.publish(&request).unwrap();
    let mut text = String::new();
    for (name, bytes) in yard.files() {
        let is_text = Path::new(&name).extension().is_some_and(|extension| extension == "json");
        let content =
            if is_text { String::from_utf8(bytes).unwrap() } else { format!("{} bytes", bytes.len()) };
        text.extend([&name, "\n", &content, "\n\n"]);
    }
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/publish/tests/repository.txt");
    if env::var_os("CORACLE_UPDATE_GOLDEN").is_some() {
        crate::files::replace(&golden, text.as_bytes()).unwrap();
    }
    let recorded = fs::read_to_string(&golden).unwrap_or_default();
    assert!(text == recorded, "run with CORACLE_UPDATE_GOLDEN=1 and review the difference\n{text}");
}

#[test]
fn a_published_release_is_believed_by_a_machine_to_its_last_byte() {
    let yard = Yard::open();
    let changed = yard.publish(&yard.request("1.0.0")).unwrap();
    assert_eq!(
        changed.written,
        ["1.root.json", "1.targets.json", "1.stable.json", "1.snapshot.json", "timestamp.json"]
    );
    assert_eq!(versions(&seen(&yard)), ["1.0.0"]);
    let checked = check(&yard.ctx, &yard.repository, None, NOW).unwrap();
    assert_eq!((checked.root, checked.timestamp, checked.releases), (1, 1, 1));
    assert_eq!(checked.rollouts, ["stable/shop-x86_64.json"]);
    // One byte of a bundle makes the difference.
    let name = yard.files().into_keys().find(|name| name.ends_with(".bundle")).unwrap();
    let path = yard.repository.dir().join(name);
    let mut bytes = fs::read(&path).unwrap();
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    crate::files::replace(&path, &bytes).unwrap();
    assert_eq!(check(&yard.ctx, &yard.repository, None, NOW).unwrap_err().kind(), Kind::Digest);
}

#[test]
fn publishing_the_same_again_writes_nothing() {
    let yard = Yard::open();
    let request = Request { waves: Waves::Dates(vec![wave(500, NOW)]), ..yard.request("1.0.0") };
    yard.publish(&request).unwrap();
    let before = yard.files();
    let again = yard.publish(&Request { waves: Waves::Unsaid, ..request.clone() }).unwrap();
    assert_eq!((again.timestamp, again.written.len()), (1, 0));
    assert_eq!(yard.publish(&request).unwrap().written.len(), 0);
    assert!(yard.files() == before);
    // A bundle that was signed again is the same release.
    let metadata_differs = yard.bundle("1.0.0", 0);
    assert_eq!(yard.publish(&fixture::request(metadata_differs)).unwrap().written.len(), 0);
    assert_eq!(seen(&yard).releases[0].waves, [wave(500, NOW)]);
}

#[test]
fn two_architectures_appear_at_once_and_two_channels_have_different_orders() {
    let yard = Yard::open();
    let bundles = [Arch::X86_64, Arch::Aarch64].map(|arch| yard.bundle_for("1.0.0", 0, arch));
    let both = Request { bundles: bundles.to_vec(), ..yard.request("1.0.0") };
    assert_eq!(yard.publish(&both).unwrap().timestamp, 1);
    promote(&yard.ctx, yard.place(), ("stable", "late", &Which::default()), (&Waves::Unsaid, NOW)).unwrap();
    let shown = channel::show(&yard.repository).unwrap();
    let rollouts: Vec<_> = shown.state.channels.values().flatten().collect();
    assert_eq!(rollouts.len(), 4);
    let seeds: Vec<_> = rollouts.iter().map(|rollout| rollout.releases[0].seed).collect();
    assert!((0..4).all(|at| !seeds[at + 1..].contains(&seeds[at])), "{seeds:?}");
    assert_eq!(shown.state.releases.len(), 2);
    check(&yard.ctx, &yard.repository, None, NOW).unwrap();
}

#[test]
fn a_run_that_is_cut_at_any_file_leaves_what_was_served_and_the_next_one_succeeds() {
    let yard = Yard::open();
    yard.publish(&yard.request("1.0.0")).unwrap();
    let second = yard.request("2.0.0");
    for cut in 0.. {
        let (signing, repository) = (&yard.signing, &yard.repository);
        let prepared = prepare(&yard.ctx, (repository, signing), (NOW, Anew::Nothing), |draft| {
            release::tests_add(&yard.ctx, draft, &second, &signing.keys.dir)
        })
        .unwrap();
        let mut left = cut;
        let outcome = prepared.writes.apply(repository, &mut |_| {
            if left == 0 {
                return Err(Error::new(Kind::Io, "no space left"));
            }
            left -= 1;
            Ok(())
        });
        drop(prepared);
        if outcome.is_ok() {
            assert!(cut > 4, "only {cut} files were written");
            assert_eq!(versions(&seen(&yard)), ["1.0.0", "2.0.0"]);
            break;
        }
        assert_eq!(versions(&seen(&yard)), ["1.0.0"], "cut at file {cut}");
        check(&yard.ctx, repository, None, NOW).unwrap();
    }
    assert_eq!(yard.publish(&yard.request("3.0.0")).unwrap().timestamp, 3);
    check(&yard.ctx, &yard.repository, None, NOW).unwrap();
}

#[test]
fn no_file_is_ever_written_twice_but_the_timestamp() {
    let yard = Yard::open();
    yard.publish(&yard.request("1.0.0")).unwrap();
    // What a run that was cut has left behind, and perhaps somebody has fetched.
    crate::files::replace(&yard.repository.metadata("2.targets.json"), b"half").unwrap();
    let before = yard.files();
    yard.publish(&yard.request("2.0.0")).unwrap();
    steer(&yard.ctx, yard.place(), ("stable", &Which::default(), Turn::Pause), NOW).unwrap();
    let after = yard.files();
    for (name, bytes) in before.iter().filter(|(name, _)| *name != "metadata/timestamp.json") {
        assert!(after.get(name) == Some(bytes), "{name}");
    }
    assert!(after.contains_key("metadata/3.targets.json"));
    check(&yard.ctx, &yard.repository, None, NOW).unwrap();
}

#[test]
fn only_one_publisher_works_at_a_time() {
    let yard = Yard::open();
    let held = yard.repository.lock().unwrap();
    let error = yard.publish(&yard.request("1.0.0")).unwrap_err();
    assert!(error.to_string().ends_with("another publisher is at work"), "{error}");
    assert!(!yard.repository.metadata("timestamp.json").exists());
    drop(held);
    yard.publish(&yard.request("1.0.0")).unwrap();
}

#[test]
fn an_online_key_pauses_resumes_withdraws_and_refreshes() {
    let mut yard = Yard::open();
    yard.publish(&yard.request("1.0.0")).unwrap();
    yard.publish(&yard.request("2.0.0")).unwrap();
    let online = yard.online();
    let turn = |turn| {
        let newest = Which::default();
        steer(&yard.ctx, (&yard.repository, &online), ("stable", &newest, turn), NOW).unwrap();
        seen(&yard).releases.iter().map(|release| release.state).collect::<Vec<_>>()
    };
    assert_eq!(turn(Turn::Pause), [Taken::Active, Taken::Paused]);
    assert_eq!(turn(Turn::Resume), [Taken::Active, Taken::Active]);
    assert_eq!(turn(Turn::Withdraw { instead: None }), [Taken::Active, Taken::Withdrawn { instead: None }]);
    let before = yard.files();
    yard.now += DAY;
    let changed = refresh(&yard.ctx, (&yard.repository, &online), Anew::Dates, yard.now).unwrap();
    assert_eq!(changed.written, ["timestamp.json"]);
    let differ = yard.files().iter().filter(|(name, bytes)| before.get(*name) != Some(bytes)).count();
    assert_eq!(differ, 1);
    let trusted = Client::new(&yard.repository).refresh(&yard.root(), yard.now).unwrap();
    assert_eq!(trusted.issued(), Some(yard.now));
}

#[test]
fn a_refresh_signs_what_is_near_its_date_and_warns_of_what_it_cannot_sign() {
    let mut yard = Yard::open();
    yard.publish(&yard.request("1.0.0")).unwrap();
    let online = yard.online();
    let mut at = |days: u64| {
        yard.now = NOW + days * DAY;
        refresh(&yard.ctx, (&yard.repository, &online), Anew::Dates, yard.now).unwrap()
    };
    assert_eq!(at(19).written, ["timestamp.json"]);
    assert_eq!(at(21).written, ["2.snapshot.json", "timestamp.json"]);
    let third = at(61);
    assert_eq!(third.written, ["2.stable.json", "3.snapshot.json", "timestamp.json"]);
    assert!(third.warnings.is_empty());
    let fourth = at(300);
    assert!(
        fourth.warnings[0].starts_with("the list of releases expires in 65 days"),
        "{:?}",
        fourth.warnings
    );
    // Where the targets key is, the same renews it.
    let full = refresh(&yard.ctx, yard.place(), Anew::Dates, yard.now).unwrap();
    assert!(full.written.contains(&"2.targets.json".to_owned()), "{:?}", full.written);
    assert_eq!(versions(&seen(&yard)), ["1.0.0"]);
}

#[test]
fn after_a_rotation_nothing_is_signed_by_accident_and_machines_follow() {
    let yard = Yard::open();
    yard.publish(&yard.request("1.0.0")).unwrap();
    let change = Change {
        roles: vec![Role::Snapshot, Role::Timestamp],
        new: 1,
        revoke: vec!["online-1.pem".to_owned()],
        ..Change::default()
    };
    rotate(&yard.ctx, &yard.signing.keys.dir, &Rotation { change, days: 4000, signers: Vec::new() }).unwrap();
    for outcome in [
        yard.publish(&yard.request("2.0.0")),
        refresh(&yard.ctx, yard.place(), Anew::Dates, NOW),
        steer(&yard.ctx, yard.place(), ("stable", &Which::default(), Turn::Pause), NOW),
    ] {
        let error = outcome.unwrap_err();
        assert_eq!(error.kind(), Kind::Policy, "{error}");
        assert!(error.hint_text().unwrap().contains("--resign"), "{error:?}");
    }
    let changed = refresh(&yard.ctx, yard.place(), Anew::Everything, NOW).unwrap();
    assert_eq!(changed.written[0], "2.root.json");
    let trusted = Client::new(&yard.repository).refresh(&yard.root(), NOW).unwrap();
    assert_eq!((trusted.root().version(), trusted.timestamp_version()), (2, 2));
    // The new online key speaks for the channel as well.
    steer(&yard.ctx, yard.place(), ("stable", &Which::default(), Turn::Pause), NOW).unwrap();
    assert_eq!(seen(&yard).releases[0].state, Taken::Paused);
    check(&yard.ctx, &yard.repository, None, NOW).unwrap();
}

#[test]
fn a_channel_with_a_key_of_its_own_is_steered_by_that_key_only() {
    let yard = Yard::open();
    let own = fixture::key(9);
    let request = Request { channel_key: Some(own.public()), ..yard.request("1.0.0") };
    let error = yard.publish(&request).unwrap_err();
    assert!(error.to_string().starts_with("cannot sign channel stable: 0 of the 1 keys"), "{error}");
    assert!(!yard.repository.metadata("timestamp.json").exists());
    own.save(&yard.signing.keys.dir.dir().join("stable-1.pem")).unwrap();
    yard.publish(&request).unwrap();
    let pause = |signing: &Signing| {
        steer(&yard.ctx, (&yard.repository, signing), ("stable", &Which::default(), Turn::Pause), NOW)
    };
    assert_eq!(pause(&yard.online()).unwrap_err().kind().exit(), Exit::Failed);
    pause(&yard.signing).unwrap();
    assert_eq!(seen(&yard).releases[0].state, Taken::Paused);
}
