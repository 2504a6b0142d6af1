//! Configurations for tests.

use coracle_format::device::{
    Check, Clock, Container, ContainerRoot, DeviceConfig, Gate, Log, Network, OnFailure, Probe, Restart,
    Update,
};

pub(crate) fn container(name: &str, restart: Restart) -> Container {
    Container {
        name: name.to_owned(),
        bundle: String::new(),
        root: ContainerRoot::ReadOnly,
        restart,
        backoff_ms: (500, 60_000),
        log: Log::Console,
        volumes: Vec::new(),
        needs_system: false,
        needs_state: false,
        needs_network: false,
        stop_signal: 15,
        stop_seconds: 10,
        after_commit: false,
    }
}

pub(crate) fn check(name: &str, timeout_ms: u32, interval_ms: u32) -> Check {
    let probe = Probe::Tcp { host: "127.0.0.1".to_owned(), port: 80 };
    Check { name: name.to_owned(), probe, timeout_ms, interval_ms }
}

pub(crate) fn command(name: &str, container: &str) -> Check {
    let probe = Probe::Command { container: container.to_owned(), args: vec!["/check".to_owned()] };
    Check { probe, ..check(name, 2_000, 500) }
}

pub(crate) fn config(containers: Vec<Container>, checks: Vec<Check>) -> DeviceConfig {
    DeviceConfig {
        image_name: "sample".to_owned(),
        image_version: "2.0".to_owned(),
        on_failure: OnFailure::Reboot,
        hostname: String::new(),
        modules: Vec::new(),
        watchdog_seconds: 0,
        sysctl: Vec::new(),
        network: Network::default(),
        clock: Clock::default(),
        containers,
        stop_seconds: 10,
        update: Some(Update {
            deadline_seconds: 120,
            settle_seconds: 10,
            gate: Gate::Healthy,
            download_rate: 0,
            write_rate: 0,
            channel: None,
            epoch: 0,
        }),
        checks,
        control: None,
    }
}
