//! Measurements of an image: bytes, boot, memory. All boots are direct and under `-icount`, where virtual time counts
//! instructions, so that the figures do not depend on how busy the host is.

use crate::{
    build::Built,
    context::Context,
    error::{Doing as _, Error, Kind, Result},
    floor, launch,
    machine::{Firmware, Outside, Phase, Vm, qmp::Qmp, spec::Time},
    report::Unit,
    toolroot::ToolRoot,
};
use serde::Serialize;
use serde_json::json;
use std::{
    fs::File,
    io::{self, Read as _, Write},
    path::Path,
    time::{Duration, Instant},
};

/// How long a measured boot may take on the host's clock.
const BOOT: Duration = Duration::from_mins(5);
/// Memory of the machine whose idle use is measured.
const IDLE_MEMORY_MIB: u32 = 256;
/// How long it idles before it is asked.
const IDLE_AFTER: Duration = Duration::from_secs(30);
/// zstd: level, and window log of `--long`.
const ZSTD: (i32, u32) = (19, 27);

/// What `coracle bench --json` ends with.
#[derive(Clone, Debug, Serialize)]
pub struct Figures {
    /// Version of this form.
    pub v: u32,
    /// The disk as `zstd -19 --long` compresses it.
    pub image_zstd_bytes: u64,
    /// The kernel.
    pub kernel_bytes: u64,
    /// The initramfs.
    pub initramfs_bytes: u64,
    /// The root file system.
    pub root_bytes: u64,
    /// PID 1 and services together.
    pub init_bytes: u64,
    /// The UEFI selector.
    pub selector_bytes: u64,
    /// Kernel start to the container's first instruction: median.
    pub kernel_to_container_ms: f64,
    /// Kernel start to the first instruction of a lone static program: median.
    pub floor_ms: f64,
    /// The first divided by the second.
    pub ratio: f64,
    /// Least and greatest of each.
    pub kernel_to_container_spread_ms: (f64, f64),
    /// Least and greatest of each.
    pub floor_spread_ms: (f64, f64),
    /// MemTotal − MemAvailable in a 256 MiB machine, 30 s after everything was up.
    pub idle_used_bytes: u64,
    /// Phases of one boot.
    pub phases: Vec<PhaseFigure>,
}

/// One phase.
#[derive(Clone, Debug, Serialize)]
pub struct PhaseFigure {
    /// Its name.
    pub name: String,
    /// How long it took.
    pub ms: u64,
    /// When it ended, since the kernel's start.
    pub at: u64,
}

/// Measures `image`, whose first container announces itself with the probe.
pub fn measure(ctx: &Context, tools: &ToolRoot, image: &Built, pairs: u32) -> Result<(Figures, Vec<Phase>)> {
    let dir = tempfile::Builder::new()
        .prefix("bench-")
        .tempdir_in(&image.dir)
        .doing("create a directory in", &image.dir)?;
    let bench = Bench { ctx, tools, image, dir: dir.path() };
    let image_zstd_bytes = bench.compressed()?;
    let step = ctx.report.step("boot");
    let (mut containers, mut floors, mut phases) = (Vec::new(), Vec::new(), Vec::new());
    for pair in 0..pairs.max(1) {
        step.progress(u64::from(pair), u64::from(pairs), Unit::Items);
        let (clock, seen) = bench.container()?;
        containers.push(clock);
        phases = seen;
        floors.push(bench.floor()?);
    }
    step.done(format!("{pairs} pairs"));
    let idle_used_bytes = bench.idle()?;
    let (container, floor) = (median(&mut containers), median(&mut floors));
    let bytes = &image.record.bytes;
    let figures = Figures {
        v: 1,
        image_zstd_bytes,
        kernel_bytes: bytes.kernel,
        initramfs_bytes: bytes.initramfs,
        root_bytes: bytes.root,
        init_bytes: bytes.init,
        selector_bytes: bytes.selector,
        kernel_to_container_ms: milliseconds(container),
        floor_ms: milliseconds(floor),
        ratio: container.as_secs_f64() / floor.as_secs_f64(),
        kernel_to_container_spread_ms: spread(&containers),
        floor_spread_ms: spread(&floors),
        idle_used_bytes,
        phases: phases
            .iter()
            .map(|phase| PhaseFigure { name: phase.name.clone(), ms: phase.ms, at: phase.at })
            .collect(),
    };
    Ok((figures, phases))
}

struct Bench<'a> {
    ctx: &'a Context,
    tools: &'a ToolRoot,
    image: &'a Built,
    dir: &'a Path,
}

impl Bench<'_> {
    fn options(&self) -> launch::Options {
        launch::Options {
            firmware: Firmware::Direct,
            cpus: 1,
            outside: Outside::Isolated,
            forwards: Vec::new(),
            time: Time::Instructions,
            ..launch::Options::new(self.image)
        }
    }

    /// The time from kernel start to the container's first instruction, and the phases until all was up.
    fn container(&self) -> Result<(Duration, Vec<Phase>)> {
        let spec = launch::prepare(self.ctx, self.tools, self.image, &self.options(), self.dir)?;
        let mut vm = Vm::start(self.ctx, self.tools, &spec, &self.dir.join("container.log"))?;
        let mut phases = Vec::new();
        let mut clock = None;
        vm.console.expect("a finished boot", BOOT, |line| {
            clock = clock.or_else(|| floor::clock(line));
            phases.extend(Phase::parse(line));
            let up = phases.iter().any(|phase| phase.name == "boot");
            (up && clock.is_some()).then_some(())
        })?;
        let clock = clock.ok_or_else(|| Error::new(Kind::Machine, "the container said nothing"))?;
        Ok((clock, phases))
    }

    /// The same for a lone static program on the same machine and disk.
    fn floor(&self) -> Result<Duration> {
        let dir = self.dir.join("floor");
        let mut spec = launch::floor(self.image, &self.options(), &dir)?;
        spec.disk = Some(self.dir.join("disk.raw"));
        let mut vm = Vm::start(self.ctx, self.tools, &spec, &self.dir.join("floor.log"))?;
        vm.console.expect("the probe", BOOT, floor::clock)
    }

    /// Memory in use once everything is up and quiet, as the machine's own balloon driver reports it.
    fn idle(&self) -> Result<u64> {
        let step = self.ctx.report.step("idle memory");
        let options = launch::Options { memory_mib: IDLE_MEMORY_MIB, time: Time::Host, ..self.options() };
        let spec = launch::prepare(self.ctx, self.tools, self.image, &options, self.dir)?;
        let mut vm = Vm::start(self.ctx, self.tools, &spec, &self.dir.join("idle.log"))?;
        vm.console.phase("boot", BOOT)?;
        let mut qmp = vm.qmp()?;
        let end = Instant::now() + IDLE_AFTER;
        while Instant::now() < end {
            self.ctx.check()?;
            // The console says nothing on an idle machine; waiting for its next line is waiting for the time to pass.
            vm.console.poll(Duration::from_millis(500));
        }
        let used = balloon(&mut qmp)?;
        step.done(crate::show::bytes(used));
        Ok(used)
    }

    /// Bytes of the disk after `zstd -19 --long`.
    fn compressed(&self) -> Result<u64> {
        let step = self.ctx.report.step("compress disk");
        let path = &self.image.disk;
        let file = File::open(path).doing("open", path)?;
        let total = file.metadata().doing("inspect", path)?.len();
        let count = compress(file, |done| step.progress(done, total, Unit::Bytes)).doing("compress", path)?;
        step.done(crate::show::bytes(count));
        Ok(count)
    }
}

fn compress(mut file: File, mut progress: impl FnMut(u64)) -> io::Result<u64> {
    let (level, window) = ZSTD;
    let mut encoder = zstd::Encoder::new(Counter(0), level)?;
    encoder.long_distance_matching(true)?;
    encoder.window_log(window)?;
    let mut buffer = vec![0; 1 << 20];
    let mut done: u64 = 0;
    loop {
        let n = file.read(&mut buffer)?;
        if n == 0 {
            return Ok(encoder.finish()?.0);
        }
        encoder.write_all(&buffer[..n])?;
        done = done.saturating_add(u64::try_from(n).unwrap_or(0));
        progress(done);
    }
}

/// Counts what is written to it.
struct Counter(u64);

impl Write for Counter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0 = self.0.saturating_add(u64::try_from(bytes.len()).unwrap_or(u64::MAX));
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// MemTotal − MemAvailable from the balloon's statistics (virtio 1.2, section 5.5.6.3).
fn balloon(qmp: &mut Qmp) -> Result<u64> {
    let device = "/machine/peripheral/balloon";
    let poll = json!({"path": device, "property": "guest-stats-polling-interval", "value": 1});
    qmp.execute("qom-set", &poll)?;
    let query = json!({"path": device, "property": "guest-stats"});
    let deadline = Instant::now() + Duration::from_mins(1);
    loop {
        let answer = qmp.execute("qom-get", &query)?;
        let stat = |name: &str| answer["stats"][name].as_u64().filter(|value| *value != u64::MAX);
        if let (Some(total), Some(available)) = (stat("stat-total-memory"), stat("stat-available-memory")) {
            return Ok(total.saturating_sub(available));
        }
        if Instant::now() >= deadline {
            return Err(Error::new(
                Kind::Machine,
                "the machine's balloon driver reports no memory statistics",
            )
            .hint("the image needs the hardware class virtio"));
        }
        std::thread::park_timeout(Duration::from_millis(500));
    }
}

fn median(values: &mut [Duration]) -> Duration {
    values.sort_unstable();
    values.get(values.len() / 2).copied().unwrap_or_default()
}

fn spread(sorted: &[Duration]) -> (f64, f64) {
    let at = |value: Option<&Duration>| milliseconds(value.copied().unwrap_or_default());
    (at(sorted.first()), at(sorted.last()))
}

fn milliseconds(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 1e4).round() / 10.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_of_an_odd_number_of_boots_is_the_one_in_the_middle() {
        let mut values = [9, 1, 5].map(Duration::from_millis);
        assert_eq!(median(&mut values), Duration::from_millis(5));
        assert_eq!(spread(&values), (1.0, 9.0));
    }

    #[test]
    fn a_disk_of_zeros_compresses_to_next_to_nothing() {
        let file = tempfile::tempfile().unwrap();
        file.set_len(8 << 20).unwrap();
        let mut seen = 0;
        assert!(compress(file, |done| seen = done).unwrap() < 2000);
        assert_eq!(seen, 8 << 20);
    }
}
