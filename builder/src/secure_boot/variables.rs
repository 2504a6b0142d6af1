//! A UEFI variable store with keys enrolled, made from the empty one that comes with the firmware: the state a machine
//! is in after its owner has enrolled the keys in its firmware's menu.
//!
//! Layout: EDK II, `MdeModulePkg/Include/Guid/VariableFormat.h` (authenticated variables) in a firmware volume (UEFI
//! Platform Initialization Specification, volume 3, §3.2.1); signature lists: UEFI Specification 2.10, §32.4.1.

use crate::error::{Error, Kind, Result};

type Guid = [u8; 16];

/// 8be4df61-93ca-11d2-aa0d-00e098032b8c
const GLOBAL: Guid =
    [0x61, 0xdf, 0xe4, 0x8b, 0xca, 0x93, 0xd2, 0x11, 0xaa, 0x0d, 0, 0xe0, 0x98, 3, 0x2b, 0x8c];
/// d719b2cb-3d3a-4596-a3bc-dad00e67656f
const SECURITY_DATABASE: Guid =
    [0xcb, 0xb2, 0x19, 0xd7, 0x3a, 0x3d, 0x96, 0x45, 0xa3, 0xbc, 0xda, 0xd0, 0x0e, 0x67, 0x65, 0x6f];
/// f0a30bc7-af08-4556-99c4-001009c93a44
const SECURE_BOOT_ENABLE: Guid =
    [0xc7, 0x0b, 0xa3, 0xf0, 8, 0xaf, 0x56, 0x45, 0x99, 0xc4, 0, 0x10, 9, 0xc9, 0x3a, 0x44];
/// a5c059a1-94e4-4aa7-87b5-ab155c2bf072
const X509: Guid =
    [0xa1, 0x59, 0xc0, 0xa5, 0xe4, 0x94, 0xa7, 0x4a, 0x87, 0xb5, 0xab, 0x15, 0x5c, 0x2b, 0xf0, 0x72];
/// aaf32c78-947b-439a-a180-2e144ec37792
const AUTHENTICATED: Guid =
    [0x78, 0x2c, 0xf3, 0xaa, 0x7b, 0x94, 0x9a, 0x43, 0xa1, 0x80, 0x2e, 0x14, 0x4e, 0xc3, 0x77, 0x92];

/// Non-volatile, boot services.
const BOOT: u32 = 0x3;
/// Those, at run time too, authenticated by time.
const SIGNED: u32 = 0x27;
const VARIABLE_START: u16 = 0x55aa;
const ADDED: u8 = 0x3f;
const VARIABLE_HEADER_BYTES: usize = 60;
const STORE_HEADER_BYTES: usize = 28;
/// 2020-01-01: any date will do that comes before what the owner may enrol later.
const DATE: [u8; 16] = [0xe4, 0x07, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];

/// The store `empty` with `certificate` (DER) as platform key, key exchange key and allowed signer: from the first start
/// on, the firmware starts what is signed with it and nothing else.
pub fn enrol(empty: &[u8], certificate: &[u8]) -> Result<Vec<u8>> {
    let list = signature_list(certificate)?;
    let mut out = empty.to_vec();
    let mut room = Room::find(empty)?;
    for (vendor, name, attributes, data) in [
        (&GLOBAL, "PK", SIGNED, &list[..]),
        (&GLOBAL, "KEK", SIGNED, &list[..]),
        (&SECURITY_DATABASE, "db", SIGNED, &list[..]),
        (&SECURE_BOOT_ENABLE, "SecureBootEnable", BOOT, &[1]),
    ] {
        let variable = variable(vendor, name, attributes, data)?;
        let end = room.next + variable.len();
        if end > room.end {
            return Err(Error::new(Kind::TooLarge, "the certificate does not fit into the variable store"));
        }
        out[room.next..end].copy_from_slice(&variable);
        room.next = end.next_multiple_of(4);
    }
    Ok(out)
}

/// Where the next variable goes.
struct Room {
    next: usize,
    end: usize,
}

impl Room {
    fn find(store: &[u8]) -> Result<Self> {
        let wrong = || Error::new(Kind::Hostile, "the firmware's variable store has an unknown layout");
        let header = usize::from(half(store, 48).ok_or_else(wrong)?);
        let (signature, kind) = (store.get(40..44), store.get(header..header + 16));
        if signature != Some(b"_FVH") || kind != Some(&AUTHENTICATED) {
            return Err(wrong());
        }
        let end = header + word(store, header + 16).ok_or_else(wrong)?;
        if end > store.len() {
            return Err(wrong());
        }
        let mut next = header + STORE_HEADER_BYTES;
        while half(store, next) == Some(VARIABLE_START) {
            let [name, data] = [36, 40].map(|field| word(store, next + field));
            let bytes = name.zip(data).and_then(|(name, data)| name.checked_add(data)).ok_or_else(wrong)?;
            let after = next.checked_add(VARIABLE_HEADER_BYTES).and_then(|at| at.checked_add(bytes));
            next = after.filter(|at| *at < end).ok_or_else(wrong)?.next_multiple_of(4);
        }
        Ok(Self { next, end })
    }
}

fn variable(vendor: &Guid, name: &str, attributes: u32, data: &[u8]) -> Result<Vec<u8>> {
    let name: Vec<u8> = name.encode_utf16().chain([0]).flat_map(u16::to_le_bytes).collect();
    let stamp = if attributes == SIGNED { DATE } else { [0; 16] };
    let mut out = Vec::new();
    out.extend_from_slice(&VARIABLE_START.to_le_bytes());
    out.extend_from_slice(&[ADDED, 0]);
    out.extend_from_slice(&attributes.to_le_bytes());
    out.extend_from_slice(&[0; 8]);
    out.extend_from_slice(&stamp);
    out.extend_from_slice(&[0; 4]);
    out.extend_from_slice(&length(name.len())?);
    out.extend_from_slice(&length(data.len())?);
    out.extend_from_slice(vendor);
    out.extend_from_slice(&name);
    out.extend_from_slice(data);
    Ok(out)
}

fn signature_list(certificate: &[u8]) -> Result<Vec<u8>> {
    let entry = 16 + certificate.len();
    let mut out = X509.to_vec();
    out.extend_from_slice(&length(28 + entry)?);
    out.extend_from_slice(&length(0)?);
    out.extend_from_slice(&length(entry)?);
    // The owner: nobody in particular.
    out.extend_from_slice(&[0; 16]);
    out.extend_from_slice(certificate);
    Ok(out)
}

fn length(bytes: usize) -> Result<[u8; 4]> {
    u32::try_from(bytes)
        .map(u32::to_le_bytes)
        .map_err(|source| Error::new(Kind::TooLarge, "the certificate is too large").because(source))
}

fn half(bytes: &[u8], at: usize) -> Option<u16> {
    bytes.get(at..)?.first_chunk().map(|chunk| u16::from_le_bytes(*chunk))
}

fn word(bytes: &[u8], at: usize) -> Option<usize> {
    let chunk = bytes.get(at..)?.first_chunk()?;
    usize::try_from(u32::from_le_bytes(*chunk)).ok()
}
