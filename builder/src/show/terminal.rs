//! Events as progress bars on a terminal.
#![expect(clippy::literal_string_with_formatting_args, reason = "templates of progress bars")]

use super::{
    Verbosity,
    lines::{note_line, step_line},
};
use crate::report::{Event, Sink, Unit};
use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
    time::Duration,
};

/// Draws a bar per running step; a finished step becomes a line above the bars.
#[derive(Debug)]
pub struct Terminal {
    verbosity: Verbosity,
    bars: MultiProgress,
    running: Mutex<BTreeMap<u64, (String, ProgressBar)>>,
}

impl Terminal {
    /// On stderr.
    pub fn new(verbosity: Verbosity) -> Self {
        let bars = MultiProgress::with_draw_target(ProgressDrawTarget::stderr());
        Self { verbosity, bars, running: Mutex::default() }
    }

    fn line(&self, text: &str) {
        // A terminal that went away is not this run's business: the work goes on.
        drop(self.bars.println(text));
    }

    fn start(&self, name: &str) -> ProgressBar {
        if self.verbosity == Verbosity::Quiet {
            return ProgressBar::hidden();
        }
        let bar = self.bars.add(ProgressBar::new_spinner());
        bar.set_style(style("{spinner} {prefix:<20} {msg}"));
        bar.set_prefix(name.to_owned());
        bar.enable_steady_tick(Duration::from_millis(120));
        bar
    }
}

impl Sink for Terminal {
    fn event(&self, event: &Event) {
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        match event {
            Event::Started { id, name } => {
                running.insert(*id, (name.clone(), self.start(name)));
            }
            Event::Progress { id, done, total, unit } => {
                if let Some((_, bar)) = running.get(id) {
                    advance(bar, *done, *total, *unit);
                }
            }
            Event::Finished { id, note, ms } => {
                if let Some((name, bar)) = running.remove(id) {
                    bar.finish_and_clear();
                    if self.verbosity > Verbosity::Quiet {
                        self.line(&format!("{} {}", style_ok(), step_line(&name, note, *ms)));
                    }
                }
            }
            Event::Failed { id } => {
                if let Some((name, bar)) = running.remove(id) {
                    bar.finish_and_clear();
                    self.line(&format!("{} {name}", style_failed()));
                }
            }
            Event::Note { level, text } => {
                if self.verbosity.shows(*level) {
                    self.line(&note_line(*level, text));
                }
            }
        }
    }
}

fn advance(bar: &ProgressBar, done: u64, total: u64, unit: Unit) {
    if total > 0 && bar.length() != Some(total) {
        bar.set_length(total);
        bar.set_style(style(match unit {
            Unit::Bytes => "{spinner} {prefix:<20} [{bar:24}] {bytes:>10} of {total_bytes} ({bytes_per_sec})",
            Unit::Items => "{spinner} {prefix:<20} [{bar:24}] {pos:>10} of {len}",
        }));
    }
    bar.set_position(done);
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template)
        .unwrap_or_else(|_| ProgressStyle::default_bar())
        .progress_chars("=> ")
}

fn style_ok() -> &'static str {
    if colours() { "\u{1b}[32m✓\u{1b}[0m" } else { "✓" }
}

fn style_failed() -> &'static str {
    if colours() { "\u{1b}[31m✗\u{1b}[0m" } else { "✗" }
}

fn colours() -> bool {
    std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}
