//! The reference page of the command line is made from the flags themselves.
//! `CORACLE_UPDATE_GOLDEN=1 cargo test -p coracle --test reference` writes it anew; read the difference.

#![expect(clippy::tests_outside_test_module, reason = "the whole crate is a test")]

use clap::{Arg, Command, CommandFactory as _};
use coracle::{cli::Cli, files::replace};
use std::{env, fs, path::Path};

const UPDATE: &str = "CORACLE_UPDATE_GOLDEN=1 cargo test -p coracle --test reference";

/// Text for a table: one line, no column marks.
fn cell(text: &impl ToString) -> String {
    text.to_string().replace('\n', " ").replace('|', "\\|")
}

fn name(arg: &Arg) -> String {
    let values: Vec<String> = arg
        .get_value_names()
        .filter(|_| arg.get_action().takes_values())
        .unwrap_or_default()
        .iter()
        .map(ToString::to_string)
        .collect();
    if arg.is_positional() {
        return values.join(" ");
    }
    let short = arg.get_short().map(|short| format!("-{short}"));
    let long = arg.get_long().map(|long| format!("--{long}"));
    let flags: Vec<String> = short.into_iter().chain(long).collect();
    [vec![flags.join(", ")], values].concat().join(" ")
}

fn row(arg: &Arg) -> String {
    let mut meaning = arg.get_help().map(cell).unwrap_or_default();
    let possible: Vec<String> =
        arg.get_possible_values().iter().map(|value| format!("`{}`", value.get_name())).collect();
    if arg.get_action().takes_values() && !possible.is_empty() {
        meaning.extend([": ", &possible.join(", ")]);
    }
    let defaults: Vec<String> =
        arg.get_default_values().iter().map(|value| format!("`{}`", value.to_string_lossy())).collect();
    if arg.get_action().takes_values() && !defaults.is_empty() {
        meaning.extend([" [default: ", &defaults.join(", "), "]"]);
    }
    if let Some(variable) = arg.get_env() {
        meaning.extend([" [environment: `", &variable.to_string_lossy(), "`]"]);
    }
    format!("| `{}` | {meaning} |\n", cell(&name(arg)))
}

fn table<'a>(args: impl Iterator<Item = &'a Arg>) -> String {
    let rows: String = args.map(row).collect();
    if rows.is_empty() { rows } else { format!("\n| argument | meaning |\n|---|---|\n{rows}") }
}

fn is_shown(arg: &Arg) -> bool {
    !arg.is_hide_set() && !["help", "version"].contains(&arg.get_id().as_str())
}

/// A verb, then the commands it has of its own, one level down.
fn section(verb: &Command, mark: &str, before: &str) -> String {
    let name = format!("{before}{}", verb.get_name());
    let about = verb.get_about().map(ToString::to_string).unwrap_or_default();
    let usage = verb.clone().render_usage().to_string();
    let usage = usage.trim_start_matches("Usage: ");
    let own = verb.get_arguments().filter(|arg| is_shown(arg)).filter(|arg| !arg.is_global_set());
    let mut out = format!("\n{mark} `{name}`\n\n{about}.\n\n```\n{usage}\n```\n{}", table(own));
    for command in verb.get_subcommands().filter(|command| command.get_name() != "help") {
        out += &section(command, &format!("{mark}#"), &format!("{name} "));
    }
    out
}

fn page() -> String {
    let mut command = Cli::command();
    command.build();
    let mut out = format!(
        "<!-- Generated from builder/src/cli/args.rs. To change it, change that file and run\n     {UPDATE} -->\n\n\
         # The command line\n\n{}.\n\nSee [exit codes](exit-codes.md). `coracle completions SHELL` and `coracle man DIR` \
         are made from the same source.\n\n## Flags of every verb\n",
        command.get_about().map(ToString::to_string).unwrap_or_default()
    );
    out += &table(command.get_arguments().filter(|arg| is_shown(arg)).filter(|arg| arg.is_global_set()));
    for verb in command.get_subcommands().filter(|verb| verb.get_name() != "help") {
        out += &section(verb, "##", "").replace("coracle-", "coracle ");
    }
    out
}

#[test]
fn the_page_of_the_command_line_is_up_to_date() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/reference/command-line.md");
    let page = page();
    if env::var_os("CORACLE_UPDATE_GOLDEN").is_some() {
        replace(&path, page.as_bytes()).unwrap();
    }
    let recorded = fs::read_to_string(&path).unwrap_or_default();
    assert!(
        recorded == page,
        "docs/reference/command-line.md is not up to date; run `{UPDATE}` and read the difference"
    );
}

#[test]
fn every_verb_and_flag_has_a_line_of_its_own() {
    let mut command = Cli::command();
    command.build();
    command.get_subcommands().for_each(assert_explained);
}

fn assert_explained(verb: &Command) {
    assert!(verb.get_about().is_some(), "{} says nothing about itself", verb.get_name());
    for arg in verb.get_arguments() {
        assert!(arg.get_help().is_some(), "{} {} says nothing", verb.get_name(), arg.get_id());
    }
    verb.get_subcommands().for_each(assert_explained);
}
