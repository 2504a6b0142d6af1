//! Values that a manifest writes as text and the builder reads as types: one parser each, used by the check that
//! reports faults, by deserialisation and by the reference.

mod address;
mod channel;
mod identity;
mod network;
mod paths;
mod process;
mod quantity;

pub use address::{Endpoint, HttpAddress, OperatorKey};
pub use channel::{ChannelName, RepositoryUrl, Window};
pub use identity::{KernelArgs, ModuleName, Name, PackageName, Url, Version};
pub use network::{Hostname, Ipv4Setting, Ipv6Setting, LinkMatch, Port, Protocol, Server};
pub use paths::{GuestPath, HostPath, Mode};
pub use process::{Capability, EnvName, Seccomp, Signal, SysctlName, User};
pub use quantity::{Bytes, Millis, Rate};

use std::{fmt, str::FromStr};

/// How much of a person's own text an error repeats.
const QUOTE_CHARS: usize = 60;

/// Why a text is not the value it should be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Bad {
    /// What is wrong, one line, quoting the text.
    pub message: String,
    /// What to write instead.
    pub hint: Option<String>,
}

impl Bad {
    pub(crate) fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), hint: None }
    }

    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

/// A value written as text.
pub(crate) trait Form: FromStr<Err = Bad> + fmt::Display {
    /// The name of the form: `format` in the JSON Schema, the type in the reference.
    const NAME: &'static str;
    /// Texts that are such values.
    #[cfg(test)]
    const EXAMPLES: &'static [&'static str];
}

/// Implements [`Form`], and with it serde's and schemars' traits.
macro_rules! form {
    ($type:ident, $name:literal, $examples:expr, $about:literal) => {
        impl $crate::values::Form for $type {
            const NAME: &'static str = $name;
            #[cfg(test)]
            const EXAMPLES: &'static [&'static str] = &$examples;
        }

        impl<'de> serde::Deserialize<'de> for $type {
            fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
                let text = <std::borrow::Cow<'de, str>>::deserialize(from)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }

        impl serde::Serialize for $type {
            fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
                to.collect_str(self)
            }
        }

        impl schemars::JsonSchema for $type {
            fn schema_name() -> std::borrow::Cow<'static, str> {
                stringify!($type).into()
            }

            fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
                schemars::json_schema!({
                    "type": "string",
                    "format": $name,
                    "description": $about,
                    "examples": $examples,
                })
            }
        }
    };
}
use form;

/// A newtype around a checked text.
macro_rules! text_newtype {
    ($(#[$doc:meta])* $type:ident) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $type(String);

        impl $type {
            /// The text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl std::fmt::Display for $type {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}
use text_newtype;

type Check = fn(&str) -> Result<(), Bad>;

fn check<T: Form>(text: &str) -> Result<(), Bad> {
    text.parse::<T>().map(drop)
}

fn entry<T: Form>() -> (&'static str, Check) {
    (T::NAME, check::<T>)
}

/// Checks `text` against the form that the schema calls `format`. A form it does not know accepts everything.
pub(crate) fn check_form(format: &str, text: &str) -> Result<(), Bad> {
    match forms().into_iter().find(|(name, _)| *name == format) {
        Some((_, check)) => check(text),
        None => Ok(()),
    }
}

/// Every form with its check.
pub(crate) fn forms() -> [(&'static str, Check); 33] {
    [
        entry::<Bytes>(),
        entry::<Capability>(),
        entry::<ChannelName>(),
        entry::<Endpoint>(),
        entry::<EnvName>(),
        entry::<GuestPath>(),
        entry::<HostPath>(),
        entry::<Hostname>(),
        entry::<HttpAddress>(),
        entry::<Ipv4Setting>(),
        entry::<Ipv6Setting>(),
        entry::<KernelArgs>(),
        entry::<LinkMatch>(),
        entry::<Millis>(),
        entry::<Mode>(),
        entry::<ModuleName>(),
        entry::<Name>(),
        entry::<OperatorKey>(),
        entry::<PackageName>(),
        entry::<Port>(),
        entry::<Rate>(),
        entry::<RepositoryUrl>(),
        entry::<Seccomp>(),
        entry::<Server>(),
        entry::<Signal>(),
        entry::<SysctlName>(),
        entry::<Url>(),
        entry::<User>(),
        entry::<Version>(),
        entry::<Window>(),
        ("ip", network::check_ip),
        ("ipv4", network::check_ipv4),
        ("ipv6", network::check_ipv6),
    ]
}

/// `text` in quotes, escaped and cut: what a manifest says never reaches the terminal raw.
pub(crate) fn quoted(text: &str) -> String {
    let mut end = text.char_indices().map(|(at, _)| at).skip(QUOTE_CHARS);
    match end.next() {
        Some(end) => format!("{:?}…", &text[..end]),
        None => format!("{text:?}"),
    }
}

/// Whether `text` is not empty, not longer than `max` and made of characters that `allowed` accepts.
fn made_of(text: &str, max: usize, allowed: impl Fn(char) -> bool) -> bool {
    !text.is_empty() && text.len() <= max && text.chars().all(allowed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_example_is_a_value_of_its_form_and_prints_as_one() {
        fn prove<T: Form>() {
            for example in T::EXAMPLES {
                let value: T = example.parse().unwrap_or_else(|bad| panic!("{bad}"));
                let again = value.to_string().parse::<T>().unwrap();
                assert_eq!(again.to_string(), value.to_string(), "{}", T::NAME);
            }
        }
        prove::<Bytes>();
        prove::<Capability>();
        prove::<Endpoint>();
        prove::<EnvName>();
        prove::<GuestPath>();
        prove::<HostPath>();
        prove::<Hostname>();
        prove::<HttpAddress>();
        prove::<Ipv4Setting>();
        prove::<Ipv6Setting>();
        prove::<KernelArgs>();
        prove::<LinkMatch>();
        prove::<Millis>();
        prove::<Mode>();
        prove::<ModuleName>();
        prove::<Name>();
        prove::<OperatorKey>();
        prove::<PackageName>();
        prove::<Port>();
        prove::<Rate>();
        prove::<Seccomp>();
        prove::<Server>();
        prove::<Signal>();
        prove::<SysctlName>();
        prove::<Url>();
        prove::<User>();
        prove::<Version>();
    }

    proptest::proptest! {
        #[test]
        fn no_text_makes_a_form_panic(text in "\\PC{0,40}|[0-9a-z:/. -]{0,24}") {
            for (_, check) in forms() {
                drop(check(&text));
            }
        }
    }
}
