//! The reference page, made from the JSON Schema.

use crate::{
    json_schema::{literal, schema},
    shape::Rule,
};
use serde_json::{Map, Value as Json};
use std::{collections::BTreeMap, fmt::Write as _};

const INTRODUCTION: &str = "\
<!-- Generated from the types in manifests/src/schema. To change it, change their comments and run
     CORACLE_UPDATE_GOLDEN=1 cargo test -p coracle-manifests -->

# The manifest

A manifest is one [TOML](https://toml.io) file that says what an image is. This one is complete:

```toml
[image]
name = \"hello\"
version = \"1.0.0\"
arch = \"x86_64\"

[[container]]
name = \"web\"
packages = [\"busybox-static\"]
command = [\"busybox\", \"httpd\", \"-f\", \"-p\", \"8080\", \"-h\", \"/www\"]
ports = [\"8080\"]

[[container.file]]
path = \"/www/index.html\"
content = \"Hello.\\n\"
```

Everything else has a default. A key or value that is not in this reference is an error, and one run reports all errors
with their places. Paths on the computer that builds are relative to the manifest's directory. A manifest is at most
1 MiB. For completion in an editor there is a [JSON Schema](manifest.schema.json).

";

const FORMS: &str = "\
## Forms of text

Many values are texts of a certain form. They are always written in quotes.

| form | what is allowed | examples |
|---|---|---|
";

/// The reference page, Markdown.
pub fn reference_markdown() -> String {
    let mut page = Page { schema: schema(), out: INTRODUCTION.to_owned(), shown: BTreeMap::new() };
    let tables = page.tables_of(Rule::new(page.schema, page.schema), "");
    page.out += "| table | what it is about |\n|---|---|\n";
    for table in &tables {
        let first = table.rule.there_about().split(['.', '\n']).next();
        let about = first.unwrap_or_default();
        let (title, link) = (&table.title, anchor(&table.title));
        page.line(&format!("| [`{title}`](#{link}) | {about}. |"));
    }
    page.out.push('\n');
    for table in tables {
        page.table(&table, "##");
    }
    page.forms();
    page.out
}

struct Page<'s> {
    schema: &'s Json,
    out: String,
    /// Definitions that have a section, with its title.
    shown: BTreeMap<String, String>,
}

/// A table that gets a section of its own.
struct Table<'s> {
    title: String,
    key: String,
    definition: String,
    rule: Rule<'s>,
}

impl<'s> Page<'s> {
    fn line(&mut self, text: &str) {
        self.out += text;
        self.out.push('\n');
    }

    /// The tables among the keys of `rule`.
    fn tables_of(&self, rule: Rule<'s>, parent: &str) -> Vec<Table<'s>> {
        properties(rule).filter_map(|(name, json)| self.as_table(name, json, parent)).collect()
    }

    fn as_table(&self, name: &str, json: &'s Json, parent: &str) -> Option<Table<'s>> {
        let key = if parent.is_empty() { name.to_owned() } else { format!("{parent}.{name}") };
        let is_list = json["type"] == "array";
        // Of alternatives, the table: the others fit into one row.
        let alternatives = Rule::new(self.schema, json).get("anyOf").and_then(Json::as_array);
        let has_keys = |json: &&Json| Rule::new(self.schema, json).get("properties").is_some();
        let target = match alternatives.and_then(|all| all.iter().find(has_keys)) {
            Some(alternative) => alternative,
            None if is_list => &json["items"],
            None => json,
        };
        let definition = target["$ref"].as_str()?.to_owned();
        let rule = Rule::new(self.schema, target);
        rule.get("properties")?;
        let title = if is_list { format!("[[{key}]]") } else { format!("[{key}]") };
        Some(Table { title, key, definition, rule })
    }

    fn table(&mut self, table: &Table<'s>, level: &str) {
        self.line(&format!("{level} `{}`", table.title));
        self.out.push('\n');
        if let Some(title) = self.shown.get(&table.definition) {
            let text = format!("The keys of [`{title}`](#{}).", anchor(title));
            self.line(&text);
            self.out.push('\n');
            return;
        }
        self.shown.insert(table.definition.clone(), table.title.clone());
        let about = table.rule.there_about();
        let (text, example) = about.split_once("```toml").unwrap_or((about, ""));
        self.line(text.trim());
        self.out.push('\n');
        self.line("| key | type | default | meaning | example |");
        self.line("|---|---|---|---|---|");
        for (name, json) in properties(table.rule) {
            self.row(table, name, json);
        }
        self.out.push('\n');
        if !example.is_empty() {
            self.line(&format!("```toml{example}\n"));
        }
        for below in self.tables_of(table.rule, &table.key) {
            self.table(&below, "###");
        }
    }

    fn row(&mut self, table: &Table<'s>, name: &str, json: &'s Json) {
        let rule = Rule::new(self.schema, json);
        let below = self.as_table(name, json, &table.key);
        let has_words = below.is_some() && rule.get("anyOf").is_some();
        let kind = match &below {
            Some(below) if has_words => format!("word or [table](#{})", anchor(&below.title)),
            Some(below) if json["type"] == "array" => {
                format!("list of [tables](#{})", anchor(&below.title))
            }
            Some(below) => format!("[table](#{})", anchor(&below.title)),
            None => self.kind(rule),
        };
        let required = table.rule.get("required").and_then(Json::as_array);
        let required = required.is_some_and(|all| all.iter().any(|key| key == name));
        let default = match rule.get("default") {
            Some(default) if !is_empty(default) && (below.is_none() || has_words) => code(&literal(default)),
            _ if required => "required".to_owned(),
            _ => String::new(),
        };
        let example = rule.sample(self.schema).map_or_else(String::new, |example| code(&example));
        let meaning = self.meaning(rule, below.as_ref().filter(|_| !has_words));
        self.line(&format!("| `{name}` | {kind} | {default} | {meaning} | {example} |"));
    }

    fn meaning(&self, rule: Rule<'s>, below: Option<&Table<'s>>) -> String {
        let about = rule.about().split("```").next().unwrap_or_default();
        let mut out = about.trim().replace('\n', " ");
        if let Some(below) = below {
            // The section says the rest.
            out = out.split(". ").next().unwrap_or_default().to_owned();
            if out.is_empty() {
                out = format!("See [`{}`](#{}).", below.title, anchor(&below.title));
            } else if !out.ends_with('.') {
                out.push('.');
            }
            return out;
        }
        let items = rule.get("items").map(|items| Rule::new(self.schema, items));
        let branches = rule.branches(self.schema).unwrap_or_default();
        let words = std::iter::once(rule).chain(items).chain(branches).find_map(Rule::words);
        for (word, meaning) in words.unwrap_or_default() {
            let _written = write!(out, "<br>`{word:?}`: {meaning}");
        }
        if let (Some(min), Some(max)) = (rule.number("minimum"), rule.number("maximum"))
            && min > 0
        {
            let _written = write!(out, " From {min} to {max}.");
        }
        out
    }

    fn kind(&self, rule: Rule<'s>) -> String {
        if let Some(branches) = rule.branches(self.schema) {
            let kinds: Vec<_> = branches.iter().map(|branch| self.kind(*branch)).collect();
            return kinds.join(" or ");
        }
        if rule.words().is_some() {
            return "word".to_owned();
        }
        let form = rule.get("format").and_then(Json::as_str);
        match rule.kind() {
            "string" => form.map_or_else(|| "text".to_owned(), |form| format!("[{form}](#forms-of-text)")),
            "array" => {
                let items = rule.get("items").map(|items| Rule::new(self.schema, items));
                let items = items.map_or_else(String::new, |items| self.kind(items));
                format!("list of {items}")
            }
            "object" => {
                let names = rule.get("propertyNames").and_then(|names| names["format"].as_str());
                let values = rule.get("additionalProperties");
                match (names, values.filter(|values| values.is_object())) {
                    (Some(names), Some(values)) => {
                        let values = self.kind(Rule::new(self.schema, values));
                        format!("table of [{names}](#forms-of-text) = {values}")
                    }
                    _ => "table".to_owned(),
                }
            }
            "integer" => "number".to_owned(),
            "boolean" => "`true` or `false`".to_owned(),
            other => other.to_owned(),
        }
    }

    fn forms(&mut self) {
        self.out += FORMS;
        let definitions = self.schema["$defs"].as_object();
        let mut rows = BTreeMap::from([
            ("ip", row("ip", "An IPv4 or IPv6 address.", &["192.0.2.1", "2001:db8::1"])),
            ("ipv4", row("ipv4", "An IPv4 address.", &["192.0.2.1"])),
            ("ipv6", row("ipv6", "An IPv6 address.", &["2001:db8::1"])),
            ("env-name", form_row::<crate::values::EnvName>()),
            ("sysctl-name", form_row::<crate::values::SysctlName>()),
        ]);
        for definition in definitions.into_iter().flat_map(Map::values) {
            if let Some(form) = definition["format"].as_str() {
                rows.insert(form, definition_row(form, definition));
            }
        }
        for row in rows.into_values() {
            self.line(&row);
        }
    }
}

/// The row of a form that stands for keys, and so has no definition in the schema.
fn form_row<T: schemars::JsonSchema + crate::values::Form>() -> String {
    let definition = T::json_schema(&mut schemars::SchemaGenerator::default());
    definition_row(T::NAME, definition.as_value())
}

fn definition_row(form: &str, definition: &Json) -> String {
    let examples = definition["examples"].as_array().into_iter().flatten();
    let examples: Vec<_> = examples.filter_map(Json::as_str).collect();
    let about = definition["description"].as_str().unwrap_or_default();
    row(form, about, &examples)
}

fn row(form: &str, about: &str, examples: &[&str]) -> String {
    let examples: Vec<_> = examples.iter().map(|example| code(&format!("{example:?}"))).collect();
    format!("| {form} | {about} | {} |", examples.join(", "))
}

fn properties(rule: Rule<'_>) -> impl Iterator<Item = (&str, &Json)> {
    let properties = rule.get("properties").and_then(Json::as_object);
    properties.into_iter().flat_map(|map| map.iter().map(|(name, json)| (name.as_str(), json)))
}

fn is_empty(value: &Json) -> bool {
    match value {
        Json::Array(items) => items.is_empty(),
        Json::Object(map) => map.is_empty(),
        Json::Null | Json::Bool(_) | Json::Number(_) | Json::String(_) => false,
    }
}

fn code(text: &str) -> String {
    format!("`{}`", text.replace('|', "\\|"))
}

/// The anchor that Markdown renderers give a heading.
fn anchor(title: &str) -> String {
    let kept = |c: &char| c.is_ascii_alphanumeric() || *c == '_' || *c == '-';
    title.chars().filter(kept).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::values::forms;

    #[test]
    fn every_toml_example_is_part_of_a_faultless_manifest() {
        let page = reference_markdown();
        let examples: Vec<_> =
            page.split("```toml\n").skip(1).filter_map(|rest| rest.split("```").next()).collect();
        assert!(examples.len() >= 9, "{}", examples.len());
        let image = "[image]\nname = \"x\"\nversion = \"1\"\narch = \"aarch64\"\n";
        for example in examples {
            let text =
                if example.contains("[image]") { example.to_owned() } else { format!("{image}{example}") };
            if let Err(faults) = crate::parse(&text, std::path::Path::new("example.toml")) {
                panic!("{}", faults.render());
            }
        }
    }

    #[test]
    fn every_form_that_the_schema_names_is_checked() {
        fn walk(json: &Json, found: &mut Vec<String>) {
            match json {
                Json::Object(map) => {
                    let is_text = map.get("type").is_none_or(|kind| kind == "string");
                    if let (true, Some(Json::String(form))) = (is_text, map.get("format")) {
                        found.push(form.clone());
                    }
                    map.values().for_each(|value| walk(value, found));
                }
                Json::Array(items) => items.iter().for_each(|item| walk(item, found)),
                Json::Null | Json::Bool(_) | Json::Number(_) | Json::String(_) => {}
            }
        }
        let mut found = Vec::new();
        walk(schema(), &mut found);
        assert!(found.len() > 20);
        for form in found {
            assert!(forms().iter().any(|(name, _)| *name == form), "{form}");
        }
    }
}
