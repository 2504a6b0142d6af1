//! The profile as a classic BPF program over `struct seccomp_data` (seccomp(2)).
//!
//! System call numbers are searched by halves over runs of equal verdicts: about nine steps to any verdict, where a
//! chain of comparisons takes hundreds. The kernel runs the program once for every number when it is loaded.

use super::{ENOSYS, EPERM, Profile, Verdict};
use crate::error::{Error, Kind, Result};
use coracle_format::slot::Arch;

/// `BPF_LD | BPF_W | BPF_ABS`
const LOAD: u16 = 0x20;
/// `BPF_JMP | BPF_JEQ | BPF_K`
const JUMP_EQUAL: u16 = 0x15;
/// `BPF_JMP | BPF_JGE | BPF_K`
const JUMP_AT_LEAST: u16 = 0x35;
/// `BPF_JMP | BPF_JSET | BPF_K`
const JUMP_IF_BITS: u16 = 0x45;
/// `BPF_JMP | BPF_JA`
const JUMP: u16 = 0x05;
/// `BPF_RET | BPF_K`
const RETURN: u16 = 0x06;

const ALLOW: u32 = 0x7fff_0000;
const ERRNO: u32 = 0x0005_0000;
const KILL_PROCESS: u32 = 0x8000_0000;

/// Offsets in `struct seccomp_data`.
const NUMBER_AT: u32 = 0;
const ARCH_AT: u32 = 4;
/// The first argument's low half on little-endian machines; what is checked is 32 bits wide for the kernel too.
const ARGUMENT_AT: u32 = 16;

/// The kernel's `AUDIT_ARCH_…`.
const AUDIT_X86_64: u32 = 0xc000_003e;
const AUDIT_AARCH64: u32 = 0xc000_00b7;
/// Numbers from here on are those of x32, which this kernel is not built for.
const X32: u32 = 0x4000_0000;
/// Longest program the kernel takes.
const INSTRUCTIONS_MAX: usize = 4096;

/// One instruction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Instruction {
    code: u16,
    jump_true: u8,
    jump_false: u8,
    value: u32,
}

const fn op(code: u16, value: u32) -> Instruction {
    Instruction { code, jump_true: 0, jump_false: 0, value }
}

const fn jump(code: u16, value: u32, jump_true: u8, jump_false: u8) -> Instruction {
    Instruction { code, jump_true, jump_false, value }
}

const fn fail(errno: u16) -> Instruction {
    let low = errno.to_le_bytes();
    op(RETURN, ERRNO | u32::from_le_bytes([low[0], low[1], 0, 0]))
}

/// The program of a profile. Its length is a multiple of three, so that its base64 needs no padding.
pub(super) fn compile(profile: &Profile) -> Result<Vec<Instruction>> {
    let arch = match profile.arch {
        Arch::X86_64 => AUDIT_X86_64,
        Arch::Aarch64 => AUDIT_AARCH64,
    };
    let mut out =
        vec![op(LOAD, ARCH_AT), jump(JUMP_EQUAL, arch, 1, 0), op(RETURN, KILL_PROCESS), op(LOAD, NUMBER_AT)];
    if profile.arch == Arch::X86_64 {
        out.extend([jump(JUMP_AT_LEAST, X32, 0, 1), fail(ENOSYS)]);
    }
    let too_long = || Error::new(Kind::Internal, "the system call filter is longer than the kernel takes");
    out.extend(search(&runs(profile)).ok_or_else(too_long)?);
    while out.len() % 3 != 0 {
        out.push(fail(EPERM));
    }
    if out.len() > INSTRUCTIONS_MAX {
        return Err(too_long());
    }
    Ok(out)
}

/// Runs of equal verdicts: first number and verdict, ascending, from 0 on.
fn runs(profile: &Profile) -> Vec<(u32, Verdict)> {
    let end = profile.verdicts.keys().next_back().map_or(0, |last| last + 1);
    let mut out: Vec<(u32, Verdict)> = Vec::new();
    for number in 0..=end {
        let verdict = profile.verdict(number);
        if out.last().is_none_or(|(_, last)| *last != verdict) {
            out.push((number, verdict));
        }
    }
    out
}

/// Finds the run that the number in the accumulator is in. `None` if a jump would be too far.
fn search(runs: &[(u32, Verdict)]) -> Option<Vec<Instruction>> {
    match runs {
        [] => Some(vec![fail(ENOSYS)]),
        [(_, verdict)] => leaf(*verdict),
        _ => {
            let (low, high) = runs.split_at(runs.len() / 2);
            let middle = high.first()?.0;
            let (low, high) = (search(low)?, search(high)?);
            // A conditional jump reaches 255 instructions; an unconditional one, any.
            let mut out = match u8::try_from(low.len()) {
                Ok(over) => vec![jump(JUMP_AT_LEAST, middle, over, 0)],
                Err(_) => vec![jump(JUMP_AT_LEAST, middle, 0, 1), op(JUMP, u32::try_from(low.len()).ok()?)],
            };
            out.extend(low);
            out.extend(high);
            Some(out)
        }
    }
}

fn leaf(verdict: Verdict) -> Option<Vec<Instruction>> {
    Some(match verdict {
        Verdict::Allow => vec![op(RETURN, ALLOW)],
        Verdict::Fail(errno) => vec![fail(errno)],
        Verdict::WithoutBits(bits) => {
            vec![op(LOAD, ARGUMENT_AT), jump(JUMP_IF_BITS, bits, 1, 0), op(RETURN, ALLOW), fail(EPERM)]
        }
        Verdict::OneOf(values, errno) => {
            let mut out = vec![op(LOAD, ARGUMENT_AT)];
            for (index, value) in values.iter().enumerate() {
                // Over the remaining comparisons and the failure.
                out.push(jump(JUMP_EQUAL, *value, u8::try_from(values.len() - index).ok()?, 0));
            }
            out.extend([fail(errno), op(RETURN, ALLOW)]);
            out
        }
    })
}

/// The program's bytes (`struct sock_filter`, little-endian) as base64 without padding (RFC 4648, section 4).
pub(super) fn base64(program: &[Instruction]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut bytes = Vec::with_capacity(program.len() * 8);
    for instruction in program {
        bytes.extend(instruction.code.to_le_bytes());
        bytes.extend([instruction.jump_true, instruction.jump_false]);
        bytes.extend(instruction.value.to_le_bytes());
    }
    let (triples, _) = bytes.as_chunks::<3>();
    let digits =
        triples.iter().flat_map(|[a, b, c]| [a >> 2, (a & 3) << 4 | b >> 4, (b & 15) << 2 | c >> 6, c & 63]);
    digits.map(|digit| char::from(DIGITS[usize::from(digit)])).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the kernel's interpreter returns; every jump must stay inside the program.
    fn run(program: &[Instruction], arch: u32, number: u32, argument: u32) -> u32 {
        let (mut at, mut accumulator, mut steps) = (0, 0, 0);
        loop {
            steps += 1;
            assert!(steps < 64, "{number} takes too long");
            let Instruction { code, jump_true, jump_false, value } = program[at];
            at += 1;
            let taken = match code {
                RETURN => return value,
                LOAD => {
                    accumulator = match value {
                        NUMBER_AT => number,
                        ARCH_AT => arch,
                        ARGUMENT_AT => argument,
                        other => panic!("load from {other}"),
                    };
                    continue;
                }
                JUMP => {
                    at += usize::try_from(value).unwrap();
                    continue;
                }
                JUMP_EQUAL => accumulator == value,
                JUMP_AT_LEAST => accumulator >= value,
                JUMP_IF_BITS => accumulator & value != 0,
                other => panic!("instruction {other:#x}"),
            };
            at += usize::from(if taken { jump_true } else { jump_false });
        }
    }

    fn expected(verdict: Verdict, argument: u32) -> u32 {
        match verdict {
            Verdict::Allow => ALLOW,
            Verdict::WithoutBits(bits) if argument & bits == 0 => ALLOW,
            Verdict::WithoutBits(_) => ERRNO | u32::from(EPERM),
            Verdict::OneOf(values, _) if values.contains(&argument) => ALLOW,
            Verdict::Fail(errno) | Verdict::OneOf(_, errno) => ERRNO | u32::from(errno),
        }
    }

    #[test]
    fn the_program_says_what_the_profile_says_for_every_number_and_argument() {
        for (arch, audit) in [(Arch::X86_64, AUDIT_X86_64), (Arch::Aarch64, AUDIT_AARCH64)] {
            for capabilities in [vec![], vec!["CAP_SYS_ADMIN".to_owned(), "CAP_SYS_CHROOT".to_owned()]] {
                let profile = Profile::new(arch, &capabilities).unwrap();
                let program = compile(&profile).unwrap();
                for number in (0..1024).chain([X32 - 1]) {
                    for argument in
                        [0, 1, 2, 8, 10, 11, 16, 17, 38, 40, 0x11, 0x2_0000, 0x1000_0000, u32::MAX]
                    {
                        assert_eq!(
                            run(&program, audit, number, argument),
                            expected(profile.verdict(number), argument),
                            "{number} {argument:#x}"
                        );
                    }
                }
            }
        }
    }

    #[test]
    fn other_architectures_are_killed_and_x32_does_not_exist() {
        let program = compile(&Profile::new(Arch::X86_64, &[]).unwrap()).unwrap();
        for audit in [0x4000_0003, AUDIT_AARCH64, 0] {
            assert_eq!(run(&program, audit, 0, 0), KILL_PROCESS);
        }
        for number in [X32, X32 + 1, u32::MAX] {
            assert_eq!(run(&program, AUDIT_X86_64, number, 0), ERRNO | u32::from(ENOSYS));
        }
    }

    #[test]
    fn the_program_is_small_and_its_text_needs_no_padding() {
        for arch in [Arch::X86_64, Arch::Aarch64] {
            let program = compile(&Profile::new(arch, &[]).unwrap()).unwrap();
            assert!(program.len() < 300, "{} instructions", program.len());
            let text = base64(&program);
            assert_eq!(text.len(), program.len() * 32 / 3);
            // `ld [4]`: 20 00 00 00 04 00 00 00
            assert!(text.starts_with("IAAAAAQA"), "{text}");
        }
    }
}
