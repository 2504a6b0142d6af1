//! Which modules an image gets, and in which order they are loaded.
//!
//! Pure: from the index and the wishes to two flat lists. Every list holds exactly what its wishes need (dependencies
//! by symbols, and soft dependencies that the kernel has), each module after all it needs. A soft dependency is loaded
//! on the same occasion as its module, before or after it, but its failure is nobody's: it is not among the `needs`.

use super::{
    hardware::{Stage, When},
    index::Index,
    modinfo::canonical,
};
use crate::error::{Error, Kind, Result};
use coracle_format::device::{Load, Module};
use std::collections::{BTreeMap, BTreeSet};

/// Who wants a module.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Origin {
    /// The hardware table: what a kernel does not have is passed over.
    Table,
    /// The manifest: what a kernel does not have is an error.
    Manifest,
}

/// One wish.
#[derive(Clone, Debug)]
pub(super) struct Wanted {
    pub(super) name: String,
    pub(super) stage: Stage,
    pub(super) when: When,
    pub(super) origin: Origin,
}

/// The two lists.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Plan {
    pub(super) early: Vec<Module>,
    pub(super) late: Vec<Module>,
}

/// A module that is loaded for its own sake.
#[derive(Clone, Debug)]
struct Root {
    name: String,
    load: Load,
}

/// Resolves wishes. `file` gives a module's path on the device.
pub(super) fn resolve(index: &Index, wanted: &[Wanted], file: impl Fn(&str) -> String) -> Result<Plan> {
    let graph = Graph { index };
    let early = graph.roots(wanted, Stage::Early)?;
    let mut sure = BTreeSet::new();
    for root in early.iter().filter(|root| rank(&root.load) >= rank(&Load::Always)) {
        sure.extend(graph.closure(&root.name)?);
    }
    let mut late = graph.roots(wanted, Stage::Late)?;
    // What the early stage has loaded, or loads on the same occasion, is not wanted again.
    late.retain(|root| {
        let same = |other: &Root| other.name == root.name && rank(&other.load) >= rank(&root.load);
        !sure.contains(&root.name) && !early.iter().any(same)
    });
    Ok(Plan { early: graph.list(&early, &BTreeSet::new(), &file)?, late: graph.list(&late, &sure, &file)? })
}

/// How certainly a module is loaded.
fn rank(load: &Load) -> u8 {
    match load {
        Load::Dependency => 0,
        Load::Alias(_) => 1,
        Load::Always => 2,
        Load::First => 3,
    }
}

/// A load that happens whenever `a` or `b` does.
fn either(a: Load, b: Load) -> Load {
    match (a, b) {
        (Load::Alias(mut a), Load::Alias(b)) => {
            for pattern in b {
                if !a.contains(&pattern) {
                    a.push(pattern);
                }
            }
            Load::Alias(a)
        }
        (a, b) if rank(&a) >= rank(&b) => a,
        (_, b) => b,
    }
}

struct Graph<'a> {
    index: &'a Index,
}

impl<'a> Graph<'a> {
    /// The wishes of a stage that the kernel has as modules, with their soft dependencies, in order of loading.
    fn roots(&self, wanted: &[Wanted], stage: Stage) -> Result<Vec<Root>> {
        let mut roots: Vec<Root> = Vec::new();
        for wish in wanted.iter().filter(|wish| wish.stage == stage) {
            let name = canonical(&wish.name);
            if let Some(entry) = self.index.modules.get(&name) {
                let load = wish.when.load(&device_aliases(&entry.aliases));
                add(&mut roots, Root { name, load });
            } else if wish.origin == Origin::Manifest && !self.index.builtin.contains(&name) {
                return Err(self.absent(&name));
            }
        }
        let mut at = 0;
        while let Some(root) = roots.get(at).cloned() {
            let closure = self.closure(&root.name)?;
            for name in self.soft(&closure) {
                // Wider than before: what it brings along must hear of it.
                if !closure.contains(name)
                    && add(&mut roots, Root { name: name.to_owned(), load: root.load.clone() })
                {
                    at = 0;
                }
            }
            at += 1;
        }
        roots.sort_by_key(|root| std::cmp::Reverse(u8::from(root.load == Load::First)));
        Ok(roots)
    }

    /// Soft dependencies of these modules that are modules here.
    fn soft(&self, modules: &BTreeSet<String>) -> BTreeSet<&'a str> {
        let entries = modules.iter().filter_map(|name| self.index.modules.get(name));
        let names = entries.flat_map(|entry| entry.pre.iter().chain(&entry.post));
        names.filter_map(|name| self.by_alias(name)).collect()
    }

    /// The module that a soft dependency means: by name, or by an alias such as `sha256` or `crypto-crc32c`. None if
    /// it is built in or not there. The portable one of several.
    fn by_alias(&self, name: &str) -> Option<&'a str> {
        if self.index.builtin.contains(name) {
            return None;
        }
        if let Some((name, _)) = self.index.modules.get_key_value(name) {
            return Some(name);
        }
        let means = |alias: &String| canonical(alias) == name;
        if self.index.builtin_aliases.iter().any(means) {
            return None;
        }
        let providers = self.index.modules.iter().filter(|(_, entry)| entry.aliases.iter().any(means));
        let names = providers.map(|(name, _)| name.as_str());
        names.min_by_key(|name| (!name.ends_with("_generic"), *name))
    }

    /// `name` and everything it takes symbols from, as far as that is not built in.
    fn closure(&self, name: &str) -> Result<BTreeSet<String>> {
        let mut closure = BTreeSet::from([name.to_owned()]);
        let mut queue = vec![name];
        while let Some(at) = queue.pop() {
            let Some(entry) = self.index.modules.get(at) else {
                let message = format!("module {name} needs {at}, which this kernel does not have");
                return Err(Error::new(Kind::NotFound, message)
                    .hint("the kernel's modules are incomplete: give all of its module directory"));
            };
            for dep in entry.depends.iter().filter(|dep| !self.index.builtin.contains(*dep)) {
                if dep == name {
                    let message = format!("module {name} depends on itself by way of {at}");
                    return Err(Error::new(Kind::Hostile, message));
                }
                if closure.insert(dep.clone()) {
                    queue.push(dep);
                }
            }
        }
        Ok(closure)
    }

    /// The flat list of these roots without what is loaded already.
    fn list(
        &self,
        roots: &[Root],
        loaded: &BTreeSet<String>,
        file: impl Fn(&str) -> String,
    ) -> Result<Vec<Module>> {
        let mut closures = BTreeMap::new();
        for root in roots {
            for name in self.closure(&root.name)?.difference(loaded) {
                let closure = self.closure(name)?;
                closures.insert(name.clone(), &closure - loaded);
            }
        }
        let mut order = Order {
            graph: self,
            closures: &closures,
            begun: BTreeSet::new(),
            open: BTreeSet::new(),
            done: Vec::new(),
        };
        for root in roots {
            order.visit(&root.name);
        }
        let names = order.done;
        let positions: BTreeMap<&str, usize> =
            names.iter().enumerate().map(|(at, name)| (name.as_str(), at)).collect();
        let too_many = || Error::new(Kind::TooLarge, "more modules than a device configuration can name");
        let module = |name: &String| {
            let needs = closures.get(name).into_iter().flatten().filter(|need| *need != name);
            let mut needs = needs
                .filter_map(|need| positions.get(need.as_str()))
                .map(|at| u16::try_from(*at).ok().ok_or_else(too_many))
                .collect::<Result<Vec<_>>>()?;
            needs.sort_unstable();
            let load = roots.iter().find(|root| root.name == *name).map(|root| root.load.clone());
            Ok(Module {
                name: name.clone(),
                path: file(name),
                params: String::new(),
                load: load.unwrap_or(Load::Dependency),
                needs,
            })
        };
        names.iter().map(module).collect()
    }

    fn absent(&self, name: &str) -> Error {
        let message = format!("kernel {} has no module {name}", self.index.release);
        let known = self.index.modules.keys().chain(&self.index.builtin);
        let shared = |known: &str| known.bytes().zip(name.bytes()).take_while(|(a, b)| a == b).count();
        let mut close: Vec<(usize, &str)> = known
            .map(|known| (shared(known), known.as_str()))
            .filter(|(shared, known)| *shared >= 3 && *shared * 2 >= name.len() || known.contains(name))
            .collect();
        close.sort_by(|a, b| b.0.cmp(&a.0).then(a.1.cmp(b.1)));
        let names: Vec<&str> = close.iter().take(5).map(|(_, name)| *name).collect();
        let error = Error::new(Kind::Usage, message);
        match names[..] {
            [] => error.hint("modules are named as lsmod names them"),
            [..] => error.hint(format!("names like it: {}", names.join(", "))),
        }
    }
}

/// Adds a root, or widens the one there is; whether that changed anything.
fn add(roots: &mut Vec<Root>, root: Root) -> bool {
    let Some(old) = roots.iter_mut().find(|old| old.name == root.name) else {
        roots.push(root);
        return true;
    };
    let load = either(old.load.clone(), root.load);
    let changed = load != old.load;
    old.load = load;
    changed
}

/// Aliases that a device's modalias can match: `pci:…`, not `char-major-10-236`, `fs-overlay` or `devname:…`.
fn device_aliases(aliases: &[String]) -> Vec<String> {
    let mut found: Vec<String> = aliases
        .iter()
        .filter(|alias| alias.contains(':') && !alias.starts_with("devname:"))
        .cloned()
        .collect();
    found.sort_unstable();
    found.dedup();
    found
}

/// A depth-first walk that emits modules in load order.
struct Order<'a> {
    graph: &'a Graph<'a>,
    /// Everything that is to be listed, with what it needs.
    closures: &'a BTreeMap<String, BTreeSet<String>>,
    begun: BTreeSet<String>,
    /// Begun and not done.
    open: BTreeSet<String>,
    done: Vec<String>,
}

impl Order<'_> {
    fn visit(&mut self, name: &str) {
        if !self.closures.contains_key(name) || !self.begun.insert(name.to_owned()) {
            return;
        }
        let Some(entry) = self.graph.index.modules.get(name) else {
            return;
        };
        self.open.insert(name.to_owned());
        self.visit_soft(&entry.pre);
        for dep in &entry.depends {
            self.visit(dep);
        }
        self.open.remove(name);
        self.done.push(name.to_owned());
        self.visit_soft(&entry.post);
    }

    /// Visits soft dependencies, but none that waits for a module under way: symbols come before wishes, and it has
    /// its own turn as a root.
    fn visit_soft(&mut self, names: &[String]) {
        for name in names.iter().filter_map(|name| self.graph.by_alias(name)) {
            let waits = self.closures.get(name).is_none_or(|closure| !closure.is_disjoint(&self.open));
            if !waits {
                self.visit(name);
            }
        }
    }
}

#[cfg(test)]
mod tests;
