//! Containers that crash, flood their logs, fork without end and exhaust memory, all in one machine, beside a server that
//! must not notice.

#![expect(clippy::tests_outside_test_module, reason = "the whole crate is a test")]

use anyhow::{Context as _, Result, ensure};
use coracle::machine::{Firmware, Phase};
use coracle_qemu_tests::{Guest, MILESTONE, Setup, StateDisk, get, image_of};

/// Ends of the crashing container to wait for: with the first pause of half a second, more than 15 s pass.
const CRASHES: usize = 6;

/// What the console has shown so far.
#[derive(Debug, Default)]
#[expect(clippy::struct_excessive_bools, reason = "one claim each")]
struct Seen {
    boots: usize,
    /// Pauses before the next start of the crashing container, milliseconds.
    pauses: Vec<u64>,
    dropped: bool,
    out_of_pids: bool,
    forked_again: bool,
    out_of_memory: bool,
    filled_again: bool,
    /// Lines that tell of harm to PID 1 or a service.
    harm: Vec<String>,
}

impl Seen {
    fn take(&mut self, line: &str) {
        let says = |words: &[&str]| words.iter().all(|word| line.contains(word));
        if Phase::parse(line).is_some_and(|phase| phase.name == "api-mounts") {
            self.boots += 1;
        }
        if says(&["coracle-containers: crash ended with status 1"]) {
            self.pauses.extend(pause(line));
        }
        self.dropped |= says(&["flood: ", "lines dropped"]);
        self.out_of_pids |= says(&["fork: ", "can't fork"]);
        self.forked_again |= says(&["coracle-containers: fork started again"]);
        self.out_of_memory |= says(&["coracle-containers: memory ended by signal 9, out of memory"]);
        self.filled_again |= says(&["coracle-containers: memory started again"]);
        if says(&["coracle: service"]) || says(&["is silent"]) || says(&["Kernel panic"]) {
            self.harm.push(line.to_owned());
        }
    }

    fn is_complete(&self) -> bool {
        let all = [self.dropped, self.out_of_pids, self.forked_again, self.out_of_memory, self.filled_again];
        all.into_iter().all(|one| one) && self.pauses.len() >= CRASHES
    }
}

fn pause(line: &str) -> Option<u64> {
    line.split_once("next start in ")?.1.split_once(" ms")?.0.parse().ok()
}

#[test]
fn containers_that_misbehave_harm_neither_their_neighbour_nor_pid_1() -> Result<()> {
    let image = image_of(include_str!("../images/misbehaviour.toml"), "misbehaviour")?;
    let mut guest = Guest::boot(&image, "all", &Setup::new(Firmware::Direct, &[8080]))?;
    let port = guest.port(8080)?;
    let mut seen = Seen::default();
    let mut answers = 0;
    while !seen.is_complete() {
        // Asked anew at every end of the crashing container: the server answers all the time.
        let crashed = guest.scan("all misbehaviour", |line| {
            let before = seen.pauses.len();
            seen.take(line);
            (seen.pauses.len() > before || seen.is_complete()).then_some(())
        });
        crashed.with_context(|| format!("{seen:#?}"))?;
        let answer = get(port, "/", MILESTONE)?;
        ensure!(answer.contains("healthy"), "unexpected answer: {answer}");
        answers += 1;
    }
    ensure!(answers >= CRASHES, "the server was asked {answers} times only");
    ensure!(seen.pauses.is_sorted_by(|a, b| a < b), "the pauses do not grow: {:?}", seen.pauses);
    ensure!(seen.boots == 1, "the machine was reset: nobody fed its watchdog");
    ensure!(seen.harm.is_empty(), "harm: {:#?}", seen.harm);

    let last = guest.power_off()?;
    for step in ["phase=stop-services ok", "phase=stop-processes ok", "phase=sync ok", "coracle: stopped"] {
        ensure!(last.iter().any(|line| line.contains(step)), "no {step} in {last:#?}");
    }
    let kept = StateDisk::open(&guest.disk())?.read("/log/fill.log")?;
    ensure!(kept.len() <= 64 << 10, "the log file has {} bytes", kept.len());
    ensure!(
        kept.contains("into the file"),
        "the log file has something else: {}",
        &kept[..kept.len().min(200)]
    );
    Ok(())
}
