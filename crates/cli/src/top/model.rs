//! The state of the display, and the effect of keys on it.

use std::collections::VecDeque;
use std::time::Instant;

use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use serde_json::{Value, json};

use super::figures::{Row, Totals, rows};
use crate::output::Failure;

/// The number of events kept.
const EVENTS: usize = 200;

/// The action that a key requests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Action {
    Quit,
    /// `None`: the stack of the primary.
    Stack(Option<u64>),
    Restart(u64),
    Drain(u64),
    Reload,
    More,
    Fewer,
}

impl Action {
    /// The request to the cluster; `None` if the action needs none.
    pub(super) fn request(&self) -> Option<Value> {
        Some(match self {
            Self::Quit => return None,
            Self::Stack(None) => json!({ "verb": "stack", "slot": "primary" }),
            Self::Stack(Some(slot)) => json!({ "verb": "stack", "slot": slot }),
            Self::Restart(slot) => json!({ "verb": "restart", "slot": slot }),
            Self::Drain(slot) => json!({ "verb": "drain", "slot": slot }),
            Self::Reload => json!({ "verb": "reload" }),
            Self::More => json!({ "verb": "scale", "workers": "+1" }),
            Self::Fewer => json!({ "verb": "scale", "workers": "-1" }),
        })
    }

    fn name(&self) -> String {
        match self {
            Self::Quit => "quit".into(),
            Self::Stack(None) => "stack of the primary".into(),
            Self::Stack(Some(slot)) => format!("stack of slot {slot}"),
            Self::Restart(slot) => format!("restart of slot {slot}"),
            Self::Drain(slot) => format!("drain of slot {slot}"),
            Self::Reload => "reload".into(),
            Self::More => "one worker more".into(),
            Self::Fewer => "one worker fewer".into(),
        }
    }
}

/// The overlay over the table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Overlay {
    Help,
    Text { title: String, lines: Vec<String>, scroll: usize },
}

/// See the module documentation.
#[derive(Debug)]
pub(super) struct Model {
    status: Value,
    at: Instant,
    rows: Vec<Row>,
    totals: Totals,
    events: VecDeque<String>,
    selected: usize,
    overlay: Option<Overlay>,
    /// A request that the next key confirms, if it is the same.
    unconfirmed: Option<Action>,
    /// The last request.
    requested: Option<Action>,
    /// The state of the last request.
    note: Option<String>,
}

impl Model {
    pub(super) fn new(status: Value, at: Instant) -> Self {
        let (rows, totals) = (rows(&Value::Null, &status), Totals::default());
        Self {
            status,
            at,
            rows,
            totals,
            events: VecDeque::new(),
            selected: 0,
            overlay: None,
            unconfirmed: None,
            requested: None,
            note: None,
        }
    }

    pub(super) fn status(&self) -> &Value {
        &self.status
    }

    pub(super) fn rows(&self) -> &[Row] {
        &self.rows
    }

    pub(super) fn totals(&self) -> &Totals {
        &self.totals
    }

    /// The events, newest last.
    pub(super) fn events(&self) -> impl DoubleEndedIterator<Item = &str> {
        self.events.iter().map(String::as_str)
    }

    pub(super) fn selected(&self) -> usize {
        self.selected
    }

    pub(super) fn overlay(&self) -> Option<&Overlay> {
        self.overlay.as_ref()
    }

    pub(super) fn note(&self) -> Option<&str> {
        self.note.as_deref()
    }

    pub(super) fn on_status(&mut self, status: Value, at: Instant) {
        self.rows = rows(&self.status, &status);
        self.totals = Totals::between(&self.status, &status, at.saturating_duration_since(self.at));
        self.selected = self.selected.min(self.rows.len().saturating_sub(1));
        (self.status, self.at) = (status, at);
    }

    pub(super) fn on_event(&mut self, line: String) {
        if self.events.len() == EVENTS {
            self.events.pop_front();
        }
        self.events.push_back(line);
    }

    /// Shows the result of a request. A drain can take minutes: if another request was made meanwhile, the
    /// result is shown among the events, and the later request stays in the line.
    pub(super) fn on_done(&mut self, action: &Action, result: Result<Value, Failure>) {
        let note = match (action, result) {
            (Action::Stack(_), Ok(stack)) => {
                let lines = stack.as_str().unwrap_or_default().lines().map(str::to_owned).collect();
                self.overlay = Some(Overlay::Text { title: action.name(), lines, scroll: 0 });
                None
            }
            (_, Ok(_)) => Some(format!("{}: done", action.name())),
            (_, Err(failure)) => Some(format!("{}: {failure}", action.name())),
        };
        if self.requested.as_ref() == Some(action) {
            self.note = note;
        } else if let Some(line) = note {
            self.on_event(line);
        }
    }

    /// Handles a key. Returns its action, unless it only changes the display.
    pub(super) fn on_key(&mut self, key: KeyEvent) -> Option<Action> {
        if key.modifiers.contains(KeyModifiers::CONTROL) {
            return (key.code == KeyCode::Char('c')).then_some(Action::Quit);
        }
        if let Some(overlay) = &mut self.overlay {
            if !scroll(overlay, key.code) {
                self.overlay = None;
            }
            return None;
        }
        let slot = self.rows.get(self.selected).map(|row| row.slot);
        let action = match key.code {
            KeyCode::Char('q') | KeyCode::Esc => Some(Action::Quit),
            KeyCode::Char('s') | KeyCode::Enter => slot.map(|slot| Action::Stack(Some(slot))),
            KeyCode::Char('p') => Some(Action::Stack(None)),
            KeyCode::Char('r') => slot.map(Action::Restart),
            KeyCode::Char('d') => slot.map(Action::Drain),
            KeyCode::Char('R') => Some(Action::Reload),
            KeyCode::Char('+' | '=') => Some(Action::More),
            KeyCode::Char('-') => Some(Action::Fewer),
            KeyCode::Char('?' | 'h') => {
                self.overlay = Some(Overlay::Help);
                None
            }
            code => {
                self.select(code);
                None
            }
        };
        if self.must_be_confirmed(action.as_ref()) {
            return None;
        }
        if let Some(action) = action.as_ref().filter(|action| **action != Action::Quit) {
            self.note = Some(format!("{} …", action.name()));
            self.requested = Some(action.clone());
        }
        action
    }

    /// Whether the action waits for the same key again. A drain does: one slip of a finger would leave its slot empty until
    /// somebody notices.
    fn must_be_confirmed(&mut self, action: Option<&Action>) -> bool {
        let asked = self.unconfirmed.take();
        if asked.is_some() {
            self.note = None;
        }
        let Some(action @ Action::Drain(_)) = action.filter(|action| asked.as_ref() != Some(*action)) else {
            return false;
        };
        self.note = Some(format!("{}? Press d again; any other key cancels", action.name()));
        self.unconfirmed = Some(action.clone());
        true
    }

    fn select(&mut self, code: KeyCode) {
        let last = self.rows.len().saturating_sub(1);
        self.selected = match code {
            KeyCode::Up | KeyCode::Char('k') => self.selected.saturating_sub(1),
            KeyCode::Down | KeyCode::Char('j') => (self.selected + 1).min(last),
            KeyCode::Home => 0,
            KeyCode::End => last,
            _ => self.selected,
        };
    }
}

/// Scrolls the text. Returns false for other keys, which close it.
fn scroll(overlay: &mut Overlay, code: KeyCode) -> bool {
    let Overlay::Text { lines, scroll, .. } = overlay else { return false };
    let last = lines.len().saturating_sub(1);
    *scroll = match code {
        KeyCode::Up | KeyCode::Char('k') => scroll.saturating_sub(1),
        KeyCode::Down | KeyCode::Char('j') => (*scroll + 1).min(last),
        KeyCode::PageUp => scroll.saturating_sub(10),
        KeyCode::PageDown => (*scroll + 10).min(last),
        _ => return false,
    };
    true
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn status(slots: u64) -> Value {
        let slots: Vec<Value> = (0..slots).map(|slot| json!({ "slot": slot, "state": "serving" })).collect();
        json!({ "slots": slots })
    }

    fn model(slots: u64) -> Model {
        Model::new(status(slots), Instant::now())
    }

    fn press(model: &mut Model, code: KeyCode) -> Option<Action> {
        model.on_key(KeyEvent::new(code, KeyModifiers::NONE))
    }

    fn drain(model: &mut Model) -> Option<Action> {
        assert_eq!(press(model, KeyCode::Char('d')), None, "it has to be confirmed");
        press(model, KeyCode::Char('d'))
    }

    #[test]
    fn a_drain_is_confirmed_by_the_same_key_for_the_same_slot() {
        let mut model = model(2);
        let question = Some("drain of slot 0? Press d again; any other key cancels");
        press(&mut model, KeyCode::Char('d'));
        assert_eq!(model.note(), question);
        press(&mut model, KeyCode::Down);
        assert_eq!(model.note(), None);
        assert_eq!(press(&mut model, KeyCode::Char('d')), None, "this is another slot");
        assert_eq!(press(&mut model, KeyCode::Char('d')), Some(Action::Drain(1)));
        press(&mut model, KeyCode::Up);
        press(&mut model, KeyCode::Char('d'));
        assert_eq!(press(&mut model, KeyCode::Char('r')), Some(Action::Restart(0)));
        assert_eq!(press(&mut model, KeyCode::Char('d')), None);
    }

    #[test]
    fn keys_act_on_the_selected_slot() {
        let mut model = model(3);
        let key = |key| KeyCode::Char(key);
        assert_eq!(press(&mut model, key('r')), Some(Action::Restart(0)));
        press(&mut model, KeyCode::Down);
        press(&mut model, key('j'));
        press(&mut model, KeyCode::Down);
        assert_eq!(drain(&mut model), Some(Action::Drain(2)));
        assert_eq!(model.note(), Some("drain of slot 2 …"));
        press(&mut model, KeyCode::Up);
        assert_eq!(press(&mut model, key('s')), Some(Action::Stack(Some(1))));
        assert_eq!(press(&mut model, key('p')), Some(Action::Stack(None)));
        assert_eq!(press(&mut model, key('R')), Some(Action::Reload));
        assert_eq!(press(&mut model, key('+')), Some(Action::More));
        assert_eq!(press(&mut model, key('-')), Some(Action::Fewer));
        assert_eq!(press(&mut model, key('x')), None);
        assert_eq!(press(&mut model, key('q')), Some(Action::Quit));
        let control_c = KeyEvent::new(KeyCode::Char('c'), KeyModifiers::CONTROL);
        assert_eq!(model.on_key(control_c), Some(Action::Quit));
    }

    #[test]
    fn a_removed_slot_is_no_longer_selected() {
        let mut model = model(3);
        press(&mut model, KeyCode::End);
        model.on_status(status(1), Instant::now() + Duration::from_secs(1));
        assert_eq!(press(&mut model, KeyCode::Char('r')), Some(Action::Restart(0)));
        model.on_status(status(0), Instant::now() + Duration::from_secs(2));
        assert_eq!(press(&mut model, KeyCode::Char('r')), None);
    }

    #[test]
    fn a_stack_covers_the_table_until_a_key_closes_it() {
        let mut model = model(1);
        model.on_done(&Action::Stack(Some(0)), Ok(json!("at a\nat b\nat c")));
        press(&mut model, KeyCode::Down);
        press(&mut model, KeyCode::PageDown);
        let Some(Overlay::Text { title, lines, scroll }) = model.overlay() else { panic!() };
        assert_eq!((title.as_str(), lines.len(), *scroll), ("stack of slot 0", 3, 2));
        assert_eq!(press(&mut model, KeyCode::Char('q')), None, "it takes the stack away first");
        assert_eq!(model.overlay(), None);
        press(&mut model, KeyCode::Char('?'));
        assert_eq!(model.overlay(), Some(&Overlay::Help));
        press(&mut model, KeyCode::Down);
        assert_eq!(model.overlay(), None);
    }

    #[test]
    fn a_refusal_is_shown() {
        let mut model = model(1);
        drain(&mut model);
        model.on_done(&Action::Drain(0), Err(Failure::Refused("it is the last".into())));
        assert_eq!(model.note(), Some("drain of slot 0: it is the last"));
        press(&mut model, KeyCode::Char('R'));
        model.on_done(&Action::Reload, Ok(Value::Null));
        assert_eq!(model.note(), Some("reload: done"));
    }

    #[test]
    fn the_result_of_an_earlier_request_does_not_replace_that_of_the_last() {
        let mut model = model(2);
        drain(&mut model);
        press(&mut model, KeyCode::Down);
        drain(&mut model);
        model.on_done(&Action::Drain(0), Ok(Value::Null));
        assert_eq!(model.note(), Some("drain of slot 1 …"));
        model.on_done(&Action::Drain(1), Err(Failure::Refused("it is the last".into())));
        model.on_done(&Action::Stack(None), Err(Failure::Refused("no answer".into())));
        assert_eq!(model.note(), Some("drain of slot 1: it is the last"));
        assert_eq!(
            model.events().collect::<Vec<_>>(),
            ["drain of slot 0: done", "stack of the primary: no answer"]
        );
    }

    #[test]
    fn only_the_newest_events_are_kept() {
        let mut model = model(1);
        (0..EVENTS + 5).for_each(|number| model.on_event(number.to_string()));
        assert_eq!((model.events().count(), model.events().next()), (EVENTS, Some("5")));
    }
}
