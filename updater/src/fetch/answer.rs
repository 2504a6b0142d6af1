//! What a server's answer means for a transfer that stands at some offset. Pure: no socket, no clock.

use crate::error::Kind;

/// The part of an answer's head that matters.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Head {
    pub(super) status: u16,
    /// `Content-Length`.
    pub(super) length: Option<u64>,
    /// `Content-Range`.
    pub(super) range: Option<String>,
    /// `ETag`, or `Last-Modified` where there is none.
    pub(super) tag: Option<String>,
}

/// What is known of the file after an answer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct File {
    pub(super) total: Option<u64>,
    pub(super) tag: Option<String>,
}

/// What to do with an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Its body goes on with the file after `skip` bytes of it.
    Body { skip: u64, file: File },
    /// The file ends at the offset.
    End,
    /// Another attempt may help.
    Passing(String),
    /// Another attempt does not help.
    Final(Kind, String),
}

/// Judges the answer to a request for everything from `offset` on, of a file of which `known` is known.
pub(super) fn judge(head: &Head, offset: u64, known: &File) -> Verdict {
    match head.status {
        200 => whole(head, offset, known),
        206 => part(head, offset, known),
        416 if known.total == Some(offset) || (known.total.is_none() && offset > 0) => Verdict::End,
        // Object stores that may not be listed say 403 of what is not there.
        403 | 404 | 410 => Verdict::Final(Kind::NotFound, status(head)),
        408 | 425 | 429 | 500..=599 => Verdict::Passing(status(head)),
        _ => Verdict::Final(Kind::Network, status(head)),
    }
}

fn status(head: &Head) -> String {
    format!("the server answers with status {}", head.status)
}

/// The whole file, though a part of it was asked for: what is there already is passed over.
fn whole(head: &Head, offset: u64, known: &File) -> Verdict {
    let file = File { total: head.length, tag: head.tag.clone() };
    if changed(&file, known) {
        return Verdict::Final(Kind::Network, CHANGED.to_owned());
    }
    if head.length.is_some_and(|length| length < offset) {
        return Verdict::Final(Kind::Network, "the file is shorter than what was taken of it".to_owned());
    }
    Verdict::Body { skip: offset, file }
}

fn part(head: &Head, offset: u64, known: &File) -> Verdict {
    let Some((first, last, total)) = head.range.as_deref().and_then(range) else {
        return Verdict::Passing("the server sends a part and does not say which".to_owned());
    };
    if first != offset {
        return Verdict::Passing(format!("the server sends bytes from {first} on, asked for {offset}"));
    }
    // An honest server may send less than asked for; the rest is asked for afterwards.
    if last < first || total.is_some_and(|total| last >= total) {
        return Verdict::Passing("the server sends a part that cannot be".to_owned());
    }
    if head.length.is_some_and(|length| Some(length) != (last - first).checked_add(1)) {
        return Verdict::Passing("the length of the part is not what the server says it sends".to_owned());
    }
    let file = File { total: total.or(known.total), tag: head.tag.clone() };
    if changed(&file, known) {
        return Verdict::Final(Kind::Network, CHANGED.to_owned());
    }
    Verdict::Body { skip: 0, file }
}

/// What a person can do about a final verdict.
pub(super) fn hint(head: &Head, why: &str) -> Option<&'static str> {
    if why == CHANGED {
        return Some("apply it again: the next attempt takes the file as it is now, from its beginning");
    }
    matches!(head.status, 403 | 404 | 410)
        .then_some("is the address right, and is the file there for everybody? open it in a browser")
}

const CHANGED: &str = "the file has changed on the server since the transfer began";

fn changed(new: &File, known: &File) -> bool {
    let total = matches!((new.total, known.total), (Some(new), Some(known)) if new != known);
    total || matches!((&new.tag, &known.tag), (Some(new), Some(known)) if new != known)
}

/// `bytes 5-9/10`, the total perhaps `*` (RFC 9110 §14.4).
fn range(text: &str) -> Option<(u64, u64, Option<u64>)> {
    let (span, total) = text.strip_prefix("bytes ")?.split_once('/')?;
    let (first, last) = span.split_once('-')?;
    let total = if total == "*" { None } else { Some(total.parse().ok()?) };
    Some((first.parse().ok()?, last.parse().ok()?, total))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ranged(range: &str) -> Head {
        Head { status: 206, range: Some(range.to_owned()), ..Head::default() }
    }

    const fn known(total: u64) -> File {
        File { total: Some(total), tag: None }
    }

    #[test]
    fn a_part_goes_on_where_it_was_asked_for_only() {
        assert_eq!(judge(&ranged("bytes 5-9/10"), 5, &known(10)), Verdict::Body { skip: 0, file: known(10) });
        for lie in ["bytes 4-9/10", "bytes 6-9/10", "bytes 9-5/10", "bytes 5-10/10", "items 5-9/10", "5-9"] {
            let verdict = judge(&ranged(lie), 5, &known(10));
            assert!(matches!(verdict, Verdict::Passing(_)), "{lie}: {verdict:?}");
        }
    }

    #[test]
    fn a_server_without_ranges_sends_what_is_passed_over() {
        let head = Head { status: 200, length: Some(10), ..Head::default() };
        assert_eq!(judge(&head, 5, &known(10)), Verdict::Body { skip: 5, file: known(10) });
        assert!(matches!(judge(&head, 11, &File::default()), Verdict::Final(Kind::Network, _)));
    }

    #[test]
    fn a_file_that_changes_under_way_ends_the_transfer() {
        let verdict = judge(&ranged("bytes 5-10/11"), 5, &known(10));
        assert_eq!(verdict, Verdict::Final(Kind::Network, CHANGED.to_owned()));
        assert!(hint(&Head::default(), CHANGED).unwrap().starts_with("apply it again"));
        let tagged = |tag: &str| Some(tag.to_owned());
        let head = Head { tag: tagged("b"), ..ranged("bytes 5-9/10") };
        let before = File { tag: tagged("a"), ..known(10) };
        assert_eq!(judge(&head, 5, &before), Verdict::Final(Kind::Network, CHANGED.to_owned()));
    }

    #[test]
    fn what_may_pass_is_told_from_what_will_not() {
        let of = |status| judge(&Head { status, ..Head::default() }, 0, &File::default());
        for passing in [408, 429, 500, 502, 503, 504] {
            assert!(matches!(of(passing), Verdict::Passing(_)), "{passing}");
        }
        for missing in [403, 404, 410] {
            assert!(matches!(of(missing), Verdict::Final(Kind::NotFound, _)), "{missing}");
            assert!(hint(&Head { status: missing, ..Head::default() }, "").is_some(), "{missing}");
        }
        for refused in [204, 301, 400, 401, 416] {
            assert!(matches!(of(refused), Verdict::Final(Kind::Network, _)), "{refused}");
        }
        let end = Head { status: 416, ..Head::default() };
        assert_eq!(judge(&end, 10, &known(10)), Verdict::End);
    }
}
