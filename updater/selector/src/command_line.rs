//! What a boot artefact's kernel command line says, as far as the selector listens to it.

/// Asks that the watchdog `i6300esb` be started before the kernel: the release has its driver and goes on feeding it.
pub const WATCHDOG_WORD: &str = "coracle.watchdog=i6300esb";

const COFF_BYTES: usize = 24;
const SECTION_HEADER_BYTES: usize = 40;

/// Whether `word` stands on the command line of a boot artefact. One that cannot be read has no words.
pub(crate) fn has_word(image: &[u8], word: &str) -> bool {
    let line = section(image, b".cmdline").unwrap_or_default();
    line.split(|byte| *byte <= b' ').any(|one| one == word.as_bytes())
}

/// The bytes of the first section of this name of a PE file.
fn section<'a>(image: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    let coff = image.get(u32_at(image, 0x3c)?..)?;
    if !coff.starts_with(b"PE\0\0") {
        return None;
    }
    let (count, optional) = (u16_at(coff, 6)?, u16_at(coff, 20)?);
    let mut headers = coff.get(COFF_BYTES + optional..)?.chunks_exact(SECTION_HEADER_BYTES).take(count);
    let header = headers.find(|header| header.starts_with(name))?;
    let length = u32_at(header, 8)?.min(u32_at(header, 16)?);
    image.get(u32_at(header, 20)?..)?.get(..length)
}

fn u16_at(bytes: &[u8], at: usize) -> Option<usize> {
    bytes.get(at..)?.first_chunk().map(|two| usize::from(u16::from_le_bytes(*two)))
}

fn u32_at(bytes: &[u8], at: usize) -> Option<usize> {
    usize::try_from(u32::from_le_bytes(*bytes.get(at..)?.first_chunk()?)).ok()
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use alloc::vec::Vec;

    /// A PE file with this command line, as small as it gets.
    pub(crate) fn with_line(line: &[u8]) -> Vec<u8> {
        let length = u32::try_from(line.len()).unwrap();
        let mut out = [0; 0x40].to_vec();
        out[..2].copy_from_slice(b"MZ");
        out[0x3c] = 0x40;
        out.extend_from_slice(b"PE\0\0\x64\x86\x02\0");
        out.extend_from_slice(&[0; 12]);
        out.extend_from_slice(&[8, 0, 0, 0]);
        out.extend_from_slice(&[0; 8]);
        for (name, length) in [(b".linux\0\0", 0), (b".cmdline", length)] {
            out.extend_from_slice(name);
            for field in [length, 0x1000, length + 7, 0xb0, 0, 0, 0, 0] {
                out.extend_from_slice(&field.to_le_bytes());
            }
        }
        out.resize(0xb0, 0);
        out.extend_from_slice(line);
        out.extend_from_slice(&[b' '; 7]);
        out
    }

    #[test]
    fn the_word_counts_only_as_a_whole_word() {
        let said = |line: &str| has_word(&with_line(line.as_bytes()), WATCHDOG_WORD);
        assert!(said(WATCHDOG_WORD));
        assert!(said("console=ttyS0 coracle.watchdog=i6300esb quiet"));
        assert!(said("quiet coracle.watchdog=i6300esb\0"));
        assert!(!said("coracle.watchdog=i6300esb2 xcoracle.watchdog=i6300esb coracle.watchdog="));
        assert!(!said(""));
    }

    #[test]
    fn a_truncated_image_has_no_words_and_no_damaged_one_ends_the_selector() {
        let whole = with_line(WATCHDOG_WORD.as_bytes());
        assert!(has_word(&whole, WATCHDOG_WORD));
        for end in 0..whole.len() - 7 {
            assert!(!has_word(&whole[..end], WATCHDOG_WORD), "{end}");
        }
        for at in 0..0xb0 {
            for value in [0, 1, 0x7f, 0x80, 0xff] {
                let mut image = whole.clone();
                image[at] = value;
                has_word(&image, WATCHDOG_WORD);
                image[at..(at + 4).min(0xb0)].fill(value);
                has_word(&image, WATCHDOG_WORD);
            }
        }
    }
}
