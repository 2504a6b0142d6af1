//! Which releases are measured, and what is expected of each pair.

use super::{
    goal::{Goal, Limit},
    recipe::{Files, Recipe},
};
use anyhow::{Result, ensure};
use coracle::debian::Pocket;

/// Steps from one kernel to another: next to each other and far apart.
const STEPS: [(u32, u32); 6] = [(116, 117), (117, 118), (115, 116), (107, 111), (94, 107), (90, 118)];

const KERNEL: Goal = Goal { must: Limit::OfGeneral(50), aim: &[Limit::OfGeneral(33), Limit::OfByHand(70)] };
const IMAGE: Goal = Goal { must: Limit::OfGeneral(50), aim: &[Limit::OfGeneral(33)] };
const GO: Goal = Goal { must: Limit::OfGeneral(80), aim: &[Limit::OfGeneral(50)] };
const SECURITY: Goal = Goal { must: Limit::OfByHand(100), aim: &[Limit::OfByHand(70)] };
const ONE_FILE: Goal = Goal { must: Limit::OfFile(105, 16_000), aim: &[] };
const NOTHING: Goal = Goal { must: Limit::Bytes(16_000), aim: &[Limit::Bytes(4_000)] };

const MAIN: &[Pocket] = &[Pocket::Main];
const SECURED: &[Pocket] = &[Pocket::Security];

/// Two releases.
#[derive(Clone, Debug)]
pub(super) struct Pair {
    /// Its name.
    pub(super) name: String,
    /// The release that runs.
    pub(super) old: Recipe,
    /// The one that it is updated to.
    pub(super) new: Recipe,
    /// What is expected.
    pub(super) goal: Goal,
}

/// All pairs.
pub(super) fn pairs() -> Vec<Pair> {
    let mut pairs = Vec::new();
    for (old, new) in STEPS {
        let (old, new) = (Recipe::Modules(old), Recipe::Modules(new));
        pairs.push(Pair { name: steps("kernel", &old, &new), old, new, goal: KERNEL });
    }
    for manifest in ["hello", "nginx"] {
        for (old, new) in STEPS {
            let [old, new] = [old, new].map(|kernel| Recipe::Shipped { manifest, kernel, number: 0 });
            pairs.push(Pair { name: steps(manifest, &old, &new), old, new, goal: IMAGE });
        }
    }
    pairs.extend(containers());
    let version = |number| Recipe::Shipped { manifest: "hello", kernel: 117, number };
    pairs.push(Pair { name: "version".to_owned(), old: version(0), new: version(1), goal: NOTHING });
    pairs
}

fn steps(kind: &str, old: &Recipe, new: &Recipe) -> String {
    format!("{kind}-{}-{}", old.kernel(), new.kernel())
}

/// Pairs whose kernel stays and whose container changes.
fn containers() -> Vec<Pair> {
    let go = &["containerd", "runc"];
    let of = |suite, pockets, packages| Files { suite, pockets, packages, only: None };
    // Of the packages that are one program, what the mirror has two versions of.
    let ldconfig =
        |pockets| Files { only: Some("usr/sbin/ldconfig"), ..of("bookworm", pockets, &["libc-bin"]) };
    let pairs = [
        ("go-bookworm-trixie", of("bookworm", MAIN, go), of("trixie", MAIN, go), GO),
        ("go-trixie-forky", of("trixie", MAIN, go), of("forky", MAIN, go), GO),
        (
            "security-openssl",
            of("trixie", SECURED, &["openssl", "libssl3t64"]),
            of("trixie", MAIN, &["openssl", "libssl3t64"]),
            SECURITY,
        ),
        ("security-nginx", of("trixie", MAIN, &["nginx"]), of("trixie", SECURED, &["nginx"]), SECURITY),
        (
            "security-redis",
            of("bookworm", MAIN, &["redis-tools"]),
            of("bookworm", SECURED, &["redis-tools"]),
            SECURITY,
        ),
        ("security-crun", of("bookworm", MAIN, &["crun"]), of("trixie", MAIN, &["crun"]), SECURITY),
        ("security-runc", of("trixie", MAIN, &["runc"]), of("trixie", SECURED, &["runc"]), SECURITY),
        ("static", ldconfig(SECURED), ldconfig(MAIN), ONE_FILE),
    ];
    let pair = |(name, old, new, goal): (&str, Files, Files, Goal)| {
        let recipe =
            |side, files, number| Recipe::Container { name: format!("{name}-{side}"), files, number };
        Pair { name: name.to_owned(), old: recipe("old", old, 0), new: recipe("new", new, 1), goal }
    };
    pairs.into_iter().map(pair).collect()
}

/// The pairs with these names or of these kinds; all of them if none are named.
pub(super) fn chosen(names: &[String]) -> Result<Vec<Pair>> {
    let is = |pair: &Pair, name: &str| pair.name == name || pair.name.starts_with(&format!("{name}-"));
    let all = pairs();
    for name in names {
        ensure!(
            all.iter().any(|pair| is(pair, name)),
            "there is no pair {name:?}; --list says which there are"
        );
    }
    let wanted = |pair: &Pair| names.is_empty() || names.iter().any(|name| is(pair, name));
    Ok(all.into_iter().filter(wanted).collect())
}
