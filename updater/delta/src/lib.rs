//! From an old file to a new one, in as few bytes as can be had.
//!
//! A delta names the pieces of the old file that the new one repeats (*copies*), and codes what is left with adaptive
//! probabilities. Three things make it small:
//!
//! - **The copies say where everything went.** Programs, kernels and modules are full of addresses: of calls, of tables,
//!   of pointers. A function that grows by a few bytes changes most addresses behind it. The reader has the copies before
//!   the first byte, so it knows where an old address is now, and predicts each reference instead of being told. Which
//!   bytes are references is guessed from the old file alone (`words`); a wrong guess costs a few bits.
//! - **Tables are known.** A kernel module is half tables: relocations, symbols, types. Their numbers go where what they
//!   name has gone (`sections`), in the order of where that is (`orders`), or become what they became in the file before
//!   (`shifts`).
//! - **Bytes are coded with what is around them**: a context-mixing model over the predicted byte, the bytes before it, and
//!   what came the last time that new bytes began so. Calls in new code are told by where they go.
//!
//! The same code runs in both directions: a maker gives the bits, a reader gets them (`coder::Coder`).
//!
//! Reading order: [`coder`] → [`model`] → `histories`, `chances`, `lines`, `repeats` → `told`, `content` → [`space`], [`sections`], `forms`, `words`, [`moves`], `references` → `plan`, `operands`, `file`. The bytes are in
//! `docs/formats/delta-stream.md`. Everything here is bounded, whatever the input: see [`limits`]. Arithmetic is in integers
//! only, so that every machine decides alike.
#![forbid(unsafe_code)]

#[cfg(any(test, feature = "make"))]
mod align;
mod chances;
mod coder;
mod content;
mod file;
mod forms;
mod histories;
pub mod limits;
mod lines;
mod logistic;
#[cfg(any(test, feature = "make"))]
mod make;
mod model;
mod moves;
mod operands;
mod orders;
mod plan;
mod references;
mod repeats;
mod scale;
mod sections;
mod shifts;
mod space;
mod tables;
#[cfg(test)]
mod tests;
mod told;
mod types;
mod words;

pub use file::{Failure, File, Old, Sink, apply};
pub use space::{Isa, Segment, Space};

#[cfg(any(test, feature = "make"))]
pub use make::{Pair, make, make_measured};
