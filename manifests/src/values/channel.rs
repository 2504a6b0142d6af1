//! A channel of updates: where it is, what it is called, when a machine may restart for it.

use super::{Bad, form, made_of, quoted, text_newtype};
use coracle_rollout::{document::is_channel, windows};
use std::{fmt, str::FromStr};

/// Longest address.
const ADDRESS_MAX: usize = 1024;

text_newtype!(
    /// The address of a repository of updates, without a slash at its end.
    RepositoryUrl
);

form!(
    RepositoryUrl,
    "repository",
    ["https://updates.example/shop"],
    "The `http://` or `https://` address of a repository of updates."
);

impl FromStr for RepositoryUrl {
    type Err = Bad;

    fn from_str(text: &str) -> Result<Self, Bad> {
        let bad = |why: &str| {
            Bad::new(format!("{} is not a repository's address: {why}", quoted(text)))
                .hint("write it like \"https://updates.example/shop\"")
        };
        let rest = text
            .strip_prefix("https://")
            .or_else(|| text.strip_prefix("http://"))
            .ok_or_else(|| bad("it begins with neither https:// nor http://"))?;
        if !made_of(rest, ADDRESS_MAX, |c| c.is_ascii_graphic()) || rest.starts_with('/') {
            return Err(bad("it has no host name, or has characters outside ASCII"));
        }
        if rest.contains(['?', '#', '@', '"', '\\']) {
            return Err(bad("a repository's address has no query, fragment or user"));
        }
        Ok(Self(text.trim_end_matches('/').to_owned()))
    }
}

text_newtype!(
    /// The name of a channel.
    ChannelName
);

form!(
    ChannelName,
    "channel",
    ["stable", "beta-2"],
    "Lower-case letters, digits and hyphens, 32 at most; not the name of one of TUF's own roles."
);

impl FromStr for ChannelName {
    type Err = Bad;

    fn from_str(text: &str) -> Result<Self, Bad> {
        if is_channel(text) {
            return Ok(Self(text.to_owned()));
        }
        Err(Bad::new(format!("{} is not the name of a channel", quoted(text))).hint(
            "write lower-case letters, digits and hyphens, 32 at most, for example \"stable\"; root, targets, snapshot and \
             timestamp have another meaning",
        ))
    }
}

/// Hours of the week, UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window(windows::Window);

form!(
    Window,
    "window",
    ["Sat,Sun 02:00-05:00", "Mon-Fri 22:30-04:00", "daily 03:00-04:00"],
    "Days and hours in UTC; hours that end before they begin end on the next day."
);

impl FromStr for Window {
    type Err = Bad;

    fn from_str(text: &str) -> Result<Self, Bad> {
        windows::Window::parse(text).map(Self).map_err(|_why| {
            Bad::new(format!("{} is not a window", quoted(text)))
                .hint("write it like \"Sat,Sun 02:00-05:00\", \"Mon-Fri 22:30-04:00\" or \"daily 03:00-04:00\", in UTC")
        })
    }
}

impl fmt::Display for Window {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_repository_is_behind_a_plain_http_address() {
        for bad in ["ftp://x", "https://", "https:///x", "http://a b", "http://u@h/", "http://h/?q"] {
            assert_eq!(bad.parse::<RepositoryUrl>().ok(), None, "{bad}");
        }
        assert_eq!("http://h/shop/".parse::<RepositoryUrl>().unwrap().as_str(), "http://h/shop");
    }

    #[test]
    fn a_channel_has_a_name_that_is_a_role_and_a_directory() {
        for bad in ["", "Stable", "a/b", "timestamp", "x..", "ä"] {
            assert_eq!(bad.parse::<ChannelName>().ok(), None, "{bad}");
        }
        "stable-2".parse::<ChannelName>().unwrap();
    }

    #[test]
    fn a_window_is_written_back_in_its_shortest_form() {
        assert_eq!("Mon-Sun 03:00-04:00".parse::<Window>().unwrap().to_string(), "daily 03:00-04:00");
        "Mon 3-4".parse::<Window>().unwrap_err();
    }
}
