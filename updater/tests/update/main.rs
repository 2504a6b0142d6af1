//! Whole updates on model disks and image files: what is applied, what is refused, what a power cut leaves.

#[cfg(test)]
mod apply;
#[cfg(test)]
mod bad_input;
#[cfg(test)]
mod channels;
#[cfg(test)]
mod deltas;
#[cfg(test)]
mod earlier;
#[cfg(test)]
mod fixture;
#[cfg(test)]
mod making;
#[cfg(test)]
mod memory;
#[cfg(test)]
mod power_cuts;
#[cfg(test)]
#[path = "../server/mod.rs"]
mod server;
#[cfg(test)]
mod servers;
#[cfg(test)]
mod shop;
#[cfg(test)]
mod tampering;
