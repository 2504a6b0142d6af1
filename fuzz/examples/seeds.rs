//! Writes the seeds of every target to `corpus/<target>/`, where cargo-fuzz looks for them.

use coracle_qemu_tests::parsers;
use std::{fs, io, path::Path};

fn main() -> io::Result<()> {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus");
    for parser in parsers::ALL {
        let dir = corpus.join(parser.name);
        fs::create_dir_all(&dir)?;
        for (number, seed) in (parser.seeds)().iter().enumerate() {
            fs::write(dir.join(format!("seed-{number}")), seed)?;
        }
    }
    Ok(())
}
