//! Whether hardware virtualisation is really there.

/// How the machine's processor works.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Accel {
    /// By the host's processor.
    Kvm,
    /// Emulated.
    Tcg,
}
