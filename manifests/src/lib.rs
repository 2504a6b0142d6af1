//! What an image *is*: the manifest's schema and validation, and the lock.
//!
//! A manifest goes through four steps. [`document`](mod@document) parses the text and keeps every place in it; `shape`
//! checks it against the JSON Schema that is generated from the types in `schema`; `rules` checks what concerns several
//! values at once; `resolve` makes a [`Manifest`] of it: defaults filled in, paths resolved. Each step reports every
//! fault it finds, so that one run shows all of them.
#![forbid(unsafe_code)]

mod device;
mod document;
mod fault;
mod inputs;
mod json_schema;
mod load;
pub mod lock;
pub mod manifest;
mod reference;
mod resolve;
mod rules;
mod schema;
mod shape;
mod suggest;
pub mod values;

pub use device::{device_network, device_ntp};
pub use document::MANIFEST_BYTES_MAX;
pub use fault::{FAULTS_MAX, Fault, Faults, Place};
pub use json_schema::schema_json;
pub use load::parse;
pub use lock::Lock;
pub use manifest::Manifest;
pub use reference::reference_markdown;
pub use schema::{CHECKS_MAX, CONTAINERS_MAX, FILES_MAX};
