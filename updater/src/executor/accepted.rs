//! What a channel's accepted metadata changes in the record.

use super::Executor;
use crate::error::Result;
use coracle_slots::Floors;
use coracle_trust::client;

/// A floor that only says how late it is rises no more often: every rise is a write to flash memory.
const RISE_SECONDS: u64 = 24 * 3600;

impl Executor {
    /// Raises the floors to those of a channel's accepted metadata: at once if it brings news or a newer root, else when a
    /// day has passed. Says whether the record was written.
    ///
    /// `recovered`: a newer root has taken a timestamp key away; what that key has signed sets no floor any more.
    pub fn accept(&self, floors: client::Floors, recovered: bool, has_news: bool) -> Result<bool> {
        let before = self.record()?.floors();
        let rises = floors.root_version > before.root_version
            || (has_news && floors.timestamp_version > before.timestamp_version)
            || floors.issued >= before.issued.saturating_add(RISE_SECONDS);
        if !rises && !recovered {
            return Ok(false);
        }
        self.change(|record| {
            let record = if recovered { record.recover_timestamp(floors.root_version) } else { record };
            Ok(record.raise_floors(Floors {
                root_version: floors.root_version,
                timestamp_version: floors.timestamp_version,
                issued: floors.issued,
                ..Floors::default()
            }))
        })?;
        Ok(true)
    }

    /// What the machine is told apart by: the GUID of its disk, made at its first start.
    pub fn machine_id(&self) -> [u8; 16] {
        self.table.disk_id.0
    }
}
