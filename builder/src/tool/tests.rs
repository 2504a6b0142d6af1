use super::*;
use crate::{cache::Cache, report::Report};
use std::{
    io::{BufRead as _, BufReader},
    sync::atomic::Ordering,
};

fn context() -> (tempfile::TempDir, Context) {
    let dir = tempfile::tempdir().unwrap();
    let cache = Cache::open(dir.path()).unwrap();
    (dir, Context::new(cache, Report::silent()))
}

fn sh(script: &str) -> Tool<'_> {
    Tool::host("sh").args(["-c", script])
}

fn logs(ctx: &Context) -> usize {
    fs::read_dir(ctx.cache.root().join("log")).unwrap().count()
}

#[test]
fn output_is_captured_and_a_good_run_leaves_no_log() {
    let (_dir, ctx) = context();
    let output = sh("echo out; echo err >&2").run(&ctx).unwrap();
    assert_eq!(output.text(), "out");
    assert_eq!(logs(&ctx), 0);
}

#[test]
fn a_failure_names_the_command_the_status_the_last_lines_and_the_log() {
    let (_dir, ctx) = context();
    let error = sh("echo first; echo 'no space left' >&2; exit 3").run(&ctx).unwrap_err();
    let text = error.render();
    assert_eq!(error.kind(), Kind::Tool);
    assert!(
        text.starts_with(
            "error: `sh -c 'echo first; echo '\\''no space left'\\'' >&2; exit 3'` exited with status 3\n"
        ),
        "{text}"
    );
    assert!(text.contains("caused by: no space left\n"), "{text}");
    assert!(text.contains("first\n"), "{text}");
    let log = text.split_whitespace().last().unwrap();
    let log = fs::read_to_string(log).unwrap();
    assert!(log.starts_with("env -i LC_ALL=C PATH="), "{log}");
}

#[test]
fn the_environment_is_fixed() {
    let (_dir, ctx) = context();
    let tool = sh("export -p | grep -v PWD | grep -v OLDPWD").epoch(7);
    let text = tool.run(&ctx).unwrap().text();
    let names: Vec<_> =
        text.lines().filter_map(|line| line.split_whitespace().nth(1)?.split('=').next()).collect();
    assert_eq!(names, ["LC_ALL", "PATH", "SOURCE_DATE_EPOCH", "TZ"]);
}

#[test]
fn the_deadline_ends_the_whole_group() {
    let (_dir, ctx) = context();
    let begun = std::time::Instant::now();
    let tool = sh("sleep 1000 & sleep 1000").within(Duration::from_millis(200));
    let error = tool.run(&ctx).unwrap_err();
    assert!(error.to_string().contains("did not end within"), "{error}");
    assert!(begun.elapsed() < Duration::from_mins(1));
}

#[test]
fn a_child_left_behind_does_not_hold_the_run_up() {
    let (_dir, ctx) = context();
    let output = sh("sleep 1000 & echo done").run(&ctx).unwrap();
    assert_eq!(output.text(), "done");
}

#[test]
fn a_user_who_wants_to_stop_is_heard() {
    let (_dir, ctx) = context();
    let stop = std::sync::Arc::clone(&ctx.cancel);
    let tool = sh("echo up; exec sleep 1000").stdout(Stdout::Lines(Box::new(move |_| {
        stop.store(true, Ordering::Relaxed);
    })));
    assert_eq!(tool.run(&ctx).unwrap_err().kind(), Kind::Interrupted);
}

#[test]
fn too_much_output_is_an_error() {
    let (_dir, ctx) = context();
    let tool = sh("while :; do echo 0123456789; done").stdout(Stdout::Capture(1000));
    assert_eq!(tool.run(&ctx).unwrap_err().kind(), Kind::Hostile);
}

#[test]
fn input_comes_from_bytes_files_readers_and_writers() {
    let (dir, ctx) = context();
    let path = dir.path().join("in");
    File::create(&path).unwrap().write_all(b"file").unwrap();
    let cases = [
        (Stdin::Bytes(b"bytes".to_vec()), "bytes"),
        (Stdin::File(File::open(&path).unwrap()), "file"),
        (Stdin::Reader(Box::new(&b"reader"[..])), "reader"),
        (Stdin::Writer(Box::new(|out| out.write_all(b"writer").doing("write", Path::new("it")))), "writer"),
        (Stdin::Closed, ""),
    ];
    for (stdin, expected) in cases {
        let output = Tool::host("cat").stdin(stdin).run(&ctx).unwrap();
        assert_eq!(output.text(), expected);
    }
}

#[test]
fn a_broken_source_is_the_fault_and_a_program_that_stops_reading_is_not() {
    let (_dir, ctx) = context();
    let broken = Stdin::Writer(Box::new(|_| Err(Error::new(Kind::Digest, "bad bytes"))));
    let error = Tool::host("cat").stdin(broken).run(&ctx).unwrap_err();
    assert_eq!(error.kind(), Kind::Digest);
    let long = Stdin::Reader(Box::new(io::repeat(0)));
    assert_eq!(sh("echo enough").stdin(long).run(&ctx).unwrap().text(), "enough");
}

#[test]
fn lines_arrive_one_by_one_and_the_last_needs_no_end() {
    let (_dir, ctx) = context();
    let mut seen = Vec::new();
    let take = Stdout::Lines(Box::new(|line| seen.push(line.to_owned())));
    sh("printf 'a\\nb'").stdout(take).run(&ctx).unwrap();
    assert_eq!(seen, ["a", "b"]);
}

#[test]
fn a_missing_program_is_an_error_of_its_own_with_a_hint() {
    let (dir, ctx) = context();
    let error = Tool::host("no-such-program").run(&ctx).unwrap_err();
    assert_eq!(error.kind(), Kind::NotFound);
    let root = ToolRoot::at(dir.path(), crate::toolroot::HostArch::X86_64);
    let error = Tool::new(&root, "veritysetup").run(&ctx).unwrap_err();
    assert_eq!(error.kind(), Kind::NotFound);
    assert!(error.hint_text().unwrap().contains("cryptsetup-bin"));
}

#[test]
fn a_spawned_program_takes_input_and_ends_when_asked() {
    let (dir, ctx) = context();
    let log = dir.path().join("cat.log");
    let tool = Tool::host("cat").stdin(Stdin::Piped).stdout(Stdout::Piped);
    let mut running = tool.log_to(&log).spawn(&ctx).unwrap();
    assert_eq!(running.poll().unwrap(), Waited::Running);
    let mut stdin = running.take_stdin().unwrap();
    stdin.write_all(b"hello\n").unwrap();
    let mut line = String::new();
    let mut stdout = BufReader::new(running.take_stdout().unwrap());
    stdout.read_line(&mut line).unwrap();
    assert_eq!(line, "hello\n");
    let status = running.terminate(Duration::from_secs(30)).unwrap();
    let error = running.judge(status, b"").unwrap_err();
    assert_eq!(error.to_string(), "`cat` was killed by SIGTERM");
    assert!(log.exists());
}

#[test]
fn what_ignores_sigterm_is_killed_and_a_dropped_handle_kills() {
    let (_dir, ctx) = context();
    let script = "trap '' TERM; echo up; while :; do sleep 1000; done";
    let mut running = sh(script).stdout(Stdout::Piped).spawn(&ctx).unwrap();
    let mut stdout = BufReader::new(running.take_stdout().unwrap());
    let mut line = String::new();
    stdout.read_line(&mut line).unwrap();
    let status = running.terminate(Duration::from_millis(50)).unwrap();
    assert_eq!(
        running.judge(status, b"").unwrap_err().to_string(),
        format!("`sh -c {}` was killed by SIGKILL", quote(script))
    );
    let mut running = sh("echo up; exec sleep 1000").stdout(Stdout::Piped).spawn(&ctx).unwrap();
    let mut stdout = BufReader::new(running.take_stdout().unwrap());
    drop(running);
    line.clear();
    stdout.read_to_string(&mut line).unwrap();
}

#[test]
fn words_are_quoted_for_a_shell() {
    assert_eq!(quote("a/b-c=1"), "a/b-c=1");
    assert_eq!(quote(""), "''");
    assert_eq!(quote("it's"), r"'it'\''s'");
}
