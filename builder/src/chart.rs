//! The boot chart: phases as bars over time, as a self-contained SVG.

use crate::{
    machine::Phase,
    svg::{self, escape},
};

const LEFT: u64 = 190;
const RIGHT: u64 = 120;
const WIDTH: u64 = 960;
const TOP: u64 = 56;
const ROW: u64 = 22;

/// The row before the first phase.
const KERNEL: &str = "kernel";

/// A chart of `phases`, titled `title`. Bars begin at `at - ms`; failed phases are red, containers green, and what the
/// kernel took before the first phase is grey.
pub fn boot_chart(title: &str, phases: &[Phase]) -> String {
    let first = phases.iter().map(|phase| phase.at.saturating_sub(phase.ms)).find(|begin| *begin > 0);
    let kernel = first.map(|at| Phase { name: KERNEL.to_owned(), failed: None, ms: at, at });
    let phases: Vec<&Phase> = kernel.iter().chain(phases).collect();
    let end = phases.iter().map(|phase| phase.at).max().unwrap_or(0).max(1);
    let scale = |ms: u64| LEFT + ms.saturating_mul(WIDTH - LEFT - RIGHT) / end;
    let rows = u64::try_from(phases.len()).unwrap_or(u64::MAX).min(500);
    let height = TOP + rows * ROW + 30;
    let mut svg = svg::begin(WIDTH, height, title);
    let mut put = |text: std::fmt::Arguments<'_>| svg::put(&mut svg, text);
    let bottom = TOP + rows * ROW;
    for tick in ticks(end) {
        let x = scale(tick);
        put(format_args!(
            "<line x1=\"{x}\" x2=\"{x}\" y1=\"{TOP}\" y2=\"{bottom}\" stroke=\"#e3e8ee\"/>\
             <text x=\"{x}\" y=\"{}\" text-anchor=\"middle\" fill=\"#66788a\">{tick} ms</text>\n",
            bottom + 18
        ));
    }
    for (phase, row) in phases.iter().zip(0..rows) {
        let y = TOP + row * ROW;
        let from = scale(phase.at.saturating_sub(phase.ms));
        let width = scale(phase.at).saturating_sub(from).max(2);
        let colour = match (&phase.failed, phase.name.starts_with("container-")) {
            (Some(_), _) => "#c8402f",
            (None, _) if phase.name == KERNEL => "#a9b4c0",
            (None, true) => "#2f8f4e",
            (None, false) => "#3a7bbf",
        };
        put(format_args!(
            "<text x=\"{}\" y=\"{}\" text-anchor=\"end\" fill=\"#1b2733\">{}</text>\
             <rect x=\"{from}\" y=\"{}\" width=\"{width}\" height=\"{}\" rx=\"2\" fill=\"{colour}\"/>\
             <text x=\"{}\" y=\"{}\" fill=\"#66788a\">{} ms</text>\n",
            LEFT - 10,
            y + 15,
            escape(&phase.name),
            y + 4,
            ROW - 8,
            from + width + 6,
            y + 15,
            phase.ms,
        ));
    }
    svg.push_str("</svg>\n");
    svg
}

/// Up to ten round times from 0 to `end`.
fn ticks(end: u64) -> impl Iterator<Item = u64> {
    let step = [1, 2, 5]
        .into_iter()
        .cycle()
        .zip((0..30).map(|index| 10_u64.saturating_pow(index / 3)))
        .map(|(digit, power)| power.saturating_mul(digit))
        .find(|step| end / step < 10)
        .unwrap_or(end);
    (0..=end / step).map(move |index| index * step)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn phase(name: &str, ms: u64, at: u64) -> Phase {
        Phase { name: name.to_owned(), failed: None, ms, at }
    }

    #[test]
    fn every_phase_has_a_bar_and_names_cannot_break_the_picture() {
        let svg = boot_chart("a <b>", &[phase("modules", 100, 900), phase("<x>", 5, 1000)]);
        // The background, the kernel, and the two phases.
        assert_eq!(svg.matches("<rect").count(), 4);
        assert!(svg.contains("a &lt;b&gt;") && svg.contains("&lt;x&gt;"), "{svg}");
    }

    #[test]
    fn ticks_are_round_and_few() {
        assert_eq!(ticks(1800).collect::<Vec<_>>(), [0, 200, 400, 600, 800, 1000, 1200, 1400, 1600, 1800]);
        assert_eq!(ticks(3).collect::<Vec<_>>(), [0, 1, 2, 3]);
    }

    #[test]
    fn an_empty_boot_is_an_empty_picture() {
        assert!(boot_chart("none", &[]).ends_with("</svg>\n"));
    }
}
