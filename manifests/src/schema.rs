//! The manifest as it is written: one type per table. The doc comments are the text of the reference, the derives make
//! the JSON Schema, and the JSON Schema drives the check that reports faults.

mod container;
mod system;
mod update;

pub use container::{Backoff, Need, NetworkMode, Restart, Root, Start};
pub(crate) use container::{ContainerTable, FileTable, LogTable, LogWord, LogWritten, VolumeTable};
pub(crate) use system::{
    ClockTable, DebianTable, DiskTable, InterfaceTable, KernelTable, NetworkTable, RuntimeTable, SysctlValue,
    SystemTable,
};
pub use system::{Flavour, Hardware, OnFailure, Suite};

pub(crate) use update::{ControlTable, HealthTable, UpdateTable, default_deadline};
pub use update::{Gate, Transport};

use crate::values::{Name, Version};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Most containers of an image.
pub const CONTAINERS_MAX: usize = 256;
/// Most `[[health]]` tables.
pub const CHECKS_MAX: usize = 64;
/// Most `[[file]]` tables, of the image or of one container.
pub const FILES_MAX: usize = 1024;

/// What a Coracle image is: one TOML file.
#[derive(Deserialize, JsonSchema, Debug)]
#[serde(deny_unknown_fields)]
#[schemars(title = "Coracle manifest")]
pub(crate) struct ManifestTable {
    pub(crate) image: ImageTable,
    #[serde(default)]
    pub(crate) debian: DebianTable,
    #[serde(default)]
    pub(crate) kernel: KernelTable,
    #[serde(default)]
    pub(crate) runtime: RuntimeTable,
    #[serde(default)]
    pub(crate) network: NetworkTable,
    #[serde(default)]
    pub(crate) clock: ClockTable,
    #[serde(default)]
    pub(crate) disk: DiskTable,
    #[serde(default)]
    pub(crate) system: SystemTable,
    #[serde(default)]
    #[schemars(length(max = 256))]
    pub(crate) container: Vec<ContainerTable>,
    #[serde(default)]
    #[schemars(length(max = 1024))]
    pub(crate) file: Vec<FileTable>,
    pub(crate) update: Option<UpdateTable>,
    #[serde(default)]
    #[schemars(length(max = 64))]
    pub(crate) health: Vec<HealthTable>,
    pub(crate) control: Option<ControlTable>,
}

/// Names the image. The only table every manifest has.
///
/// ```toml
/// [image]
/// name = "hello"
/// version = "1.0.0"
/// arch = "x86_64"
/// ```
#[derive(Deserialize, JsonSchema, Debug)]
#[serde(deny_unknown_fields)]
pub(crate) struct ImageTable {
    /// The name: of the image, and the first part of the machine's host name.
    pub(crate) name: Name,
    /// The version, of your choosing; with `[update]`, numbers with dots between them.
    pub(crate) version: Version,
    /// The processor architecture it runs on. Any workstation builds either.
    pub(crate) arch: Arch,
}

/// A processor architecture.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Arch {
    /// 64-bit x86.
    #[serde(rename = "x86_64")]
    X86_64,
    /// 64-bit ARM.
    Aarch64,
}

impl Arch {
    /// The name in manifests and file names.
    pub const fn name(self) -> &'static str {
        match self {
            Self::X86_64 => "x86_64",
            Self::Aarch64 => "aarch64",
        }
    }

    /// The name that Debian uses.
    pub const fn debian(self) -> &'static str {
        match self {
            Self::X86_64 => "amd64",
            Self::Aarch64 => "arm64",
        }
    }
}

impl From<Arch> for coracle_format::slot::Arch {
    fn from(arch: Arch) -> Self {
        match arch {
            Arch::X86_64 => Self::X86_64,
            Arch::Aarch64 => Self::Aarch64,
        }
    }
}
