//! What signs metadata: a key in a file, or a program that asks an HSM or a key service.
//!
//! The program is run as `CMD public` and prints its Ed25519 public key, and as `CMD <role>` (`targets`, `root`) with the
//! bytes to sign on its standard input and prints the signature. Keys and signatures are raw bytes or hexadecimal digits;
//! a public key may also be PEM, as `openssl pkey -pubout` writes it.

use crate::{
    context::Context,
    error::{Error, Kind, Result},
    keys::SecretKey,
    tool::{Stdin, Stdout, Tool},
};
use coracle_trust::{Role, document::PublicKey};
use ed25519_dalek::{Signature, VerifyingKey, pkcs8::DecodePublicKey as _};
use std::{fmt::Write as _, str::FromStr};

/// Output of a signing program at most.
const OUTPUT_BYTES_MAX: u64 = 4096;
/// What a signing program finds in its environment, beside `PATH`. Whatever else it needs is its own to set.
const ENVIRONMENT: [&str; 12] = [
    "PATH",
    "HOME",
    "USER",
    "LOGNAME",
    "XDG_RUNTIME_DIR",
    "XDG_CONFIG_HOME",
    "SSH_AUTH_SOCK",
    "DBUS_SESSION_BUS_ADDRESS",
    "SOFTHSM2_CONF",
    "AWS_PROFILE",
    "AWS_REGION",
    "GOOGLE_APPLICATION_CREDENTIALS",
];

/// A program that signs: name or path, then arguments that come before the role.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Command {
    program: String,
    args: Vec<String>,
}

impl FromStr for Command {
    type Err = &'static str;

    /// Words apart by white space; there is no quoting.
    fn from_str(text: &str) -> Result<Self, &'static str> {
        let mut words = text.split_whitespace().map(str::to_owned);
        let program = words.next().ok_or("a signing program has a name")?;
        Ok(Self { program, args: words.collect() })
    }
}

/// What signs.
#[derive(Clone, Debug)]
pub enum Signer {
    /// A key in memory.
    Key(SecretKey),
    /// A program.
    Command(Command),
}

impl Signer {
    /// The public key of what it signs with.
    pub fn public(&self, ctx: &Context) -> Result<PublicKey> {
        let command = match self {
            Self::Key(key) => return Ok(key.public()),
            Self::Command(command) => command,
        };
        let output = command.run(ctx, "public", Stdin::Closed)?;
        let pem = || {
            let text = str::from_utf8(&output).ok()?;
            VerifyingKey::from_public_key_pem(text).ok().map(|key| key.to_bytes())
        };
        bytes(&output).or_else(pem).ok_or_else(|| {
            command.wrong("public", "an Ed25519 public key (32 bytes, 64 hexadecimal digits, or PEM)")
        })
    }

    /// Signs a document of a role. The signature has been verified.
    pub fn sign(&self, ctx: &Context, role: Role, message: &[u8]) -> Result<(PublicKey, [u8; 64])> {
        let public = self.public(ctx)?;
        let command = match self {
            Self::Key(key) => return Ok((public, key.sign(message))),
            Self::Command(command) => command,
        };
        let output = command.run(ctx, role.name(), Stdin::Bytes(message.to_vec()))?;
        let wrong = || command.wrong(role.name(), "a signature (64 bytes, or 128 hexadecimal digits)");
        let signature: [u8; 64] = bytes(&output).ok_or_else(wrong)?;
        let valid = VerifyingKey::from_bytes(&public)
            .and_then(|key| key.verify_strict(message, &Signature::from_bytes(&signature)));
        if valid.is_err() {
            let message = format!("the signature that `{command}` made is not by its own public key");
            return Err(Error::new(Kind::Signature, message)
                .hint("`CMD public` and `CMD targets` must use the same Ed25519 key, over the exact bytes"));
        }
        Ok((public, signature))
    }
}

impl Command {
    fn run(&self, ctx: &Context, what: &str, stdin: Stdin<'_>) -> Result<Vec<u8>> {
        let tool = Tool::host(&self.program)
            .keep_env(&ENVIRONMENT)
            .args(&self.args)
            .arg(what)
            .stdin(stdin)
            .stdout(Stdout::Capture(OUTPUT_BYTES_MAX));
        tool.run(ctx).map(|output| output.stdout)
    }

    fn wrong(&self, what: &str, expected: &str) -> Error {
        Error::new(Kind::Tool, format!("`{self} {what}` did not print {expected}"))
    }
}

impl std::fmt::Display for Command {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.program)?;
        self.args.iter().try_for_each(|arg| {
            f.write_char(' ')?;
            f.write_str(arg)
        })
    }
}

/// So many raw bytes, or twice as many hexadecimal digits with white space around them.
fn bytes<const N: usize>(output: &[u8]) -> Option<[u8; N]> {
    if let Ok(raw) = output.try_into() {
        return Some(raw);
    }
    let digits = output.trim_ascii();
    if digits.len() != N * 2 {
        return None;
    }
    let mut out = [0; N];
    for (byte, pair) in out.iter_mut().zip(digits.chunks_exact(2)) {
        let high = char::from(pair[0]).to_digit(16)?;
        let low = char::from(pair[1]).to_digit(16)?;
        *byte = u8::try_from(high * 16 + low).ok()?;
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{cache::Cache, files, report::Report};
    use std::{fs, path::Path};

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().fold(String::new(), |out, byte| out + &format!("{byte:02x}"))
    }

    fn script(dir: &Path, public: &str, targets: &str) -> Signer {
        let path = dir.join("hsm");
        let text = format!(
            "[ \"$1\" = --slot ] && [ \"$2\" = 7 ] || exit 9\ncase \"$3\" in\npublic) {public};;\n\
             targets) cat > {0}/asked; {targets};;\n*) exit 8;;\nesac\n",
            dir.display()
        );
        files::replace(&path, text.as_bytes()).unwrap();
        // The shell reads it: a process that another test has just begun may still have it open for writing, and a
        // program that is open for writing cannot be started.
        Signer::Command(format!("sh {} --slot 7", path.display()).parse().unwrap())
    }

    fn context(dir: &Path) -> Context {
        Context::new(Cache::open(dir.join("cache")).unwrap(), Report::silent())
    }

    #[test]
    fn a_program_signs_with_its_own_key_and_gets_the_exact_bytes() {
        let dir = tempfile::tempdir().unwrap();
        let (ctx, key, message) = (context(dir.path()), SecretKey::generate().unwrap(), b"{\"a\":\n1}");
        let (public, signature) = (hex(&key.public()), hex(&key.sign(message)));
        let signer = script(dir.path(), &format!("echo {public}"), &format!("printf %s {signature}"));
        assert_eq!(signer.sign(&ctx, Role::Targets, message).unwrap(), (key.public(), key.sign(message)));
        assert_eq!(fs::read(dir.path().join("asked")).unwrap(), message);
        // Raw bytes do as well.
        let file = dir.path().join("signature");
        files::replace(&file, &key.sign(message)).unwrap();
        let signer = script(dir.path(), &format!("echo {public}"), &format!("cat {}", file.display()));
        assert_eq!(signer.sign(&ctx, Role::Targets, message).unwrap().1, key.sign(message));
    }

    #[test]
    fn a_signature_by_another_key_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let (key, other) = (SecretKey::generate().unwrap(), SecretKey::generate().unwrap());
        let signature = hex(&other.sign(b"x"));
        let signer =
            script(dir.path(), &format!("echo {}", hex(&key.public())), &format!("echo {signature}"));
        let error = signer.sign(&context(dir.path()), Role::Targets, b"x").unwrap_err();
        assert_eq!(error.kind(), Kind::Signature);
    }

    #[test]
    fn a_program_that_prints_something_else_or_fails_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let ctx = context(dir.path());
        let error = script(dir.path(), "echo hello", "true").public(&ctx).unwrap_err();
        assert!(error.to_string().contains("hsm --slot 7 public` did not print an Ed25519 public key"));
        let error = script(dir.path(), "exit 3", "true").public(&ctx).unwrap_err();
        assert_eq!(error.kind(), Kind::Tool);
        "  ".parse::<Command>().unwrap_err();
    }

    #[test]
    fn public_keys_in_pem_are_read() {
        let dir = tempfile::tempdir().unwrap();
        // RFC 8410, section 10.1.
        let pem = "-----BEGIN PUBLIC KEY-----\nMCowBQYDK2VwAyEAGb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuE=\n-----END PUBLIC KEY-----\n";
        let file = dir.path().join("pem");
        files::replace(&file, pem.as_bytes()).unwrap();
        let public =
            script(dir.path(), &format!("cat {}", file.display()), "true").public(&context(dir.path()));
        assert_eq!(public.unwrap()[..4], [0x19, 0xbf, 0x44, 0x09]);
    }
}
