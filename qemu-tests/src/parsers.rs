//! Every parser of bytes from outside, as `fn(&[u8])`: what the fuzz targets in `fuzz/` and the short run of every
//! `cargo test` call. A parser may refuse whatever it likes; it may not panic, overflow or take unbounded memory.
//!
//! Where a checksum guards a format the bytes are parsed twice: as they are, and with the checksum made right, so that
//! what lies behind it is reached.

mod channel;
mod delta;
mod device;
mod files;
mod image;
mod meta;
mod mutate;
mod packages;
mod rollout;
mod scratch;
mod seal;
mod stick;
mod update;
mod wire;

pub use channel::is_trusted_channel;
pub(crate) use image::stub;
pub use mutate::Mutator;

/// One parser, or a few that read the same bytes one after the other.
#[derive(Clone, Copy, Debug)]
pub struct Parser {
    /// Its name, and that of its fuzz target.
    pub name: &'static str,
    /// Gives it some bytes.
    pub parse: fn(&[u8]),
    /// Well-formed inputs to start from.
    pub seeds: fn() -> Vec<Vec<u8>>,
}

/// All of them.
pub const ALL: &[Parser] = &[
    Parser { name: "manifest", parse: files::manifest, seeds: files::manifest_seeds },
    Parser { name: "lock", parse: files::lock, seeds: files::lock_seeds },
    Parser { name: "console", parse: files::console, seeds: files::console_seeds },
    Parser { name: "gpt", parse: device::gpt, seeds: device::gpt_seeds },
    Parser { name: "slot_descriptor", parse: device::descriptor, seeds: device::descriptor_seeds },
    Parser { name: "slot_record", parse: device::record, seeds: device::record_seeds },
    Parser { name: "last_words", parse: meta::last_words, seeds: meta::last_words_seeds },
    Parser { name: "history", parse: meta::history, seeds: meta::history_seeds },
    Parser { name: "device_config", parse: device::config, seeds: device::config_seeds },
    Parser { name: "kernel_words", parse: device::kernel_words, seeds: device::kernel_words_seeds },
    Parser { name: "ipc", parse: wire::ipc, seeds: wire::ipc_seeds },
    Parser { name: "control", parse: wire::control, seeds: wire::control_seeds },
    Parser { name: "bundle", parse: update::bundle, seeds: update::bundle_seeds },
    Parser { name: "delta", parse: delta::delta, seeds: delta::delta_seeds },
    Parser { name: "delta_stream", parse: delta::delta_stream, seeds: delta::delta_stream_seeds },
    Parser { name: "pieces", parse: delta::pieces, seeds: delta::pieces_seeds },
    Parser { name: "trust", parse: update::trust, seeds: update::trust_seeds },
    Parser { name: "channel", parse: channel::channel, seeds: channel::channel_seeds },
    Parser { name: "rollout", parse: rollout::rollout, seeds: rollout::rollout_seeds },
    Parser { name: "window", parse: rollout::window, seeds: rollout::window_seeds },
    Parser { name: "stick", parse: stick::stick, seeds: stick::stick_seeds },
    Parser { name: "dhcp", parse: wire::dhcp, seeds: wire::dhcp_seeds },
    Parser { name: "sntp", parse: wire::sntp, seeds: wire::sntp_seeds },
    Parser { name: "netlink", parse: wire::netlink, seeds: wire::netlink_seeds },
    Parser { name: "packages", parse: packages::packages, seeds: packages::packages_seeds },
    Parser { name: "release", parse: packages::release, seeds: packages::release_seeds },
    Parser { name: "signature", parse: packages::signature, seeds: packages::signature_seeds },
    Parser { name: "deb", parse: packages::deb, seeds: packages::deb_seeds },
    Parser { name: "uki", parse: image::uki, seeds: image::uki_seeds },
    Parser { name: "kernel", parse: image::kernel, seeds: image::kernel_seeds },
    Parser { name: "layer", parse: image::layer, seeds: image::layer_seeds },
    Parser { name: "oci", parse: image::oci, seeds: image::oci_seeds },
    Parser { name: "users", parse: image::users, seeds: image::users_seeds },
];

/// The parser of that name.
pub fn find(name: &str) -> Option<&'static Parser> {
    ALL.iter().find(|parser| parser.name == name)
}

/// Takes what a parser made of its bytes; nobody needs it.
fn ignore<T>(outcome: T) {
    std::hint::black_box(outcome);
}
