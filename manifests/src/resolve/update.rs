//! Updates, checks and control.

use super::input;
use crate::{
    manifest::{Check, Control, ControlKey, Probe, Update},
    rules,
    schema::{ControlTable, HealthTable, UpdateTable},
    values::{Bad, OperatorKey},
};
use std::path::Path;

pub(super) fn resolve_update(update: &UpdateTable, directory: &Path) -> Update {
    Update {
        root: input(&update.root, directory),
        epoch: update.epoch,
        deadline: update.deadline,
        settle: update.settle,
        gate: update.gate,
        download_rate: update.download_rate,
        write_rate: update.write_rate,
    }
}

pub(super) fn resolve_check(check: HealthTable) -> Result<Check, Bad> {
    let command = check.command.zip(check.container);
    let probe = command
        .map(|(args, container)| Probe::Command { container, args })
        .or_else(|| check.http.map(Probe::Http))
        .or_else(|| check.tcp.map(Probe::Tcp))
        .or_else(|| check.file.map(Probe::File))
        .ok_or_else(rules::no_probe)?;
    Ok(Check { name: check.name, probe, timeout: check.timeout, interval: check.interval })
}

pub(super) fn resolve_control(control: ControlTable, directory: &Path) -> Control {
    let keys = control.keys.into_iter().map(|key| match key {
        OperatorKey::Key(key) => ControlKey::Key(key),
        OperatorKey::File(path) => ControlKey::File(input(&path, directory)),
    });
    let mut transports = control.transports;
    transports.sort();
    transports.dedup();
    Control { keys: keys.collect(), transports }
}
