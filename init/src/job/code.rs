//! What jobs tell PID 1 with their exit status; 1 is a failure.

/// It did what it is for.
pub(crate) const DONE: u8 = 0;
/// The running release is committed on the disk.
pub(crate) const COMMITTED: u8 = 3;
/// The running release has failed its trial; the verdict is on the disk.
pub(crate) const FAILED: u8 = 4;
/// The running slot is damaged and nothing else can be started.
pub(crate) const NOTHING_ELSE: u8 = 5;
