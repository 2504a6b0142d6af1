//! A dm-verity device, made by ioctl on `/dev/mapper/control`.

use super::ioctl::{self, DM_BYTES, DM_HEADER_BYTES, DmRequest};
use crate::fault::{Attempt, Fault};
use std::fs::{File, OpenOptions};

const CONTROL: &str = "/dev/mapper/control";
const VERSION: [u32; 3] = [4, 0, 0];
const READ_ONLY: u32 = 1;
const SPEC_BYTES: usize = 40;
const DEVICE_AT: usize = 40;

/// A read-only mapping of one target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mapping {
    /// Name of the mapping.
    pub name: &'static str,
    /// Length in sectors of 512 bytes.
    pub sectors: u64,
    /// Target type, `verity`.
    pub target: &'static str,
    /// The target's parameters.
    pub parameters: String,
}

/// Makes the mapping and returns its kernel name (`dm-0`). Nothing is left behind if a step fails.
pub fn create(mapping: &Mapping) -> Result<String, Fault> {
    let control = OpenOptions::new().read(true).write(true).open(CONTROL).attempt("open", CONTROL)?;
    let mut request = request(mapping.name, 0);
    ioctl::dm_create(&control, &mut request).attempt("create the mapping", mapping.name)?;
    let minor = minor_of(&request.0);
    fill(&control, mapping).inspect_err(|_| remove(&control, mapping.name))?;
    Ok(format!("dm-{minor}"))
}

fn fill(control: &File, mapping: &Mapping) -> Result<(), Fault> {
    let mut load = request_with_target(mapping)
        .ok_or("its parameters are too long")
        .attempt("describe the mapping", mapping.name)?;
    ioctl::dm_load(control, &mut load).attempt("load the table of", mapping.name)?;
    ioctl::dm_resume(control, &mut request(mapping.name, READ_ONLY))
        .attempt("start the mapping", mapping.name)
}

fn remove(control: &File, name: &str) {
    if ioctl::dm_remove(control, &mut request(name, 0)).is_err() {
        // The step that failed before is the one to report; the machine restarts anyway.
    }
}

fn put(bytes: &mut [u8; DM_BYTES], at: usize, value: &[u8]) -> Option<()> {
    bytes.get_mut(at..at.checked_add(value.len())?)?.copy_from_slice(value);
    Some(())
}

fn request(name: &str, flags: u32) -> DmRequest {
    let mut bytes = [0; DM_BYTES];
    let mut fields = vec![VERSION[0], VERSION[1], VERSION[2]];
    fields.extend([u32::try_from(DM_BYTES), u32::try_from(DM_HEADER_BYTES)].map(|size| size.unwrap_or(0)));
    fields.extend([0, 0, flags]);
    for (index, field) in fields.into_iter().enumerate() {
        bytes[index * 4..index * 4 + 4].copy_from_slice(&field.to_le_bytes());
    }
    let name = &name.as_bytes()[..name.len().min(127)];
    bytes[48..48 + name.len()].copy_from_slice(name);
    DmRequest(bytes)
}

fn request_with_target(mapping: &Mapping) -> Option<DmRequest> {
    let mut request = request(mapping.name, READ_ONLY);
    let bytes = &mut request.0;
    put(bytes, 20, &1_u32.to_le_bytes())?;
    let spec = DM_HEADER_BYTES;
    put(bytes, spec + 8, &mapping.sectors.to_le_bytes())?;
    let parameters = mapping.parameters.as_bytes();
    let room = DM_BYTES - spec - SPEC_BYTES;
    // One byte stays free for the NUL at the end.
    if parameters.len() >= room || mapping.target.len() >= 16 {
        return None;
    }
    let next = (SPEC_BYTES + parameters.len() + 1).next_multiple_of(8);
    put(bytes, spec + 20, &u32::try_from(next).ok()?.to_le_bytes())?;
    put(bytes, spec + 24, mapping.target.as_bytes())?;
    put(bytes, spec + SPEC_BYTES, parameters)?;
    Some(request)
}

/// The minor number in a reply: eight low bits, then twelve bits of major, then the rest.
fn minor_of(reply: &[u8; DM_BYTES]) -> u64 {
    let mut device = [0; 8];
    device.copy_from_slice(&reply[DEVICE_AT..DEVICE_AT + 8]);
    let device = u64::from_le_bytes(device);
    (device & 0xff) | ((device >> 12) & 0xfff_ff00)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mapping(parameters: String) -> Mapping {
        Mapping { name: "root", sectors: 16384, target: "verity", parameters }
    }

    #[test]
    fn a_request_has_header_target_and_parameters_where_the_kernel_looks() {
        let request = request_with_target(&mapping("1 254:3 254:3".to_owned())).unwrap().0;
        assert_eq!(request[..4], [4, 0, 0, 0]);
        assert_eq!(request[12..24], [0, 16, 0, 0, 56, 1, 0, 0, 1, 0, 0, 0]);
        assert_eq!(request[28], 1, "read-only");
        assert_eq!(&request[48..53], b"root\0");
        assert_eq!(request[320..328], 16384_u64.to_le_bytes());
        assert_eq!(request[332..336], 56_u32.to_le_bytes());
        assert_eq!(&request[336..343], b"verity\0");
        assert_eq!(&request[352..366], b"1 254:3 254:3\0");
    }

    #[test]
    fn parameters_that_do_not_fit_are_refused() {
        assert!(request_with_target(&mapping("x".repeat(4096 - 352 - 1))).is_some());
        assert!(request_with_target(&mapping("x".repeat(4096 - 352))).is_none());
    }

    #[test]
    fn the_minor_number_is_put_together_from_both_parts() {
        let mut reply = [0; DM_BYTES];
        reply[40..48].copy_from_slice(&0x0010_fd07_u64.to_le_bytes());
        assert_eq!(minor_of(&reply), 0x107);
    }
}
