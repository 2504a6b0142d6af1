//! What every target does: give libFuzzer's bytes to the parser of its name.
#![forbid(unsafe_code)]

pub use coracle_qemu_tests::parsers::find;
pub use libfuzzer_sys::fuzz_target;

/// A target for the parser of this name.
#[macro_export]
macro_rules! target {
    ($name:literal) => {
        static PARSER: std::sync::LazyLock<fn(&[u8])> =
            std::sync::LazyLock::new(|| $crate::find($name).expect("a parser of this name").parse);
        $crate::fuzz_target!(|data: &[u8]| (*PARSER)(data));
    };
}
