//! Steering what is published: promote, pause, withdraw, refresh; looking at it: show, check.

mod check;

pub use check::{Checked, check};

use crate::{
    context::Context,
    error::{Error, Kind, Result},
    publish::{
        Anew, Chain, Changed, Draft, Found, Repository, Signing, State, Stated, Waves, change, offer,
        rollout, seed,
    },
};
use coracle_format::{slot::Arch, version::Version};
use coracle_rollout::{Offered, Rollout, State as Taken};
use std::collections::BTreeMap;

/// Which releases of a channel. `None` is all images and architectures, and the newest version that is not withdrawn.
#[derive(Clone, Debug, Default)]
pub struct Which {
    /// The image.
    pub image: Option<String>,
    /// The architecture.
    pub arch: Option<Arch>,
    /// The version.
    pub version: Option<Version>,
}

/// What becomes of a release.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn {
    /// It is not taken for now.
    Pause,
    /// It is taken again.
    Resume,
    /// It is never offered again; machines that run it go to the named one, if there is one.
    Withdraw {
        /// Where they go.
        instead: Option<Version>,
    },
}

/// Pauses, resumes or withdraws releases.
pub fn steer(
    ctx: &Context,
    place: (&Repository, &Signing),
    (channel, which, turn): (&str, &Which, Turn),
    now: u64,
) -> Result<Changed> {
    change(ctx, place, (now, Anew::Nothing), |draft| {
        for (at, version) in chosen(&draft.state, channel, which)? {
            if let Turn::Withdraw { instead: Some(instead) } = turn {
                check_instead(draft, (channel, at), version, instead)?;
            }
            let release = release_mut(draft, channel, at, version)?;
            release.state = match (turn, release.state) {
                (Turn::Withdraw { instead }, _) => Taken::Withdrawn { instead },
                (Turn::Pause | Turn::Resume, Taken::Withdrawn { .. }) => {
                    let message = format!("{version} was withdrawn from channel {channel}, and stays so");
                    return Err(Error::new(Kind::Policy, message).hint("publish a higher version"));
                }
                (Turn::Pause, Taken::Active | Taken::Paused) => Taken::Paused,
                (Turn::Resume, Taken::Active | Taken::Paused) => Taken::Active,
            };
        }
        Ok(())
    })
}

/// Offers the releases of one channel in another one.
pub fn promote(
    ctx: &Context,
    place: (&Repository, &Signing),
    (from, to, which): (&str, &str, &Which),
    (waves, now): (&Waves, u64),
) -> Result<Changed> {
    if from == to {
        return Err(Error::new(Kind::Usage, format!("channel {from} has it already")));
    }
    change(ctx, place, (now, Anew::Nothing), |draft| {
        let found = chosen(&draft.state, from, which)?;
        draft.open_channel(to, None);
        for (at, version) in found {
            let release = release_mut(draft, from, at, version)?.clone();
            if release.state != Taken::Active {
                let message = format!("{version} is not to be taken in channel {from}: it is not promoted");
                return Err(Error::new(Kind::Policy, message));
            }
            let vouched = draft.vouched(&release.target).cloned().ok_or_else(|| {
                Error::new(Kind::NotFound, format!("nothing vouches for {}", release.target))
            })?;
            let offered = Offered { waves: waves.first(), seed: seed(to, &vouched), ..release };
            let rollout = rollout(draft, to, &vouched.release)?;
            offer(rollout, offered, (vouched.release.replaces, waves))?;
        }
        Ok(())
    })
}

/// Signs a new timestamp and what is near its date, or everything with the keys of the newest root.
pub fn refresh(ctx: &Context, place: (&Repository, &Signing), anew: Anew, now: u64) -> Result<Changed> {
    let chain = Chain::of(place.1.keys.dir.chain()?)?;
    if Found::read(place.0, &chain)?.is_none() {
        let message = format!("{} has nothing to refresh", place.0.dir().display());
        return Err(
            Error::new(Kind::NotFound, message).hint("coracle publish DIR --repo REPO makes a repository")
        );
    }
    change(ctx, place, (now, anew), |_| Ok(()))
}

/// What a repository says, for people: by the chain of roots that it has itself.
#[derive(Clone, Debug)]
pub struct Shown {
    /// Version of the newest root, and when it expires.
    pub root: (u32, u64),
    /// When the timestamp was signed.
    pub issued: u64,
    /// Every document: its name, and what it says of itself.
    pub documents: Vec<(String, Stated)>,
    /// Releases and channels.
    pub state: State,
}

/// Reads a repository.
pub fn show(repository: &Repository) -> Result<Shown> {
    let chain = Chain::in_repository(repository)?;
    let found = Found::read(repository, &chain)?.ok_or_else(|| {
        Error::new(Kind::NotFound, format!("{} has no timestamp", repository.dir().display()))
    })?;
    let first = [("timestamp", found.timestamp), ("snapshot", found.snapshot), ("targets", found.targets)];
    let mut documents: Vec<_> = first.map(|(name, stated)| (name.to_owned(), stated)).into();
    documents.extend(found.channels);
    let root = (chain.newest().version(), chain.newest().expires());
    Ok(Shown { root, issued: found.issued, documents, state: found.state })
}

/// The releases that are meant: the place of each one's document, and its version.
fn chosen(state: &State, channel: &str, which: &Which) -> Result<Vec<(usize, Version)>> {
    let rollouts = documents(&state.channels, channel)?;
    let mut out = Vec::new();
    for (at, rollout) in rollouts.iter().enumerate() {
        let other_image = which.image.as_ref().is_some_and(|image| *image != rollout.image);
        if other_image || which.arch.is_some_and(|arch| arch != rollout.arch) {
            continue;
        }
        let newest =
            rollout.releases.iter().rev().find(|release| !matches!(release.state, Taken::Withdrawn { .. }));
        let found = match which.version {
            Some(version) => rollout.release(version),
            None => newest,
        };
        out.extend(found.map(|release| (at, release.version)));
    }
    if out.is_empty() {
        return Err(Error::new(Kind::NotFound, format!("channel {channel} has no such release"))
            .hint("coracle channel show lists what it has"));
    }
    Ok(out)
}

fn documents<'a>(channels: &'a BTreeMap<String, Vec<Rollout>>, channel: &str) -> Result<&'a Vec<Rollout>> {
    channels.get(channel).ok_or_else(|| {
        let known: Vec<&str> = channels.keys().map(String::as_str).collect();
        Error::new(Kind::NotFound, format!("there is no channel {channel}"))
            .hint(format!("there are: {}", known.join(", ")))
    })
}

fn release_mut<'a>(
    draft: &'a mut Draft,
    channel: &str,
    at: usize,
    version: Version,
) -> Result<&'a mut Offered> {
    let rollout = draft.state.channels.get_mut(channel).and_then(|rollouts| rollouts.get_mut(at));
    let release =
        rollout.and_then(|rollout| rollout.releases.iter_mut().find(|known| known.version == version));
    release.ok_or_else(|| Error::new(Kind::Internal, format!("release {version} is gone")))
}

/// What machines go to from a withdrawn release must be there, and may be older only by a signed exception.
fn check_instead(
    draft: &Draft,
    (channel, at): (&str, usize),
    version: Version,
    instead: Version,
) -> Result<()> {
    let rollout = documents(&draft.state.channels, channel)?.get(at);
    let offered = rollout.and_then(|rollout| rollout.release(instead));
    let Some(offered) = offered.filter(|offered| !matches!(offered.state, Taken::Withdrawn { .. })) else {
        let message = format!("channel {channel} has no version {instead} that machines could go to");
        return Err(Error::new(Kind::NotFound, message).hint("publish it first"));
    };
    let replaces = draft.vouched(&offered.target).and_then(|vouched| vouched.release.replaces);
    if instead < version && replaces.is_none_or(|replaces| replaces < version) {
        let message = format!("version {instead} is older than {version} and has no exception to replace it");
        return Err(Error::new(Kind::Policy, message).hint(format!(
            "publish version {instead} again with --replaces {version}: its signature allows the way back"
        )));
    }
    Ok(())
}
