//! The signature of a PE file: PKCS#7 `SignedData` (RFC 2315) around the digest, as firmware expects it.

use super::{
    der::{
        self, BIT_STRING, CONTEXT_0, CONTEXT_2, INTEGER, NULL, OBJECT, OCTET_STRING, SEQUENCE, SET, value,
    },
    keys::Signer,
};
use crate::error::Result;
use sha2::{Digest as _, Sha256};

/// 1.2.840.113549.1.7.2
const SIGNED_DATA: [u8; 9] = [0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 7, 2];
/// 1.3.6.1.4.1.311.2.1.4
const INDIRECT_DATA: [u8; 10] = [0x2b, 6, 1, 4, 1, 0x82, 0x37, 2, 1, 4];
/// 1.3.6.1.4.1.311.2.1.15
const PE_IMAGE_DATA: [u8; 10] = [0x2b, 6, 1, 4, 1, 0x82, 0x37, 2, 1, 15];
/// 2.16.840.1.101.3.4.2.1
const SHA_256: [u8; 9] = [0x60, 0x86, 0x48, 1, 0x65, 3, 4, 2, 1];
/// 1.2.840.113549.1.1.1
const RSA: [u8; 9] = [0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 1];
/// 1.2.840.113549.1.9.3
const CONTENT_TYPE: [u8; 9] = [0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 9, 3];
/// 1.2.840.113549.1.9.4
const MESSAGE_DIGEST: [u8; 9] = [0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 9, 4];

/// Signs the digest of a PE file. No time is in it: the same key gives the same bytes.
pub(super) fn make(digest: &[u8; 32], signer: &Signer) -> Result<Vec<u8>> {
    let content = [attribute(), digest_info(digest)].concat();
    let attributes = [
        value(SEQUENCE, &[&object(&CONTENT_TYPE), &value(SET, &[&object(&INDIRECT_DATA)])]),
        value(
            SEQUENCE,
            &[&object(&MESSAGE_DIGEST), &value(SET, &[&value(OCTET_STRING, &[&Sha256::digest(&content)])])],
        ),
    ]
    .concat();
    // What is signed is the set; what is written has the place of the field instead of the tag (RFC 2315 §9.3).
    let signature = signer.sign(&value(SET, &[&attributes]))?;
    let (issuer, serial) = signer.issuer_and_serial();
    let info = value(
        SEQUENCE,
        &[
            &value(INTEGER, &[&[1]]),
            &value(SEQUENCE, &[issuer, serial]),
            &algorithm(&SHA_256),
            &value(CONTEXT_0, &[&attributes]),
            &algorithm(&RSA),
            &value(OCTET_STRING, &[&signature]),
        ],
    );
    let data = value(
        SEQUENCE,
        &[
            &value(INTEGER, &[&[1]]),
            &value(SET, &[&algorithm(&SHA_256)]),
            &value(SEQUENCE, &[&object(&INDIRECT_DATA), &value(CONTEXT_0, &[&value(SEQUENCE, &[&content])])]),
            &value(CONTEXT_0, &[signer.certificate()]),
            &value(SET, &[&info]),
        ],
    );
    Ok(value(SEQUENCE, &[&object(&SIGNED_DATA), &value(CONTEXT_0, &[&data])]))
}

/// Whether a signature is about a file with this digest. Whether it is a good one, firmware decides.
pub(super) fn covers(pkcs7: &[u8], digest: &[u8; 32]) -> bool {
    content_digest(pkcs7).is_some_and(|found| found == digest)
}

fn content_digest(pkcs7: &[u8]) -> Option<&[u8]> {
    let step = |contents, index: usize| der::inside(contents)?.get(index).map(|value| value.contents);
    // ContentInfo, [0], SignedData, its content, [0], SpcIndirectDataContent, DigestInfo, digest.
    let (info, _) = der::read(pkcs7)?;
    let data = step(step(info.contents, 1)?, 0)?;
    let content = step(step(step(data, 2)?, 1)?, 0)?;
    step(step(content, 1)?, 1)
}

/// `SpcAttributeTypeAndOptionalValue` with an `SpcPeImageData` that names no file.
fn attribute() -> Vec<u8> {
    let link = value(CONTEXT_0, &[&value(CONTEXT_2, &[&[0x80, 0]])]);
    let image = value(SEQUENCE, &[&value(BIT_STRING, &[&[0]]), &link]);
    value(SEQUENCE, &[&object(&PE_IMAGE_DATA), &image])
}

fn digest_info(digest: &[u8; 32]) -> Vec<u8> {
    value(SEQUENCE, &[&algorithm(&SHA_256), &value(OCTET_STRING, &[digest])])
}

fn algorithm(id: &[u8]) -> Vec<u8> {
    value(SEQUENCE, &[&object(id), &NULL])
}

fn object(id: &[u8]) -> Vec<u8> {
    value(OBJECT, &[id])
}
