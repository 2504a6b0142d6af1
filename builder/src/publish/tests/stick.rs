//! What is on a stick.

use super::*;
use coracle_format::{
    gpt::{ENTRIES_BYTES, Geometry, Place, Table},
    layout::STICK_TYPE,
};

/// Files of an archive: name, where the contents begin, contents.
fn members(archive: &[u8]) -> Vec<(String, usize, Vec<u8>)> {
    let mut out = Vec::new();
    let mut at = 0;
    loop {
        let field = |number: usize| {
            let text = str::from_utf8(&archive[at + 6 + number * 8..][..8]).unwrap();
            usize::from_str_radix(text, 16).unwrap()
        };
        assert_eq!(&archive[at..at + 6], b"070701");
        let (bytes, name) = (field(6), field(11));
        let begins = (at + 110 + name).next_multiple_of(4);
        let name = String::from_utf8(archive[at + 110..at + 110 + name - 1].to_vec()).unwrap();
        if name == "TRAILER!!!" {
            return out;
        }
        out.push((name, begins, archive[begins..begins + bytes].to_vec()));
        at = (begins + bytes).next_multiple_of(4);
    }
}

fn archive(image: &[u8]) -> &[u8] {
    let bytes = u64::try_from(image.len()).unwrap();
    let geometry = Geometry::of_bytes(512, bytes);
    for place in [Place::Primary, Place::Backup] {
        let block = |lba: u64| usize::try_from(lba * 512).unwrap();
        let header = &image[block(geometry.header_lba(place))..][..512];
        let entries = &image[block(geometry.entries_lba(place))..][..ENTRIES_BYTES];
        Table::parse(geometry, place, header, entries).unwrap();
    }
    let header = &image[512..1024];
    let table = Table::parse(geometry, Place::Primary, header, &image[1024..][..ENTRIES_BYTES]).unwrap();
    let [partition] = &table.partitions[..] else { panic!("{table:?}") };
    assert_eq!((partition.kind, partition.label()), (STICK_TYPE, "coracle-channel".to_owned()));
    let (at, length) = table.byte_range(partition);
    &image[usize::try_from(at).unwrap()..][..usize::try_from(length).unwrap()]
}

#[test]
fn a_stick_has_what_a_channel_needs_and_bundles_begin_on_whole_blocks() {
    let yard = Yard::open();
    let stick = yard.dir.path().join("stick.img");
    yard.publish(&yard.request("1.0.0")).unwrap();
    yard.publish(&yard.request("2.0.0")).unwrap();
    promote(&yard.ctx, yard.place(), ("stable", "late", &Which::default()), (&Waves::Unsaid, NOW)).unwrap();
    let third =
        Request { minimum: Some(version("2.0.0")), usb: Some(stick.clone()), ..yard.request("3.0.0") };
    yard.publish(&third).unwrap();
    let image = fs::read(&stick).unwrap();
    let members = members(archive(&image));
    let files = yard.files();
    let mut bundles = Vec::new();
    for (name, begins, bytes) in members.iter().filter(|(name, _, _)| name != ".padding") {
        assert!(files.get(name) == Some(bytes), "{name}");
        if name.ends_with(".bundle") {
            assert!(begins.is_multiple_of(4096), "{name} begins at {begins}");
            bundles.push(name.rsplit_once('-').unwrap().1);
        }
    }
    // The newest, the step on the way to it, and no more.
    assert_eq!(bundles, ["2.0.0.bundle", "3.0.0.bundle"]);
    assert_eq!(members[0].0, "metadata/1.root.json");
    assert!(members.iter().any(|(name, _, _)| name == "metadata/timestamp.json"));
    assert!(!members.iter().any(|(name, _, _)| name.starts_with("targets/late/")));
    // The same again is the same.
    publish(&yard.ctx, yard.place(), &Request { bundles: Vec::new(), ..third }, NOW).unwrap();
    assert!(fs::read(&stick).unwrap() == image);
}

#[test]
fn a_machine_believes_a_stick_as_it_believes_the_repository() {
    let yard = Yard::open();
    let stick = yard.dir.path().join("stick.img");
    yard.publish(&Request { usb: Some(stick.clone()), ..yard.request("1.0.0") }).unwrap();
    let copy = Repository::new(yard.dir.path().join("copy"));
    for (name, _, bytes) in members(archive(&fs::read(&stick).unwrap())) {
        crate::files::replace(&copy.dir().join(name), &bytes).unwrap();
    }
    let checked = check(&yard.ctx, &copy, None, NOW).unwrap();
    assert_eq!((checked.releases, checked.rollouts.len()), (1, 1));
}

#[test]
fn a_damaged_repository_gives_no_stick() {
    let yard = Yard::open();
    yard.publish(&yard.request("1.0.0")).unwrap();
    let name = yard.files().into_keys().find(|name| name.ends_with(".bundle")).unwrap();
    let path = yard.repository.dir().join(name);
    let mut bytes = fs::read(&path).unwrap();
    bytes[70_000] ^= 1;
    crate::files::replace(&path, &bytes).unwrap();
    let stick = yard.dir.path().join("stick.img");
    assert_eq!(write_stick(&yard.ctx, &yard.repository, "stable", &stick).unwrap_err().kind(), Kind::Digest);
    assert!(!stick.exists());
}
