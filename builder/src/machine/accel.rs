//! Whether hardware virtualisation is really there.

/// How the machine's processor works.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Accel {
    /// By the host's processor.
    Kvm,
    /// Emulated, every processor by a thread of its own.
    Tcg,
    /// Emulated, all processors by one thread in turn. QEMU's own threads then cannot get into each other's way: with one
    /// per processor, QEMU 10.0 was seen to end, once in many hundred starts, in an assertion of its own while the machine
    /// set its devices up (`msix_table_mmio_write`).
    TcgInTurn,
}
