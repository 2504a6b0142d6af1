use super::*;
use crate::{
    cache::Cache,
    debian::{
        Package, Request,
        fixture::{DAY, Files, KEY_MADE, Key, deb, member, tar, xz},
        package::fetch_all,
        unpack::unpack_all,
        vendor::{vendor_indexes, vendor_packages},
    },
    fetch::server::{Reply, Server},
    report::Report,
    tree::TreePath,
};
use std::sync::{Arc, Mutex};

const MADE: u32 = KEY_MADE + DAY;

/// A cache, a key, and a mirror on the loopback interface whose files can change.
struct Setting {
    ctx: Context,
    dir: tempfile::TempDir,
    key: Key,
    files: Arc<Mutex<Files>>,
    server: Server,
}

impl Setting {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let cache = Cache::open(dir.path().join("cache")).unwrap();
        let key = Key::new();
        std::io::Write::write_all(&mut File::create(dir.path().join("keys.gpg")).unwrap(), &key.public())
            .unwrap();
        let files = Arc::new(Mutex::new(usual().sign(&key, MADE)));
        let shelf = Arc::clone(&files);
        let server = Server::start(move |asked| {
            let path = asked.path.trim_start_matches('/');
            match shelf.lock().unwrap().0.get(path) {
                Some(bytes) => Reply::range(bytes, asked.from),
                None => Reply::status(404, b"none"),
            }
        });
        Self { ctx: Context::new(cache, Report::silent()), dir, key, files, server }
    }

    fn serve(&self, files: Files) {
        *self.files.lock().unwrap() = files;
    }

    fn options(&self) -> ArchiveOptions {
        let base = Base::parse(&self.server.url("")).unwrap();
        let mirrors = Mirrors { main: base.clone(), security: base };
        ArchiveOptions {
            keyring: Some(self.dir.path().join("keys.gpg")),
            ..ArchiveOptions::new(mirrors, "trixie")
        }
    }

    fn open(&self) -> Result<Archive> {
        Archive::open(&self.ctx, &self.options())
    }

    fn resolve(&self, archive: &Archive) -> Vec<Package> {
        let index = archive.index(&self.ctx, "amd64").unwrap();
        index.resolve(&Request::closure_of(["app"])).unwrap()
    }
}

/// `app` needs `lib`, which security replaces.
fn usual() -> Files {
    let data = |path: &str, text: &[u8]| deb("data.tar", &tar(&[member(path, b'0', "", text)]));
    let mut files = Files::default();
    let app = data("./usr/bin/app", b"app");
    files.package(Pocket::Main, "app", "Depends: lib (>= 1)\n", &app);
    files.package(Pocket::Main, "lib", "", &data("./lib/lib.so", b"old"));
    files.package(Pocket::Security, "lib", "Version: 9\n", &data("./lib/lib.so", b"new"));
    files
}

#[test]
fn from_signature_to_tree_over_all_pockets() {
    let setting = Setting::new();
    let archive = setting.open().unwrap();
    let releases: Vec<_> = archive.releases().collect();
    assert_eq!(releases.len(), 3);
    assert_eq!(releases[2].dist, "trixie-security");
    assert!(releases.iter().all(|release| release.date == u64::from(MADE)));
    let packages = setting.resolve(&archive);
    fetch_all(&setting.ctx, archive.mirrors(), &packages).unwrap();
    let tree = unpack_all(&setting.ctx, &packages).unwrap();
    assert!(tree.get(&TreePath::new("usr/bin/app").unwrap()).is_some());
    assert!(tree.get(&TreePath::new("usr/lib/lib.so").unwrap()).is_some());
    assert!(tree.get(&TreePath::new("lib").unwrap()).is_none());
}

#[test]
fn a_signature_by_another_key_is_refused() {
    let setting = Setting::new();
    setting.serve(usual().sign(&Key::new(), MADE));
    let error = setting.open().unwrap_err();
    assert_eq!(error.kind(), Kind::Signature);
    assert!(error.to_string().contains("cannot use trixie of the mirror http://"));
    let mut options = setting.options();
    options.keyring = None;
    let error = Archive::open(&setting.ctx, &options).unwrap_err();
    assert_eq!(error.kind(), Kind::Signature);
}

#[test]
fn a_release_of_another_suite_is_refused() {
    let setting = Setting::new();
    let mut files = usual().sign(&setting.key, MADE);
    let other = files.0["dists/trixie-updates/InRelease"].clone();
    files.0.insert("dists/trixie/InRelease".to_owned(), other);
    setting.serve(files);
    let error = setting.open().unwrap_err();
    assert_eq!(error.kind(), Kind::Signature);
    assert!(error.render().contains("answers with suite"));
}

#[test]
fn an_older_release_than_seen_before_gives_way_to_the_one_that_is_kept() {
    let setting = Setting::new();
    setting.serve(usual().sign(&setting.key, MADE + DAY));
    let newer: Vec<SignedRelease> = setting.open().unwrap().releases().cloned().collect();
    setting.serve(usual().sign(&setting.key, MADE));
    let archive = setting.open().unwrap();
    assert!(archive.releases().eq(&newer));
    archive.index(&setting.ctx, "amd64").unwrap();
    // The mirror's own is taken where dates are ignored, and that is not remembered.
    let mut options = setting.options();
    options.freshness = Freshness::Ignored;
    assert!(
        Archive::open(&setting.ctx, &options).unwrap().releases().all(|older| older.date < newer[0].date)
    );
    assert!(setting.open().unwrap().releases().eq(&newer));
    // Nothing is there to use instead.
    for SignedRelease { sha256, .. } in &newer {
        std::fs::remove_file(setting.ctx.cache.object(sha256).unwrap()).unwrap();
    }
    let error = setting.open().unwrap_err();
    assert_eq!(error.kind(), Kind::Stale);
    assert!(error.render().contains("older than what this mirror has served before"));
}

#[test]
fn an_index_other_than_the_signed_one_is_refused() {
    let setting = Setting::new();
    let archive = setting.open().unwrap();
    let mut files = setting.files.lock().unwrap().clone();
    for (path, bytes) in &mut files.0 {
        if path.contains("by-hash") {
            bytes[20] ^= 1;
        }
    }
    setting.serve(files);
    let error = archive.index(&setting.ctx, "amd64").unwrap_err();
    assert_eq!(error.kind(), Kind::Digest);
    let error = archive.index(&setting.ctx, "arm64").unwrap_err();
    assert_eq!(error.kind(), Kind::NotFound);
}

#[test]
fn a_package_that_has_left_the_mirror_is_named_with_the_way_on() {
    let setting = Setting::new();
    let archive = setting.open().unwrap();
    let packages = setting.resolve(&archive);
    setting.files.lock().unwrap().0.remove("pool/main/app.deb");
    let error = fetch_all(&setting.ctx, archive.mirrors(), &packages).unwrap_err();
    assert_eq!(error.kind(), Kind::NotFound);
    let text = error.render();
    assert!(text.contains("package app 1 (amd64) is no longer on the mirror"), "{text}");
    assert!(error.hint_text().unwrap().contains("coracle lock"));
}

#[test]
fn offline_the_cache_answers_and_a_cold_one_says_what_is_missing() {
    let setting = Setting::new();
    let packages = setting.resolve(&setting.open().unwrap());
    let mut offline = setting.ctx.clone();
    offline.network = Network::Offline;
    let asked = setting.server.asked().len();
    let archive = Archive::open(&offline, &setting.options()).unwrap();
    assert_eq!(setting.resolve(&archive), packages);
    let error = fetch_all(&offline, archive.mirrors(), &packages).unwrap_err();
    assert_eq!(error.kind(), Kind::NotFound);
    // They are fetched side by side: either may be the first to be missing.
    let text = error.to_string();
    assert!(
        packages.iter().any(|package| text.contains(&format!("cannot fetch package {}", package.name))),
        "{text}"
    );
    assert_eq!(setting.server.asked().len(), asked);
    offline.cache = Cache::open(setting.dir.path().join("cold")).unwrap();
    let error = Archive::open(&offline, &setting.options()).unwrap_err();
    assert_eq!(error.kind(), Kind::NotFound);
}

#[test]
fn a_vendored_directory_rebuilds_offline_with_an_empty_cache_and_is_verified() {
    let setting = Setting::new();
    let vendored = setting.dir.path().join("vendored");
    let archive = setting.open().unwrap();
    let packages = setting.resolve(&archive);
    vendor_packages(&setting.ctx, archive.mirrors(), &packages, &vendored).unwrap();
    vendor_indexes(&setting.ctx, &archive, "amd64", &vendored).unwrap();
    let mut ctx = setting.ctx.clone();
    ctx.network = Network::Offline;
    ctx.cache = Cache::open(setting.dir.path().join("cold")).unwrap();
    let options = ArchiveOptions { mirrors: Mirrors::vendored(&vendored), ..setting.options() };
    let archive = Archive::open(&ctx, &options).unwrap();
    assert_eq!(setting.resolve(&archive), packages);
    File::create(vendored.join("pool/main/app.deb")).and_then(|mut file| file.write_all(b"evil")).unwrap();
    let error = fetch_all(&ctx, archive.mirrors(), &packages).unwrap_err();
    assert_eq!(error.kind(), Kind::Digest);
    // Vendoring again repairs it.
    vendor_packages(&setting.ctx, &setting.options().mirrors, &packages, &vendored).unwrap();
    fetch_all(&ctx, archive.mirrors(), &packages).unwrap();
    assert!(!unpack_all(&ctx, &packages).unwrap().is_empty());
}

#[test]
fn a_compressed_bomb_of_an_index_is_refused() {
    let setting = Setting::new();
    let path = setting.dir.path().join("bomb");
    let bomb = xz(&vec![b'\n'; 1 << 20]);
    assert!(bomb.len() < 1 << 10);
    File::create(&path).and_then(|mut file| file.write_all(&bomb)).unwrap();
    let error = unpack_index(&path, (1 << 20) - 1).unwrap_err();
    assert_eq!(error.kind(), Kind::Hostile);
    assert_eq!(unpack_index(&path, 1 << 20).unwrap().len(), 1 << 20);
}
