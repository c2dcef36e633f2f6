//! The figures of one run, as a table and as JSON.

use std::fmt::Write as _;

use serde::Serialize;

/// All figures in their order.
#[derive(Default, Serialize)]
pub(crate) struct Report {
    machine: String,
    figures: Vec<Figure>,
}

#[derive(Serialize)]
struct Figure {
    /// Starts a group of its own in the table.
    #[serde(skip_serializing_if = "Option::is_none")]
    title: Option<&'static str>,
    name: String,
    value: f64,
    unit: &'static str,
    /// The value over what it is compared with.
    #[serde(skip_serializing_if = "Option::is_none")]
    ratio: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    target: Option<Target>,
    #[serde(skip_serializing_if = "Option::is_none")]
    met: Option<bool>,
}

/// What a figure, or its ratio if it has one, has to be.
#[derive(Clone, Copy, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Target {
    AtLeast(f64),
    AtMost(f64),
}

impl Report {
    pub(crate) fn new(machine: String) -> Self {
        Self { machine, figures: Vec::new() }
    }

    /// Starts a group.
    pub(crate) fn title(&mut self, title: &'static str) {
        let figure = Figure {
            title: Some(title),
            name: String::new(),
            value: 0.0,
            unit: "",
            ratio: None,
            target: None,
            met: None,
        };
        self.figures.push(figure);
    }

    /// A figure by itself.
    pub(crate) fn plain(&mut self, name: impl Into<String>, value: f64, unit: &'static str) {
        self.push(name.into(), value, unit, None, None);
    }

    /// A figure with a target of its own.
    pub(crate) fn target(&mut self, name: impl Into<String>, value: f64, unit: &'static str, target: Target) {
        self.push(name.into(), value, unit, None, Some(target));
    }

    /// A figure that is judged by its ratio to `limit`.
    pub(crate) fn against(
        &mut self,
        name: impl Into<String>,
        value: f64,
        unit: &'static str,
        limit: f64,
        target: Option<Target>,
    ) {
        self.push(name.into(), value, unit, Some(value / limit), target);
    }

    fn push(&mut self, name: String, value: f64, unit: &'static str, ratio: Option<f64>, target: Option<Target>) {
        let judged = ratio.unwrap_or(value);
        let met = target.map(|target| match target {
            Target::AtLeast(bound) => judged >= bound,
            Target::AtMost(bound) => judged <= bound,
        });
        self.figures.push(Figure { title: None, name, value, unit, ratio, target, met });
    }

    pub(crate) fn table(&self) -> String {
        let mut table = String::new();
        let _in_memory = writeln!(table, "\n{}", self.machine);
        let (mut met, mut judged) = (0, 0);
        for figure in &self.figures {
            let line = match figure.title {
                Some(title) => format!("\n{title:<62}{:>12} {:<9}{:>7}  target", "", "", "ratio"),
                None => figure.line(),
            };
            let _in_memory = writeln!(table, "{}", line.trim_end());
            judged += usize::from(figure.met.is_some());
            met += usize::from(figure.met == Some(true));
        }
        let _in_memory = writeln!(table, "\n{met} of {judged} targets met");
        table
    }

    pub(crate) fn json(&self) -> String {
        serde_json::to_string_pretty(self).expect("text and numbers")
    }
}

impl Figure {
    fn line(&self) -> String {
        let ratio = self.ratio.map_or(String::new(), |ratio| format!("{ratio:.2}"));
        let target = match self.target {
            Some(Target::AtLeast(bound)) => format!(">= {bound}"),
            Some(Target::AtMost(bound)) => format!("<= {bound}"),
            None => String::new(),
        };
        let met = match self.met {
            Some(true) => "met",
            Some(false) => "MISSED",
            None => "",
        };
        format!("  {:<60}{:>12} {:<9}{ratio:>7}  {target:<9}{met}", self.name, number(self.value), self.unit)
    }
}

/// Three significant digits or whole, with thousands apart.
fn number(value: f64) -> String {
    let size = value.abs();
    if size >= 100.0 {
        let digits = format!("{value:.0}");
        let mut grouped = String::new();
        for (nth, digit) in digits.chars().enumerate() {
            if nth > 0 && (digits.len() - nth) % 3 == 0 {
                grouped.push(',');
            }
            grouped.push(digit);
        }
        grouped
    } else if size >= 10.0 {
        format!("{value:.1}")
    } else if size >= 1.0 {
        format!("{value:.2}")
    } else {
        format!("{value:.4}")
    }
}
