use super::{
    server::{Reply, Server},
    *,
};
use crate::{cache::Cache, report::Report};
use std::{
    fs,
    sync::atomic::{AtomicU64, Ordering},
};

const BODY: &[u8] = b"forty-two bytes of a file that is wanted..";

/// Long enough for a loaded machine, short where a test waits for it to end.
const PATIENCE: Patience = Patience {
    connect: Duration::from_secs(20),
    stall: Duration::from_secs(20),
    total: Duration::from_mins(1),
    attempts: 3,
    pause: Duration::from_millis(1),
};

struct Setting {
    ctx: Context,
    dir: tempfile::TempDir,
    fetcher: Fetcher,
}

impl Setting {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let cache = Cache::open(dir.path()).unwrap();
        Self { ctx: Context::new(cache, Report::silent()), dir, fetcher: Fetcher::new(PATIENCE) }
    }

    fn with(patience: Patience) -> Self {
        Self { fetcher: Fetcher::new(patience), ..Self::new() }
    }

    /// Asks for `BODY`.
    fn fetch(&self, server: &Server) -> Result<Vec<u8>> {
        let url = server.url("/pool/file.deb");
        let wanted = Wanted { url: &url, bytes: 42, sha256: Digest::of(BODY) };
        let step = self.ctx.report.step("test");
        let path = self.fetcher.object(&self.ctx, &wanted, &Meter::new(&step, 42))?;
        Ok(fs::read(path).unwrap())
    }

    fn document(&self, server: &Server, limit: u64) -> Result<Vec<u8>> {
        let step = self.ctx.report.step("test");
        let url = server.url("/InRelease");
        self.fetcher.document(&self.ctx, &url, limit, &step)
    }

    fn files(&self, area: &str) -> Vec<String> {
        let entries = fs::read_dir(self.dir.path().join(area)).unwrap();
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    }

    fn partial(&self) -> PathBuf {
        let name = format!("tmp/{}.part", Digest::of(BODY));
        self.dir.path().join(name)
    }
}

fn starts(server: &Server) -> Vec<Option<usize>> {
    server.asked().iter().map(|asked| asked.from).collect()
}

#[test]
fn a_file_is_fetched_once_and_then_comes_from_the_cache() {
    let setting = Setting::new();
    let server = Server::start(|_| Reply::ok(BODY));
    assert_eq!(setting.fetch(&server).unwrap(), BODY);
    assert_eq!(setting.fetch(&server).unwrap(), BODY);
    assert_eq!(starts(&server), [None]);
    assert!(setting.files("tmp").is_empty());
}

#[test]
fn a_download_that_breaks_is_continued_where_it_ended() {
    let setting = Setting::new();
    let server = Server::start(|asked| match asked.from {
        None => Reply::ok(BODY).cut(10),
        Some(10) => Reply::range(BODY, asked.from).cut(20),
        from => Reply::range(BODY, from),
    });
    assert_eq!(setting.fetch(&server).unwrap(), BODY);
    assert_eq!(starts(&server), [None, Some(10), Some(30)]);
}

#[test]
fn a_later_run_continues_too() {
    let once = Patience { attempts: 1, ..PATIENCE };
    let setting = Setting::with(once);
    let server = Server::start(|asked| match asked.from {
        None => Reply::ok(BODY).cut(10),
        from => Reply::range(BODY, from),
    });
    let error = setting.fetch(&server).unwrap_err();
    assert_eq!(error.kind(), Kind::Network);
    assert_eq!(fs::read(setting.partial()).unwrap(), &BODY[..10]);
    assert_eq!(setting.fetch(&server).unwrap(), BODY);
    assert_eq!(starts(&server), [None, Some(10)]);
}

#[test]
fn a_server_that_knows_no_ranges_starts_again() {
    let setting = Setting::new();
    fs::File::create(setting.partial())
        .and_then(|mut file| std::io::Write::write_all(&mut file, &BODY[..30]))
        .unwrap();
    let server = Server::start(|_| Reply::ok(BODY));
    assert_eq!(setting.fetch(&server).unwrap(), BODY);
    assert_eq!(starts(&server), [Some(30)]);
}

#[test]
fn a_refused_or_shifted_range_starts_again() {
    let setting = Setting::new();
    let server = Server::start(|asked| match asked.from {
        None => Reply::ok(BODY).cut(10),
        Some(_) => Reply::status(416, b""),
    });
    let error = setting.fetch(&server).unwrap_err();
    assert_eq!(error.kind(), Kind::Network);
    let server = Server::start(|asked| match asked.from {
        Some(from) => Reply::range(BODY, Some(from - 1)),
        None => Reply::ok(BODY),
    });
    assert_eq!(setting.fetch(&server).unwrap(), BODY);
}

#[test]
fn a_damaged_beginning_is_thrown_away_and_fetched_anew() {
    let setting = Setting::new();
    fs::File::create(setting.partial())
        .and_then(|mut file| std::io::Write::write_all(&mut file, b"garbage"))
        .unwrap();
    let server = Server::start(|asked| Reply::range(BODY, asked.from));
    assert_eq!(setting.fetch(&server).unwrap(), BODY);
    assert_eq!(starts(&server), [Some(7), None]);
}

#[test]
fn bytes_with_another_digest_are_refused_and_deleted() {
    let setting = Setting::new();
    let server = Server::start(|_| Reply::ok(&[b'x'; 42]));
    let error = setting.fetch(&server).unwrap_err();
    assert_eq!(error.kind(), Kind::Digest);
    assert!(error.to_string().contains("/pool/file.deb has digest"));
    assert!(setting.files("tmp").is_empty() && setting.files("objects").is_empty());
}

#[test]
fn a_web_page_in_place_of_the_file_is_named_as_such() {
    let page = b"\n<!DOCTYPE HTML><p>log in please, my friend</p>";
    for reply in [
        Reply::ok(page).header("Content-Type", "text/html; charset=utf-8"),
        Reply { promised: None, ..Reply::ok(page) },
    ] {
        let setting = Setting::new();
        let server = Server::start(move |_| reply.clone());
        for error in [setting.fetch(&server).unwrap_err(), setting.document(&server, 1000).unwrap_err()] {
            assert_eq!(error.kind(), Kind::Network);
            assert!(error.to_string().contains("a web page (HTML) came instead"));
        }
        assert_eq!(server.asked().len(), 2, "asking again would not help");
        assert!(setting.files("objects").is_empty());
    }
}

#[test]
fn a_wrong_length_is_told_before_anything_is_read() {
    let setting = Setting::new();
    let server = Server::start(|_| Reply::ok(b"short").header("Content-Type", "text/plain"));
    let error = setting.fetch(&server).unwrap_err();
    assert_eq!(error.kind(), Kind::Network);
    let text = error.to_string();
    assert!(text.contains("42 bytes are expected, the server offers 5 bytes of text/plain"), "{text}");
}

#[test]
fn more_bytes_than_wanted_are_refused() {
    let setting = Setting::new();
    let server = Server::start(|_| Reply { promised: None, ..Reply::ok(&[b'x'; 43]) });
    let error = setting.fetch(&server).unwrap_err();
    assert_eq!(error.kind(), Kind::Network);
    assert!(error.to_string().contains("more than 42 bytes"));
    let error = setting.document(&server, 42).unwrap_err();
    assert!(error.to_string().contains("more than 42 bytes"));
    assert_eq!(setting.document(&server, 43).unwrap().len(), 43);
}

#[test]
fn a_missing_file_is_asked_for_once_and_a_busy_server_again() {
    let setting = Setting::new();
    let server = Server::start(|_| Reply::status(404, b"gone"));
    assert_eq!(setting.fetch(&server).unwrap_err().kind(), Kind::NotFound);
    assert_eq!(server.asked().len(), 1);
    let times = AtomicU64::new(0);
    let server = Server::start(move |_| match times.fetch_add(1, Ordering::SeqCst) {
        0 => Reply::status(503, b"busy"),
        1 => Reply::status(429, b"busy"),
        _ => Reply::ok(BODY),
    });
    assert_eq!(setting.fetch(&server).unwrap(), BODY);
    assert_eq!(server.asked().len(), 3);
    let server = Server::start(|_| Reply::status(500, b"broken"));
    assert_eq!(setting.document(&server, 9).unwrap_err().kind(), Kind::Network);
    assert_eq!(server.asked().len(), 3, "attempts are bounded");
}

#[test]
fn a_silent_server_is_given_up() {
    let hasty = Patience {
        connect: Duration::from_millis(100),
        stall: Duration::from_millis(100),
        attempts: 2,
        ..PATIENCE
    };
    let setting = Setting::with(hasty);
    let server = Server::start(|asked| Reply::range(BODY, asked.from).cut(5).hold());
    let error = setting.fetch(&server).unwrap_err();
    assert_eq!(error.kind(), Kind::Network);
    assert!(setting.files("objects").is_empty());
}

#[test]
fn an_interrupt_ends_a_download_that_waits_and_keeps_what_came() {
    let setting = Setting::new();
    let cancel = std::sync::Arc::clone(&setting.ctx.cancel);
    let server = Server::start(move |_| {
        cancel.store(true, Ordering::SeqCst);
        Reply::ok(BODY).cut(5).hold()
    });
    let begun = Instant::now();
    let error = setting.fetch(&server).unwrap_err();
    assert_eq!(error.kind(), Kind::Interrupted);
    assert!(begun.elapsed() < PATIENCE.stall);
    assert!(setting.partial().exists());
}

#[test]
fn offline_nobody_is_asked() {
    let mut setting = Setting::new();
    setting.ctx.network = Network::Offline;
    let server = Server::start(|_| Reply::ok(BODY));
    let error = setting.fetch(&server).unwrap_err();
    assert_eq!(error.kind(), Kind::NotFound);
    assert!(error.to_string().contains("while offline"));
    assert!(server.asked().is_empty());
}

#[test]
fn a_redirect_is_followed() {
    let setting = Setting::new();
    let server = Server::start(|asked| match asked.path.as_str() {
        "/real" => Reply::ok(BODY),
        _ => Reply::status(302, b"").header("Location", "/real"),
    });
    assert_eq!(setting.fetch(&server).unwrap(), BODY);
}

#[test]
fn an_address_is_shown_without_its_password() {
    assert_eq!(shown("https://me:secret@m.example/a@b"), "https://m.example/a@b");
    assert_eq!(shown("/some/dir"), "/some/dir");
}
