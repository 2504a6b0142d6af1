//! Sizes as areas, as a self-contained SVG: folders hold their files, and the largest stand first.

use crate::svg::{self, escape};
use std::{cmp::Reverse, collections::BTreeMap};

const WIDTH: u64 = 1200;
const HEIGHT: u64 = 760;
const TOP: f64 = 64.0;
/// Room for a folder's name.
const TITLE: f64 = 16.0;
/// A name is written where there is so much room for each of its letters.
const LETTER: f64 = 6.6;

/// Something with a size.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Area {
    /// Where it belongs: folders, separated by `/`, and its name.
    pub path: String,
    /// How large it is.
    pub size: u64,
    /// A colour of SVG.
    pub colour: &'static str,
    /// What is shown when one points at it.
    pub note: String,
}

/// A folder or something with a size.
enum Node<'a> {
    Folder(BTreeMap<&'a str, Node<'a>>),
    Leaf(&'a Area),
}

impl Node<'_> {
    fn size(&self) -> u64 {
        match self {
            Self::Folder(inside) => inside.values().map(Node::size).sum(),
            Self::Leaf(area) => area.size,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq)]
struct Rect {
    x: f64,
    y: f64,
    width: f64,
    height: f64,
}

/// A picture of all areas under a title, with a legend of colours.
pub fn treemap(title: &str, areas: &[Area], legend: &[(&str, &str)]) -> String {
    let mut root = BTreeMap::new();
    for area in areas.iter().filter(|area| area.size > 0) {
        put(&mut root, &area.path, area);
    }
    let mut svg = svg::begin(WIDTH, HEIGHT, title);
    let mut x = 16.0;
    for (name, colour) in legend {
        svg::put(
            &mut svg,
            format_args!(
                "<rect x=\"{x}\" y=\"40\" width=\"12\" height=\"12\" fill=\"{colour}\"/><text x=\"{}\" y=\"50\" fill=\"#66788a\">{}</text>\n",
                x + 17.0,
                escape(name)
            ),
        );
        x += 34.0 + LETTER * count(name);
    }
    let whole = Rect { x: 8.0, y: TOP, width: real(WIDTH) - 16.0, height: real(HEIGHT) - TOP - 8.0 };
    draw(&mut svg, &root, whole);
    svg.push_str("</svg>\n");
    svg
}

fn put<'a>(folder: &mut BTreeMap<&'a str, Node<'a>>, path: &'a str, area: &'a Area) {
    let (name, rest) = path.split_once('/').map_or((path, None), |(name, rest)| (name, Some(rest)));
    match rest {
        None => {
            folder.insert(name, Node::Leaf(area));
        }
        Some(rest) => match folder.entry(name).or_insert_with(|| Node::Folder(BTreeMap::new())) {
            Node::Folder(inside) => put(inside, rest, area),
            // A file where others have a folder: it gives way.
            leaf @ Node::Leaf(_) => {
                let mut inside = BTreeMap::new();
                put(&mut inside, rest, area);
                *leaf = Node::Folder(inside);
            }
        },
    }
}

fn draw(svg: &mut String, folder: &BTreeMap<&str, Node<'_>>, room: Rect) {
    let mut inside: Vec<(&str, &Node<'_>)> = folder.iter().map(|(name, node)| (*name, node)).collect();
    inside.sort_by_key(|(_, node)| Reverse(node.size()));
    let sizes: Vec<u64> = inside.iter().map(|(_, node)| node.size()).collect();
    for ((name, node), rect) in inside.into_iter().zip(squarified(&sizes, room)) {
        let Rect { x, y, width, height } = rect;
        match node {
            Node::Leaf(area) => {
                svg::put(
                    svg,
                    format_args!(
                        "<rect x=\"{x:.1}\" y=\"{y:.1}\" width=\"{width:.1}\" height=\"{height:.1}\" fill=\"{}\" stroke=\"#fff\"><title>{}: {}</title></rect>\n",
                        area.colour,
                        escape(&area.path),
                        escape(&area.note)
                    ),
                );
                if height > 14.0 && width > LETTER * (count(name) + 1.0) {
                    svg::put(
                        svg,
                        format_args!(
                            "<text x=\"{:.1}\" y=\"{:.1}\" fill=\"#fff\" pointer-events=\"none\">{}</text>\n",
                            x + 4.0,
                            y + 12.0,
                            escape(name)
                        ),
                    );
                }
            }
            Node::Folder(inside) => {
                let named = height > 3.0 * TITLE && width > LETTER * (count(name) + 2.0);
                let top = if named { TITLE } else { 1.0 };
                svg::put(
                    svg,
                    format_args!(
                        "<rect x=\"{x:.1}\" y=\"{y:.1}\" width=\"{width:.1}\" height=\"{height:.1}\" fill=\"#e3e8ee\" stroke=\"#8796a5\"/>\n"
                    ),
                );
                if named {
                    svg::put(
                        svg,
                        format_args!(
                            "<text x=\"{:.1}\" y=\"{:.1}\" fill=\"#1b2733\">{}/</text>\n",
                            x + 4.0,
                            y + 12.0,
                            escape(name)
                        ),
                    );
                }
                let within = Rect {
                    x: x + 1.0,
                    y: y + top,
                    width: (width - 2.0).max(0.0),
                    height: (height - top - 1.0).max(0.0),
                };
                draw(svg, inside, within);
            }
        }
    }
}

/// Rectangles of these sizes, the largest first, as near to squares as can be had (M. Bruls, K. Huizing, J. van Wijk,
/// "Squarified treemaps", 2000).
fn squarified(sizes: &[u64], mut room: Rect) -> Vec<Rect> {
    let total: f64 = sizes.iter().map(|size| real(*size)).sum();
    if total <= 0.0 || room.width <= 0.0 || room.height <= 0.0 {
        return sizes.iter().map(|_| Rect { width: 0.0, height: 0.0, ..room }).collect();
    }
    let scale = room.width * room.height / total;
    let areas: Vec<f64> = sizes.iter().map(|size| real(*size) * scale).collect();
    let (mut out, mut from) = (Vec::with_capacity(areas.len()), 0);
    while from < areas.len() {
        let side = room.width.min(room.height).max(f64::MIN_POSITIVE);
        let mut to = from + 1;
        while to < areas.len() && worst(&areas[from..=to], side) <= worst(&areas[from..to], side) {
            to += 1;
        }
        let sum: f64 = areas[from..to].iter().sum();
        let thick = sum / side;
        let mut at = 0.0;
        for area in &areas[from..to] {
            let long = if thick > 0.0 { area / thick } else { 0.0 };
            out.push(if room.width >= room.height {
                Rect { x: room.x, y: room.y + at, width: thick, height: long }
            } else {
                Rect { x: room.x + at, y: room.y, width: long, height: thick }
            });
            at += long;
        }
        if room.width >= room.height {
            room.x += thick;
            room.width = (room.width - thick).max(0.0);
        } else {
            room.y += thick;
            room.height = (room.height - thick).max(0.0);
        }
        from = to;
    }
    out
}

/// How far from a square the worst of a row is.
fn worst(row: &[f64], side: f64) -> f64 {
    let sum: f64 = row.iter().sum();
    let ratio = |area: &f64| {
        let (a, b) = (side * side * area / (sum * sum), sum * sum / (side * side * area));
        a.max(b)
    };
    row.iter().map(ratio).fold(0.0, f64::max)
}

fn real(size: u64) -> f64 {
    f64::from(u32::try_from(size >> 8).unwrap_or(u32::MAX)) * 256.0
        + f64::from(u8::try_from(size & 0xff).unwrap_or(0))
}

fn count(text: &str) -> f64 {
    f64::from(u32::try_from(text.chars().count()).unwrap_or(u32::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rectangles_have_their_sizes_and_fill_the_room_without_overlapping() {
        let room = Rect { x: 10.0, y: 20.0, width: 600.0, height: 400.0 };
        let sizes = [600, 600, 400, 300, 200, 200, 100, 3, 2, 1];
        let rects = squarified(&sizes, room);
        let total: u64 = sizes.iter().sum();
        for (rect, size) in rects.iter().zip(sizes) {
            let expected = 600.0 * 400.0 * real(size) / real(total);
            assert!((rect.width * rect.height - expected).abs() < 0.01, "{rect:?} for {size}");
            assert!(rect.x >= 9.999 && rect.x + rect.width <= 610.001, "{rect:?}");
            assert!(rect.y >= 19.999 && rect.y + rect.height <= 420.001, "{rect:?}");
        }
        for (number, a) in rects.iter().enumerate() {
            for b in &rects[..number] {
                let apart = a.x + a.width <= b.x + 0.001
                    || b.x + b.width <= a.x + 0.001
                    || a.y + a.height <= b.y + 0.001
                    || b.y + b.height <= a.y + 0.001;
                assert!(apart, "{a:?} {b:?}");
            }
        }
    }

    #[test]
    fn a_picture_names_folders_and_escapes_names() {
        let area =
            |path: &str, size| Area { path: path.to_owned(), size, colour: "#000", note: "n".to_owned() };
        let areas = [area("usr/lib/a<b", 500), area("usr/x", 300), area("kernel", 900), area("empty", 0)];
        let svg = treemap("old → new", &areas, &[("changed", "#000")]);
        for expected in ["usr/</text>", "a&lt;b", "kernel", "changed"] {
            assert!(svg.contains(expected), "{expected} in {svg}");
        }
        assert!(!svg.contains("empty"));
        assert_eq!(svg.matches("<svg").count(), 1);
    }

    #[test]
    fn nothing_at_all_is_an_empty_picture() {
        assert!(treemap("nothing", &[], &[]).ends_with("</svg>\n"));
    }
}
