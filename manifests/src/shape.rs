//! Checks a document against the JSON Schema: unknown and missing keys, types, forms, bounds. The schema is the one
//! generated from the types, so a rule about a single value has one place.

use crate::{
    document::Node,
    fault::Collector,
    json_schema::{literal, schema},
    suggest::nearest,
    values::{check_form, quoted},
};
use serde_json::Value as Json;
use std::{collections::BTreeSet, ops::Range};
use toml::de::{DeTable, DeValue};

/// Reports everything in `document` that the schema does not allow.
pub(crate) fn check(document: Node<'_, '_>, faults: &mut Collector<'_>) {
    let schema = schema();
    let mut checker = Checker { schema, faults };
    checker.value(document, Rule::new(schema, schema), "");
}

/// What the schema says about one value: what stands at the key, and the definition it refers to.
#[derive(Clone, Copy)]
pub(crate) struct Rule<'s> {
    here: &'s Json,
    there: &'s Json,
}

impl<'s> Rule<'s> {
    pub(crate) fn new(root: &'s Json, here: &'s Json) -> Self {
        let target = here["$ref"].as_str().and_then(|path| root.pointer(path.strip_prefix('#')?));
        Self { here, there: target.unwrap_or(here) }
    }

    pub(crate) fn get(self, keyword: &str) -> Option<&'s Json> {
        self.here.get(keyword).or_else(|| self.there.get(keyword))
    }

    /// The description at the key, before the definition's.
    pub(crate) fn about(self) -> &'s str {
        self.get("description").and_then(Json::as_str).unwrap_or_default()
    }

    /// The definition's description, or the one at the key if it refers to none.
    pub(crate) fn there_about(self) -> &'s str {
        self.there["description"].as_str().unwrap_or_default()
    }

    /// An example of the value, as TOML writes it.
    pub(crate) fn sample(self, root: &'s Json) -> Option<String> {
        let examples = self.get("examples").and_then(Json::as_array);
        if let Some(example) = examples.and_then(|examples| examples.first()) {
            return Some(literal(example));
        }
        let default = self.get("default");
        if let Some(words) = self.words() {
            let words = words.into_iter().map(|(word, _)| Json::from(word));
            let (usual, others): (Vec<_>, Vec<_>) = words.partition(|word| Some(word) == default);
            return others.into_iter().chain(usual).next().map(|word| literal(&word));
        }
        match (self.kind(), default) {
            ("array", _) => {
                let items = Self::new(root, self.get("items")?);
                Some(format!("[{}]", items.sample(root)?))
            }
            ("boolean", Some(Json::Bool(usual))) => Some((!usual).to_string()),
            ("integer", Some(usual)) => Some(literal(usual)),
            _ => None,
        }
    }

    /// The words that are allowed, with their descriptions, if only certain words are.
    pub(crate) fn words(self) -> Option<Vec<(&'s str, &'s str)>> {
        let mut out = Vec::new();
        if let Some(words) = self.get("enum") {
            out.extend(words.as_array()?.iter().filter_map(Json::as_str).map(|word| (word, "")));
        } else if let Some(word) = self.get("const") {
            out.push((word.as_str()?, self.about()));
        } else {
            for branch in self.get("oneOf")?.as_array()? {
                let branch = Self { here: branch, there: branch };
                let about = branch.about();
                out.extend(
                    branch
                        .words()?
                        .into_iter()
                        .map(|(word, own)| (word, if own.is_empty() { about } else { own })),
                );
            }
        }
        Some(out)
    }

    /// The alternatives of different types, if there are.
    pub(crate) fn branches(self, root: &'s Json) -> Option<Vec<Self>> {
        let branches = self.get("anyOf")?.as_array()?;
        Some(branches.iter().map(|branch| Self::new(root, branch)).collect())
    }

    /// The JSON Schema type.
    pub(crate) fn kind(self) -> &'s str {
        match self.get("type").and_then(Json::as_str) {
            Some(kind) => kind,
            None if self.words().is_some() => "string",
            None => "",
        }
    }

    pub(crate) fn number(self, keyword: &str) -> Option<i64> {
        self.get(keyword)?.as_i64()
    }
}

struct Checker<'s, 'f, 't> {
    schema: &'s Json,
    faults: &'f mut Collector<'t>,
}

impl<'s> Checker<'s, '_, '_> {
    fn value(&mut self, node: Node<'_, '_>, rule: Rule<'s>, key: &str) {
        let branches = rule.branches(self.schema).unwrap_or_else(|| vec![rule]);
        let found = kind_of(node.0.get_ref());
        let Some(branch) = branches.iter().find(|branch| branch.kind() == found) else {
            return self.wrong_type(node, rule, &branches, key);
        };
        match node.0.get_ref() {
            DeValue::Table(table) => self.table(table, &node.span(), *branch, key),
            DeValue::Array(_) => self.list(node, *branch, key),
            DeValue::String(text) => self.text(text, &node.span(), *branch, key),
            DeValue::Integer(number) => {
                let value = i64::from_str_radix(number.as_str(), number.radix());
                self.number(value.ok(), &node.span(), *branch, key);
            }
            DeValue::Float(_) | DeValue::Boolean(_) | DeValue::Datetime(_) => {}
        }
    }

    fn wrong_type(&mut self, node: Node<'_, '_>, rule: Rule<'s>, branches: &[Rule<'s>], key: &str) {
        let found = kind_of(node.0.get_ref());
        let mut wanted: Vec<_> = branches.iter().map(|branch| phrase(branch.kind())).collect();
        wanted.dedup();
        let last = last_key(key);
        let hint = match (branches.first().map(|branch| branch.kind()), found) {
            (Some("array"), "object") => Some(format!("write [[{}]], with two brackets", header(key))),
            (Some("object"), "array") => Some(format!("write [{}], with one bracket", header(key))),
            (Some("string"), "integer" | "number") if quoting_helps(node, rule) => {
                Some("put it in quotes".to_owned())
            }
            (Some("boolean"), _) => Some("write true or false, without quotes".to_owned()),
            _ => self.advice(rule, key),
        };
        let subject = if key.ends_with(']') { format!("an entry of {last}") } else { last.to_owned() };
        let message = format!("{subject} must be {}, not {}", wanted.join(" or "), phrase(found));
        self.faults.fault(key, &node.span(), &message, hint);
    }

    /// What to write at `key`.
    fn advice(&self, rule: Rule<'s>, key: &str) -> Option<String> {
        let items = rule.get("items").map(|items| Rule::new(self.schema, items));
        if items.is_some_and(|items| items.kind() == "object") && !key.contains('[') {
            return Some(format!("write it as [[{}]], a table of its own", header(key)));
        }
        if let Some(sample) = rule.sample(self.schema) {
            let is_entry = key.ends_with(']');
            let start = if is_entry { String::new() } else { format!("{} = ", last_key(key)) };
            return Some(format!("write {start}{sample}"));
        }
        let form = rule.get("format").and_then(Json::as_str)?;
        check_form(form, "").err()?.hint
    }

    fn table(&mut self, table: &DeTable<'_>, span: &Range<usize>, rule: Rule<'s>, key: &str) {
        let properties = rule.get("properties").and_then(Json::as_object);
        let others = rule.get("additionalProperties");
        for (name, value) in table {
            let below = join(key, name.get_ref());
            let known = properties.and_then(|properties| properties.get(name.get_ref().as_ref()));
            let names = rule.get("propertyNames").and_then(|names| names["format"].as_str());
            if let Some(Err(bad)) = names.map(|form| check_form(form, name.get_ref())) {
                self.faults.fault(&below, &name.span(), &bad.message, bad.hint);
            }
            match known.or_else(|| others.filter(|others| others.is_object())) {
                Some(schema) => self.value(Node(value), Rule::new(self.schema, schema), &below),
                None if others == Some(&Json::Bool(false)) => {
                    let names = properties.into_iter().flat_map(|all| all.keys().map(String::as_str));
                    let names: Vec<_> = names.collect();
                    let hint = did_you_mean(name.get_ref(), &names, "known keys");
                    let message = format!("unknown key {} in {}", quoted(name.get_ref()), place(key));
                    self.faults.fault(&below, &name.span(), &message, Some(hint));
                }
                None => {}
            }
        }
        let required = rule.get("required").and_then(Json::as_array).into_iter().flatten();
        for name in required.filter_map(Json::as_str) {
            if !table.contains_key(name) {
                self.missing(name, properties.map(|all| &all[name]), span, key);
            }
        }
    }

    fn missing(&mut self, name: &str, schema: Option<&'s Json>, span: &Range<usize>, key: &str) {
        let rule = schema.map(|schema| Rule::new(self.schema, schema));
        let example = rule.and_then(|rule| rule.sample(self.schema));
        let (message, hint) = if rule.is_some_and(|rule| rule.kind() == "object") {
            (
                format!("{} has no table [{}]", place(key), join(key, name)),
                Some(format!("add it: [{}]", join(key, name))),
            )
        } else {
            (
                format!("{} has no {name}", place(key)),
                example.map(|example| format!("add {name} = {example}")),
            )
        };
        self.faults.fault(&join(key, name), span, &message, hint);
    }

    fn list(&mut self, node: Node<'_, '_>, rule: Rule<'s>, key: &str) {
        let count = i64::try_from(node.items().count()).unwrap_or(i64::MAX);
        let last = last_key(key);
        if rule.number("minItems").is_some_and(|min| count < min) {
            let message = format!("{last} is empty");
            self.faults.fault(key, &node.span(), &message, self.advice(rule, key));
        }
        if let Some(max) = rule.number("maxItems").filter(|max| count > *max) {
            let message = format!("{last} has {count} entries, more than the {max} that are allowed");
            self.faults.fault(key, &node.span(), &message, None);
        }
        let Some(schema) = rule.get("items") else {
            return;
        };
        let unique = rule.get("uniqueItems") == Some(&Json::Bool(true));
        let mut seen = BTreeSet::new();
        for (index, item) in node.items().enumerate() {
            let below = format!("{key}[{index}]");
            self.value(item, Rule::new(self.schema, schema), &below);
            if unique
                && let Some(text) = item.text()
                && !seen.insert(text)
            {
                let message = format!("{} stands twice in {last}", quoted(text));
                self.faults.fault(&below, &item.span(), &message, Some("remove one of them".to_owned()));
            }
        }
    }

    fn text(&mut self, text: &str, span: &Range<usize>, rule: Rule<'s>, key: &str) {
        let last = last_key(key);
        if text.contains('\0') {
            let message = format!("{last} has a NUL character");
            return self.faults.fault(key, span, &message, None);
        }
        if let Some(words) = rule.words() {
            let words: Vec<_> = words.into_iter().map(|(word, _)| word).collect();
            if !words.contains(&text) {
                let message = format!("{last} cannot be {}", quoted(text));
                let hint = did_you_mean(text, &words, "allowed are");
                self.faults.fault(key, span, &message, Some(hint));
            }
            return;
        }
        if let Some(Err(bad)) = rule.get("format").and_then(Json::as_str).map(|form| check_form(form, text)) {
            self.faults.fault(key, span, &bad.message, bad.hint);
        }
        let length = i64::try_from(text.chars().count()).unwrap_or(i64::MAX);
        if rule.number("minLength").is_some_and(|min| length < min) {
            self.faults.fault(key, span, &format!("{last} is empty"), None);
        }
        if let Some(max) = rule.number("maxLength").filter(|max| length > *max) {
            let message = format!("{last} is longer than {max} characters");
            self.faults.fault(key, span, &message, None);
        }
    }

    fn number(&mut self, value: Option<i64>, span: &Range<usize>, rule: Rule<'s>, key: &str) {
        let min = rule.number("minimum").unwrap_or(i64::MIN);
        let is_u32 = rule.get("format").is_some_and(|form| form == "uint32");
        let most = if is_u32 { i64::from(u32::MAX) } else { i64::MAX };
        let max = rule.number("maximum").unwrap_or(most);
        if value.is_none_or(|value| value < min || value > max) {
            let message = format!("{} is out of range", last_key(key));
            let hint = format!("write a number from {min} to {max}");
            self.faults.fault(key, span, &message, Some(hint));
        }
    }
}

/// Whether a number in place of a text is that text without its quotes.
fn quoting_helps(node: Node<'_, '_>, rule: Rule<'_>) -> bool {
    let form = rule.get("format").and_then(Json::as_str);
    let text = match node.0.get_ref() {
        DeValue::Integer(number) if number.radix() == 10 => number.as_str(),
        DeValue::Float(number) => number.as_str(),
        DeValue::Integer(_)
        | DeValue::String(_)
        | DeValue::Boolean(_)
        | DeValue::Datetime(_)
        | DeValue::Array(_)
        | DeValue::Table(_) => return false,
    };
    form.is_none_or(|form| check_form(form, text).is_ok())
}

/// What others call the same thing.
const OTHER_NAMES: [(&str, &str); 9] = [
    ("amd64", "x86_64"),
    ("arm64", "aarch64"),
    ("cmd", "command"),
    ("containers", "container"),
    ("entrypoint", "command"),
    ("environment", "env"),
    ("files", "file"),
    ("flavor", "flavour"),
    ("x64", "x86_64"),
];

fn did_you_mean(word: &str, known: &[&str], list: &str) -> String {
    let other_name = OTHER_NAMES.iter().find(|(other, _)| *other == word);
    let other_name = other_name.map(|(_, ours)| *ours).filter(|ours| known.contains(ours));
    match other_name.or_else(|| nearest(word, known.iter().copied())) {
        Some(near) => format!("did you mean {near:?}?"),
        None => format!("{list}: {}", known.join(", ")),
    }
}

fn kind_of(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "string",
        DeValue::Integer(_) => "integer",
        DeValue::Float(_) => "number",
        DeValue::Boolean(_) => "boolean",
        DeValue::Datetime(_) => "date",
        DeValue::Array(_) => "array",
        DeValue::Table(_) => "object",
    }
}

fn phrase(kind: &str) -> &'static str {
    match kind {
        "string" => "a text in quotes",
        "integer" => "a whole number",
        "number" => "a number with a fraction",
        "boolean" => "true or false",
        "date" => "a date",
        "array" => "a list",
        "object" => "a table",
        _ => "something else",
    }
}

/// The key below `key`, quoted if it is no bare key.
fn join(key: &str, name: &str) -> String {
    let bare = !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-');
    let name = if bare { name.to_owned() } else { quoted(name) };
    if key.is_empty() { name } else { format!("{key}.{name}") }
}

/// The last key without list indices: `ports` for `container[0].ports[1]`.
fn last_key(key: &str) -> &str {
    let is_index = |c: char| c == '[' || c == ']' || c.is_ascii_digit();
    let name = match key.strip_suffix(']') {
        Some(_) => key.trim_end_matches(is_index),
        None => key,
    };
    // A quoted key may have dots; quotes inside it stand behind a backslash, so this finds its beginning.
    if name.ends_with('"') {
        return name.rfind(".\"").map_or(name, |at| &name[at + 1..]);
    }
    name.rsplit('.').next().unwrap_or(name)
}

/// The key as a table header: `container.file` for `container[0].file[1]`.
fn header(key: &str) -> String {
    let mut out = String::new();
    let mut inside = false;
    for c in key.chars() {
        match c {
            '[' => inside = true,
            ']' => inside = false,
            c if !inside => out.push(c),
            _ => {}
        }
    }
    out
}

/// How a message calls the table at `key`.
fn place(key: &str) -> String {
    if key.is_empty() {
        "the manifest".to_owned()
    } else if key.ends_with(']') {
        format!("[[{}]]", header(key))
    } else {
        format!("[{}]", header(key))
    }
}
