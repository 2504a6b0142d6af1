//! Makes the delta of two files, applies it, compares, and says what it took:
//! `cargo run --release -p coracle-delta --features make --example pair -- OLD NEW`.

use coracle_delta::{File, Pair, apply, make};
use std::{
    error::Error,
    fs,
    io::{self, Write as _},
    time::Instant,
};

fn main() -> Result<(), Box<dyn Error>> {
    let paths: Vec<String> = std::env::args().skip(1).collect();
    let [old, new] = paths.as_slice() else {
        return Err("two files are needed: OLD NEW".into());
    };
    let (old, new) = (fs::read(old)?, fs::read(new)?);
    let begun = Instant::now();
    let delta = make(&[Pair::of(&old, &new)]).ok_or("the files are too large")?;
    let making = begun.elapsed();
    let (begun, mut source, mut made) = (Instant::now(), old.as_slice(), Vec::with_capacity(new.len()));
    let mut sink = |bytes: &[u8]| {
        made.extend_from_slice(bytes);
        Ok(())
    };
    let bytes = u64::try_from(new.len())?;
    apply(&delta, &mut [File { old: &mut source, bytes, sink: &mut sink }])?;
    let applying = begun.elapsed();
    if made != new {
        return Err("what was made is not the new file".into());
    }
    writeln!(
        io::stdout(),
        "{} bytes, made in {:.1} s, applied in {:.1} s",
        delta.len(),
        making.as_secs_f64(),
        applying.as_secs_f64()
    )?;
    Ok(())
}
