//! Kernel uevents: devices that appear.

/// The parts of a uevent that init cares for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Uevent<'a> {
    /// `add`, `remove`, `change`, …
    pub action: &'a str,
    /// `block`, `input`, `pci`, …
    pub subsystem: &'a str,
    /// What a driver would match; empty if the device has none.
    pub modalias: &'a str,
    /// The block that does not match its hash, when dm-verity says so; else empty.
    pub corrupt: &'a str,
}

/// Parses a message of the kernel: `action@path`, then `KEY=value`, each ended by a NUL. `None` if it is not one.
pub fn parse(message: &[u8]) -> Option<Uevent<'_>> {
    let mut fields = message.split(|byte| *byte == 0).map(|field| str::from_utf8(field).unwrap_or_default());
    let (action, _) = fields.next()?.split_once('@')?;
    let mut event = Uevent { action, ..Uevent::default() };
    for field in fields {
        match field.split_once('=') {
            Some(("SUBSYSTEM", value)) => event.subsystem = value,
            Some(("MODALIAS", value)) => event.modalias = value,
            Some(("DM_VERITY_ERR_BLOCK_NR", value)) => event.corrupt = value,
            Some(_) | None => {}
        }
    }
    Some(event)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_that_appears_is_understood() {
        let message =
            b"add@/devices/pci0/virtio1\0ACTION=add\0SUBSYSTEM=virtio\0MODALIAS=virtio:d2v1\0SEQNUM=7\0";
        let modalias = "virtio:d2v1";
        let expected = Uevent { action: "add", subsystem: "virtio", modalias, ..Uevent::default() };
        assert_eq!(parse(message), Some(expected));
    }

    #[test]
    fn a_corrupt_block_is_understood() {
        let message = b"change@/devices/virtual/block/dm-0\0ACTION=change\0SUBSYSTEM=block\0DM_VERITY_ERR_BLOCK_NR=1,77\0";
        assert_eq!(parse(message).unwrap().corrupt, "1,77");
    }

    #[test]
    fn foreign_messages_are_dropped() {
        assert_eq!(parse(b"libudev\0\xfe\xed\xca\xfe"), None);
        assert_eq!(parse(b""), None);
    }
}
