//! The dependency closure of a request. Pure: an index in, packages or reasons out.
//!
//! Nothing is ever configured, so Conflicts and Recommends have no say, and Essential packages come only where something
//! depends on them. The newest version of a package is the only one considered.

use super::{
    Closure, Package, Request,
    index::{Entry, Index, Provided},
    relation::{self, Group, Relation},
};
use crate::error::{Error, Kind, Result};
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// Most packages in a closure.
const CLOSURE_MAX: usize = 20_000;
/// Unmet dependencies that are told one by one.
const TOLD_MAX: usize = 20;

impl Index {
    /// The packages that meet `request`, sorted by name. Of several alternatives the first that is taken anyway is
    /// chosen, else the first that can be met; of several providers the most basic one, then the first by name.
    pub fn resolve(&self, request: &Request) -> Result<Vec<Package>> {
        let mut resolver = Resolver {
            index: self,
            exclude: request.exclude.iter().map(String::as_str).collect(),
            chosen: BTreeMap::new(),
            queue: VecDeque::new(),
            unmet: Vec::new(),
        };
        for name in &request.packages {
            resolver.ask(name);
        }
        if request.closure == Closure::Full {
            while let Some(entry) = resolver.queue.pop_front() {
                resolver.follow(&entry)?;
            }
        }
        if resolver.unmet.is_empty() {
            let chosen = resolver.chosen.values();
            return chosen.map(|taken| taken.entry.package()).collect();
        }
        Err(resolver.failure())
    }
}

struct Resolver<'a> {
    index: &'a Index,
    exclude: BTreeSet<&'a str>,
    chosen: BTreeMap<&'a str, Taken<'a>>,
    queue: VecDeque<Entry<'a>>,
    unmet: Vec<Unmet>,
}

/// A package that is in, and which one wanted it.
struct Taken<'a> {
    entry: Entry<'a>,
    wanted_by: Option<&'a str>,
}

struct Unmet {
    what: String,
    chain: String,
    near: Option<String>,
}

impl<'a> Resolver<'a> {
    /// Takes a requested name: a package, or the best provider of a virtual one.
    fn ask(&mut self, name: &str) {
        if self.exclude.contains(name) || self.chosen.contains_key(name) {
            return;
        }
        let wanted = Relation { name, qualifier: None, version: None };
        match self.candidate(&wanted) {
            Some(entry) => self.take(entry, None),
            None => self.unmet.push(Unmet {
                what: name.to_owned(),
                chain: "the request".to_owned(),
                near: self.near(name),
            }),
        }
    }

    fn take(&mut self, entry: Entry<'a>, wanted_by: Option<&'a str>) {
        self.chosen.insert(entry.name, Taken { entry, wanted_by });
        self.queue.push_back(entry);
    }

    fn follow(&mut self, entry: &Entry<'a>) -> Result<()> {
        for field in entry.dependencies() {
            for group in relation::parse(field, self.index.arch())? {
                self.meet(&group, entry.name);
                if self.chosen.len() > CLOSURE_MAX {
                    let text = format!("the request needs more than {CLOSURE_MAX} packages");
                    return Err(Error::new(Kind::Hostile, text));
                }
            }
        }
        Ok(())
    }

    fn meet(&mut self, group: &Group<'a>, wanted_by: &'a str) {
        if group.iter().any(|relation| self.is_met(relation)) {
            return;
        }
        let candidate = group.iter().find_map(|relation| self.candidate(relation));
        if let Some(entry) = candidate {
            self.take(entry, Some(wanted_by));
            return;
        }
        let names: Vec<_> = group.iter().map(ToString::to_string).collect();
        self.unmet.push(Unmet {
            what: names.join(" | "),
            chain: self.chain(wanted_by),
            near: group.iter().find_map(|relation| self.near(relation.name)),
        });
    }

    /// Whether what is taken, or left out on purpose, meets the relation.
    fn is_met(&self, relation: &Relation<'_>) -> bool {
        if self.exclude.contains(relation.name) {
            return true;
        }
        let by_name = self.chosen.get(relation.name);
        by_name.is_some_and(|taken| self.is_direct(relation, &taken.entry))
            || self
                .index
                .providers(relation.name)
                .iter()
                .any(|entry| self.chosen.contains_key(entry.name) && provides(relation, entry))
    }

    fn is_direct(&self, relation: &Relation<'_>, entry: &Entry<'_>) -> bool {
        // Only one architecture is ever installed: `any` and `native` ask for nothing more.
        let qualified = relation
            .qualifier
            .is_none_or(|word| matches!(word, "any" | "native") || word == self.index.arch());
        qualified && relation.accepts(entry.version)
    }

    /// The package to take for a relation: the one of that name, else the best provider.
    fn candidate(&self, relation: &Relation<'_>) -> Option<Entry<'a>> {
        let direct = self.index.newest(relation.name).filter(|entry| self.is_direct(relation, entry));
        direct.or_else(|| {
            let providers = self.index.providers(relation.name);
            providers
                .into_iter()
                .filter(|entry| !self.exclude.contains(entry.name) && provides(relation, entry))
                .min_by_key(|entry| (entry.rank(), entry.name))
        })
    }

    /// `c, needed by b, needed by a`.
    fn chain(&self, name: &str) -> String {
        let mut out = name.to_owned();
        let mut at = name;
        while let Some(parent) = self.chosen.get(at).and_then(|taken| taken.wanted_by) {
            out.extend([", needed by ", parent]);
            at = parent;
        }
        out
    }

    /// A name of the index that `name` may be a slip of.
    fn near(&self, name: &str) -> Option<String> {
        if self.index.newest(name).is_some() {
            return None;
        }
        let prefix =
            |known: &str| known.len() <= name.len() + 12 && known.starts_with(name) && name.len() > 2;
        let best = self
            .index
            .names()
            .filter_map(|known| {
                let distance = if prefix(known) { 2 } else { distance_within(name, known, 2)? };
                Some((distance, known.len(), known))
            })
            .min()?;
        Some(best.2.to_owned())
    }

    fn failure(&self) -> Error {
        let place = format!("{} ({})", self.index.suite(), self.index.arch());
        let mut lines: Vec<String> = self
            .unmet
            .iter()
            .take(TOLD_MAX)
            .map(|unmet| format!("{}, needed by {}", unmet.what, unmet.chain))
            .collect();
        let more = self.unmet.len().saturating_sub(TOLD_MAX);
        if more > 0 {
            lines.push(format!("and {more} more"));
        }
        let text = match self.unmet.len() {
            1 => format!("a package is not in {place}"),
            count => format!("{count} packages are not in {place}"),
        };
        let near: BTreeSet<&str> = self.unmet.iter().filter_map(|unmet| unmet.near.as_deref()).collect();
        let error = Error::new(Kind::NotFound, text).because(lines.join("\n"));
        if near.is_empty() {
            return error.hint("check the names, the suite and the architecture");
        }
        let near: Vec<_> = near.into_iter().collect();
        error.hint(format!("did you mean {}?", near.join(", ")))
    }
}

/// Whether the entry provides what is asked for; an unversioned provision meets no version.
fn provides(relation: &Relation<'_>, entry: &Entry<'_>) -> bool {
    match entry.provides(relation.name) {
        Some(Provided::Version(version)) => relation.accepts(version),
        Some(Provided::Unversioned) => relation.version.is_none(),
        None => false,
    }
}

/// The number of letters to insert, delete, replace, or swap with a neighbour, if it is at most `limit`.
fn distance_within(a: &str, b: &str, limit: usize) -> Option<usize> {
    if a.len().abs_diff(b.len()) > limit || a.len() < 3 || a.len() > 64 {
        return None;
    }
    let (a, b) = (a.as_bytes(), b.as_bytes());
    let mut before: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=b.len()).collect();
    for i in 1..=a.len() {
        let mut row = vec![i];
        for j in 1..=b.len() {
            let replaced = last[j - 1] + usize::from(a[i - 1] != b[j - 1]);
            let mut cost = replaced.min(last[j] + 1).min(row[j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                cost = cost.min(before[j - 2] + 1);
            }
            row.push(cost);
        }
        before = std::mem::replace(&mut last, row);
    }
    last.last().copied().filter(|distance| *distance <= limit)
}

#[cfg(test)]
mod tests;
