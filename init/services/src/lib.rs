//! What PID 1 supervises, each its own process of one multi-call static binary: network, clock, containers, control.
#![forbid(unsafe_code)]

pub mod clock;
pub mod config;
pub mod containers;
pub mod control;
pub mod link;
pub mod network;
pub mod privilege;
pub mod status;

pub use coracle_format::ipc;
use std::io;

/// Why a service ended by itself. PID 1 starts it again.
#[derive(Debug, thiserror::Error)]
pub enum ServiceError {
    /// The name on the command line is not one of ours.
    #[error(
        "no service is called `{0}`; use coracle-services <network|clock|containers|control> (PID 1 starts them)"
    )]
    UnknownService(String),
    /// The device configuration cannot be used.
    #[error("cannot {action} {}", path.display())]
    Path {
        /// What was attempted.
        action: &'static str,
        /// On what.
        path: std::path::PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The device configuration is damaged.
    #[error("cannot decode {path}")]
    Config {
        /// The file.
        path: &'static str,
        /// Why not.
        source: coracle_format::device::NotAConfig,
    },
    /// A system call outside the file system failed.
    #[error("cannot {action}")]
    System {
        /// What was attempted.
        action: &'static str,
        /// Why not.
        source: io::Error,
    },
}

impl ServiceError {
    /// 2 for a wrong command line, 1 for everything else.
    pub const fn exit_code(&self) -> u8 {
        match self {
            Self::UnknownService(_) => 2,
            Self::Path { .. } | Self::Config { .. } | Self::System { .. } => 1,
        }
    }
}

/// Runs the service of that name until it is told to stop.
pub fn run(name: &str) -> Result<(), ServiceError> {
    match name {
        "network" => network::run(),
        "clock" => clock::run(),
        "containers" => containers::run(),
        "control" => control::run(),
        other => Err(ServiceError::UnknownService(other.to_owned())),
    }
}
