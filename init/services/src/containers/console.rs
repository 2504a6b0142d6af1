//! The containers' lines on the console: fair between containers, rate-limited, and never waited for.

use super::budget::Budget;
use super::lines::escape;
use core::time::Duration;
use rustix::fs::{Mode, OFlags};
use std::collections::VecDeque;
use std::fs::File;
use std::io;

/// Where the lines go.
const PATH: &str = "/dev/console";
/// Lines of one container at once, and per second after that.
const BURST_LINES: u64 = 500;
const LINES_PER_SECOND: u64 = 50;
/// Bytes of one container's lines that may wait for the console, give or take a line.
const QUEUE_BYTES: usize = 32 << 10;
/// Lines written in one turn of the main loop.
const LINES_PER_TURN: usize = 64;
/// When a console that took no more is tried again: its buffer of 4 KiB empties in no less at any usual speed.
const RETRY: Duration = Duration::from_millis(20);
/// How long the number of dropped lines may stay untold.
const TELL_DROPPED: Duration = Duration::from_secs(1);

/// The console and what waits for it.
#[derive(Debug)]
pub(super) struct Console<W = File> {
    output: Option<W>,
    /// What the console has not taken yet of the line that it began to take.
    rest: Vec<u8>,
    queues: Vec<Queue>,
    turn: usize,
}

/// One container's lines.
#[derive(Debug)]
struct Queue {
    name: String,
    lines: VecDeque<String>,
    bytes: usize,
    budget: Budget,
    dropped: u64,
}

impl Console {
    /// Opens the console without waiting for it. Without one, lines are dropped.
    pub(super) fn open(names: impl Iterator<Item = String>) -> Self {
        let flags = OFlags::WRONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        let output = rustix::fs::open(PATH, flags, Mode::empty()).ok();
        Self::over(output.map(File::from), names)
    }
}

impl<W: io::Write> Console<W> {
    fn over(output: Option<W>, names: impl Iterator<Item = String>) -> Self {
        let queues = names.map(Queue::new).collect();
        Self { output, rest: Vec::new(), queues, turn: 0 }
    }

    /// Takes a line of the container with this index, escaped, or drops and counts it.
    pub(super) fn push(&mut self, index: usize, line: &[u8], now: Duration) {
        if let Some(queue) = self.queues.get_mut(index) {
            queue.push(line, now);
        }
    }

    /// Whether something waits to be written.
    pub(super) fn is_pending(&self) -> bool {
        !self.rest.is_empty() || self.queues.iter().any(|queue| !queue.lines.is_empty())
    }

    /// When [`Console::write`] should be called again, if it should.
    pub(super) fn wait_limit(&self) -> Option<Duration> {
        let has_dropped = self.queues.iter().any(|queue| queue.dropped > 0);
        match (self.is_pending(), has_dropped) {
            (true, _) => Some(RETRY),
            (false, true) => Some(TELL_DROPPED),
            (false, false) => None,
        }
    }

    /// Writes what the console takes now, a line of each container in turn.
    pub(super) fn write(&mut self, now: Duration) {
        for _ in 0..LINES_PER_TURN {
            if self.rest.is_empty() {
                let Some(line) = self.next_line(now) else {
                    return;
                };
                self.rest = line.into_bytes();
            }
            let Some(output) = &mut self.output else {
                self.rest.clear();
                continue;
            };
            match output.write(&self.rest) {
                Ok(0) => return,
                Ok(length) => drop(self.rest.drain(..length)),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                // A console that is gone takes no more; nothing can be told on it.
                Err(_) => self.rest.clear(),
            }
        }
    }

    fn next_line(&mut self, now: Duration) -> Option<String> {
        for step in 1..=self.queues.len() {
            let index = (self.turn + step) % self.queues.len();
            if let Some(line) = self.queues[index].pop(now) {
                self.turn = index;
                return Some(line);
            }
        }
        None
    }
}

impl Queue {
    const fn new(name: String) -> Self {
        Self {
            name,
            lines: VecDeque::new(),
            bytes: 0,
            budget: Budget::new(BURST_LINES, LINES_PER_SECOND),
            dropped: 0,
        }
    }

    fn push(&mut self, line: &[u8], now: Duration) {
        let left = self.budget.left(now);
        // Once lines are dropped they are dropped for a while: one notice instead of one after every other line.
        let least = if self.dropped > 0 { LINES_PER_SECOND } else { 1 };
        if left < least || self.bytes > QUEUE_BYTES {
            self.dropped = self.dropped.saturating_add(1);
            return;
        }
        self.tell_dropped();
        self.budget.spend(1);
        self.enqueue(format!("{}: {}\n", self.name, escape(line)));
    }

    fn pop(&mut self, now: Duration) -> Option<String> {
        if self.lines.is_empty() && self.budget.left(now) >= LINES_PER_SECOND {
            self.tell_dropped();
        }
        let line = self.lines.pop_front()?;
        self.bytes = self.bytes.saturating_sub(line.len());
        Some(line)
    }

    /// Says how many lines are missing here.
    fn tell_dropped(&mut self) {
        if self.dropped > 0 {
            self.enqueue(format!("{}: … {} lines dropped\n", self.name, self.dropped));
            self.dropped = 0;
        }
    }

    fn enqueue(&mut self, line: String) {
        self.bytes += line.len();
        self.lines.push_back(line);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn console<W: io::Write>(output: W) -> Console<W> {
        let names = ["web", "db"].map(str::to_owned);
        Console::over(Some(output), names.into_iter())
    }

    fn text(console: &Console<Vec<u8>>) -> String {
        String::from_utf8(console.output.clone().unwrap()).unwrap()
    }

    /// Takes five bytes per call and then blocks once.
    #[derive(Default)]
    struct Slow {
        taken: Vec<u8>,
        is_blocked: bool,
    }

    impl io::Write for Slow {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.is_blocked = !self.is_blocked;
            if self.is_blocked {
                return Err(io::ErrorKind::WouldBlock.into());
            }
            let length = bytes.len().min(5);
            self.taken.extend_from_slice(&bytes[..length]);
            Ok(length)
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn containers_take_turns() {
        let mut console = console(Vec::new());
        for line in ["1", "2", "3"] {
            console.push(0, line.as_bytes(), SECOND);
        }
        console.push(1, b"hello", SECOND);
        console.write(SECOND);
        assert_eq!(text(&console), "db: hello\nweb: 1\nweb: 2\nweb: 3\n");
    }

    #[test]
    fn a_slow_console_gets_whole_lines_in_pieces() {
        let mut console = console(Slow::default());
        console.push(0, b"a long line of text", SECOND);
        console.push(1, b"another", SECOND);
        let mut turns = 0;
        while console.is_pending() {
            console.write(SECOND);
            turns += 1;
        }
        assert!(turns > 5, "{turns}");
        let taken = String::from_utf8(console.output.unwrap().taken).unwrap();
        assert_eq!(taken, "db: another\nweb: a long line of text\n");
    }

    #[test]
    fn a_flood_is_cut_and_counted_and_others_get_through() {
        let mut console = console(Vec::new());
        for _ in 0..BURST_LINES + 1234 {
            console.push(0, b"flood", SECOND);
        }
        console.push(1, b"hello", SECOND);
        while console.is_pending() {
            console.write(SECOND);
        }
        console.push(0, b"after", 2 * SECOND);
        console.write(2 * SECOND);
        let text = text(&console);
        assert_eq!(text.matches("web: flood\n").count(), 500);
        assert!(text.ends_with("web: … 1234 lines dropped\nweb: after\n"), "{text}");
        assert!(text.contains("db: hello\n"));
    }

    #[test]
    fn what_waits_is_bounded_without_a_console_that_takes_it() {
        let mut console: Console<Slow> = console(Slow::default());
        let line = "x".repeat(1000);
        for second in 0..1000 {
            console.push(0, line.as_bytes(), second * SECOND);
        }
        assert!(console.queues[0].bytes <= QUEUE_BYTES + 2000);
        assert!(console.queues[0].dropped > 900);
    }
}
