//! Updates, checks and control.

use super::input;
use crate::{
    manifest::{Channel, Check, Control, ControlKey, Probe, Update},
    rules,
    schema::{ControlTable, HealthTable, UpdateTable},
    values::{Bad, Millis, OperatorKey},
};
use std::path::Path;

/// The channel where none is named.
const DEFAULT_CHANNEL: &str = "stable";
/// How often it is looked at where nothing is said.
const DEFAULT_POLL: Millis = Millis(3_600_000);

pub(super) fn resolve_update(update: &UpdateTable, directory: &Path) -> Update {
    Update {
        root: input(&update.root, directory),
        epoch: update.epoch,
        deadline: update.deadline,
        settle: update.settle,
        gate: update.gate,
        download_rate: update.download_rate,
        write_rate: update.write_rate,
        kernel_deltas: update.kernel_deltas,
        channel: update.url.as_ref().map(|url| Channel {
            url: url.clone(),
            name: update.channel.as_ref().map_or_else(|| DEFAULT_CHANNEL.to_owned(), ToString::to_string),
            poll: update.poll.unwrap_or(DEFAULT_POLL),
            windows: update.windows.clone().unwrap_or_default(),
        }),
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
