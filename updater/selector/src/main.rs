//! The UEFI program around [`coracle_selector::select`].
#![cfg_attr(target_os = "uefi", no_std, no_main)]

#[cfg(target_os = "uefi")]
extern crate alloc;

#[cfg(target_os = "uefi")]
mod firmware;

#[cfg(target_os = "uefi")]
#[uefi::entry]
fn main() -> uefi::Status {
    match firmware::Uefi::open() {
        Ok(mut firmware) => match coracle_selector::select(&mut firmware) {
            coracle_selector::Selected::Slot(_) | coracle_selector::Selected::Nothing => {}
        },
        Err(error) => uefi::println!("coracle: cannot open the boot disk: {:?}", error.status()),
    }
    uefi::runtime::reset(uefi::runtime::ResetType::COLD, uefi::Status::ABORTED, None)
}

/// The selector runs in firmware only; on a host this program has nothing to do.
#[cfg(not(target_os = "uefi"))]
fn main() {}
