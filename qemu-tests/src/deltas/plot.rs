//! The sizes of every pair as bars, as a self-contained SVG.

use super::report::{Row, size};
use coracle::svg::{self, BLUE, GREEN, GRID, INK, OCHRE, PALE, put};

const WIDTH: u64 = 960;
const LEFT: u64 = 170;
const RIGHT: u64 = 130;
const TOP: u64 = 76;
const BAR: u64 = 11;
const GAP: u64 = 14;

/// What is drawn of a pair, and how.
const BARS: [(&str, &str); 4] = [
    ("whole, zstd -19", "#c3ccd6"),
    ("best general tool on the images (B1)", OCHRE),
    ("best per file, kernel unpacked (B2)", BLUE),
    ("ours", GREEN),
];

/// The picture: bars in percent of the whole update.
pub(super) fn draw(rows: &[Row]) -> String {
    let groups: Vec<(&str, Vec<u64>)> = rows.iter().filter_map(bars).collect();
    let heights = groups.iter().map(|(_, bars)| height(bars));
    let bottom = TOP + heights.sum::<u64>();
    let mut svg = svg::begin(WIDTH, bottom + 34, "Bytes of an update, in percent of the whole");
    let kinds = groups.iter().map(|(_, bars)| bars.len()).max().unwrap_or(0);
    frame(&mut svg, bottom, kinds);
    let mut y = TOP;
    for (name, bars) in &groups {
        group(&mut svg, y, name, bars);
        y += height(bars);
    }
    svg.push_str("</svg>\n");
    svg
}

fn bars(row: &Row) -> Option<(&str, Vec<u64>)> {
    let figures = row.figures.as_ref().ok()?;
    let sizes = &figures.sizes;
    let mut bars = vec![sizes.full, sizes.general(), sizes.by_hand];
    bars.extend(figures.ours.as_ref().map(|ours| ours.bytes));
    Some((&row.name, bars))
}

fn height(bars: &[u64]) -> u64 {
    u64::try_from(bars.len()).unwrap_or(0) * BAR + GAP
}

/// The legend of what there is, and the grid.
fn frame(svg: &mut String, bottom: u64, kinds: usize) {
    let mut x = 16;
    for (name, colour) in BARS.into_iter().take(kinds) {
        put(
            svg,
            format_args!(
                "<rect x=\"{x}\" y=\"42\" width=\"14\" height=\"12\" rx=\"2\" fill=\"{colour}\"/>\
                 <text x=\"{}\" y=\"52\" fill=\"{INK}\">{name}</text>\n",
                x + 20
            ),
        );
        x += 44 + 7 * u64::try_from(name.len()).unwrap_or(0);
    }
    for percent in [0, 25, 50, 75, 100] {
        let x = LEFT + length(percent, 100);
        put(
            svg,
            format_args!(
                "<line x1=\"{x}\" x2=\"{x}\" y1=\"{TOP}\" y2=\"{bottom}\" stroke=\"{GRID}\"/>\
                 <text x=\"{x}\" y=\"{}\" text-anchor=\"middle\" fill=\"{PALE}\">{percent} %</text>\n",
                bottom + 18
            ),
        );
    }
}

fn group(svg: &mut String, top: u64, name: &str, bars: &[u64]) {
    let whole = bars.first().copied().unwrap_or(0);
    let middle = top + (height(bars) - GAP) / 2 + 8;
    put(
        svg,
        format_args!(
            "<text x=\"{}\" y=\"{middle}\" text-anchor=\"end\" fill=\"{INK}\">{name}</text>\n",
            LEFT - 10
        ),
    );
    let mut y = top + 4;
    for (bytes, (_, colour)) in bars.iter().zip(BARS) {
        let width = length(*bytes, whole).max(1);
        put(
            svg,
            format_args!(
                "<rect x=\"{LEFT}\" y=\"{y}\" width=\"{width}\" height=\"{}\" rx=\"1\" fill=\"{colour}\"/>\
                 <text x=\"{}\" y=\"{}\" font-size=\"10\" fill=\"{PALE}\">{}</text>\n",
                BAR - 1,
                LEFT + width + 6,
                y + 9,
                size(*bytes)
            ),
        );
        y += BAR;
    }
}

/// What is larger than the whole is drawn as the whole; its number tells.
fn length(part: u64, whole: u64) -> u64 {
    part.min(whole) * (WIDTH - LEFT - RIGHT) / whole.max(1)
}
