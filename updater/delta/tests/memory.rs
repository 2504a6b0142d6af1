//! How much memory it takes to apply a stream that is as bad as it may be.

#[cfg(test)]
mod tests {
    use coracle_delta::{File, Pair, apply, limits, make};
    use std::{env, fs, process};

    /// Where the other process finds the stream.
    const STREAM: &str = "CORACLE_TEST_STREAM";
    /// Bytes of a copy in the stream below.
    const PIECE: usize = 16;

    /// Bytes that this process has or had at most in memory.
    fn memory(what: &str) -> usize {
        let status = fs::read_to_string("/proc/self/status").unwrap();
        let line = status.lines().find(|line| line.starts_with(what)).unwrap();
        line.split_whitespace().nth(1).unwrap().parse::<usize>().unwrap() * 1024
    }

    /// Pieces of bytes that are nowhere else, in an order in which none goes on where the last one ended.
    fn pieces() -> (Vec<u8>, Vec<u8>) {
        let mut state = 1_u64;
        let old: Vec<u8> = (0..PIECE * limits::COPIES_MAX / 8)
            .flat_map(|_| {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                (state ^ state >> 29).to_le_bytes()
            })
            .collect();
        let piece = |number: usize| {
            let at = (number ^ number >> 9 ^ number >> 4) * 77_773 % limits::COPIES_MAX * PIECE;
            &old[at..at + PIECE]
        };
        let new = (0..limits::COPIES_MAX).flat_map(piece).copied().collect();
        (old, new)
    }

    /// Makes the stream in this process and has it applied in another one, which begins with no memory of its own.
    #[test]
    #[expect(clippy::disallowed_methods, reason = "the test itself, again")]
    fn a_stream_of_the_most_copies_stays_within_what_is_promised() {
        let (old, new) = pieces();
        let delta = make(&[Pair::of(&old, &new)]).unwrap();
        // Nearly all of them are told, each by some bytes.
        assert!(delta.len() > limits::COPIES_MAX, "{}", delta.len());
        let path = env::temp_dir().join(format!("coracle-delta-{}", process::id()));
        fs::write(&path, delta).unwrap();
        let mut child = process::Command::new(env::current_exe().unwrap());
        child.args(["--exact", "tests::the_stream_applied", "--ignored", "--nocapture"]).env(STREAM, &path);
        let output = child.output().unwrap();
        fs::remove_file(&path).unwrap();
        assert!(output.status.success(), "{output:?}");
    }

    #[test]
    #[ignore = "run by the test above"]
    fn the_stream_applied() {
        let delta = fs::read(env::var_os(STREAM).expect("run by the test above")).unwrap();
        let (old, new) = pieces();
        let before = memory("VmHWM");
        let (mut source, mut at) = (old.as_slice(), 0);
        let mut sink = |bytes: &[u8]| {
            assert_eq!(&new[at..at + bytes.len()], bytes);
            at += bytes.len();
            Ok(())
        };
        let bytes = u64::try_from(new.len()).unwrap();
        apply(&delta, &mut [File { old: &mut source, bytes, sink: &mut sink }]).unwrap();
        let used = memory("VmHWM") - before;
        assert!(used < limits::APPLY_BYTES, "{used} of {}", limits::APPLY_BYTES);
        // The promise is not an empty one.
        assert!(used > limits::APPLY_BYTES / 2, "{used} of {}", limits::APPLY_BYTES);
    }
}
