//! Text for people and objects for programs.

use std::fmt::Write as _;

/// One object on one line, as `coracle-update` prints them.
#[derive(Debug)]
pub(super) struct Object(String);

impl Object {
    /// `{"v":0,"event":…`.
    pub(super) fn event(name: &str) -> Self {
        Self(String::from("{\"v\":0")).text("event", name)
    }

    /// A field.
    pub(super) fn text(mut self, key: &str, value: &str) -> Self {
        self.0.push(',');
        quote(key, &mut self.0);
        self.0.push(':');
        quote(value, &mut self.0);
        self
    }

    /// A field that is an object of texts.
    pub(super) fn texts<'a>(mut self, key: &str, fields: impl Iterator<Item = (&'a str, &'a str)>) -> Self {
        self.0.push(',');
        quote(key, &mut self.0);
        self.0.push_str(":{");
        for (number, (key, value)) in fields.enumerate() {
            if number > 0 {
                self.0.push(',');
            }
            quote(key, &mut self.0);
            self.0.push(':');
            quote(value, &mut self.0);
        }
        self.0.push('}');
        self
    }

    /// The line.
    pub(super) fn line(self) -> String {
        self.0 + "}\n"
    }
}

fn quote(text: &str, out: &mut String) {
    out.push('"');
    for letter in text.chars() {
        match letter {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            control if control.is_control() => {
                // Writing to a String cannot fail.
                match write!(out, "\\u{:04x}", u32::from(control)) {
                    Ok(()) | Err(_) => {}
                }
            }
            other => out.push(other),
        }
    }
    out.push('"');
}

/// `key=value` lines as pairs.
pub(super) fn pairs(text: &str) -> impl Iterator<Item = (&str, &str)> {
    text.lines().filter_map(|line| line.split_once('='))
}

/// Bytes as lower-case hexadecimal digits.
pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut out, byte| match write!(out, "{byte:02x}") {
        Ok(()) | Err(_) => out,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_object_is_one_line_whatever_it_holds() {
        let line = Object::event("machine")
            .text("why", "a\"\\\nb\u{1}")
            .texts("network", pairs("ready=yes\naddress=a=b"))
            .line();
        assert_eq!(
            line,
            "{\"v\":0,\"event\":\"machine\",\"why\":\"a\\\"\\\\\\nb\\u0001\",\"network\":{\"ready\":\"yes\",\"address\":\"a=b\"}}\n"
        );
    }
}
