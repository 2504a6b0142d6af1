//! JSON as TUF signs it: integers only, no name twice in an object, and one canonical form of every value.
//!
//! What is signed is the canonical form (OLPC canonical JSON) of a value, not the bytes in the file. So two texts with
//! the same value have the same signatures, and everything that would make "the same value" a matter of opinion
//! (fractions, repeated names, lone surrogates) is refused.

use crate::error::Fault;

/// Nesting at most.
const DEPTH_MAX: usize = 32;
/// Values in one document at most: what is kept of a document stays far below its reader's memory.
const VALUES_MAX: usize = 50_000;

/// A JSON value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// `null`
    Null,
    /// `true`, `false`
    Bool(bool),
    /// A whole number.
    Int(i64),
    /// A string.
    Text(String),
    /// An array.
    List(Vec<Value>),
    /// An object, sorted by name, no name twice.
    Map(Vec<(String, Value)>),
}

impl Value {
    /// Parses one document and nothing behind it.
    pub fn parse(bytes: &[u8]) -> Result<Self, Fault> {
        let mut parser = Parser { bytes, at: 0, values: 0 };
        parser.space();
        let value = parser.value(0)?;
        parser.space();
        if parser.at == bytes.len() { Ok(value) } else { Err(parser.fault()) }
    }

    /// The bytes that are signed.
    pub fn canonical(&self) -> Vec<u8> {
        let mut out = Vec::new();
        self.write(&mut out);
        out
    }

    /// The member of an object.
    pub fn get(&self, name: &str) -> Option<&Self> {
        let members = self.map()?;
        let found = members.binary_search_by(|member| member.0.as_str().cmp(name)).ok()?;
        members.get(found).map(|member| &member.1)
    }

    /// The members of an object.
    pub fn map(&self) -> Option<&[(String, Self)]> {
        match self {
            Self::Map(members) => Some(members),
            Self::Null | Self::Bool(_) | Self::Int(_) | Self::Text(_) | Self::List(_) => None,
        }
    }

    /// The items of an array.
    pub fn list(&self) -> Option<&[Self]> {
        match self {
            Self::List(items) => Some(items),
            Self::Null | Self::Bool(_) | Self::Int(_) | Self::Text(_) | Self::Map(_) => None,
        }
    }

    /// A string.
    pub fn text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            Self::Null | Self::Bool(_) | Self::Int(_) | Self::List(_) | Self::Map(_) => None,
        }
    }

    /// A whole number that is not negative.
    pub fn number(&self) -> Option<u64> {
        match self {
            Self::Int(number) => u64::try_from(*number).ok(),
            Self::Null | Self::Bool(_) | Self::Text(_) | Self::List(_) | Self::Map(_) => None,
        }
    }

    fn write(&self, out: &mut Vec<u8>) {
        match self {
            Self::Null => out.extend_from_slice(b"null"),
            Self::Bool(value) => out.extend_from_slice(if *value { b"true" } else { b"false" }),
            Self::Int(number) => out.extend_from_slice(number.to_string().as_bytes()),
            Self::Text(text) => write_text(text, out),
            Self::List(items) => {
                out.push(b'[');
                for (index, item) in items.iter().enumerate() {
                    if index > 0 {
                        out.push(b',');
                    }
                    item.write(out);
                }
                out.push(b']');
            }
            Self::Map(members) => {
                out.push(b'{');
                for (index, (name, value)) in members.iter().enumerate() {
                    if index > 0 {
                        out.push(b',');
                    }
                    write_text(name, out);
                    out.push(b':');
                    value.write(out);
                }
                out.push(b'}');
            }
        }
    }
}

/// Only the quote and the backslash are escaped: so says the canonical form.
fn write_text(text: &str, out: &mut Vec<u8>) {
    out.push(b'"');
    for byte in text.bytes() {
        if matches!(byte, b'"' | b'\\') {
            out.push(b'\\');
        }
        out.push(byte);
    }
    out.push(b'"');
}

struct Parser<'a> {
    bytes: &'a [u8],
    at: usize,
    values: usize,
}

impl Parser<'_> {
    const fn fault(&self) -> Fault {
        Fault::Json(self.at)
    }

    fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    fn space(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
    }

    fn eat(&mut self, byte: u8) -> bool {
        let found = self.peek() == Some(byte);
        self.at += usize::from(found);
        found
    }

    fn expect(&mut self, text: &[u8]) -> Result<(), Fault> {
        if self.bytes.get(self.at..).is_some_and(|rest| rest.starts_with(text)) {
            self.at += text.len();
            return Ok(());
        }
        Err(self.fault())
    }

    fn value(&mut self, depth: usize) -> Result<Value, Fault> {
        self.values += 1;
        if depth > DEPTH_MAX || self.values > VALUES_MAX {
            return Err(Fault::TooComplex);
        }
        match self.peek() {
            Some(b'n') => self.expect(b"null").map(|()| Value::Null),
            Some(b't') => self.expect(b"true").map(|()| Value::Bool(true)),
            Some(b'f') => self.expect(b"false").map(|()| Value::Bool(false)),
            Some(b'"') => self.text().map(Value::Text),
            Some(b'[') => self.list(depth),
            Some(b'{') => self.map(depth),
            Some(b'-' | b'0'..=b'9') => self.int(),
            _ => Err(self.fault()),
        }
    }

    fn list(&mut self, depth: usize) -> Result<Value, Fault> {
        let mut items = Vec::new();
        self.at += 1;
        self.space();
        if self.eat(b']') {
            return Ok(Value::List(items));
        }
        loop {
            self.space();
            items.push(self.value(depth + 1)?);
            self.space();
            if self.eat(b']') {
                return Ok(Value::List(items));
            }
            self.expect(b",")?;
        }
    }

    fn map(&mut self, depth: usize) -> Result<Value, Fault> {
        let mut members = Vec::new();
        self.at += 1;
        self.space();
        if self.eat(b'}') {
            return Ok(Value::Map(members));
        }
        loop {
            self.space();
            let name = self.text()?;
            self.space();
            self.expect(b":")?;
            self.space();
            members.push((name, self.value(depth + 1)?));
            self.space();
            if self.eat(b'}') {
                break;
            }
            self.expect(b",")?;
        }
        // By bytes of UTF-8, which is by code point: the canonical order.
        members.sort_by(|a, b| a.0.cmp(&b.0));
        if members.windows(2).any(|pair| pair[0].0 == pair[1].0) {
            return Err(self.fault());
        }
        Ok(Value::Map(members))
    }

    fn int(&mut self) -> Result<Value, Fault> {
        let begin = self.at;
        self.eat(b'-');
        let digits = self.at;
        while matches!(self.peek(), Some(b'0'..=b'9')) {
            self.at += 1;
        }
        let leading_zero = self.bytes.get(digits) == Some(&b'0') && self.at - digits > 1;
        let minus_zero = self.bytes.get(begin..self.at) == Some(b"-0");
        let fraction = matches!(self.peek(), Some(b'.' | b'e' | b'E'));
        let text = self.bytes.get(begin..self.at).and_then(|text| str::from_utf8(text).ok());
        match text.and_then(|text| text.parse().ok()) {
            Some(number) if !leading_zero && !minus_zero && !fraction => Ok(Value::Int(number)),
            _ => Err(self.fault()),
        }
    }

    fn text(&mut self) -> Result<String, Fault> {
        self.expect(b"\"")?;
        let mut out = String::new();
        loop {
            let rest = self.bytes.get(self.at..).unwrap_or_default();
            let plain = rest.iter().position(|byte| matches!(byte, b'"' | b'\\' | 0..=0x1f));
            let plain = plain.ok_or(Fault::Json(self.bytes.len()))?;
            let text = str::from_utf8(&rest[..plain]);
            out.push_str(text.or(Err(Fault::Json(self.at)))?);
            self.at += plain;
            match self.peek() {
                Some(b'"') => {
                    self.at += 1;
                    return Ok(out);
                }
                Some(b'\\') => {
                    self.at += 1;
                    out.push(self.escape()?);
                }
                _ => return Err(self.fault()),
            }
        }
    }

    fn escape(&mut self) -> Result<char, Fault> {
        let kind = self.peek().ok_or_else(|| self.fault())?;
        self.at += 1;
        Ok(match kind {
            b'"' | b'\\' | b'/' => char::from(kind),
            b'b' => '\u{8}',
            b'f' => '\u{c}',
            b'n' => '\n',
            b'r' => '\r',
            b't' => '\t',
            b'u' => {
                let unit = self.unit()?;
                let point = if (0xd800..0xdc00).contains(&unit) {
                    self.expect(b"\\u")?;
                    let low = self
                        .unit()?
                        .checked_sub(0xdc00)
                        .filter(|low| *low < 0x400)
                        .ok_or_else(|| self.fault())?;
                    0x1_0000 + ((unit - 0xd800) << 10) + low
                } else {
                    unit
                };
                char::from_u32(point).ok_or_else(|| self.fault())?
            }
            _ => return Err(self.fault()),
        })
    }

    fn unit(&mut self) -> Result<u32, Fault> {
        let digits = self.bytes.get(self.at..self.at + 4).ok_or_else(|| self.fault())?;
        let mut unit = 0;
        for digit in digits {
            unit = unit << 4 | char::from(*digit).to_digit(16).ok_or_else(|| self.fault())?;
        }
        self.at += 4;
        Ok(unit)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn canonical(text: &str) -> Result<String, Fault> {
        Value::parse(text.as_bytes()).map(|value| String::from_utf8(value.canonical()).unwrap())
    }

    #[test]
    fn the_canonical_form_is_sorted_compact_and_hardly_escaped() {
        let text = "\t{ \"b\" : [ 1 , -2, true,false , null ], \"a\\u00e4\\n\\\"\\\\\\/\":\"\\ud83d\\ude00\", \"Z\":{} }\n";
        assert_eq!(
            canonical(text).unwrap(),
            "{\"Z\":{},\"aä\n\\\"\\\\/\":\"😀\",\"b\":[1,-2,true,false,null]}"
        );
    }

    #[test]
    fn what_could_be_read_in_two_ways_is_refused() {
        for bad in [
            "",
            " ",
            "{",
            "[",
            "[1",
            "[1,",
            "[1,]",
            "{\"a\":1,}",
            "{\"a\"}",
            "{a :1}",
            "1 2",
            "{} {}",
            "nul",
            "True",
            "1.0",
            "1e3",
            "01",
            "-",
            "-0",
            "+1",
            "9223372036854775808",
            "\"a",
            "\"\\x\"",
            "\"\\u12\"",
            "\"\\ud800\"",
            "\"\\udc00\"",
            "\"\\ud800\\u0041\"",
            "\"\n\"",
            "{\"a\":1,\"a\":1}",
            "{\"a\":1,\"\\u0061\":2}",
            "// x\n1",
        ] {
            assert!(matches!(canonical(bad), Err(Fault::Json(_))), "{bad:?}");
        }
        assert!(matches!(Value::parse(b"\"\xff\""), Err(Fault::Json(_))));
    }

    #[test]
    fn depth_and_number_of_values_are_bounded() {
        let nested = |depth: usize| "[".repeat(depth) + &"]".repeat(depth);
        canonical(&nested(DEPTH_MAX + 1)).unwrap();
        assert_eq!(canonical(&nested(DEPTH_MAX + 2)), Err(Fault::TooComplex));
        assert_eq!(canonical(&"[".repeat(1 << 20)), Err(Fault::TooComplex));
        let many = |count: usize| format!("[{}]", vec!["0"; count].join(","));
        canonical(&many(VALUES_MAX - 1)).unwrap();
        assert_eq!(canonical(&many(VALUES_MAX)), Err(Fault::TooComplex));
    }

    fn values() -> impl Strategy<Value = Value> {
        // Control characters are not JSON in the canonical form, which only ever has to be signed.
        let text = "[^\\x00-\\x1f]{0,8}";
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::Bool),
            any::<i64>().prop_map(Value::Int),
            text.prop_map(Value::Text),
        ];
        leaf.prop_recursive(4, 40, 6, move |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..6).prop_map(Value::List),
                prop::collection::btree_map(text, inner, 0..6)
                    .prop_map(|map| Value::Map(map.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn canonical_text_is_its_own_canonical_form(value in values()) {
            prop_assert_eq!(Value::parse(&value.canonical()), Ok(value));
        }

        #[test]
        fn any_bytes_are_parsed_or_refused(bytes: Vec<u8>) {
            drop(Value::parse(&bytes));
        }
    }
}
