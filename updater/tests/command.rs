//! The program from the outside, where there is no machine: what it says and how it ends.
#![expect(clippy::tests_outside_test_module, reason = "the whole crate is a test")]

use std::process::Command;

/// Exit code, standard output, standard error.
#[expect(clippy::disallowed_methods, reason = "the program under test")]
fn run(arguments: &[&str]) -> (Option<i32>, String, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_coracle-update")).args(arguments).output();
    output.map_or((None, String::new(), String::new()), |output| {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (output.status.code(), text(&output.stdout), text(&output.stderr))
    })
}

#[test]
fn help_is_data() {
    let (code, out, err) = run(&["--help"]);
    assert_eq!((code, err.as_str()), (Some(0), ""));
    assert!(out.starts_with("Signed A/B updates of this machine\n"), "{out}");
}

#[test]
fn what_is_not_understood_ends_with_2_and_is_an_object_where_one_is_asked_for() {
    let (code, out, err) = run(&["bogus"]);
    assert_eq!((code, out.as_str()), (Some(2), ""));
    assert_eq!(err, "error: unknown command bogus\n\nhint: coracle-update --help lists the commands\n");
    let (code, out, _) = run(&["--json", "bogus"]);
    assert_eq!(code, Some(2));
    assert!(
        out.starts_with(r#"{"v":0,"event":"error","kind":"usage","message":"unknown command bogus"#),
        "{out}"
    );
}

#[test]
fn without_a_machine_nothing_is_done_and_that_is_said() {
    for command in [&["status"][..], &["history"], &["confirm"], &["rollback"], &["retry"], &["check", "x"]] {
        let (code, out, err) = run(command);
        assert_eq!((code, out.as_str()), (Some(1), ""), "{command:?}");
        assert!(err.starts_with("error: cannot open /etc/coracle/device.cfg\n"), "{err}");
        assert!(
            err.ends_with("hint: coracle-update works on a machine that runs a Coracle image\n"),
            "{err}"
        );
    }
}
