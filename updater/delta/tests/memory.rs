//! How much memory it takes to apply a stream that is as bad as it may be.

#[cfg(test)]
mod tests {
    use coracle_delta::{File, Pair, apply, limits, make};
    use std::{env, fs, process};

    /// Where the other process finds the stream.
    const STREAM: &str = "CORACLE_TEST_STREAM";
    /// Bytes of a copy in the stream below: enough to be worth telling.
    const PIECE: usize = 32;
    /// New bytes behind the copies: enough for large tables.
    const NEW: usize = 9 << 19;

    /// Bytes that this process has or had at most in memory.
    fn memory(what: &str) -> usize {
        let status = fs::read_to_string("/proc/self/status").unwrap();
        let line = status.lines().find(|line| line.starts_with(what)).unwrap();
        line.split_whitespace().nth(1).unwrap().parse::<usize>().unwrap() * 1024
    }

    /// Bytes that are nowhere else.
    fn noise(seed: u64, bytes: usize) -> Vec<u8> {
        let mut state = seed;
        let word = |_| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state ^ state >> 29).to_le_bytes()
        };
        (0..bytes / 8).flat_map(word).collect()
    }

    /// Pieces of which each stands where its neighbour stood, so that none goes on where the last one ended, and something
    /// new.
    fn pieces() -> (Vec<u8>, Vec<u8>) {
        let old = noise(1, PIECE * limits::COPIES_MAX);
        let piece = |number: usize| &old[(number ^ 1) * PIECE..][..PIECE];
        let copied = (0..limits::COPIES_MAX).flat_map(piece).copied();
        let new = copied.chain(noise(2, NEW)).collect();
        (old, new)
    }

    /// Makes the stream in this process and has it applied in another one, which begins with no memory of its own.
    #[test]
    #[expect(clippy::disallowed_methods, reason = "the test itself, again")]
    fn a_stream_of_the_most_copies_stays_within_what_is_promised() {
        let (old, new) = pieces();
        let delta = make(&[Pair::of(&old, &new)]).unwrap();
        // The copies are told, and nothing else is but what is new.
        assert!((NEW..NEW + NEW / 10).contains(&delta.len()), "{}", delta.len());
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
        let before = memory("VmRSS");
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
