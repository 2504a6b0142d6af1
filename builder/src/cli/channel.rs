//! `coracle channel`.

use super::{args, publish::tell};
use crate::{
    channel::{Shown, Turn, Which, check, promote, refresh, show, steer},
    context::Context,
    error::Result,
    keys,
    publish::{Anew, Repository, Signing, Standing, share, waves},
    show::{self as form, Format, table},
};
use coracle_rollout::{Offered, Rollout, State, Wave};
use coracle_trust::publish::date;
use serde_json::json;
use std::path::Path;

pub(super) fn run(ctx: &Context, args: &args::Channel, format: Format) -> Result<()> {
    let now = keys::now();
    match &args.action {
        args::ChannelAction::Show { repo } => print(&show(&Repository::new(repo))?, format),
        args::ChannelAction::Promote { from, to, which, waves: texts, place } => {
            let (repository, signing) = parts(place);
            let waves = waves(texts, now)?;
            let changed = promote(ctx, (&repository, &signing), (from, to, &chosen(which)), (&waves, now))?;
            tell(ctx, &repository, &changed, format)
        }
        args::ChannelAction::Pause(what) => turn(ctx, (what, Turn::Pause), now, format),
        args::ChannelAction::Resume(what) => turn(ctx, (what, Turn::Resume), now, format),
        args::ChannelAction::Withdraw { steer, instead } => {
            turn(ctx, (steer, Turn::Withdraw { instead: *instead }), now, format)
        }
        args::ChannelAction::Refresh { place, resign } => {
            let (repository, signing) = parts(place);
            let anew = if *resign { Anew::Everything } else { Anew::Dates };
            let changed = refresh(ctx, (&repository, &signing), anew, now)?;
            tell(ctx, &repository, &changed, format)
        }
        args::ChannelAction::Check { repo, root } => checked(ctx, (repo, root.as_deref()), now, format),
    }
}

fn parts(place: &args::Place) -> (Repository, Signing) {
    (Repository::new(&place.repo), place.online.signing())
}

fn chosen(which: &args::Which) -> Which {
    Which { image: which.image.clone(), arch: which.arch, version: which.version }
}

fn turn(ctx: &Context, (what, turn): (&args::Steer, Turn), now: u64, format: Format) -> Result<()> {
    let (repository, signing) = parts(&what.place);
    let which = chosen(&what.which);
    let changed = steer(ctx, (&repository, &signing), (&what.channel, &which, turn), now)?;
    tell(ctx, &repository, &changed, format)
}

fn checked(ctx: &Context, (repo, root): (&Path, Option<&Path>), now: u64, format: Format) -> Result<()> {
    let found = check(ctx, &Repository::new(repo), root, now)?;
    let text = match format {
        Format::Human => format!(
            "good: root {}, timestamp {}, {} releases, {} rollout documents\n",
            found.root,
            found.timestamp,
            found.releases,
            found.rollouts.len()
        ),
        Format::Json => {
            let value = json!({
                "v": form::SCHEMA, "event": "checked", "root": found.root, "timestamp": found.timestamp,
                "releases": found.releases, "rollouts": found.rollouts,
            });
            format!("{value}\n")
        }
    };
    super::print(&text)
}

fn print(shown: &Shown, format: Format) -> Result<()> {
    match format {
        Format::Human => super::print(&as_text(shown)),
        Format::Json => super::print(&as_events(shown)),
    }
}

fn offered(shown: &Shown) -> impl Iterator<Item = (&Rollout, &Offered)> {
    let rollouts = shown.state.channels.values().flatten();
    rollouts.flat_map(|rollout| rollout.releases.iter().rev().map(move |release| (rollout, release)))
}

fn as_text(shown: &Shown) -> String {
    let row = |(rollout, release): (&Rollout, &Offered)| {
        let minimum = release.minimum.map_or_else(|| "any".to_owned(), |minimum| minimum.to_string());
        let state = match release.state {
            State::Withdrawn { instead: Some(instead) } => format!("withdrawn, go to {instead}"),
            State::Active | State::Paused | State::Withdrawn { instead: None } => {
                word(release.state).to_owned()
            }
        };
        let waves: Vec<String> = release.waves.iter().map(wave).collect();
        let waves = if waves.is_empty() { "all at once".to_owned() } else { waves.join(", ") };
        vec![
            rollout.channel.clone(),
            rollout.image.clone(),
            rollout.arch.name().to_owned(),
            release.version.to_string(),
            state,
            minimum,
            waves,
        ]
    };
    let rows: Vec<Vec<String>> = offered(shown).map(row).collect();
    let mut out = if rows.is_empty() {
        "no releases\n".to_owned()
    } else {
        table(&["channel", "image", "arch", "version", "state", "over", "waves"], &rows)
    };
    let mut documents =
        vec![vec!["root".to_owned(), shown.root.0.to_string(), moment(shown.root.1), String::new()]];
    documents.extend(shown.documents.iter().map(|(name, stated)| {
        let standing = match stated.standing {
            Standing::Newest => "",
            Standing::Older => "signed by keys that the newest root no longer names",
        };
        vec![name.clone(), stated.version.to_string(), moment(stated.expires), standing.to_owned()]
    }));
    out.push('\n');
    out.push_str(&table(&["document", "version", "expires", ""], &documents));
    out.extend(["\nsigned on ", &moment(shown.issued), "\n"]);
    out
}

const fn word(state: State) -> &'static str {
    match state {
        State::Active => "active",
        State::Paused => "paused",
        State::Withdrawn { .. } => "withdrawn",
    }
}

fn wave(wave: &Wave) -> String {
    format!("{} from {}", share(wave.share), moment(wave.start))
}

fn moment(seconds: u64) -> String {
    date(seconds).unwrap_or_else(|| seconds.to_string())
}

fn as_events(shown: &Shown) -> String {
    let mut out = String::new();
    for (rollout, release) in offered(shown) {
        let instead = match release.state {
            State::Withdrawn { instead } => instead.map(|instead| instead.to_string()),
            State::Active | State::Paused => None,
        };
        let waves: Vec<_> = release
            .waves
            .iter()
            .map(|wave| json!({"share": wave.share, "start": moment(wave.start)}))
            .collect();
        let value = json!({
            "v": form::SCHEMA, "event": "offered", "channel": rollout.channel, "image": rollout.image,
            "arch": rollout.arch.name(), "version": release.version.to_string(), "state": word(release.state),
            "minimum": release.minimum.map(|minimum| minimum.to_string()), "instead": instead, "waves": waves,
        });
        out.extend([&value.to_string(), "\n"]);
    }
    for (name, stated) in &shown.documents {
        let value = json!({
            "v": form::SCHEMA, "event": "document", "name": name, "version": stated.version,
            "expires": moment(stated.expires), "current": stated.standing == Standing::Newest,
        });
        out.extend([&value.to_string(), "\n"]);
    }
    out
}
