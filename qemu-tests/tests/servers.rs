//! Real servers from Debian packages, unmodified, under the default restrictions.

#![expect(clippy::tests_outside_test_module, reason = "the whole crate is a test")]

use anyhow::{Context as _, Result, ensure};
use coracle::machine::Firmware;
use coracle_qemu_tests::{Guest, MILESTONE, Setup, get, image};
use std::{
    io::{BufRead as _, BufReader, Write as _},
    net::TcpStream,
    time::{Duration, Instant},
};

fn nginx_serves(test: &str, firmware: Firmware) -> Result<()> {
    let mut guest = Guest::boot(&image("nginx")?, test, &Setup::new(firmware, &[8080]))?;
    guest.phase("container-nginx")?;
    let answer = get(guest.port(8080)?, "/", MILESTONE)?;
    ensure!(answer.contains("200 OK") && answer.contains("Server: nginx"), "unexpected answer: {answer}");
    guest.power_off().map(drop)
}

#[test]
fn nginx_serves_through_uefi() -> Result<()> {
    nginx_serves("uefi", Firmware::Uefi)
}

#[test]
fn nginx_serves_through_direct_boot() -> Result<()> {
    nginx_serves("direct", Firmware::Direct)
}

/// Sends one Redis command and returns the answer's lines, asking again until the server listens.
fn redis(port: u16, command: &str, lines: usize) -> Result<Vec<String>> {
    let deadline = Instant::now() + MILESTONE;
    loop {
        match try_redis(port, command, lines) {
            Ok(answer) => return Ok(answer),
            Err(error) if Instant::now() >= deadline => return Err(error),
            Err(_) => std::thread::park_timeout(Duration::from_millis(200)),
        }
    }
}

fn try_redis(port: u16, command: &str, lines: usize) -> Result<Vec<String>> {
    let mut stream = TcpStream::connect(("127.0.0.1", port))?;
    stream.set_read_timeout(Some(Duration::from_secs(20)))?;
    write!(stream, "{command}\r\n")?;
    let mut answer = Vec::new();
    for line in BufReader::new(stream).lines().take(lines) {
        answer.push(line?);
    }
    ensure!(answer.len() == lines, "short answer to {command}: {answer:?}");
    Ok(answer)
}

fn redis_keeps_data(test: &str, firmware: Firmware) -> Result<()> {
    let image = image("redis")?;
    let mut guest = Guest::boot(&image, test, &Setup::new(firmware, &[6379]))?;
    guest.phase("container-redis")?;
    let port = guest.port(6379)?;
    ensure!(redis(port, "SET boat coracle", 1)? == ["+OK"]);
    ensure!(redis(port, "GET boat", 2)? == ["$7", "coracle"]);
    ensure!(redis(port, "SAVE", 1)? == ["+OK"]);
    guest.power_off()?;
    let disk = guest.disk();
    drop(guest);
    let again = Setup { disk: Some(disk), ..Setup::new(firmware, &[6379]) };
    let mut guest = Guest::boot(&image, &format!("{test}-again"), &again)?;
    guest.phase("container-redis").context("second boot")?;
    ensure!(redis(guest.port(6379)?, "GET boat", 2)? == ["$7", "coracle"], "the volume lost its data");
    guest.power_off().map(drop)
}

#[test]
fn redis_keeps_its_data_over_a_reboot_through_uefi() -> Result<()> {
    redis_keeps_data("uefi", Firmware::Uefi)
}

#[test]
fn redis_keeps_its_data_over_a_reboot_through_direct_boot() -> Result<()> {
    redis_keeps_data("direct", Firmware::Direct)
}
