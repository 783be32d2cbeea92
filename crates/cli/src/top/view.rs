//! Draws the model.

use std::ffi::OsStr;
use std::time::{SystemTime, UNIX_EPOCH};

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, Clear, Paragraph};
use serde_json::{Value, json};

use super::columns::{Column, fitting};
use super::figures::{Row, list, per_second, percent};
use super::model::{Model, Overlay};
use crate::units;

/// From this time on, in ms, the primary is shown as blocked.
const BLOCKED_MS: u64 = 500;

/// The maximum number of lines for draining workers, and for listeners.
const OTHERS: usize = 6;

const KEYS: &str = "s stack  r restart  d drain  R reload  +/- scale  ? help  q quit";

const HELP: [&str; 16] = [
    "↑ ↓       choose a slot (also k and j)",
    "s, Enter  show where the JavaScript of its worker is",
    "p         show where the JavaScript of the primary is",
    "r         restart: the new worker first, then the old one drains",
    "d d       drain; the slot stays empty until it is restarted",
    "R         reload all workers, with the code as it is now",
    "+ -       one worker more, one fewer",
    "q, Esc    quit; the cluster keeps running",
    "",
    "↺         restarts so far",
    "ELU%      share of the last 5 to 10 s in which the event loop was busy",
    "DELAYp99  how long an event may wait: 99 % of the loop's turns were shorter",
    "OPEN      connections that are open",
    "INFL      connections passed to it that it has not received yet",
    "CONN/s    new connections",
    "PID in dim: the worker is from before the last reload",
];

/// The styles, with or without colours.
#[derive(Clone, Copy, Debug)]
pub(super) struct Theme {
    colours: bool,
}

impl Theme {
    /// A `NO_COLOR` variable that is not empty disables colours: see no-color.org.
    pub(super) fn of(no_color: Option<&OsStr>) -> Self {
        Self { colours: no_color.is_none_or(OsStr::is_empty) }
    }

    fn colour(self, colour: Color) -> Style {
        if self.colours { Style::new().fg(colour) } else { Style::new() }
    }

    fn bad(self) -> Style {
        self.colour(Color::Red).add_modifier(Modifier::BOLD)
    }

    /// The same with and without colours.
    fn dim() -> Style {
        Style::new().add_modifier(Modifier::DIM)
    }

    fn head(self) -> Style {
        self.colour(Color::Cyan).add_modifier(Modifier::BOLD)
    }

    fn state(self, row: &Row) -> Style {
        if row.is_blocked {
            return self.bad();
        }
        match row.state.split(' ').next() {
            Some("serving") => self.colour(Color::Green),
            Some("filling" | "emptying") => self.colour(Color::Yellow),
            Some("stopped") => Self::dim(),
            _ => self.bad(),
        }
    }
}

pub(super) fn draw(frame: &mut Frame<'_>, model: &Model, theme: Theme) {
    let area = frame.area();
    let (status, rows) = (model.status(), model.rows());
    let width = usize::from(area.width);
    let [draining, listeners] = [draining(status, theme), listeners(status, theme)]
        .map(|lines| lines.into_iter().take(OTHERS).collect::<Vec<_>>());
    let header = header(model, theme, width);
    let height = |count: usize| u16::try_from(count).unwrap_or(u16::MAX);
    let parts = [
        Constraint::Length(height(header.len())),
        Constraint::Max(height(rows.len() + 1)),
        Constraint::Max(height(draining.len())),
        Constraint::Max(height(listeners.len())),
        Constraint::Min(0),
        Constraint::Length(1),
    ];
    let [top, middle, leaving, sockets, tail, bottom] = Layout::vertical(parts).areas(area);
    frame.render_widget(Paragraph::new(header), top);
    frame.render_widget(Paragraph::new(table(model, theme, width, usize::from(middle.height))), middle);
    frame.render_widget(Paragraph::new(draining), leaving);
    frame.render_widget(Paragraph::new(listeners), sockets);
    frame.render_widget(Paragraph::new(events(model, usize::from(tail.height))), tail);
    frame.render_widget(Paragraph::new(footer(model, theme)), bottom);
    match model.overlay() {
        Some(Overlay::Help) => {
            let lines = HELP.iter().map(|line| Line::raw(*line)).collect();
            over(frame, area, "keys and columns", lines, 0);
        }
        Some(Overlay::Text { title, lines, scroll }) => {
            over(frame, area, title, lines.iter().map(|line| Line::raw(clean(line))).collect(), *scroll);
        }
        None => {}
    }
}

/// Words in lines, with as many per line as fit.
fn wrap(words: Vec<Span<'static>>, width: usize) -> Vec<Line<'static>> {
    let mut lines: Vec<Line<'static>> = vec![Line::default()];
    for word in words {
        let Some(line) = lines.last_mut() else { break };
        if line.width() > 0 && line.width() + 2 + word.width() > width {
            lines.push(Line::from(word));
        } else {
            if line.width() > 0 {
                line.push_span("  ");
            }
            line.push_span(word);
        }
    }
    lines
}

fn header(model: &Model, theme: Theme, width: usize) -> Vec<Line<'static>> {
    let (status, totals) = (model.status(), model.totals());
    let text = |value: &Value| clean(value.as_str().unwrap_or("?"));
    let number = |value: &Value| value.as_u64().map_or_else(|| "-".to_owned(), |number| number.to_string());
    let rate = |rate: Option<f64>| rate.map_or_else(|| "-".to_owned(), per_second);
    let sum = |key: &str| {
        let of = |listener: &Value| listener[key].as_u64();
        list(&status["listeners"]).iter().filter_map(of).sum::<u64>()
    };
    let mut words = vec![
        Span::styled(format!("rcluster {}", text(&status["versions"]["rcluster"])), theme.head()),
        format!("Node {}", text(&status["versions"]["node"])).into(),
        format!("pid {}", number(&status["primary"]["pid"])).into(),
        format!("generation {}", number(&status["generation"])).into(),
    ];
    if let Some(up) = uptime(&status["startedAt"]) {
        words.push(format!("up {}", units::about(up)).into());
    }
    let ready = format!("{} of {} ready", number(&status["ready"]), number(&status["workers"]));
    let is_short = status["ready"].as_u64() < status["workers"].as_u64();
    words.push(if is_short { Span::styled(ready, theme.bad()) } else { ready.into() });
    let marks =
        [("reloading", "reloading"), ("shuttingDown", "shutting down"), ("stopping", "about to stop")];
    if let Some((_, mark)) = marks.iter().find(|(key, _)| status[key] == json!(true)) {
        words.push(Span::styled(*mark, theme.colour(Color::Yellow).add_modifier(Modifier::BOLD)));
    }
    if status["standby"]["ready"] != json!(0) || status["standby"]["starting"] != json!(0) {
        words.push(format!("standbys {}", number(&status["standby"]["ready"])).into());
    }
    words.push(units::counted(&status["cpus"], "CPU").into());
    let cgroup = &status["cgroup"];
    if let (Some(usage), Some(limit)) = (cgroup["memoryUsage"].as_u64(), cgroup["memoryLimit"].as_u64()) {
        words.push(format!("memory {} of {}", units::bytes(usage), units::bytes(limit)).into());
    }
    words.push(format!("conn/s {}", rate(totals.accepted)).into());
    words.push(format!("queue {}", sum("queue")).into());
    words.push(format!("backlog {}", sum("backlog")).into());
    let shed = Span::raw(format!("shed/s {}", rate(totals.shed)));
    words.push(if totals.shed.is_some_and(|rate| rate > 0.0) { shed.style(theme.bad()) } else { shed });
    words.push(format!("restarts {}", number(&status["restarts"])).into());
    words.extend(primary(model, theme));
    let mut lines = wrap(words, width);
    if status["dispatcher"].is_null() {
        lines.push(Line::styled("the thread that accepts connections does not answer", theme.bad()));
    }
    lines
}

/// The figures of the primary's own process.
fn primary(model: &Model, theme: Theme) -> Vec<Span<'static>> {
    let primary = &model.status()["primary"];
    let cpu = model.totals().primary_cpu.map_or_else(|| "-".to_owned(), percent);
    let memory = primary["memory"].as_u64().map_or_else(|| "-".to_owned(), units::bytes);
    let blocked = match primary["blockedMs"].as_u64() {
        Some(ms) if ms >= BLOCKED_MS => Span::styled(format!("blocked {}", units::about(ms)), theme.bad()),
        Some(ms) => format!("blocked {ms}ms").into(),
        None => "blocked -".into(),
    };
    vec![format!("primary CPU% {cpu}").into(), format!("RSS {memory}").into(), blocked]
}

/// In ms. `None` if it cannot be computed, for example because the clocks differ.
fn uptime(started: &Value) -> Option<u64> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).ok()?.as_millis();
    u64::try_from(now).ok()?.checked_sub(started.as_u64()?)
}

fn table(model: &Model, theme: Theme, width: usize, height: usize) -> Vec<Line<'static>> {
    let (rows, selected) = (model.rows(), model.selected());
    let columns = fitting(rows, width);
    let cells = |text: &dyn Fn(Column) -> String, style: &dyn Fn(Column) -> Style| {
        let spans = columns.iter().map(|(column, width)| {
            let text: String = clean(&text(*column)).chars().take(*width).collect();
            let text = if column.is_number { format!("{text:>width$} ") } else { format!("{text:<width$} ") };
            Span::styled(text, style(*column))
        });
        Line::from(spans.collect::<Vec<_>>())
    };
    let mut lines = vec![cells(&|column| column.head.to_owned(), &|_| theme.head())];
    let shown = height.saturating_sub(1);
    // Keeps the selected row visible.
    let first = (selected + 1).saturating_sub(shown.max(1));
    for (index, row) in rows.iter().enumerate().skip(first).take(shown) {
        let style = |column: Column| match column.head {
            "STATE" => theme.state(row),
            "PID" if row.is_old => Theme::dim(),
            _ => Style::new(),
        };
        let line = cells(&|column| column.text(row), &style);
        lines.push(if index == selected { line.style(Modifier::REVERSED) } else { line });
    }
    lines
}

/// Former workers that drain.
fn draining(status: &Value, theme: Theme) -> Vec<Line<'static>> {
    let line = |worker: &Value| {
        let number =
            |key: &str| worker[key].as_u64().map_or_else(|| "-".to_owned(), |number| number.to_string());
        let left = worker["deadlineMs"].as_u64();
        let left = left.map_or_else(|| "killed".into(), |left| format!("{} left", units::about(left)));
        Line::styled(
            format!(
                "draining  slot {}  pid {}  {} open  {left}",
                number("slot"),
                number("pid"),
                number("connections")
            ),
            theme.colour(Color::Yellow),
        )
    };
    list(&status["draining"]).iter().map(line).collect()
}

fn listeners(status: &Value, theme: Theme) -> Vec<Line<'static>> {
    let line = |listener: &Value| {
        let number =
            |key: &str| listener[key].as_u64().map_or_else(|| "-".to_owned(), |number| number.to_string());
        let text = |key: &str| clean(listener[key].as_str().unwrap_or("?"));
        let waits = listener["queue"].as_u64() > Some(0) || listener["backlog"].as_u64() > Some(0);
        let style = if waits { theme.colour(Color::Yellow) } else { Style::new() };
        Line::styled(
            format!(
                "listening  {}  {}  {} workers  queue {}  backlog {} of {}",
                text("address"),
                text("policy"),
                number("workers"),
                number("queue"),
                number("backlog"),
                number("backlogLimit"),
            ),
            style,
        )
    };
    list(&status["listeners"]).iter().map(line).collect()
}

/// The newest event at the bottom.
fn events(model: &Model, height: usize) -> Vec<Line<'static>> {
    let newest = model.events().rev().take(height);
    // Only the first line, because a stack has more lines than there is room for.
    let mut lines: Vec<Line<'static>> = newest
        .map(|line| Line::styled(clean(line.lines().next().unwrap_or_default()), Theme::dim()))
        .collect();
    lines.reverse();
    lines
}

fn footer(model: &Model, theme: Theme) -> Line<'static> {
    match model.note() {
        Some(note) => Line::styled(clean(note), theme.head()),
        None => Line::styled(KEYS, Theme::dim()),
    }
}

/// Draws a box over the rest.
fn over(frame: &mut Frame<'_>, area: Rect, title: &str, lines: Vec<Line<'static>>, scroll: usize) {
    let width = lines.iter().map(Line::width).max().unwrap_or(0).max(title.len() + 2) + 2;
    let (width, height) = (clamp(width, area.width), clamp(lines.len() + 2, area.height));
    let place =
        Rect { x: area.x + (area.width - width) / 2, y: area.y + (area.height - height) / 2, width, height };
    let scroll = u16::try_from(scroll).unwrap_or(u16::MAX);
    let text = Paragraph::new(lines).scroll((scroll, 0)).block(Block::bordered().title(clean(title)));
    frame.render_widget(Clear, place);
    frame.render_widget(text, place);
}

fn clamp(wanted: usize, most: u16) -> u16 {
    u16::try_from(wanted).unwrap_or(u16::MAX).min(most)
}

/// Text from other programs must not control the terminal.
fn clean(text: &str) -> String {
    text.chars().map(|char| if char.is_control() { ' ' } else { char }).collect()
}

#[cfg(test)]
mod tests;
