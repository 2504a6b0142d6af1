//! Which modules drive which machine: data, in one table.
//!
//! A module that is built in, or that an architecture's kernel does not have, is passed over. `Device` modules are
//! loaded when a device asks for them (one without a device alias: always).

use coracle_format::device::Load;

/// When a module of the table is loaded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum When {
    /// Before every other module.
    First,
    /// Always.
    Always,
    /// When a device's modalias matches one of the module's own aliases.
    Device,
}

/// Where a module's file is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    /// In the initramfs: what it takes to reach the root, and what must see a crash on the way.
    Early,
    /// In the root file system.
    Late,
}

/// One wish of a class.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wish {
    /// The module.
    pub module: &'static str,
    /// Where its file is.
    pub stage: Stage,
    /// When it is loaded.
    pub when: When,
}

/// A class of hardware.
#[derive(Clone, Copy, Debug)]
pub struct Class {
    /// Its name in manifests.
    pub name: &'static str,
    /// The modules that its machines may need.
    pub wishes: &'static [Wish],
}

const fn first(module: &'static str) -> Wish {
    wish(module, Stage::Early, When::First)
}

const fn early(module: &'static str) -> Wish {
    wish(module, Stage::Early, When::Device)
}

const fn late(module: &'static str) -> Wish {
    wish(module, Stage::Late, When::Device)
}

const fn wish(module: &'static str, stage: Stage, when: When) -> Wish {
    Wish { module, stage, when }
}

/// What every machine needs, whatever its hardware.
pub const BASE: &[Wish] = &[
    wish("dm_mod", Stage::Early, When::Always),
    // dm-verity takes the fastest SHA-256 there is when it is set up, so the processor's own come before it. They
    // match the alias of the processor; sha256_arm64 has none, any arm64 processor can run it.
    early("sha256_ssse3"),
    early("sha256_arm64"),
    early("sha2_ce"),
    wish("dm_verity", Stage::Early, When::Always),
    wish("ext4", Stage::Early, When::Always),
    // The power button: ACPI, device tree, and what reads them.
    late("button"),
    late("gpio_keys"),
    late("evdev"),
];

/// What sees a crash, or a PID 1 that hangs, on every machine. It comes behind the watchdogs of the classes.
pub const RECORDERS: &[Wish] = &[
    first("ramoops"),
    // Where no hardware watchdog has a driver this one guards against a PID 1 that hangs; beside another it is idle.
    wish("softdog", Stage::Late, When::Always),
    // A watchdog that is about to fire becomes a panic first, so that the kernel log is kept.
    wish("pretimeout_panic", Stage::Late, When::Always),
];

/// What leads to the control service: the virtio-serial port.
pub const VIRTIO_SERIAL: &[&str] = &["virtio_console"];
/// What leads to the control service: vsock, by the hypervisor's kind.
pub const VSOCK: &[&str] = &["vmw_vsock_virtio_transport", "vmw_vsock_vmci_transport", "hv_sock"];

/// The classes.
pub const CLASSES: &[Class] = &[
    Class {
        name: "virtio",
        wishes: &[
            first("i6300esb"),
            early("virtio_pci"),
            early("virtio_mmio"),
            early("virtio_blk"),
            late("virtio_net"),
            late("virtio_rng"),
            late("virtio_balloon"),
            late("virtio_console"),
            late("virtio_input"),
            late("vmw_vsock_virtio_transport"),
        ],
    },
    Class { name: "nvme", wishes: &[early("nvme")] },
    Class {
        name: "sata",
        wishes: &[early("ahci"), early("ahci_platform"), early("ata_piix"), early("sd_mod")],
    },
    Class {
        name: "aws",
        wishes: &[
            early("nvme"),
            // Instance families before Nitro.
            early("xen_blkfront"),
            late("ena"),
            late("ixgbevf"),
            late("xen_netfront"),
        ],
    },
    Class {
        name: "gcp",
        wishes: &[
            early("virtio_pci"),
            early("virtio_scsi"),
            early("sd_mod"),
            early("virtio_blk"),
            early("nvme"),
            late("virtio_net"),
            late("gve"),
            late("virtio_rng"),
            late("virtio_balloon"),
        ],
    },
    Class {
        name: "azure",
        wishes: &[
            early("hv_vmbus"),
            early("hv_storvsc"),
            early("sd_mod"),
            // NVMe disks of newer sizes hang behind Hyper-V's own PCI bridge.
            early("pci_hyperv"),
            early("nvme"),
            late("hv_netvsc"),
            late("hv_utils"),
            late("hv_balloon"),
            late("mana"),
            late("hyperv_keyboard"),
        ],
    },
    Class {
        name: "vmware",
        wishes: &[
            early("vmw_pvscsi"),
            early("mptspi"),
            early("ahci"),
            early("nvme"),
            early("sd_mod"),
            late("vmxnet3"),
            late("e1000e"),
            late("vmw_balloon"),
            late("vmw_vsock_vmci_transport"),
        ],
    },
    Class {
        name: "intel-net",
        wishes: &[
            late("e1000"),
            late("e1000e"),
            late("igb"),
            late("igc"),
            late("ixgbe"),
            late("i40e"),
            late("ice"),
        ],
    },
    Class {
        name: "usb",
        wishes: &[early("xhci_pci"), early("ehci_pci"), early("usb_storage"), early("uas"), early("sd_mod")],
    },
];

/// The class with this name.
pub fn class(name: &str) -> Option<&'static Class> {
    CLASSES.iter().find(|class| class.name == name)
}

impl When {
    /// As the device configuration says it, for a module with these device aliases.
    pub(super) fn load(self, aliases: &[String]) -> Load {
        match self {
            Self::First => Load::First,
            Self::Always => Load::Always,
            Self::Device if aliases.is_empty() => Load::Always,
            Self::Device => Load::Alias(aliases.to_vec()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn names_are_the_kernels_and_no_class_repeats_itself() {
        let mut classes = BTreeSet::new();
        for class in CLASSES {
            assert!(classes.insert(class.name), "{}", class.name);
            let mut modules = BTreeSet::new();
            for wish in class.wishes {
                assert!(!wish.module.contains('-'), "{}", wish.module);
                assert!(modules.insert(wish.module), "{} {}", class.name, wish.module);
            }
        }
    }
}
