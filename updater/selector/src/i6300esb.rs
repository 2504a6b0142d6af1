//! The PCI watchdog `i6300esb`: the registers that start and stop it, as lists of writes for whoever can reach them.

/// Vendor and device, as the first word of the configuration space has them.
pub const ID: u32 = 0x25ab_8086;

/// One write to the device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Write {
    /// Where to.
    pub space: Space,
    /// How much.
    pub width: Width,
    /// Offset in the space.
    pub at: u8,
    /// What.
    pub value: u32,
}

/// Where a register is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Space {
    /// In the configuration space.
    Config,
    /// In the first memory window.
    Memory,
}

/// How wide a register is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Width {
    /// 8 bits.
    Byte,
    /// 16 bits.
    Word,
    /// 32 bits.
    Long,
}

/// Ticks of *each* of the two stages for [`crate::WATCHDOG`] of both: half of it, in ticks of 0.983 ms.
const STAGE_TICKS: u32 = 120 << 9;

/// Opens the registers for the next write to the memory window.
const UNLOCK: [Write; 2] = [memory(Width::Word, 0x0c, 0x80), memory(Width::Word, 0x0c, 0x86)];

/// Stops it. It is never locked, so that the kernel's driver can do the same.
pub const STOP: Write = config(Width::Byte, 0x68, 0);

/// Has it reset the machine after [`crate::WATCHDOG`], unless it is stopped or started anew before.
pub static START: [Write; 12] = [
    STOP,
    // The reset line on, a clock of 1 kHz, no interrupt between the stages.
    config(Width::Word, 0x60, 3),
    UNLOCK[0],
    UNLOCK[1],
    memory(Width::Long, 0x00, STAGE_TICKS),
    UNLOCK[0],
    UNLOCK[1],
    memory(Width::Long, 0x04, STAGE_TICKS),
    UNLOCK[0],
    UNLOCK[1],
    // Both stages from the beginning.
    memory(Width::Word, 0x0c, 0x100),
    config(Width::Byte, 0x68, 2),
];

const fn config(width: Width, at: u8, value: u32) -> Write {
    Write { space: Space::Config, width, at, value }
}

const fn memory(width: Width, at: u8, value: u32) -> Write {
    Write { space: Space::Memory, width, at, value }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::WATCHDOG;

    /// A device that does what the data sheet says, as far as it was told in the right way.
    #[derive(Default)]
    struct Device {
        unlocking: u32,
        stages: [u32; 2],
        reloaded: bool,
        how: Option<u32>,
        control: u32,
    }

    impl Device {
        fn take(&mut self, write: Write) {
            let open = self.unlocking == 2;
            self.unlocking = match (write.space, self.unlocking, write.at, write.value) {
                (Space::Memory, 0, 0x0c, 0x80) => 1,
                (Space::Memory, 1, 0x0c, 0x86) => 2,
                _ => 0,
            };
            match (write.space, write.width, write.at) {
                (Space::Memory, Width::Long, at) if open => self.stages[usize::from(at / 4)] = write.value,
                (Space::Memory, Width::Word, 0x0c) if open => self.reloaded = write.value == 0x100,
                (Space::Memory, Width::Word, 0x0c) => {}
                (Space::Config, Width::Word, 0x60) => self.how = Some(write.value),
                (Space::Config, Width::Byte, 0x68) => self.control = write.value,
                _ => panic!("{write:?}"),
            }
        }
    }

    #[test]
    fn it_counts_to_the_selectors_time_and_can_be_stopped() {
        let mut device = Device::default();
        for write in START {
            device.take(write);
        }
        let milliseconds: u128 = device.stages.iter().map(|ticks| u128::from(*ticks) * 983 / 1000).sum();
        assert!(milliseconds.abs_diff(WATCHDOG.as_millis()) < 1000, "{milliseconds}");
        assert!(device.stages.iter().all(|ticks| *ticks < 1 << 20), "the counters have 20 bits");
        assert!(device.reloaded);
        assert_eq!((device.how, device.control), (Some(3), 2));
        device.take(STOP);
        assert_eq!(device.control, 0);
    }

    #[test]
    fn nothing_locks_it() {
        assert!(
            START.iter().all(|write| (write.space, write.at, write.value & 1) != (Space::Config, 0x68, 1))
        );
    }
}
