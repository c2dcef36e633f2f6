//! `links lint`: a file of links against the UTM policy, without a relay.

use std::{
    collections::BTreeMap,
    fs,
    io::Read as _,
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::{Context as _, bail};
use clap::ValueEnum;
use serde::Serialize;
use toml::Table;

use super::super::table;
use crate::{
    links::{
        Hosts, contact,
        file::{Rejected, Row, read_addresses, read_csv, read_toml},
        policy::{Broken, Field, Offers, Policy, Rule},
    },
    model::{Clock as _, LinkKey, LinkState, Problem, Settings, SystemClock, Time},
};

/// Bytes of a file that is checked.
const FILE_BYTES_MAX: u64 = 64 << 20;
/// Accepted values that are printed of one finding; `--json` has more.
const ACCEPTED_SHOWN: usize = 12;

#[derive(clap::Args)]
pub(in crate::cli) struct Arguments {
    /// CSV, a links file (TOML), or a list of tagged addresses, one a line; - for standard input
    file: PathBuf,
    /// The configuration whose [utm] holds; without one: lower case, and one offer for a campaign
    #[arg(long, short)]
    config: Option<PathBuf>,
    /// What the file is, if that cannot be told by its name and beginning
    #[arg(long)]
    format: Option<Format>,
    /// Print the findings as JSON
    #[arg(long)]
    json: bool,
}

/// What a file of links is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    /// Columns, with their names in the first row
    Csv,
    /// [[links]] with the fields of POST /v1/links
    Toml,
    /// Tagged addresses, one a line
    Addresses,
}

/// Something to be said of a link.
#[derive(Debug, PartialEq, Eq, Serialize)]
struct Finding {
    line: u64,
    /// `error` if the link would be refused, else `warning`.
    severity: Severity,
    /// The rule of the policy; `link` if it is no link at all.
    rule: &'static str,
    field: Option<String>,
    value: Option<String>,
    message: String,
    accepted: Vec<String>,
    nearest: Option<String>,
    /// The line of the link that stands against it.
    first_line: Option<u64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum Severity {
    Error,
    Warning,
}

/// What came of a file.
#[derive(Debug, Serialize)]
struct Linted {
    links: usize,
    errors: usize,
    warnings: usize,
    findings: Vec<Finding>,
}

pub(super) fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let (policy, hosts) = rules(arguments.config.as_deref())?;
    let text = text(&arguments.file)?;
    let format = arguments.format.unwrap_or_else(|| format(&arguments.file, &text));
    let linted = lint(&policy, hosts.as_ref(), format, &text, SystemClock.now());
    if arguments.json {
        println!("{}", serde_json::to_string_pretty(&linted)?);
    } else {
        print(&linted);
    }
    Ok(if linted.errors == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The policy and the link hosts of a configuration; the rest of it is left alone, so that whoever writes links needs none of
/// its secrets. Without a configuration no host is known, and any will do.
fn rules(config: Option<&Path>) -> anyhow::Result<(Policy, Option<Hosts>)> {
    let Some(path) = config else { return Ok((Policy::of_the_house(), None)) };
    let shown = path.display();
    let text = fs::read_to_string(path).with_context(|| format!("cannot read the configuration file {shown}"))?;
    let mut table: Table = text.parse().map_err(|error: toml::de::Error| {
        anyhow::anyhow!("the configuration file {shown} is not valid TOML: {}", error.message())
    })?;
    let hosts = table.get("links").and_then(|links| links.get("hosts")).and_then(toml::Value::as_array);
    let own = hosts.into_iter().flatten().filter_map(toml::Value::as_str).map(str::to_ascii_lowercase).collect();
    let public = table.get("public").and_then(|public| public.get("url")).and_then(toml::Value::as_str);
    let public = public.and_then(|url| url::Url::parse(url).ok()?.host_str().map(str::to_owned));
    let utm = match table.remove("utm") {
        None => return Ok((Policy::of_the_house(), Some(Hosts { own, public }))),
        Some(toml::Value::Table(utm)) => utm,
        Some(_) => bail!("the configuration file {shown} has a key utm that is no table"),
    };
    let mut settings = Settings::new("utm.", utm);
    let policy = Policy::read(&mut settings);
    let problems: Vec<String> = settings.finish().iter().map(|problem| format!("  {problem}")).collect();
    if !problems.is_empty() {
        bail!("the UTM policy in {shown} has {} problems:\n{}", problems.len(), problems.join("\n"));
    }
    Ok((policy, Some(Hosts { own, public })))
}

fn text(path: &Path) -> anyhow::Result<String> {
    let shown = path.display();
    let mut bytes = Vec::new();
    if path == Path::new("-") {
        std::io::stdin().take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes).context("cannot read standard input")?;
    } else {
        let file = fs::File::open(path).with_context(|| format!("cannot read {shown}"))?;
        file.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes).with_context(|| format!("cannot read {shown}"))?;
    }
    if bytes.len() as u64 > FILE_BYTES_MAX {
        bail!("{shown} is over {} MiB; divide it", FILE_BYTES_MAX >> 20);
    }
    if bytes.starts_with(b"\xff\xfe") || bytes.starts_with(b"\xfe\xff") {
        bail!("{shown} is written in UTF-16; save it as UTF-8 (in a spreadsheet: \"CSV UTF-8\")");
    }
    String::from_utf8(bytes).map_err(|error| {
        let valid = error.utf8_error().valid_up_to();
        let line = error.as_bytes()[..valid].iter().filter(|byte| **byte == b'\n').count() + 1;
        anyhow::anyhow!("{shown} is not UTF-8 in line {line}; save it as UTF-8 (in a spreadsheet: \"CSV UTF-8\")")
    })
}

/// What a file is, by its name, else by its first line.
fn format(path: &Path, text: &str) -> Format {
    let extension = path.extension().and_then(|extension| extension.to_str()).map(str::to_ascii_lowercase);
    match extension.as_deref() {
        Some("csv" | "tsv") => return Format::Csv,
        Some("toml") => return Format::Toml,
        _ => {}
    }
    let text = text.trim_start_matches('\u{feff}');
    let first = text.lines().map(str::trim).find(|line| !line.is_empty() && !line.starts_with('#')).unwrap_or_default();
    if first.starts_with("http://") || first.starts_with("https://") {
        Format::Addresses
    } else if first.starts_with("[[") {
        Format::Toml
    } else {
        Format::Csv
    }
}

/// Checks every link of a file, each beside those before it.
fn lint(policy: &Policy, hosts: Option<&Hosts>, format: Format, text: &str, now: Time) -> Linted {
    let rows = match format {
        Format::Csv => read_csv(text),
        Format::Toml => read_toml(text),
        Format::Addresses => read_addresses(text),
    };
    let (mut findings, mut links) = (Vec::new(), Vec::new());
    let mut lines: BTreeMap<LinkKey, u64> = BTreeMap::new();
    let count = rows.len();
    for row in rows {
        match row {
            Err(rejected) => findings.push(of_rejected(rejected)),
            Ok(row) => {
                let line = row.line;
                match made(row, hosts, now) {
                    Err(problems) => findings.extend(problems.into_iter().map(|problem| of_problem(line, problem))),
                    Ok(link) => {
                        if let Some(first) = lines.get(&link.key) {
                            let why = "is that of another link; each has its own";
                            let problem = of_problem(line, Problem::new("slug", why));
                            findings.push(Finding {
                                value: Some(link.key.to_string()),
                                first_line: Some(*first),
                                ..problem
                            });
                        } else {
                            lines.insert(link.key.clone(), line);
                            links.push((line, link));
                        }
                    }
                }
            }
        }
    }
    // The first link of a campaign says what it offers; those behind it are told.
    let mut offers = Offers::default();
    for (line, link) in &links {
        // An address alone cannot say more than its UTM values.
        let (broken, advice) = if format == Format::Addresses {
            let mut advice = policy.advice(link);
            advice.retain(|one| one.rule == Rule::Alias);
            (policy.check_utm(&link.utm), advice)
        } else {
            (policy.check_among(link, &offers), policy.advice(link))
        };
        offers.add(policy, link);
        // What has a reason waits for somebody to approve it.
        let severity = if link.exception.is_some() { Severity::Warning } else { Severity::Error };
        // One without a slug is called by its line anyway.
        let first = |one: &Broken| {
            one.first.as_ref().filter(|key| !key.slug.contains(' ')).and_then(|key| lines.get(key).copied())
        };
        findings.extend(
            broken.into_iter().map(|one| (first(&one), one)).map(|(first, one)| of_broken(*line, severity, one, first)),
        );
        findings.extend(advice.into_iter().map(|one| of_broken(*line, Severity::Warning, one, None)));
        if link.expires_at.is_some_and(|at| at <= now) {
            let problem = of_problem(*line, Problem::new("expires_at", "is over already"));
            findings.push(Finding { severity: Severity::Warning, ..problem });
        }
    }
    findings.sort_by_key(|finding| finding.line);
    let errors = findings.iter().filter(|finding| finding.severity == Severity::Error).count();
    Linted { links: count, errors, warnings: findings.len() - errors, findings }
}

/// The link of a row. One without a slug is known by its line, which no slug can be.
fn made(row: Row, hosts: Option<&Hosts>, now: Time) -> Result<crate::model::Link, Vec<Problem>> {
    let any = Hosts { own: row.draft.host.iter().map(|host| host.trim().to_ascii_lowercase()).collect(), public: None };
    // Which hosts there are is not known without a configuration.
    let hosts = hosts.unwrap_or(&any);
    let key = row.draft.key(hosts, || format!("line {}", row.line)).map_err(|problem| vec![problem])?;
    let mut link = row.draft.into_link(key, now, hosts)?;
    link.state = LinkState::Live;
    Ok(link)
}

fn of_rejected(rejected: Rejected) -> Finding {
    Finding {
        line: rejected.line,
        severity: Severity::Error,
        rule: "link",
        field: rejected.field,
        value: None,
        message: rejected.reason,
        accepted: Vec::new(),
        nearest: None,
        first_line: None,
    }
}

fn of_problem(line: u64, problem: Problem) -> Finding {
    of_rejected(Rejected { line, slug: None, field: Some(problem.key), reason: problem.message })
}

fn of_broken(line: u64, severity: Severity, broken: Broken, first_line: Option<u64>) -> Finding {
    Finding {
        line,
        severity,
        rule: broken.rule.as_str(),
        field: Some(
            Field::parse(broken.field)
                .filter(|field| field.is_utm())
                .map_or_else(|| broken.field.to_owned(), |field| format!("utm_{}", field.as_str())),
        ),
        // An address may hold what no link would be made with.
        value: broken.value.filter(|value| !contact::holds(value)),
        message: broken.message,
        accepted: broken.accepted,
        nearest: broken.nearest,
        first_line,
    }
}

fn print(linted: &Linted) {
    for finding in &linted.findings {
        for line in told(finding) {
            println!("{}", table::line(&line));
        }
    }
    let Linted { links, errors, warnings, .. } = linted;
    let plural = |count: usize, what: &str| format!("{count} {what}{}", if count == 1 { "" } else { "s" });
    println!("{}: {}, {}", plural(*links, "link"), plural(*errors, "error"), plural(*warnings, "warning"));
}

/// A finding as lines: what is wrong, and below it what would be right.
fn told(finding: &Finding) -> Vec<String> {
    let severity = match finding.severity {
        Severity::Error => "error",
        Severity::Warning => "warning",
    };
    let value = finding.value.as_ref().map(|value| format!(" \"{value}\"")).unwrap_or_default();
    let field = finding.field.as_ref().map(|field| format!("{field}{value} ")).unwrap_or_default();
    let first = finding.first_line.map(|line| format!(", in line {line}")).unwrap_or_default();
    let Finding { line, rule, message, .. } = finding;
    let mut lines = vec![format!("line {line}: {severity}: {field}{message}{first} [{rule}]")];
    if !finding.accepted.is_empty() {
        let shown: Vec<&str> = finding.accepted.iter().take(ACCEPTED_SHOWN).map(String::as_str).collect();
        let more = finding.accepted.len().saturating_sub(ACCEPTED_SHOWN);
        let more = if more > 0 { format!(", and {more} more") } else { String::new() };
        lines.push(format!("    accepted: {}{more}", shown.join(", ")));
    }
    if let Some(nearest) = &finding.nearest {
        lines.push(format!("    meant: {nearest}?"));
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    const RULES: &str = r#"
        [public]
        url = "https://t.brand.example"
        [meta]
        access_token = "${META_TOKEN}"
        [links]
        hosts = ["go.brand.example"]
        [utm]
        delimiter = "-"
        required = ["source", "medium", "campaign"]
        require_variant = true
        [utm.source]
        values = ["instagram", "newsletter"]
        aliases = { ig = "instagram" }
        [utm.medium]
        values = ["social", "email"]
        [utm.campaign]
        registered = true
        pattern = "{audience}-{objective}"
        [utm.campaign.segments]
        audience = ["new", "loyal"]
        [utm.campaigns.new-sales]
        offer = "mugs"
        [utm.campaigns.loyal-sales]
    "#;

    fn told(config: Option<&str>, format: Format, text: &str) -> Vec<String> {
        let file = tempfile::NamedTempFile::new().expect("a file");
        fs::write(file.path(), config.unwrap_or_default()).expect("writes");
        let (policy, hosts) = rules(config.map(|_| file.path())).expect("a policy");
        let linted = lint(&policy, hosts.as_ref(), format, text, Time::from_secs(1_795_161_600));
        linted.findings.iter().flat_map(super::told).collect()
    }

    #[test]
    fn a_file_of_links_is_checked_line_by_line() {
        let text = "slug,host,destination,source,medium,campaign,angle,offer,goal,note,exception\n\
                    a,,https://shop.example/,ig,social,new-sales,hook-a,mugs,purchase,,\n\
                    b,,https://shop.example/,Insta Gram,email,new-sales,hook-b,mugs,purchase,,\n\
                    c,,https://shop.example/,instagram,email,new-sales,hook-c,hats,purchase,,\n\
                    d,,https://shop.example/,newsletter,,spring-sale,,,purchase,,\n\
                    e,,https://shop.example/,newsletter,email,spring-sale,x,,purchase,,a trial\n\
                    a,,https://shop.example/,newsletter,email,loyal-sales,x,,purchase,,\n\
                    f,evil.example,https://shop.example/,newsletter,email,loyal-sales,x,,purchase,,\n\
                    g,,ftp://shop.example/,newsletter,email,loyal-sales,x,,purchase,ada@example.com,\n\
                    h,,https://shop.example/,newsletter,email,loyal-sales,x,caps,,,\n\
                    i,,https://shop.example/,newsletter,email,loyal-sales,x,cups,purchase,,\n";
        let sources = "    accepted: instagram, newsletter";
        let campaigns = "    accepted: loyal-sales, new-sales";
        let expected = [
            "line 2: warning: utm_source \"ig\" is an alias: reports show its value [alias]",
            "    accepted: instagram",
            "line 3: error: utm_source \"Insta Gram\" must be in lower case [lowercase]",
            sources,
            "    meant: instagram?",
            "line 3: error: utm_source \"Insta Gram\" must have - between its words: no space, nothing else, and not twice [delimiter]",
            sources,
            "    meant: instagram?",
            "line 3: error: utm_source \"Insta Gram\" is none of the accepted values [values]",
            sources,
            "    meant: instagram?",
            "line 4: error: offer \"hats\" is not the one that the campaign is registered for [one_offer]",
            "    accepted: mugs",
            "line 5: error: utm_medium is missing: the policy requires a value [required]",
            "    accepted: social, email",
            "line 5: error: variant is missing: at least one of model, prompt_family and angle [require_variant]",
            "line 5: error: utm_campaign \"spring-sale\" is not registered: a campaign is registered before links use it [registered]",
            campaigns,
            "line 5: error: utm_campaign \"spring\" has in the segment audience none of its values [pattern]",
            "    accepted: new, loyal",
            "line 6: warning: utm_campaign \"spring-sale\" is not registered: a campaign is registered before links use it [registered]",
            campaigns,
            "line 6: warning: utm_campaign \"spring\" has in the segment audience none of its values [pattern]",
            "    accepted: new, loyal",
            "line 7: error: slug \"a\" is that of another link; each has its own, in line 2 [link]",
            "line 8: error: host must be a configured link host: go.brand.example [link]",
            "line 9: error: destination must be a whole http or https address, such as https://shop.example/mugs [link]",
            "line 9: error: note must not contain an e-mail address or a telephone number: links are kept in clear [link]",
            "line 10: warning: goal is missing: nobody can tell what the link is there for [require_goal]",
            "line 11: error: offer \"cups\" is not the one that the campaign is used for by the link h, in line 10 [one_offer]",
            "    accepted: caps",
        ];
        assert_eq!(told(Some(RULES), Format::Csv, text), expected);
    }

    #[test]
    fn without_a_configuration_values_are_in_lower_case_and_campaigns_have_one_offer() {
        let text = "destination,source,campaign,offer,goal,host\n\
                    https://shop.example/,Instagram,spring,mugs,purchase,any.example\n\
                    https://shop.example/,instagram,spring,hats,purchase,\n";
        let expected = [
            "line 2: error: utm_source \"Instagram\" must be in lower case [lowercase]",
            "    meant: instagram?",
            "line 3: error: offer \"hats\" is not the one that the campaign is used for by the link any.example/line 2 [one_offer]",
            "    accepted: mugs",
        ];
        assert_eq!(told(None, Format::Csv, text), expected);
    }

    #[test]
    fn addresses_are_checked_for_their_utm_values_alone() {
        let text =
            "https://shop.example/?utm_source=ig&utm_medium=Social&utm_campaign=new-sales\nhttps://shop.example/\n";
        let told = told(Some(RULES), Format::Addresses, text);
        let rules = |line: &str| {
            let of = told.iter().filter(|told| told.starts_with(line));
            of.filter_map(|told| Some(told.rsplit_once('[')?.1.trim_end_matches(']').to_owned())).collect::<Vec<_>>()
        };
        assert_eq!(rules("line 1: "), ["lowercase", "alias"]);
        assert_eq!(rules("line 2: "), ["required", "required", "required"]);
    }

    #[test]
    fn what_a_file_is_shows_in_its_name_or_its_first_line() {
        for (name, text, expected) in [
            ("x.csv", "", Format::Csv),
            ("x.TOML", "", Format::Toml),
            ("-", "\u{feff}# ours\n\n[[links]]", Format::Toml),
            ("x.txt", "# ours\nhttps://x.example/", Format::Addresses),
            ("x.txt", "slug,destination", Format::Csv),
        ] {
            assert_eq!(format(Path::new(name), text), expected, "{name}");
        }
    }

    #[test]
    fn a_policy_that_is_wrong_is_told_whole() {
        let file = tempfile::NamedTempFile::new().expect("a file");
        fs::write(file.path(), "[utm]\ndelimiter = \".\"\ncolour = 1").expect("writes");
        let error = rules(Some(file.path())).expect_err("is wrong").to_string();
        assert!(error.contains("utm.delimiter: must be") && error.contains("utm.colour: is not a key"), "{error}");
    }
}
