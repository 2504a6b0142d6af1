//! Events as JSON, one object per line.

use crate::report::{Event, Level, Sink, Unit};
use serde_json::{Value, json};
use std::{
    fmt,
    io::Write,
    sync::{Mutex, PoisonError},
};

/// The version of the event schema, in every line's `v`.
pub const SCHEMA: u32 = 1;

/// Writes events as JSON lines.
pub struct Json<W>(Mutex<W>);

impl<W: Write> Json<W> {
    /// To `out`.
    pub const fn new(out: W) -> Self {
        Self(Mutex::new(out))
    }
}

impl<W> fmt::Debug for Json<W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Json")
    }
}

impl<W: Write + Send> Sink for Json<W> {
    fn event(&self, event: &Event) {
        let mut out = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // A reader that went away is not this run's business: the work goes on.
        drop(writeln!(out, "{}", line(event)));
        drop(out.flush());
    }
}

fn line(event: &Event) -> Value {
    match event {
        Event::Started { id, name } => json!({"v": SCHEMA, "event": "step-started", "id": id, "name": name}),
        Event::Progress { id, done, total, unit } => {
            let unit = match unit {
                Unit::Bytes => "bytes",
                Unit::Items => "items",
            };
            json!({"v": SCHEMA, "event": "step-progress", "id": id, "done": done, "total": total, "unit": unit})
        }
        Event::Finished { id, note, ms } => {
            json!({"v": SCHEMA, "event": "step-finished", "id": id, "note": note, "ms": ms})
        }
        Event::Failed { id } => json!({"v": SCHEMA, "event": "step-failed", "id": id}),
        Event::Note { level, text } => {
            let level = match level {
                Level::Detail => "detail",
                Level::Info => "info",
                Level::Warning => "warning",
            };
            json!({"v": SCHEMA, "event": "note", "level": level, "text": text})
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_one_line_with_its_schema_version() {
        let sink = Json::new(Vec::new());
        sink.event(&Event::Finished { id: 3, note: "a\nb".to_owned(), ms: 12 });
        let out = sink.0.into_inner().unwrap();
        assert_eq!(
            String::from_utf8(out).unwrap(),
            "{\"v\":1,\"event\":\"step-finished\",\"id\":3,\"note\":\"a\\nb\",\"ms\":12}\n"
        );
    }
}
