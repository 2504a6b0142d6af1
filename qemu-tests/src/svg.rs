//! What all pictures have in common: colours, the frame, writing.

use std::fmt::{self, Write as _};

pub(crate) const INK: &str = "#1b2733";
pub(crate) const PALE: &str = "#66788a";
pub(crate) const GRID: &str = "#e3e8ee";
pub(crate) const RED: &str = "#c8402f";
pub(crate) const BLUE: &str = "#3a7bbf";
pub(crate) const GREEN: &str = "#2f8f4e";
pub(crate) const OCHRE: &str = "#c98a1b";

/// The beginning of a picture: a white ground and a title. `</svg>` ends it.
pub(crate) fn begin(width: u64, height: u64, title: &str) -> String {
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" font-family=\"system-ui, sans-serif\" \
         font-size=\"12\">\n<rect width=\"100%\" height=\"100%\" fill=\"#fff\"/>\n\
         <text x=\"16\" y=\"28\" font-size=\"17\" font-weight=\"600\" fill=\"{INK}\">{title}</text>\n"
    )
}

pub(crate) fn put(svg: &mut String, text: fmt::Arguments<'_>) {
    let written = svg.write_fmt(text);
    debug_assert!(written.is_ok(), "writing to a string cannot fail");
}
