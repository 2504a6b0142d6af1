//! The share of machines that run a release, over time, as a self-contained SVG.

use super::{
    plan::{self, Clock},
    simulation::{Log, Told},
};
use coracle::svg::{self, BLUE, GREEN, GRID, INK, OCHRE, PALE, RED, put};
use coracle_format::version::Version;
use std::fmt;

const WIDTH: u64 = 960;
const HEIGHT: u64 = 440;
const LEFT: u64 = 56;
const RIGHT: u64 = 24;
const TOP: u64 = 76;
const BOTTOM: u64 = 72;

/// Some machines, the release that is counted, and how its line looks.
struct Line {
    name: &'static str,
    colour: &'static str,
    stroke: &'static str,
    version: Version,
    is_in: fn(&Told) -> bool,
}

const LINES: [Line; 5] = [
    Line {
        name: "second release: all machines",
        colour: BLUE,
        stroke: "2.6",
        version: plan::SECOND,
        is_in: |_| true,
    },
    Line {
        name: "with a window",
        colour: GREEN,
        stroke: "1.2",
        version: plan::SECOND,
        is_in: |machine| machine.windows.iter().next().is_some(),
    },
    Line {
        name: "offline for days",
        colour: OCHRE,
        stroke: "1.2",
        version: plan::SECOND,
        is_in: |machine| machine.was_away,
    },
    Line {
        name: "clock in 2099",
        colour: "#8a5bb5",
        stroke: "1.2",
        version: plan::SECOND,
        is_in: |machine| machine.clock == Clock::Future,
    },
    Line { name: "third release: all", colour: RED, stroke: "2.6", version: plan::THIRD, is_in: |_| true },
];

/// The picture.
pub(super) fn draw(log: &Log) -> String {
    let title = format!("{} machines, one static repository", log.machines.len());
    let mut svg = svg::begin(WIDTH, HEIGHT, &title);
    frame(&mut svg);
    lines(&mut svg, log);
    svg.push_str("</svg>\n");
    svg
}

/// The axes, the pause, and moments that have a name.
fn frame(svg: &mut String) {
    let mut put = |text: fmt::Arguments<'_>| put(svg, text);
    let (base, right) = (HEIGHT - BOTTOM, WIDTH - RIGHT);
    let (from, to) = (x(plan::PAUSED), x(plan::RESUMED));
    put(format_args!(
        "<rect x=\"{from}\" y=\"{TOP}\" width=\"{}\" height=\"{}\" fill=\"#eef1f5\"/>\
         <text x=\"{}\" y=\"{}\" text-anchor=\"middle\" fill=\"{PALE}\">paused</text>\n",
        to - from,
        base - TOP,
        from.midpoint(to),
        base - 8
    ));
    for percent in [0, 25, 50, 75, 100] {
        let y = y(percent, 100);
        put(format_args!(
            "<line x1=\"{LEFT}\" x2=\"{right}\" y1=\"{y}\" y2=\"{y}\" stroke=\"{GRID}\"/>\
             <text x=\"{}\" y=\"{}\" text-anchor=\"end\" fill=\"{PALE}\">{percent} %</text>\n",
            LEFT - 8,
            y + 4
        ));
    }
    for day in 0..=(plan::END - plan::START) / plan::DAY {
        let x = x(plan::START + day * plan::DAY);
        put(format_args!(
            "<text x=\"{x}\" y=\"{}\" text-anchor=\"middle\" fill=\"{PALE}\">day {day}</text>\n",
            base + 18
        ));
    }
    for (at, label, colour) in marks() {
        let x = x(at);
        put(format_args!(
            "<line x1=\"{x}\" x2=\"{x}\" y1=\"{TOP}\" y2=\"{base}\" stroke=\"{colour}\" stroke-dasharray=\"3 3\"/>\
             <text x=\"{x}\" y=\"{}\" text-anchor=\"middle\" fill=\"{colour}\">{label}</text>\n",
            TOP - 8
        ));
    }
}

/// A line for each group, and its name.
fn lines(svg: &mut String, log: &Log) {
    let mut put = |text: fmt::Arguments<'_>| put(svg, text);
    let (mut legend, row) = (LEFT, HEIGHT - 22);
    for line in &LINES {
        let (colour, stroke) = (line.colour, line.stroke);
        put(format_args!(
            "<path d=\"{}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"{stroke}\"/>\n\
             <line x1=\"{legend}\" x2=\"{}\" y1=\"{row}\" y2=\"{row}\" stroke=\"{colour}\" stroke-width=\"{stroke}\"/>\
             <text x=\"{}\" y=\"{}\" fill=\"{INK}\">{}</text>\n",
            path(&steps(log, line)),
            legend + 22,
            legend + 28,
            row + 4,
            line.name
        ));
        legend += 64 + 6 * u64::try_from(line.name.len()).unwrap_or(0);
    }
}

/// Moments that have a name.
fn marks() -> Vec<(u64, String, &'static str)> {
    let percent = |share: u16| format!("{} %", share / 100);
    let mut marks: Vec<_> =
        plan::second_waves().iter().map(|wave| (wave.start, percent(wave.share), INK)).collect();
    let third = plan::third_waves().into_iter().filter(|wave| wave.start < plan::WITHDRAWN);
    marks.extend(third.map(|wave| (wave.start, percent(wave.share), RED)));
    marks.push((plan::WITHDRAWN, "withdrawn".to_owned(), RED));
    marks
}

/// How many of the line's machines run its release: one point for every place on the picture at which that changes.
fn steps(log: &Log, line: &Line) -> Vec<(u64, u64)> {
    let is_in = |machine: usize| log.machines.get(machine).is_some_and(line.is_in);
    let total =
        u64::try_from(log.machines.iter().filter(|machine| (line.is_in)(machine)).count()).unwrap_or(0);
    let mut changes: Vec<_> = log.armed.iter().filter(|armed| armed.stayed && is_in(armed.machine)).collect();
    changes.sort_by_key(|armed| armed.at);
    let mut count = 0_u64;
    let mut points = vec![(x(plan::START), y(0, total))];
    for armed in changes {
        count += u64::from(armed.to == line.version);
        count = count.saturating_sub(u64::from(armed.from == line.version));
        let point = (x(armed.at), y(count, total));
        match points.last_mut() {
            Some(last) if last.0 == point.0 => *last = point,
            Some(_) | None => points.push(point),
        }
    }
    points.push((x(plan::END), y(count, total)));
    points
}

/// Horizontal until the next change.
fn path(points: &[(u64, u64)]) -> String {
    let first = points.first().copied().unwrap_or_default();
    points
        .iter()
        .skip(1)
        .fold(format!("M{} {}", first.0, first.1), |path, (x, y)| path + &format!("H{x}V{y}"))
}

fn x(at: u64) -> u64 {
    LEFT + at.saturating_sub(plan::START) * (WIDTH - LEFT - RIGHT) / (plan::END - plan::START)
}

fn y(part: u64, whole: u64) -> u64 {
    HEIGHT - BOTTOM - part * (HEIGHT - BOTTOM - TOP) / whole.max(1)
}
