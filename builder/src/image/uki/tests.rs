use super::*;

/// A PE file as small as the format allows: one section, and room for `room` more section headers.
pub(crate) fn stub(machine: u16, room: usize) -> Vec<u8> {
    let headers = 64 + 24 + 240 + 40 * (1 + room);
    let raw = u32::try_from(headers.next_multiple_of(512)).unwrap();
    let raw = if room == 0 { 368 } else { raw };
    let mut out = vec![0; 64];
    out[..2].copy_from_slice(b"MZ");
    out[0x3c] = 64;
    out.extend_from_slice(b"PE\0\0");
    out.extend_from_slice(&machine.to_le_bytes());
    out.extend_from_slice(&1_u16.to_le_bytes());
    out.extend_from_slice(&[0; 12]);
    out.extend_from_slice(&240_u16.to_le_bytes());
    out.extend_from_slice(&[0x2e, 2]);
    let mut optional = [0; 240];
    optional[..2].copy_from_slice(&0x20b_u16.to_le_bytes());
    optional[32..36].copy_from_slice(&4096_u32.to_le_bytes());
    optional[36..40].copy_from_slice(&512_u32.to_le_bytes());
    optional[108] = 16;
    out.extend_from_slice(&optional);
    out.extend_from_slice(b".sbat\0\0\0");
    for field in [5, 0x1000, 512, raw, 0, 0, 0, READ_ONLY_DATA] {
        out.extend_from_slice(&field.to_le_bytes());
    }
    out.resize(usize::try_from(raw).unwrap(), 0);
    out.extend_from_slice(b"sbat,");
    out.resize(usize::try_from(raw).unwrap() + 512, 0);
    out
}

fn parts(linux: &[u8]) -> Parts<'_> {
    Parts {
        linux,
        initrd: &[9; 5000],
        command_line: "quiet coracle.verity=x",
        os_release: "ID=coracle\n",
        uname: "6.12.0",
    }
}

#[test]
fn what_was_put_in_comes_out_again() {
    let kernel = stub(0xaa64, 1);
    let image = build(&stub(0xaa64, 8), &parts(&kernel)).unwrap();
    let uki = Uki::parse(&image).unwrap();
    assert_eq!(uki.arch, Arch::Aarch64);
    assert_eq!(uki.linux().unwrap(), kernel);
    assert_eq!(uki.initrd().unwrap(), [9; 5000]);
    assert_eq!(uki.command_line().unwrap(), "quiet coracle.verity=x");
    assert_eq!(uki.uname().unwrap(), "6.12.0");
    assert_eq!(uki.section(".osrel").unwrap(), b"ID=coracle\n");
    assert_eq!(uki.section(".sbat").unwrap(), b"sbat,");
}

#[test]
fn sections_are_aligned_in_file_and_memory_and_the_image_covers_them() {
    use object::read::pe::PeFile64;
    use object::{Object, ObjectSection};
    let kernel = stub(0x8664, 1);
    let image = build(&stub(0x8664, 8), &parts(&kernel)).unwrap();
    assert_eq!(image.len() % 512, 0);
    let file = PeFile64::parse(&image[..]).unwrap();
    let optional = &file.nt_headers().optional_header;
    let (mut end, mut raw_end) = (0, None);
    let mut names = Vec::new();
    for section in file.sections() {
        let address = section.address();
        assert_eq!(address % 4096, 0);
        assert!(address >= end);
        let header = section.pe_section();
        let [at, raw] = [header.pointer_to_raw_data, header.size_of_raw_data]
            .map(|field| field.get(object::LittleEndian));
        assert_eq!((at % 512, raw % 512), (0, 0));
        // Signatures cover what is in sections: there must be nothing between them.
        assert!(raw_end.is_none_or(|end| end == at), "{at}");
        raw_end = Some(at + raw);
        end = address + section.size();
        names.push(section.name().unwrap().to_owned());
    }
    assert_eq!(raw_end, Some(u32::try_from(image.len()).unwrap()));
    let size = optional.size_of_image.get(object::LittleEndian);
    assert_eq!(u64::from(size), end.next_multiple_of(4096));
    assert_eq!(names, [".sbat", ".osrel", ".cmdline", ".uname", ".linux", ".initrd"]);
}

#[test]
fn a_kernel_that_is_the_same_stays_in_its_own_blocks() {
    let kernel = stub(0x8664, 1);
    let [before, after] = ["quiet", "quiet coracle.verity=another"].map(|command_line| {
        let changed = Parts { command_line, initrd: command_line.as_bytes(), ..parts(&kernel) };
        build(&stub(0x8664, 8), &changed).unwrap()
    });
    let range = Uki::parse(&before).unwrap().linux_range().unwrap();
    assert_eq!(range, Uki::parse(&after).unwrap().linux_range().unwrap());
    assert_eq!((range.start % 4096, range.len()), (0, kernel.len()));
    let blocks = range.start..range.end.next_multiple_of(4096);
    assert_eq!(before[blocks.clone()], after[blocks.clone()]);
    assert_eq!(before[blocks.end..blocks.end + 5], *b"quiet");
}

#[test]
fn the_checksum_is_the_sum_of_words_and_the_length() {
    let kernel = stub(0x8664, 1);
    let image = build(&stub(0x8664, 8), &parts(&kernel)).unwrap();
    let at = 64 + 24 + 64;
    let stated = u32::from_le_bytes(image[at..at + 4].try_into().unwrap());
    let mut sum: u32 = 0;
    for (index, pair) in image.chunks(2).enumerate() {
        if !(at / 2..at / 2 + 2).contains(&index) {
            sum += u32::from(pair[0]) + (u32::from(pair[1]) << 8);
            sum = (sum & 0xffff) + (sum >> 16);
        }
    }
    assert_eq!(stated, sum + u32::try_from(image.len()).unwrap());
}

#[test]
fn unsuitable_stubs_and_parts_are_refused_with_the_reason() {
    let kernel = stub(0x8664, 1);
    let refused = |stub: &[u8], parts: &Parts<'_>| build(stub, parts).unwrap_err().to_string();
    let full = refused(&stub(0x8664, 0), &parts(&kernel));
    assert!(full.ends_with("no room for more section headers"), "{full}");
    let other = refused(&stub(0xaa64, 8), &parts(&kernel));
    assert!(other.contains("another architecture"), "{other}");
    let mut signed = stub(0x8664, 8);
    signed[64 + 24 + 112 + 36] = 8;
    let signed = refused(&signed, &parts(&kernel));
    assert!(signed.ends_with("signed already"), "{signed}");
    let no_kernel = refused(&stub(0x8664, 8), &parts(b"\x1f\x8b"));
    assert!(no_kernel.contains("the kernel"), "{no_kernel}");
    let long = "x".repeat(2048);
    let long = Parts { command_line: &long, ..parts(&kernel) };
    assert!(refused(&stub(0x8664, 8), &long).contains("2048 bytes"));
    let broken = Parts { command_line: "a\nb", ..parts(&kernel) };
    assert!(refused(&stub(0x8664, 8), &broken).contains("line break"));
}

mod hostile {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn no_bytes_panic_and_every_section_is_inside(
            noise in prop::collection::vec((0..1024_usize, any::<u8>()), 1..40),
            cut in 0..20_000_usize,
        ) {
            let kernel = stub(0x8664, 1);
            let mut image = build(&stub(0x8664, 8), &parts(&kernel)).unwrap();
            for (at, byte) in noise {
                image[at] = byte;
            }
            image.truncate(cut.max(1));
            if let Ok(uki) = Uki::parse(&image) {
                for (name, length) in uki.sections() {
                    let bytes = uki.section(name);
                    prop_assert!(length == 0 || bytes.is_some());
                }
            }
            prop_assert!(build(&image, &parts(&kernel)).map_or(true, |out| out.len() > image.len()));
        }
    }
}
