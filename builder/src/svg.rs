//! What all pictures have in common: colours, the frame, writing.

use std::fmt::{self, Write as _};

/// Text.
pub const INK: &str = "#1b2733";
/// Text beside.
pub const PALE: &str = "#66788a";
/// Lines behind.
pub const GRID: &str = "#e3e8ee";
/// What failed.
pub const RED: &str = "#c8402f";
/// What is shown.
pub const BLUE: &str = "#3a7bbf";
/// What is good.
pub const GREEN: &str = "#2f8f4e";
/// What it is compared with.
pub const OCHRE: &str = "#c98a1b";

/// Text as it stands in a picture.
pub fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

/// The beginning of a picture: a white ground and a title. `</svg>` ends it.
pub fn begin(width: u64, height: u64, title: &str) -> String {
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" font-family=\"system-ui, sans-serif\" \
         font-size=\"12\">\n<rect width=\"100%\" height=\"100%\" fill=\"#fff\"/>\n\
         <text x=\"16\" y=\"28\" font-size=\"17\" font-weight=\"600\" fill=\"{INK}\">{}</text>\n",
        escape(title)
    )
}

/// Adds to a picture.
pub fn put(svg: &mut String, text: fmt::Arguments<'_>) {
    let written = svg.write_fmt(text);
    debug_assert!(written.is_ok(), "writing to a string cannot fail");
}
