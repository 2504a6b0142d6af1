//! One line of JSON, written in the order of its fields.

use super::SCHEMA;

/// An object under construction.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Object(String);

impl Object {
    /// An object without a version and a type: a part of another.
    pub fn part() -> Self {
        Self::default()
    }

    /// A whole line: `{"v":0,"event":…`.
    pub fn event(name: &str) -> Self {
        Self::part().number("v", SCHEMA).text("event", name)
    }

    /// A text field.
    pub fn text(self, name: &str, value: &str) -> Self {
        let mut quoted = String::new();
        quote(value, &mut quoted);
        self.raw(name, &quoted)
    }

    /// A text field, or `null`.
    pub fn maybe_text(self, name: &str, value: Option<&str>) -> Self {
        match value {
            Some(value) => self.text(name, value),
            None => self.raw(name, "null"),
        }
    }

    /// A field with a list of texts.
    pub fn texts<S: AsRef<str>>(self, name: &str, values: &[S]) -> Self {
        let mut list = String::from("[");
        for (index, value) in values.iter().enumerate() {
            if index > 0 {
                list.push(',');
            }
            quote(value.as_ref(), &mut list);
        }
        list.push(']');
        self.raw(name, &list)
    }

    /// A number.
    pub fn number(self, name: &str, value: u64) -> Self {
        self.raw(name, &value.to_string())
    }

    /// A number, or `null`.
    pub fn maybe_number(self, name: &str, value: Option<u64>) -> Self {
        match value {
            Some(value) => self.number(name, value),
            None => self.raw(name, "null"),
        }
    }

    /// `true` or `false`.
    pub fn flag(self, name: &str, value: bool) -> Self {
        self.raw(name, if value { "true" } else { "false" })
    }

    /// An object, or `null`.
    pub fn object(self, name: &str, value: Option<Self>) -> Self {
        match value {
            Some(value) => self.raw(name, &value.close()),
            None => self.raw(name, "null"),
        }
    }

    /// A field with a list of objects.
    pub fn objects(self, name: &str, values: impl IntoIterator<Item = Self>) -> Self {
        let list: Vec<String> = values.into_iter().map(Self::close).collect();
        self.raw(name, &format!("[{}]", list.join(",")))
    }

    /// The object as text.
    pub fn close(self) -> String {
        format!("{{{}}}", self.0)
    }

    /// The object as a line.
    pub fn line(self) -> String {
        self.close() + "\n"
    }

    fn raw(mut self, name: &str, value: &str) -> Self {
        if !self.0.is_empty() {
            self.0.push(',');
        }
        quote(name, &mut self.0);
        self.0.push(':');
        self.0.push_str(value);
        self
    }
}

fn quote(text: &str, out: &mut String) {
    out.push('"');
    for letter in text.chars() {
        match letter {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            control if control < ' ' || control == '\u{7f}' => {
                let code = format!("\\u{:04x}", u32::from(control));
                out.push_str(&code);
            }
            other => out.push(other),
        }
    }
    out.push('"');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_stand_in_the_order_they_were_given() {
        let line = Object::event("x")
            .text("t", "a\"b\\c\nd\u{1}é")
            .maybe_text("none", None)
            .texts("list", &["1", "2"])
            .flag("yes", true)
            .maybe_number("n", Some(7))
            .object("part", Some(Object::part().number("z", 1)))
            .line();
        let expected = concat!(
            r#"{"v":0,"event":"x","t":"a\"b\\c\nd\u0001é","none":null,"#,
            r#""list":["1","2"],"yes":true,"n":7,"part":{"z":1}}"#,
            "\n"
        );
        assert_eq!(line, expected);
    }
}
