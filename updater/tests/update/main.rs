//! Whole updates on model disks and image files: what is applied, what is refused, what a power cut leaves.

#[cfg(test)]
mod apply;
#[cfg(test)]
mod bad_input;
#[cfg(test)]
mod fixture;
#[cfg(test)]
mod memory;
#[cfg(test)]
mod power_cuts;
