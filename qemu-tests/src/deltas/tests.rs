use super::{
    byhand::{Change, changes, place},
    contents::{Files, memory},
    goal::{Goal, Limit, Reached, Sizes},
    measure::Figures,
    modules::without_users,
    ours::{self, Ours},
    plan,
    recipe::shipped,
    report::{Row, Summary, size},
};
use coracle::kernel::{image::payload, modinfo::Modinfo};
use std::collections::BTreeSet;

fn files(entries: &[(&str, &str)]) -> Files {
    entries.iter().map(|(path, bytes)| ((*path).to_owned(), bytes.as_bytes().to_vec())).collect()
}

type Told = (&'static str, Option<&'static [u8]>, &'static [u8]);

#[test]
fn files_find_their_partner_by_path_modules_without_release_and_across_parts() {
    let old = files(&[
        ("root/usr/lib/modules/6.12.1/a/x.ko", "x1"),
        ("memory/usr/bin/moved", "m1"),
        ("root/gone", "g"),
        ("root/same", "s"),
        ("root/empty", ""),
    ]);
    let new = files(&[
        ("root/usr/lib/modules/6.12.2/a/x.ko", "x2"),
        ("root/usr/bin/moved", "m2"),
        ("root/same", "s"),
        ("root/other-name", "g"),
        ("root/alone", "12345"),
        ("root/empty", "full"),
    ]);
    let found: BTreeSet<_> =
        changes(&old, &new).into_iter().map(|Change { path, old, new }| (path, old, new)).collect();
    let expected: [Told; 4] = [
        ("root/usr/lib/modules/6.12.2/a/x.ko", Some(b"x1"), b"x2"),
        ("root/usr/bin/moved", Some(b"m1"), b"m2"),
        ("root/alone", None, b"12345"),
        ("root/empty", None, b"full"),
    ];
    assert_eq!(found, expected.into());
}

#[test]
fn an_equal_change_counts_once_and_the_largest_comes_first() {
    let old = files(&[("root/a", "1"), ("root/b", "1"), ("root/c", "1")]);
    let new = files(&[("root/a", "2"), ("root/b", "2"), ("root/c", "333")]);
    let paths: Vec<_> = changes(&old, &new).iter().map(|change| change.path).collect();
    assert_eq!(paths, ["root/c", "root/a"]);
}

#[test]
fn only_the_release_leaves_a_module_path() {
    assert_eq!(place("root/usr/lib/modules/6.12.1/kernel/x.ko"), "root/usr/lib/modules/kernel/x.ko");
    assert_eq!(place("root/usr/lib/modules/x.ko"), "root/usr/lib/modules/x.ko");
    assert_eq!(place("root/usr/lib/x"), "root/usr/lib/x");
}

const SIZES: Sizes = Sizes {
    full: 20_000_000,
    xdelta3: 9_000_000,
    zstd: 6_000_000,
    casync: 26_000_000,
    by_hand: 3_000_000,
    file: None,
};
const KERNEL: Goal = Goal { must: Limit::OfGeneral(50), aim: &[Limit::OfGeneral(33), Limit::OfByHand(70)] };

#[test]
fn the_best_general_tool_is_the_one_that_needs_least() {
    assert_eq!(SIZES.general(), 6_000_000);
    assert_eq!(Sizes { casync: 1, ..SIZES }.general(), 1);
    assert_eq!(Sizes { xdelta3: 2, ..SIZES }.general(), 2);
}

#[test]
fn what_must_be_is_told_from_what_is_wanted_and_limits_belong_to_them() {
    assert_eq!(KERNEL.judge(3_000_001, &SIZES), Reached::Missed);
    assert_eq!(KERNEL.judge(3_000_000, &SIZES), Reached::Must);
    // A third of B1, but more than 0.7 of B2.
    assert_eq!(KERNEL.judge(1_980_000, &Sizes { by_hand: 2_000_000, ..SIZES }), Reached::Must);
    assert_eq!(KERNEL.judge(1_980_000, &SIZES), Reached::Aim);
    let file = Goal { must: Limit::OfFile(105, 16_000), aim: &[] };
    let sizes = Sizes { file: Some(100_000), ..SIZES };
    assert_eq!(file.judge(121_000, &sizes), Reached::Must);
    assert_eq!(file.judge(121_001, &sizes), Reached::Missed);
    assert_eq!(file.judge(1, &SIZES), Reached::Missed, "the file was not measured");
}

fn row(name: &str, ours: Option<u64>) -> Row {
    let ours = ours.map(|bytes| Ours { bytes, full: 1, ms: 12_345, peak: 456_000_000 });
    Row { name: name.to_owned(), goal: KERNEL, figures: Ok(Figures { sizes: SIZES, changed: 2, ours }) }
}

#[test]
fn the_table_has_our_columns_only_when_there_is_something_in_them() {
    let without = Summary::new(vec![row("kernel-1-2", None)]);
    assert_eq!(
        without.table(),
        "| pair       |    full | xdelta3 |    zstd |  casync |      B1 |      B2 |\n\
         | ---------- | ------: | ------: | ------: | ------: | ------: | ------: |\n\
         | kernel-1-2 | 20.0 MB | 9.00 MB | 6.00 MB | 26.0 MB | 6.00 MB | 3.00 MB |\n"
    );
    let with = Summary::new(vec![row("kernel-1-2", Some(1_500_001))]).table();
    let last = with.lines().last().unwrap();
    assert_eq!(
        last,
        "| kernel-1-2 | 20.0 MB | 9.00 MB | 6.00 MB | 26.0 MB | 6.00 MB | 3.00 MB | 1.50 MB |  0.26 |  0.51 |    13 s | \
         456 MB | ≤ 0.50 B1 | ≤ 0.33 B1, ≤ 0.70 B2 | aim too |"
    );
}

#[test]
fn a_missed_must_and_a_pair_that_was_not_measured_are_failures() {
    assert!(Summary::new(vec![row("a", None), row("b", Some(3_000_000))]).is_good());
    assert!(!Summary::new(vec![row("a", None), row("b", Some(3_000_001))]).is_good());
    let broken = Row { figures: Err("no kernel".to_owned()), ..row("c", None) };
    assert_eq!(broken.json()["error"], "no kernel");
    let summary = Summary::new(vec![broken]);
    assert!(!summary.is_good());
    assert!(summary.table().contains("c was not measured: no kernel"), "{}", summary.table());
}

#[test]
fn an_object_has_the_figures_and_the_verdict() {
    let object = row("a", Some(1_900_000)).json();
    assert_eq!(object["b1"], 6_000_000);
    assert_eq!(object["ours"]["peak_bytes"], 456_000_000);
    assert_eq!([&object["met"], &object["aim_met"]], [true, true]);
    assert!(row("a", None).json()["met"].is_null());
}

#[test]
fn what_was_told_is_shown_again_as_it_was() {
    let pairs = plan::pairs();
    let file = Sizes { file: Some(70_000), ..SIZES };
    let figures = Figures { sizes: file, ..row("version", Some(1900)).figures.unwrap() };
    let rows = [
        Row { figures: Ok(figures), ..row("version", None) },
        row("kernel-116-117", None),
        Row { figures: Err("no kernel".to_owned()), ..row("static", None) },
    ];
    for row in &rows {
        let again = Row::told(&pairs, &row.json()).unwrap();
        assert_eq!(format!("{:?}", again.figures), format!("{:?}", row.figures));
        assert_eq!(again.goal, pairs.iter().find(|pair| pair.name == row.name).unwrap().goal);
    }
    let told = |object: serde_json::Value| format!("{:#}", Row::told(&pairs, &object).unwrap_err());
    assert_eq!(told(serde_json::json!({ "full": 1 })), "it names no pair");
    assert_eq!(told(serde_json::json!({ "pair": "none" })), "there is no pair \"none\"");
    assert_eq!(told(serde_json::json!({ "pair": "version" })), "figures of version are missing");
}

#[test]
fn the_picture_has_a_bar_for_every_size() {
    let svg = Summary::new(vec![row("a", None), row("b", Some(1))]).picture();
    // The ground, the legend, and three and four bars.
    assert_eq!(svg.matches("<rect").count(), 1 + 4 + 3 + 4);
    assert!(svg.ends_with("</svg>\n"));
}

#[test]
fn sizes_have_three_digits() {
    let sizes = [0, 999, 1_000, 12_345, 123_456, 1_234_567, 12_345_678, 123_456_789].map(size);
    assert_eq!(sizes, ["0 B", "999 B", "1.00 KB", "12.3 KB", "123 KB", "1.23 MB", "12.3 MB", "123 MB"]);
}

#[test]
fn what_coracle_says_is_its_last_line() {
    let text = "{\"event\":\"step\"}\n{\"delta_bytes\":5,\"full_bytes\":9}\n";
    assert_eq!(ours::read(text).unwrap(), (5, 9));
    for bad in ["", "made it\n", "{\"delta_bytes\":5}\n"] {
        ours::read(bad).unwrap_err();
    }
    assert_eq!(ours::peak_of("VmPeak:\t 9 kB\nVmHWM:\t    12 kB\n"), Some(12 * 1024));
    assert_eq!(ours::peak_of("Name:\tx\n"), None);
}

#[test]
fn modules_without_users_bring_all_others() {
    let module = |name: &str, depends: &[&str]| Modinfo {
        name: name.to_owned(),
        depends: depends.iter().map(|name| (*name).to_owned()).collect(),
        ..Modinfo::default()
    };
    let modules = [module("c", &["b"]), module("b", &["a"]), module("a", &[]), module("alone", &[])];
    assert_eq!(without_users(&modules), ["alone", "c"]);
}

#[test]
fn a_kernel_that_is_none_has_no_payload() {
    let mut linux = vec![0; 4096];
    linux[0x202..0x206].copy_from_slice(b"HdrS");
    linux[0x1f1] = 3;
    linux[0x248..0x24c].copy_from_slice(&16_u32.to_le_bytes());
    linux[0x24c..0x250].copy_from_slice(&104_u32.to_le_bytes());
    assert_eq!(payload(&linux), Some(2064..2164));
    linux[0x24c..0x250].copy_from_slice(&9_999_u32.to_le_bytes());
    assert_eq!(payload(&linux), None);
    assert_eq!(payload(b"no kernel"), None);
}

#[test]
fn archives_one_behind_the_other_are_all_read() {
    let archive = |name: &str, text: &str| {
        let mut tree = coracle::tree::Tree::new();
        tree.file(name, 0o644, text).unwrap();
        let mut out = Vec::new();
        coracle::image::cpio::write(&tree, 0, &mut out).unwrap();
        out
    };
    let mut both = archive("etc/a", "first");
    both.extend([0; 8]);
    both.extend(archive("b", "second"));
    let mut found = Files::new();
    memory(&both, &mut found).unwrap();
    assert_eq!(found, files(&[("memory/b", "second"), ("memory/etc/a", "first")]));
    assert!(memory(b"no archive", &mut found).is_err());
}

#[test]
fn pairs_are_chosen_by_name_or_kind() {
    let all = plan::pairs();
    let names: BTreeSet<_> = all.iter().map(|pair| &pair.name).collect();
    assert_eq!(names.len(), all.len(), "every name is there once");
    let kinds: BTreeSet<_> =
        all.iter().filter_map(|pair| pair.name.split_once('-')).map(|(kind, _)| kind).collect();
    assert!(all.iter().all(|pair| !kinds.contains(pair.name.as_str())), "no pair is called as a kind is");
    assert_eq!(plan::chosen(&[]).unwrap().len(), all.len());
    let chosen = |name: &str| plan::chosen(&[name.to_owned()]);
    assert_eq!(chosen("kernel-116-117").unwrap().len(), 1);
    assert!(chosen("kernel").unwrap().len() >= 6);
    assert!(chosen("kern").unwrap_err().to_string().contains("--list"));
}

#[test]
fn shipped_manifests_take_another_kernel_and_version() {
    for name in ["hello", "nginx"] {
        let text = shipped(name, 116, 3).unwrap();
        assert!(text.contains("version = \"1.116.3\"") && text.contains("6.12.116+deb13"), "{text}");
    }
}
