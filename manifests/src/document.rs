//! A TOML document with the place of everything in it.

use crate::fault::Collector;
use std::ops::Range;
use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

/// The largest manifest that is read.
pub const MANIFEST_BYTES_MAX: usize = 1 << 20;

/// The longest list that the rules look at.
const LIST_MAX: usize = 1024;

/// Parses `text`; syntax faults go to `faults`, and then there is no document.
pub(crate) fn parse<'t>(text: &'t str, faults: &mut Collector<'t>) -> Option<Spanned<DeValue<'t>>> {
    if text.len() > MANIFEST_BYTES_MAX {
        faults.fault_of_file(
            "the manifest is larger than 1 MiB",
            Some("put large texts into files of their own and name them with source = \"…\"".to_owned()),
        );
        return None;
    }
    let (table, errors) = DeTable::parse_recoverable(text);
    for error in &errors {
        let span = error.span().unwrap_or(0..0);
        let message: Vec<_> = error.message().lines().collect();
        faults.fault("", &span, &format!("not TOML: {}", message.join("; ")), None);
    }
    if !errors.is_empty() {
        faults.keep_first_of_line();
        return None;
    }
    Some(Spanned::new(table.span(), DeValue::Table(table.into_inner())))
}

/// A value in the document.
#[derive(Clone, Copy)]
pub(crate) struct Node<'d, 't>(pub(crate) &'d Spanned<DeValue<'t>>);

impl<'d, 't> Node<'d, 't> {
    pub(crate) fn span(self) -> Range<usize> {
        self.0.span()
    }

    /// The value of `key`, if this is a table that has it.
    pub(crate) fn get(self, key: &str) -> Option<Self> {
        self.0.get_ref().as_table()?.get(key).map(Node)
    }

    /// The elements, if this is a list.
    pub(crate) fn items(self) -> impl Iterator<Item = Self> + use<'d, 't> {
        let array = self.0.get_ref().as_array();
        array.into_iter().flat_map(|array| array.iter().map(Node))
    }

    /// The elements of the list `key`; of a list longer than any may be, which the check of shapes reports, the first
    /// [`LIST_MAX`].
    pub(crate) fn list(self, key: &str) -> impl Iterator<Item = Self> + use<'d, 't> {
        self.get(key).into_iter().flat_map(Self::items).take(LIST_MAX)
    }

    pub(crate) fn text(self) -> Option<&'d str> {
        self.0.get_ref().as_str()
    }

    /// The text as the value it stands for; `None` if it is none, which the check of shapes has reported.
    pub(crate) fn value<T: std::str::FromStr>(self) -> Option<T> {
        self.text()?.parse().ok()
    }
}
