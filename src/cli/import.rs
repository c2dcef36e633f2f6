//! `conversion-relay import`: the rows of a file as events, posted to a running relay. It may be killed at any moment and
//! run again: every row has an id that is the same each time, and the state next to the file says where to go on.

mod events;
mod post;
mod report;
mod rows;
mod state;
mod time;

use std::{
    collections::BTreeMap,
    fs::{File, TryLockError},
    path::{Path, PathBuf},
    process::ExitCode,
    time::Duration,
};

use anyhow::{Context as _, bail};
use tokio::time::Instant;

use self::{
    events::Shape,
    post::{Fate, Rest, Target},
    report::{Progress, Report},
    rows::{Beginning, DELIMITERS, Format, Rows},
    state::{Counts, State},
    time::Times,
};
use super::when;
use crate::{
    intake::{self, sources::Mapping},
    model::{Clock as _, Settings, SourceName, SystemClock},
};

/// Rows of a request.
const GROUP_ROWS: usize = 1000;
/// Bytes after which a request is full: less than what a proxy in front of the relay usually takes.
const GROUP_BYTES: usize = 768 << 10;
/// The first wait before rows are sent again; each is twice as long as the one before.
const RETRY_FIRST: Duration = Duration::from_millis(250);
const RETRY_MAX: Duration = Duration::from_secs(30);
/// The end of an import in which rows were refused.
const SOME_REFUSED: u8 = 2;

#[derive(clap::Args)]
pub(super) struct Arguments {
    /// A CSV file with the names of its columns in the first row, or a file with a JSON object on each line
    file: PathBuf,
    /// A field of the event and the expression over the row that it is, such as value=amount or "event='purchase'"; the
    /// language is that of [sources.map]. May be given several times
    #[arg(long, value_name = "FIELD=EXPRESSION")]
    map: Vec<String>,
    /// A TOML file with a field and its expression on each line, as in [sources.map]
    #[arg(long, value_name = "FILE")]
    map_file: Option<PathBuf>,
    /// Take nothing but what the expressions say, also of columns that are called as a field is
    #[arg(long)]
    only_mapped: bool,
    /// How the file is written; without this its name tells, or its beginning
    #[arg(long)]
    format: Option<Format>,
    /// What stands between columns: , ; | or tab; without this the first row tells
    #[arg(long, value_parser = delimiter)]
    delimiter: Option<char>,
    /// The zone of times that do not say theirs: an offset such as +02:00, or a name such as Europe/Berlin
    #[arg(long, value_parser = time::zone)]
    time_zone: Option<jiff::tz::TimeZone>,
    /// How times are written, as strftime has it, such as "%m/%d/%Y %I:%M:%S %p"
    #[arg(long, value_name = "PATTERN")]
    time_format: Option<String>,
    /// The public listener of the relay; its key is read from RELAY_KEY
    #[arg(long, default_value = "http://127.0.0.1:8080")]
    url: String,
    /// Check every row as the relay would; nothing is sent, nothing is written but the report
    #[arg(long)]
    dry_run: bool,
    /// Where to report refused rows: CSV, or lines of JSON if its name ends with .jsonl [default: FILE.refused.csv, FILE.dry-run.csv]
    #[arg(long, value_name = "FILE")]
    report: Option<PathBuf>,
    /// Where to keep how far the import has come [default: FILE.import.json]
    #[arg(long, value_name = "FILE")]
    state: Option<PathBuf>,
    /// Begin anew, whatever was imported before
    #[arg(long)]
    restart: bool,
    /// How long to try again while the relay takes nothing
    #[arg(long, value_name = "SPAN", default_value = "10m", value_parser = when::span)]
    give_up_after: Duration,
    /// Print the counts as JSON
    #[arg(long)]
    json: bool,
}

/// Why a row is not taken. Never quotes a value of it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Refused {
    /// The field or column, dotted; empty for the row as such.
    field: String,
    why: String,
}

impl Refused {
    /// The row as such is wrong.
    fn row(why: impl Into<String>) -> Self {
        Self { field: String::new(), why: why.into() }
    }

    /// The place that a JSON pointer leads to is wrong.
    fn of(pointer: Option<&str>, why: &str) -> Self {
        let field = pointer.unwrap_or_default().trim_start_matches('/').replace('/', ".");
        let why = why.strip_prefix(&field).and_then(|rest| rest.strip_prefix(": ")).unwrap_or(why).to_owned();
        Self { field, why }
    }
}

fn delimiter(text: &str) -> Result<char, String> {
    let given = match text {
        "tab" | "\\t" => Some('\t'),
        text => text.parse().ok(),
    };
    given.filter(|given| DELIMITERS.contains(given)).ok_or_else(|| "must be , ; | or tab".to_owned())
}

pub(super) async fn run(arguments: Arguments) -> anyhow::Result<ExitCode> {
    let file = &arguments.file;
    let cannot = || format!("cannot read {}", file.display());
    let lock = File::open(file).with_context(cannot)?;
    if !lock.metadata().with_context(cannot)?.is_file() {
        bail!("{} is no file; an import that may be run again needs one", file.display());
    }
    let same = |other: &Option<PathBuf>| other.as_ref().is_some_and(|other| is_same(other, file));
    if same(&arguments.report) || same(&arguments.state) {
        bail!("--report and --state are written: they have to be other files than the one that is imported");
    }
    if matches!(lock.try_lock(), Err(TryLockError::WouldBlock)) {
        bail!("another import of {} is under way", file.display());
    }
    let mut import = Import::new(&arguments)?;
    let stopped = super::asked_to_end();
    let ended = tokio::select! {
        biased;
        () = stopped => {
            import.progress.clear();
            eprintln!("stopped; run the same command again to go on");
            import.print()?;
            return Ok(ExitCode::FAILURE);
        }
        ended = import.all() => ended,
    };
    import.progress.clear();
    if ended.is_err() && import.state.place.rows > 0 && !arguments.dry_run {
        eprintln!("{} rows are done with; run the same command again to go on", import.state.place.rows);
    }
    ended?;
    import.print()?;
    Ok(if import.state.counts.refused == 0 { ExitCode::SUCCESS } else { ExitCode::from(SOME_REFUSED) })
}

/// The expressions of the file and of the command line, which wins.
fn mapping(arguments: &Arguments) -> anyhow::Result<(Option<Mapping>, BTreeMap<String, String>)> {
    let mut expressions = BTreeMap::new();
    if let Some(path) = &arguments.map_file {
        let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
        let table: toml::Table = toml::from_str(&text).with_context(|| format!("{} is no TOML", path.display()))?;
        flatten("", table, &mut expressions)
            .map_err(|key| anyhow::anyhow!("{}: {key} must be a text, the expression of this field", path.display()))?;
    }
    for map in &arguments.map {
        let Some((field, expression)) = map.split_once('=') else {
            bail!("--map {map}: must be a field of the event, =, and an expression, such as value=amount");
        };
        expressions.insert(field.trim().to_owned(), expression.trim().to_owned());
    }
    if expressions.is_empty() {
        if arguments.only_mapped {
            bail!("--only-mapped takes nothing but what --map says, and it says nothing");
        }
        return Ok((None, expressions));
    }
    let table = expressions.iter().map(|(field, expression)| (field.clone(), expression.clone().into()));
    let table: toml::Table = table.collect();
    let mut settings = Settings::new("", toml::Table::from_iter([("map".to_owned(), table.into())]));
    let mapping = Mapping::read(&mut settings);
    let problems: Vec<String> = settings.finish().iter().map(|problem| format!("  {problem}")).collect();
    if !problems.is_empty() {
        bail!("the mapping does not work:\n{}", problems.join("\n"));
    }
    Ok((mapping, expressions))
}

/// The texts of a table and of tables inside it, by their dotted paths.
fn flatten(prefix: &str, table: toml::Table, into: &mut BTreeMap<String, String>) -> Result<(), String> {
    for (name, value) in table {
        let field = format!("{prefix}{name}");
        match value {
            toml::Value::String(expression) => drop(into.insert(field, expression)),
            toml::Value::Table(inner) => flatten(&format!("{field}."), inner, into)?,
            _ => return Err(field),
        }
    }
    Ok(())
}

/// `file` with something behind its name.
fn beside(file: &Path, suffix: &str) -> PathBuf {
    let mut name = file.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

/// Whether two paths lead to one file.
fn is_same(one: &Path, other: &Path) -> bool {
    one.canonicalize().is_ok_and(|one| other.canonicalize().is_ok_and(|other| one == other))
}

/// One row on its way.
struct Entry {
    line: u64,
    event: Result<Vec<u8>, Refused>,
}

/// An import under way.
struct Import<'a> {
    arguments: &'a Arguments,
    rows: Rows,
    shape: Shape,
    /// `None` if nothing is to be sent.
    target: Option<Target>,
    state: State,
    state_file: PathBuf,
    report: Report,
    progress: Progress,
}

impl<'a> Import<'a> {
    fn new(arguments: &'a Arguments) -> anyhow::Result<Self> {
        let file = &arguments.file;
        let (mapping, expressions) = mapping(arguments)?;
        let beginning = Beginning::of(file, None)?;
        let format = beginning.format(file)?;
        let delimiter = match arguments.format.unwrap_or(format) {
            Format::Csv => Some(arguments.delimiter.map_or_else(|| beginning.delimiter(), |given| given as u8)),
            Format::Jsonl => None,
        };
        let mut rows = Rows::open(file, delimiter)?;
        let columns = delimiter.map(|_| rows.columns()).transpose()?;
        let times = Times { zone: arguments.time_zone.clone(), format: arguments.time_format.clone() };
        let settings = format!("{:?}", (&expressions, arguments.only_mapped, delimiter, &times));
        let shape = Shape::new(columns, mapping, arguments.only_mapped, times)?;
        shape.plan().iter().for_each(|line| eprintln!("{line}"));

        let state_file = arguments.state.clone().unwrap_or_else(|| beside(file, ".import.json"));
        let begins = State::new(&beginning, &[&settings, &super::relay::base(&arguments.url)]);
        let goes_on = !arguments.restart && !arguments.dry_run;
        let kept = if goes_on { State::kept(&state_file, file, &begins)? } else { None };
        let target = if arguments.dry_run { None } else { Some(Target::new(&arguments.url)?) };
        if target.is_some() {
            State::can_be_kept(&state_file)?;
        }
        let mut state = match kept {
            Some(kept) => {
                rows.go_to(kept.place)?;
                eprintln!("{} rows were done with before; going on at line {}", kept.place.rows, kept.place.lines + 1);
                kept
            }
            None => begins.at(rows.place),
        };
        // A rehearsal leaves the report of the import itself alone.
        let suffix = if arguments.dry_run { ".dry-run.csv" } else { ".refused.csv" };
        let mut report = Report::new(arguments.report.clone().unwrap_or_else(|| beside(file, suffix)));
        state.report_bytes = report.open(state.report_bytes)?;
        let progress = Progress::new(file.metadata()?.len(), &state);
        Ok(Self { arguments, rows, shape, target, state, state_file, report, progress })
    }

    async fn all(&mut self) -> anyhow::Result<()> {
        self.state.complete = false;
        let mut looked_at = false;
        loop {
            let group = self.group()?;
            if group.is_empty() {
                self.state.complete = true;
                self.keep(&[])?;
                return Ok(());
            }
            if !std::mem::replace(&mut looked_at, true) {
                for field in self.shape.silent() {
                    let note = format!("note: the expression of {field} gives nothing for any of {} rows", group.len());
                    self.progress.say(&note);
                }
            }
            let refused = self.done(&group).await?;
            self.keep(&refused)?;
            self.report.show(&refused, &mut self.progress);
            self.progress.tell(&self.state);
            // Without anybody to wait for, a signal would not be heard.
            tokio::task::yield_now().await;
        }
    }

    /// Reads as many rows as one request takes.
    fn group(&mut self) -> anyhow::Result<Vec<Entry>> {
        let (mut group, mut bytes) = (Vec::new(), 0);
        while group.len() < GROUP_ROWS && bytes < GROUP_BYTES {
            let row = self.rows.next().with_context(|| format!("cannot read {}", self.arguments.file.display()))?;
            let Some(row) = row else { break };
            let line = row.line;
            let event = self.shape.event(&self.rows, row);
            bytes += event.as_ref().map_or(0, Vec::len);
            group.push(Entry { line, event });
        }
        Ok(group)
    }

    /// Brings a group to the relay, however often it takes; the rows that were refused, in their order.
    async fn done(&mut self, group: &[Entry]) -> anyhow::Result<Vec<(u64, Refused)>> {
        let mut refused: Vec<(u64, Refused)> = Vec::new();
        let mut counts = self.state.counts;
        let refusal = |entry: &Entry| Some((entry.line, entry.event.as_ref().err()?.clone()));
        refused.extend(group.iter().filter_map(refusal));
        let sound = group.iter().filter_map(|entry| Some((entry.line, entry.event.as_deref().ok()?)));
        let sound: Vec<(u64, &[u8])> = sound.collect();
        let fates = match &self.target {
            None => sound.iter().map(|(_, event)| checked(event)).collect::<anyhow::Result<Vec<_>>>()?,
            Some(target) => {
                let events: Vec<&[u8]> = sound.iter().map(|(_, event)| *event).collect();
                sent(target, &events, self.arguments.give_up_after, &mut self.progress).await?
            }
        };
        for (fate, (line, _)) in fates.into_iter().zip(&sound) {
            match fate {
                Fate::Accepted => counts.accepted += 1,
                Fate::Duplicate => counts.duplicate += 1,
                Fate::Refused(why) => refused.push((*line, why)),
            }
        }
        refused.sort_by_key(|(line, _)| *line);
        counts.refused += refused.len() as u64;
        self.state.counts = counts;
        self.state.place = self.rows.place;
        Ok(refused)
    }

    /// Writes down what is done with: the report first, as what is in it and not in the state is written again.
    fn keep(&mut self, refused: &[(u64, Refused)]) -> anyhow::Result<()> {
        self.state.report_bytes = self.report.write(refused, self.state.report_bytes)?;
        if self.target.is_some() {
            self.state.keep(&self.state_file)?;
        }
        Ok(())
    }

    /// Prints what became of the rows.
    fn print(&self) -> anyhow::Result<()> {
        let State { counts: Counts { accepted, duplicate, refused }, place, complete, .. } = &self.state;
        let report = self.report.path();
        if self.arguments.json {
            let told = serde_json::json!({
                "rows": place.rows, "accepted": accepted, "duplicate": duplicate, "refused": refused,
                "complete": complete, "dry_run": self.arguments.dry_run,
                "report": (*refused > 0).then(|| report.display().to_string()),
            });
            println!("{}", serde_json::to_string_pretty(&told)?);
            return Ok(());
        }
        if self.arguments.dry_run {
            println!("{} rows: {accepted} would be sent, {refused} would be refused", place.rows);
        } else {
            println!("{} rows: {accepted} accepted, {duplicate} duplicates, {refused} refused", place.rows);
        }
        if *refused > 0 {
            println!("which were refused, and why: {}", report.display());
        }
        if *accepted > 0 && *complete && !self.arguments.dry_run {
            println!("where they went: conversion-relay balance (what a platform is too late for is expired there)");
        }
        Ok(())
    }
}

/// What the relay would say to an event, as far as it says so to each alone.
fn checked(event: &[u8]) -> anyhow::Result<Fate> {
    let source = SourceName::new("import")?;
    Ok(match intake::read_event(event, &source, SystemClock.now()) {
        Ok(_) => Fate::Accepted,
        Err(problem) => Fate::Refused(Refused::of(problem.pointer.as_deref(), &problem.detail)),
    })
}

/// Sends events until each has its fate.
async fn sent(
    target: &Target,
    events: &[&[u8]],
    give_up_after: Duration,
    progress: &mut Progress,
) -> anyhow::Result<Vec<Fate>> {
    let mut fates: Vec<Fate> = Vec::with_capacity(events.len());
    let (mut at_once, mut again, mut since) = (events.len(), RETRY_FIRST, Instant::now());
    while fates.len() < events.len() {
        let rest = &events[fates.len()..];
        let answer = target.post(&rest[..rest.len().min(at_once)]).await?;
        if !answer.fates.is_empty() {
            (again, since) = (RETRY_FIRST, Instant::now());
        }
        fates.extend(answer.fates);
        match answer.rest {
            None => {}
            Some(Rest::Fewer) if at_once > 1 => at_once = at_once.min(rest.len()).div_ceil(2),
            Some(Rest::Fewer) => {
                fates.push(Fate::Refused(Refused::row("is longer than the relay, or a proxy before it, takes")));
                at_once = events.len();
            }
            Some(Rest::Later(wait, why)) => {
                let left = give_up_after.saturating_sub(since.elapsed());
                if left.is_zero() {
                    bail!("gave up after {} in which the relay took nothing: {why}", super::table::span(give_up_after));
                }
                // Several imports that wait for one relay do not come back at the same moment.
                let wait = wait.unwrap_or(again).mul_f64(rand::random_range(1.0..1.25));
                progress.say(&format!("waiting for the relay: {why}"));
                tokio::time::sleep(wait.min(left)).await;
                again = (again * 2).min(RETRY_MAX);
            }
        }
    }
    Ok(fates)
}
