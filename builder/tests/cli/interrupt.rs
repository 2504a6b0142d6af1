//! Ctrl-C in the middle of a build.

use super::{
    server::{Reply, Server},
    shop::{MADE, Outcome, Shop, names},
};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use serde_json::Value;
use std::{
    io::{BufReader, Read as _},
    process::Stdio,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc,
    },
    time::Duration,
};

/// A mirror that holds back the rest of one package while `held` is set, and says when that one is asked for.
fn slow_mirror(shop: &Shop, held: &Arc<AtomicBool>) -> (Server, mpsc::Receiver<()>) {
    let (tell, told) = mpsc::channel();
    let (files, held) = (shop.signed(MADE), Arc::clone(held));
    let server = Server::start(move |asked| {
        let Some(bytes) = files.0.get(asked.path.trim_start_matches('/')) else {
            return Reply::status(404, b"none");
        };
        if asked.path.ends_with("/app.deb") && held.load(Ordering::SeqCst) {
            tell.send(()).unwrap();
            return Reply::ok(bytes).cut(10).hold();
        }
        Reply::range(bytes, asked.from)
    });
    (server, told)
}

fn is_started(line: &str, step: &str) -> bool {
    let event: Value = serde_json::from_str(line).unwrap();
    event["event"] == "step-started" && event["name"].as_str().unwrap().starts_with(step)
}

#[test]
fn an_interrupted_build_says_so_leaves_nothing_and_is_taken_up_again() {
    let shop = Shop::open();
    let held = Arc::new(AtomicBool::new(true));
    let (server, told) = slow_mirror(&shop, &held);
    let url = server.url("");
    let words = ["--json", "build", "trial.toml", "--out", "out", "--keyring", "keys.gpg", "--mirror", &url];
    let mut command = shop.command(&[&words[..], &["--security-mirror", &url]].concat());
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut events = BufReader::new(child.stdout.take().unwrap());
    let mut line = String::new();
    while !is_started(&line_or(&mut events, &mut line), "fetch ") {}
    told.recv_timeout(Duration::from_mins(1)).unwrap();
    kill(Pid::from_raw(child.id().try_into().unwrap()), Signal::SIGINT).unwrap();
    let mut rest = String::new();
    events.read_to_string(&mut rest).unwrap();
    let outcome = Outcome::of(child.wait_with_output().unwrap());
    outcome.says(1, &["error: interrupted\n\nhint: run it again"]);
    let last: Value = serde_json::from_str(rest.lines().last().unwrap()).unwrap();
    assert_eq!((&last["event"], &last["kind"]), (&"error".into(), &"interrupted".into()));
    shop.nothing_is_made();
    shop.cache_is_good();
    held.store(false, Ordering::SeqCst);
    let again = shop.at(&url, "build", &["--json", "--out", "out"]);
    again.is_done();
    let last =
        again.stdout.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()).next_back().unwrap();
    assert_eq!((&last["event"], &last["text"]), (&"disk".into(), &"out/disk.raw".into()));
    assert_eq!(names(&shop.path("out")), ["build.json", "disk.raw"]);
}

/// The next line of the events; they must not end.
fn line_or(events: &mut impl std::io::BufRead, line: &mut String) -> String {
    line.clear();
    assert_ne!(events.read_line(line).unwrap(), 0, "the events ended");
    line.clone()
}
