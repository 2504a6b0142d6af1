use super::{super::index::Entry, *};
use proptest::prelude::*;

#[derive(Debug, Default)]
struct Fake(Index);

impl Fake {
    fn module(mut self, name: &str, depends: &[&str], aliases: &[&str]) -> Self {
        let list = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        let entry = Entry { depends: list(depends), aliases: list(aliases), ..Entry::default() };
        self.0.modules.insert(name.to_owned(), entry);
        self
    }

    fn soft(mut self, name: &str, pre: &[&str], post: &[&str]) -> Self {
        let entry = self.0.modules.get_mut(name).unwrap();
        entry.pre = pre.iter().map(|name| (*name).to_owned()).collect();
        entry.post = post.iter().map(|name| (*name).to_owned()).collect();
        self
    }

    fn builtin(mut self, name: &str, alias: &str) -> Self {
        self.0.builtin.insert(name.to_owned());
        self.0.builtin_aliases.insert(alias.to_owned());
        self
    }

    fn plan(&self, wishes: &[(&str, Stage, When)]) -> Plan {
        let wanted: Vec<_> = wishes
            .iter()
            .map(|(name, stage, when)| Wanted {
                name: (*name).to_owned(),
                stage: *stage,
                when: *when,
                origin: Origin::Table,
            })
            .collect();
        resolve(&self.0, &wanted, |name| format!("/{name}.ko")).unwrap()
    }
}

fn names(modules: &[Module]) -> Vec<&str> {
    modules.iter().map(|module| module.name.as_str()).collect()
}

const ON_DEVICE: When = When::Device;

#[test]
fn dependencies_come_first_and_the_first_of_all_before_them() {
    let fake = Fake::default()
        .module("dm_mod", &[], &["devname:mapper/control", "char-major-10-236"])
        .module("dm_bufio", &["dm_mod"], &[])
        .module("dm_verity", &["dm_mod", "dm_bufio", "reed_solomon"], &[])
        .module("reed_solomon", &[], &[])
        .module("ramoops", &["reed_solomon"], &["of:N*T*Cramoops"]);
    let plan =
        fake.plan(&[("dm-verity", Stage::Early, When::Always), ("ramoops", Stage::Early, When::First)]);
    assert_eq!(names(&plan.early), ["reed_solomon", "ramoops", "dm_mod", "dm_bufio", "dm_verity"]);
    assert_eq!(plan.early[0].load, Load::Dependency);
    assert_eq!(plan.early[1].load, Load::First);
    assert_eq!(plan.early[4].load, Load::Always);
    assert_eq!(plan.early[4].needs, [0, 2, 3]);
    assert_eq!(plan.early[4].path, "/dm_verity.ko");
}

#[test]
fn a_device_module_waits_for_its_device_and_one_without_alias_does_not() {
    let fake = Fake::default().module("virtio_blk", &[], &["virtio:d00000002v*", "char-major-1"]).module(
        "overlay",
        &[],
        &["fs-overlay"],
    );
    let plan = fake.plan(&[("virtio_blk", Stage::Early, ON_DEVICE), ("overlay", Stage::Late, ON_DEVICE)]);
    assert_eq!(plan.early[0].load, Load::Alias(vec!["virtio:d00000002v*".into()]));
    assert_eq!(plan.late[0].load, Load::Always);
}

#[test]
fn what_is_built_in_or_absent_is_passed_over() {
    let fake = Fake::default()
        .module("virtio_net", &["net_failover", "virtio"], &["virtio:d00000001v*"])
        .module("net_failover", &[], &[])
        .builtin("virtio", "virtio");
    let wishes = [
        ("virtio", Stage::Late, ON_DEVICE),
        ("nothing", Stage::Late, ON_DEVICE),
        ("virtio_net", Stage::Late, ON_DEVICE),
    ];
    let plan = fake.plan(&wishes);
    assert_eq!(names(&plan.late), ["net_failover", "virtio_net"]);
}

#[test]
fn the_manifests_absent_module_is_an_error_with_names_like_it() {
    let fake = Fake::default().module("wireguard", &[], &[]).builtin("wire_core", "x");
    let wish = |name: &str| Wanted {
        name: name.to_owned(),
        stage: Stage::Late,
        when: When::Always,
        origin: Origin::Manifest,
    };
    let error = resolve(&fake.0, &[wish("wiregaurd")], str::to_owned).unwrap_err();
    assert_eq!(error.kind(), Kind::Usage);
    assert_eq!(error.hint_text(), Some("names like it: wireguard"));
    assert_eq!(resolve(&fake.0, &[wish("wire-core")], str::to_owned).unwrap(), Plan::default());
}

#[test]
fn a_missing_dependency_and_a_circle_are_errors_that_name_the_modules() {
    let wanted = |name: &str| {
        [Wanted { name: name.into(), stage: Stage::Late, when: When::Always, origin: Origin::Table }]
    };
    let fake = Fake::default().module("a", &["b"], &[]).module("c", &["d"], &[]).module("d", &["c"], &[]);
    let error = resolve(&fake.0, &wanted("a"), str::to_owned).unwrap_err();
    assert_eq!(error.to_string(), "module a needs b, which this kernel does not have");
    let error = resolve(&fake.0, &wanted("c"), str::to_owned).unwrap_err();
    assert_eq!(error.to_string(), "module c depends on itself by way of d");
}

#[test]
fn soft_dependencies_are_loaded_on_the_same_occasion_but_are_no_need() {
    let fake = Fake::default()
        .module("disk", &["lib"], &["pci:v1*"])
        .module("lib", &[], &[])
        .soft("lib", &["crc32c", "sha256"], &["extra"])
        .module("extra", &[], &[])
        .module("crc32c_generic", &[], &["crypto-crc32c", "crc32c"])
        .module("crc32c_intel", &[], &["crypto-crc32c", "crc32c"])
        .builtin("sha256_generic", "sha256");
    let plan = fake.plan(&[("disk", Stage::Early, ON_DEVICE)]);
    assert_eq!(names(&plan.early), ["crc32c_generic", "lib", "extra", "disk"]);
    for at in [0, 2, 3] {
        assert_eq!(plan.early[at].load, Load::Alias(vec!["pci:v1*".into()]));
    }
    assert_eq!(plan.early[3].needs, [1]);
    assert!(plan.early[2].needs.is_empty());
}

#[test]
fn a_soft_dependency_that_needs_its_module_comes_after_it() {
    let fake = Fake::default().module("a", &[], &[]).soft("a", &["b"], &[]).module("b", &["a"], &[]);
    let plan = fake.plan(&[("a", Stage::Late, When::Always)]);
    assert_eq!(names(&plan.late), ["a", "b"]);
    assert_eq!(plan.late[1].needs, [0]);
}

#[test]
fn the_late_list_repeats_only_what_the_early_one_may_not_have_loaded() {
    let fake = Fake::default()
        .module("sure", &[], &[])
        .module("dm", &["sure"], &[])
        .module("scsi", &[], &[])
        .module("hba", &["scsi"], &["pci:v1*"])
        .module("tape", &["scsi", "sure"], &["scsi:t1"]);
    let plan = fake.plan(&[
        ("dm", Stage::Early, When::Always),
        ("hba", Stage::Early, ON_DEVICE),
        ("tape", Stage::Late, ON_DEVICE),
        ("hba", Stage::Late, ON_DEVICE),
        ("sure", Stage::Late, When::Always),
    ]);
    assert_eq!(names(&plan.late), ["scsi", "tape"]);
    assert_eq!((plan.late[0].load.clone(), plan.late[1].needs.clone()), (Load::Dependency, vec![0]));
}

/// Modules with random hard dependencies (downwards, so there is no circle) and random soft ones.
fn any_kernel() -> impl Strategy<Value = (Fake, Vec<(usize, Stage, When)>)> {
    let size = 12_usize;
    let links = prop::collection::vec((0..size, 0..size, 0..4_u8), 0..40);
    let stage = prop_oneof![Just(Stage::Early), Just(Stage::Late)];
    let when = prop_oneof![Just(When::First), Just(When::Always), Just(When::Device)];
    let wishes = prop::collection::vec((0..size, stage, when), 1..6);
    (links, wishes).prop_map(move |(links, wishes)| {
        let mut fake = Fake::default();
        for at in 0..size {
            fake = fake.module(&format!("m{at}"), &[], &[&format!("bus:{at}")]);
        }
        for (a, b, kind) in links {
            let entry = fake.0.modules.get_mut(&format!("m{a}")).unwrap();
            match kind {
                0 | 1 if b < a => entry.depends.push(format!("m{b}")),
                2 => entry.pre.push(format!("m{b}")),
                3 => entry.post.push(format!("m{b}")),
                _ => {}
            }
        }
        (fake, wishes)
    })
}

/// What a stage must have: everything reachable from its wishes by any kind of dependency.
fn reachable(index: &Index, from: &[&str]) -> BTreeSet<String> {
    let mut seen: BTreeSet<String> = from.iter().map(|name| (*name).to_owned()).collect();
    let mut queue: Vec<String> = seen.iter().cloned().collect();
    while let Some(at) = queue.pop() {
        let entry = &index.modules[&at];
        for next in entry.depends.iter().chain(&entry.pre).chain(&entry.post) {
            if seen.insert(next.clone()) {
                queue.push(next.clone());
            }
        }
    }
    seen
}

proptest! {
    #[test]
    fn every_list_is_ordered_closed_and_no_larger_than_its_wishes((fake, wishes) in any_kernel()) {
        let names: Vec<String> = wishes.iter().map(|(at, ..)| format!("m{at}")).collect();
        let wishes: Vec<_> = wishes.iter().zip(&names).map(|((_, stage, when), name)| (name.as_str(), *stage, *when)).collect();
        let plan = fake.plan(&wishes);
        let of = |stage| wishes.iter().filter(|wish| wish.1 == stage).map(|wish| wish.0).collect::<Vec<_>>();
        let early: BTreeSet<_> = plan.early.iter().map(|module| module.name.clone()).collect();
        prop_assert_eq!(&early, &reachable(&fake.0, &of(Stage::Early)));
        let late: BTreeSet<_> = plan.late.iter().map(|module| module.name.clone()).collect();
        prop_assert!(late.is_subset(&reachable(&fake.0, &of(Stage::Late))));
        for (list, before) in [(&plan.early, BTreeSet::new()), (&plan.late, early)] {
            for (at, module) in list.iter().enumerate() {
                prop_assert!(module.needs.is_sorted());
                prop_assert!(module.needs.iter().all(|need| usize::from(*need) < at));
                let needs: BTreeSet<&str> = module.needs.iter().map(|need| list[usize::from(*need)].name.as_str()).collect();
                for dep in &fake.0.modules[&module.name].depends {
                    prop_assert!(needs.contains(dep.as_str()) || before.contains(dep), "{} lacks {dep}", module.name);
                }
            }
        }
        // A module that nothing needs is there for its own sake.
        for list in [&plan.early, &plan.late] {
            for (at, module) in list.iter().enumerate().filter(|(_, module)| module.load == Load::Dependency) {
                let needed = list.iter().any(|other| other.needs.iter().any(|need| usize::from(*need) == at));
                prop_assert!(needed, "{} is superfluous", module.name);
            }
        }
        prop_assert_eq!(fake.plan(&wishes), plan);
    }
}
