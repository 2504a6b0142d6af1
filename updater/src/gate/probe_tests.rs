use super::*;
use crate::gate::places::Places;
use crate::gate::samples::{check, command};
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

/// What an attempt may take in all when its time is 300 ms and the machine is busy.
const SOON: Duration = Duration::from_secs(10);

fn places() -> (tempfile::TempDir, Places) {
    let directory = tempfile::tempdir().unwrap();
    let places = Places::below(directory.path());
    std::fs::create_dir_all(places.run()).unwrap();
    (directory, places)
}

/// A server that hands each connection to `serve`; its port.
fn server(serve: impl Fn(TcpStream) + Send + 'static) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    thread::spawn(move || {
        for stream in listener.incoming() {
            serve(stream.unwrap());
        }
    });
    port
}

/// A server that reads a request and answers with these bytes.
fn answering(answer: &'static [u8]) -> u16 {
    server(move |mut stream| {
        let mut request = [0; 512];
        let length = stream.read(&mut request).unwrap();
        assert!(request[..length].starts_with(b"GET /healthz?full=1 HTTP/1.1\r\nHost: 127.0.0.1:"));
        // The gate hangs up as soon as it has seen enough.
        match stream.write_all(answer) {
            Ok(()) | Err(_) => {}
        }
    })
}

fn get(port: u16, timeout_ms: u32) -> Result<(), String> {
    let probe = Probe::Http { host: "127.0.0.1".to_owned(), port, path: "/healthz?full=1".to_owned() };
    attempt(&Check { probe, ..check("api", timeout_ms, 1_000) }, &places().1.runtime())
}

#[test]
fn a_good_answer_passes_and_a_bad_one_fails_with_its_status() {
    assert_eq!(get(answering(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"), 5_000), Ok(()));
    assert_eq!(get(answering(b"HTTP/1.0 302 Found\r\n\r\n"), 5_000), Ok(()));
    let error = get(answering(b"HTTP/1.1 503 Service Unavailable\r\n\r\n"), 5_000).unwrap_err();
    assert_eq!(error, "it answers with status 503");
}

#[test]
fn what_is_not_http_fails() {
    let junk: &[u8] = &[0xff; 4096];
    for answer in [&b"SSH-2.0-OpenSSH\r\n"[..], b"\n\n\n", junk] {
        assert_eq!(
            get(answering(answer), 5_000).unwrap_err(),
            "the answer does not begin with a status line"
        );
    }
    let error = get(server(drop), 5_000).unwrap_err();
    assert!(error.contains("closed before the answer") || error.contains("connection reset"), "{error}");
}

#[test]
fn an_endless_line_is_not_read_to_its_end() {
    let port = server(|mut stream| while stream.write_all(&[b'a'; 4096]).is_ok() {});
    assert_eq!(get(port, 5_000).unwrap_err(), "the answer does not begin with a status line");
}

#[test]
fn a_server_that_drips_or_says_nothing_gets_no_more_than_its_time() {
    let dripping = server(|mut stream| {
        stream.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
        let mut request = [0; 512];
        // A byte now and then, until the other side hangs up.
        while stream.write_all(b"H").is_ok() {
            if let Ok(0) = stream.read(&mut request) {
                return;
            }
        }
    });
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    for port in [dripping, silent.local_addr().unwrap().port()] {
        let begun = Instant::now();
        let error = get(port, 300).unwrap_err();
        assert!(error.contains("no answer in time") || error.contains("takes too long"), "{error}");
        assert!(begun.elapsed() < SOON);
    }
}

#[test]
fn a_connection_passes_where_somebody_listens() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let probe = Probe::Tcp { host: "localhost".to_owned(), port };
    let tcp = Check { probe, ..check("tcp", 5_000, 1_000) };
    let runtime = places().1.runtime();
    assert_eq!(attempt(&tcp, &runtime), Ok(()));
    drop(listener);
    let error = attempt(&tcp, &runtime).unwrap_err();
    assert!(error.contains("connection refused"), "{error}");
}

#[test]
fn a_file_passes_when_it_is_there() {
    let (directory, places) = places();
    let path = directory.path().join("done");
    let probe = Probe::File { path: path.to_str().unwrap().to_owned() };
    let file = Check { probe, ..check("file", 1_000, 1_000) };
    assert!(attempt(&file, &places.runtime()).unwrap_err().ends_with("is not there"));
    std::fs::File::create(&path).unwrap();
    assert_eq!(attempt(&file, &places.runtime()), Ok(()));
}

/// Puts a program in crun's place that does what `crun exec` does: runs the program in a session of its own, leaves its
/// id, and waits for it. It is written by another process: a descriptor open for writing in this one would keep it from being run.
#[expect(clippy::disallowed_methods, reason = "a test makes a program of its own")]
fn stand_in(directory: &std::path::Path) -> PathBuf {
    const SCRIPT: &str = r#"#!/bin/sh
[ "$1 $2 $3 $4 $5" = "--cgroup-manager=cgroupfs --root /run/crun exec --pid-file" ] || exit 99
pid_file=$6
[ "$7" = web ] || { echo "container $7 does not exist" >&2; exit 1; }
shift 7
setsid "$@" &
echo $! > "$pid_file"
wait $!
"#;
    let path = directory.join("usr/bin/crun");
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    let written = Command::new("/bin/sh")
        .args(["-c", "printf %s \"$1\" > \"$2\" && chmod 755 \"$2\"", "sh", SCRIPT])
        .arg(&path)
        .status()
        .unwrap();
    assert!(written.success());
    path
}

fn execute(container: &str, args: &[&str], timeout_ms: u32) -> (Result<(), String>, Duration) {
    let (directory, places) = places();
    stand_in(directory.path());
    let args = args.iter().map(|arg| (*arg).to_owned()).collect();
    let probe = Probe::Command { container: container.to_owned(), args };
    let begun = Instant::now();
    let result = attempt(&Check { probe, timeout_ms, ..command("app", "web") }, &places.runtime());
    assert_eq!(std::fs::read_dir(places.run()).unwrap().count(), 0, "nothing is left behind");
    (result, begun.elapsed())
}

#[test]
fn a_command_passes_by_its_status_and_fails_with_its_last_words() {
    assert_eq!(execute("web", &["/bin/true"], 10_000).0, Ok(()));
    let (result, _) =
        execute("web", &["/bin/sh", "-c", "echo a >&2; echo 'no database' >&2; exit 3"], 10_000);
    assert_eq!(result, Err("it ended with status 3: no database".to_owned()));
    let (result, _) = execute("gone", &["/bin/true"], 10_000);
    assert_eq!(result, Err("it ended with status 1: container gone does not exist".to_owned()));
}

#[test]
fn a_command_that_hangs_is_killed_inside_the_container_too() {
    let directory = tempfile::tempdir().unwrap();
    let note = directory.path().join("pid");
    // What it has started ignores nothing and is in its session.
    let script = format!("sleep 1000 & echo $$ $! > {}; wait", note.display());
    let (result, took) = execute("web", &["/bin/sh", "-c", &script], 1_500);
    assert_eq!(result, Err("it takes too long and was killed".to_owned()));
    assert!(took < SOON);
    for pid in std::fs::read_to_string(&note).unwrap().split_whitespace() {
        let state = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        assert!(state.is_empty() || state.contains(") Z "), "it still runs: {state}");
    }
}

#[test]
fn a_descendant_that_keeps_the_output_open_does_not_hold_up_the_result() {
    let (result, took) = execute("web", &["/bin/sh", "-c", "sleep 20 & exit 0"], 15_000);
    assert_eq!(result, Ok(()));
    assert!(took < SOON);
}

#[test]
fn a_flood_of_output_is_taken_and_dropped() {
    let script = "head -c 3000000 /dev/zero | tr '\\0' x >&2; echo >&2; echo end >&2; exit 1";
    let (result, _) = execute("web", &["/bin/sh", "-c", script], 20_000);
    assert_eq!(result, Err("it ended with status 1: end".to_owned()));
}

#[test]
fn without_a_runtime_a_command_fails() {
    let (_directory, places) = places();
    let error = attempt(&command("app", "web"), &places.runtime()).unwrap_err();
    assert!(error.starts_with("cannot run crun"), "{error}");
}
