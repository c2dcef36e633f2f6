//! `conversion-relay links`

mod bulk;
mod change;
mod lint;
mod qa;
mod utm;
mod view;

use std::process::ExitCode;

pub(super) use view::percent;

#[derive(clap::Subcommand)]
pub(super) enum Arguments {
    /// List links
    List(view::List),
    /// Show a link with everything that is said of it
    Show(view::Named),
    /// Make a link, and print its address
    Add(Box<change::Add>),
    /// Change a link while it is live; an empty value takes a field out
    Edit(Box<change::Edit>),
    /// Take a link out; its clicks stay
    Remove(change::Act),
    /// Stop a link: it leads nobody on until it is resumed
    Pause(change::Act),
    /// Let a paused link go on
    Resume(change::Act),
    /// Let a link break the UTM policy, as its exception asks for
    Approve(change::Act),
    /// Make many links from a CSV file; rows that cannot be are listed, and the exit code is 1
    Import(bulk::Import),
    /// Print all links as CSV, as import takes them
    Export(bulk::Export),
    /// Who changed a link, when, and what it was before
    History(view::Named),
    /// List requests for links, each with its verdict and reasons
    Clicks(view::Clicks),
    /// Follow links as browsers and apps do, and list what is wrong with each; exits with 1 if anything fails
    Qa(qa::Arguments),
    /// Say that clicks were something else; totals follow
    Relabel(change::Relabel),
    /// UTM values that came in and that nobody registered
    Drift(utm::Drift),
    /// Other names of UTM values
    #[command(subcommand)]
    Alias(utm::Alias),
    /// Register a UTM value
    Value(utm::NewValue),
    /// Register a campaign
    Campaign(utm::Campaign),
    /// Check a file of links against the UTM policy; needs no relay. Exits with 1 if a link would be refused
    Lint(lint::Arguments),
}

pub(super) async fn run(arguments: Arguments) -> anyhow::Result<ExitCode> {
    match arguments {
        Arguments::List(arguments) => view::list(&arguments).await?,
        Arguments::Show(arguments) => view::show(&arguments).await?,
        Arguments::Add(arguments) => change::add(&arguments).await?,
        Arguments::Edit(arguments) => change::edit(&arguments).await?,
        Arguments::Remove(arguments) => change::remove(&arguments).await?,
        Arguments::Pause(arguments) => change::act(&arguments, "pause").await?,
        Arguments::Resume(arguments) => change::act(&arguments, "resume").await?,
        Arguments::Approve(arguments) => change::act(&arguments, "approve").await?,
        Arguments::Import(arguments) => return bulk::import(&arguments).await,
        Arguments::Export(arguments) => bulk::export(&arguments).await?,
        Arguments::History(arguments) => view::history(&arguments).await?,
        Arguments::Clicks(arguments) => view::clicks(&arguments).await?,
        Arguments::Qa(arguments) => return qa::run(arguments).await,
        Arguments::Relabel(arguments) => change::relabel(&arguments).await?,
        Arguments::Drift(arguments) => utm::drift(&arguments).await?,
        Arguments::Alias(arguments) => utm::alias(&arguments).await?,
        Arguments::Value(arguments) => utm::value(&arguments).await?,
        Arguments::Campaign(arguments) => utm::campaign(&arguments).await?,
        Arguments::Lint(arguments) => return lint::run(&arguments),
    }
    Ok(ExitCode::SUCCESS)
}
