//! The JSON Schema, made from the types in `schema`: for the check of shapes, for the reference, for editors.

use crate::schema::ManifestTable;
use schemars::generate::SchemaSettings;
use serde_json::{Map, Value as Json};
use std::sync::OnceLock;

/// The JSON Schema of a manifest.
pub(crate) fn schema() -> &'static Json {
    static SCHEMA: OnceLock<Json> = OnceLock::new();
    SCHEMA.get_or_init(|| {
        let generator = SchemaSettings::draft2020_12().into_generator();
        let mut schema = Json::from(generator.into_root_schema_for::<ManifestTable>());
        without_null(&mut schema);
        schema
    })
}

/// The JSON Schema of a manifest, for editors.
pub fn schema_json() -> String {
    format!("{:#}\n", schema())
}

/// Takes `null` out of a schema: an optional key is left out in TOML, never null.
fn without_null(schema: &mut Json) {
    match schema {
        Json::Object(map) => {
            if let Some(Json::Array(kinds)) = map.get_mut("type") {
                kinds.retain(|kind| kind != "null");
                if let [kind] = kinds.as_slice() {
                    let kind = kind.clone();
                    map.insert("type".to_owned(), kind);
                }
            }
            if map.get("default") == Some(&Json::Null) {
                map.shift_remove("default");
            }
            inline_only_branch(map);
            map.values_mut().for_each(without_null);
        }
        Json::Array(items) => items.iter_mut().for_each(without_null),
        Json::Null | Json::Bool(_) | Json::Number(_) | Json::String(_) => {}
    }
}

fn inline_only_branch(map: &mut Map<String, Json>) {
    let Some(Json::Array(branches)) = map.get_mut("anyOf") else {
        return;
    };
    branches.retain(|branch| branch["type"] != "null");
    if let [Json::Object(only)] = branches.as_slice() {
        let only = only.clone();
        map.shift_remove("anyOf");
        for (keyword, value) in only {
            map.entry(keyword).or_insert(value);
        }
    }
}

/// A JSON value as TOML writes it on one line.
pub(crate) fn literal(value: &Json) -> String {
    match value {
        Json::Array(items) => {
            let items: Vec<_> = items.iter().map(literal).collect();
            format!("[{}]", items.join(", "))
        }
        Json::Object(map) => {
            let bare = |key: &str| key.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-');
            let pairs = map.iter().map(|(key, value)| {
                let key = if bare(key) { key.clone() } else { format!("{key:?}") };
                format!("{key} = {}", literal(value))
            });
            format!("{{ {} }}", pairs.collect::<Vec<_>>().join(", "))
        }
        Json::Null | Json::Bool(_) | Json::Number(_) | Json::String(_) => value.to_string(),
    }
}
