//! One app: what it is, where it runs, where it is shown, what can be done with it, and what became
//! of the last thing that was asked.

use std::sync::Arc;

use eframe::egui::{
    Align, Align2, Area, Color32, DragAndDrop, FontFamily, FontId, Id, Label, Layout, Order, RichText, Sense,
    Ui, UiBuilder, pos2, vec2,
};
use roam_api::error::Failure;

use crate::command::{Command, Dismissed, Queue};
use crate::model::Model;
use crate::model::view::{Aftermath, Busy, Card, CardState, Moving, Screen, Target};
use crate::text::Text;
use crate::theme::{self, size};
use crate::widgets::button::{Button, Entry, Weight};
use crate::widgets::icon::{self, Icon};
use crate::widgets::surface::{self, Tone};
use crate::widgets::{progress, tile};

/// A card narrower than this puts its buttons below its words.
const NARROW: f32 = 480.0;

/// An app on its way from its card to a machine, by the pointer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dragged {
    /// As the agent is told.
    pub session: String,
    /// What people call it.
    pub title: String,
    /// Machines that it can go to, as the agent is told.
    targets: Vec<String>,
}

impl Dragged {
    /// It can be sent there.
    pub fn goes_to(&self, machine: &str) -> bool {
        self.targets.iter().any(|target| target == machine)
    }
}

/// Draws the card.
pub fn show(ui: &mut Ui, model: &Model, card: &Card, queue: &mut Queue) {
    ui.push_id(&card.session, |ui| {
        surface::card(ui, |ui| {
            ui.spacing_mut().item_spacing.y = 8.0;
            head(ui, model, card, queue);
            match &card.state {
                CardState::Moving(moving) => {
                    travel(ui, card, &Text::MovingTo(&moving.machine).say(), moving, queue)
                }
                CardState::Arriving(moving) => {
                    travel(ui, card, &Text::ArrivingFrom(&moving.machine).say(), moving, queue);
                }
                _ => {}
            }
            if let Some(aftermath) = &card.aftermath {
                after(ui, card, aftermath, queue);
            }
        });
    });
}

fn head(ui: &mut Ui, model: &Model, card: &Card, queue: &mut Queue) {
    let width = ui.available_width();
    let (rect, _) = ui.allocate_exact_size(vec2(width, 44.0), Sense::hover());
    let narrow = width < NARROW && has_actions(card);
    let buttons =
        if narrow { ui.allocate_exact_size(vec2(width, size::BUTTON), Sense::hover()).0 } else { rect };
    // The actions first: the words get what is left.
    let place = UiBuilder::new().max_rect(buttons).layout(Layout::right_to_left(Align::Center));
    let mut row = ui.new_child(place);
    row.spacing_mut().item_spacing.x = size::SMALL;
    actions(&mut row, card, queue);
    let used = if narrow { rect.right() } else { row.min_rect().left() };
    let right = used.min(rect.right()) - size::GAP;
    let drag = eframe::egui::Rect::from_min_max(rect.min, pos2(right, rect.bottom()));
    draggable(ui, card, drag);

    let icon = card.application.as_ref().and_then(|id| model.applications.iter().find(|a| a.id == *id));
    let square = eframe::egui::Rect::from_min_size(rect.min + vec2(0.0, 2.0), vec2(40.0, 40.0));
    tile::paint(ui, square, &card.program, icon.map(|a| a.icon.as_str()));
    let words = eframe::egui::Rect::from_min_max(pos2(rect.left() + 54.0, rect.top() + 3.0), drag.max);
    let mut inside = ui.new_child(UiBuilder::new().max_rect(words).layout(Layout::top_down(Align::Min)));
    inside.spacing_mut().item_spacing.y = 3.0;
    let p = theme::palette(ui);
    inside
        .add(Label::new(surface::strong(&card.title).size(15.0).color(p.text)).truncate().selectable(false))
        .on_hover_text(&card.command);
    let facts = fitting(&inside, facts(card), inside.available_width());
    let line = RichText::new(&facts).size(12.5).color(p.weak);
    inside.add(Label::new(line).truncate().selectable(false));
}

/// The facts on one line; where they do not all fit, the last ones give way, never a part of one.
fn fitting(ui: &Ui, mut facts: Vec<String>, width: f32) -> String {
    let font = FontId::new(12.5, FontFamily::Proportional);
    loop {
        let line = facts.join("  ·  ");
        let wide = || ui.painter().layout_no_wrap(line.clone(), font.clone(), Color32::PLACEHOLDER).size().x;
        if facts.len() < 2 || wide() <= width {
            return line;
        }
        facts.pop();
    }
}

/// What it is and where, the most important first.
fn facts(card: &Card) -> Vec<String> {
    let mut facts = Vec::new();
    if !card.title.to_lowercase().contains(&card.program.to_lowercase()) {
        facts.push(card.program.clone());
    }
    match &card.state {
        CardState::Starting => facts.push(Text::Starting.say()),
        CardState::Busy(Busy::Stopping) => facts.push(Text::Stopping.say()),
        CardState::Busy(Busy::Parking) => facts.push(Text::Parking.say()),
        CardState::Busy(Busy::Waking) => facts.push(Text::Waking.say()),
        CardState::Asleep { .. } => facts.push(Text::Asleep.say()),
        CardState::Ended { status: 0 } => facts.push(Text::Ended.say()),
        CardState::Ended { status } => facts.push(Text::EndedWith(*status).say()),
        CardState::Running | CardState::Moving(_) | CardState::Arriving(_) => whereabouts(card, &mut facts),
    }
    facts
}

/// Where it runs, where it is shown, and how large it is. The common case, shown where it runs, is
/// one phrase.
fn whereabouts(card: &Card, facts: &mut Vec<String>) {
    let at_host = card.screen && card.shown_on.contains(&card.host);
    facts.push(match (card.here, at_host) {
        (true, true) => Text::HereWhole.say(),
        (true, false) => Text::RunsHere.say(),
        (false, true) => Text::OnWhole(&card.host).say(),
        (false, false) => Text::RunsOn(&card.host).say(),
    });
    let here = card.screens.iter().find(|screen| screen.on.is_none()).map_or("", |s| &s.machine);
    let elsewhere: Vec<String> = card
        .shown_on
        .iter()
        .filter(|name| **name != card.host)
        .map(|name| if name == here { Text::Here.say() } else { Text::On(name).say() })
        .collect();
    let places = elsewhere.join(&Text::And.say());
    match (card.screen, at_host, elsewhere.is_empty()) {
        (false, _, _) => facts.push(Text::NoWindows.say()),
        (true, false, true) => facts.push(Text::NotShown.say()),
        (true, true, true) => {}
        (true, false, false) => facts.push(Text::Shown(&places).say()),
        (true, true, false) => facts.push(Text::AlsoShown(&places).say()),
    }
    facts.push(card.memory.clone());
}

fn draggable(ui: &mut Ui, card: &Card, rect: eframe::egui::Rect) {
    let targets: Vec<String> = card.targets.iter().filter(|t| t.online).map(|t| t.to.clone()).collect();
    if card.state != CardState::Running || targets.is_empty() {
        return;
    }
    // Not `Sense::drag()`: that would be one more stop for the Tab key, at something that is not seen.
    let response = ui.interact(rect, ui.scope_id().with("drag"), Sense::DRAG);
    response.dnd_set_drag_payload(Dragged {
        session: card.session.clone(),
        title: card.title.clone(),
        targets,
    });
}

/// The app's name at the pointer, while it is dragged.
pub fn show_dragged(ui: &mut Ui) {
    let Some(dragged): Option<Arc<Dragged>> = DragAndDrop::payload(ui.ctx()) else { return };
    let Some(pointer) = ui.ctx().pointer_interact_pos() else { return };
    Area::new(Id::unique("dragged"))
        .order(Order::Tooltip)
        .interactable(false)
        .pivot(Align2::LEFT_TOP)
        .fixed_pos(pointer + vec2(12.0, 12.0))
        .show(ui.ctx(), |ui| {
            eframe::egui::Frame::popup(ui.style()).show(ui, |ui| {
                ui.horizontal(|ui| {
                    let color = theme::palette(ui).accent_text;
                    icon::show(ui, Icon::Send, 15.0, color);
                    ui.add(Label::new(&dragged.title).selectable(false));
                });
            });
        });
}

/// There are buttons that a narrow card has to put below its words.
fn has_actions(card: &Card) -> bool {
    matches!(card.state, CardState::Running)
}

/// The buttons, from right to left.
fn actions(ui: &mut Ui, card: &Card, queue: &mut Queue) {
    match &card.state {
        CardState::Running => {
            more(ui, card, queue);
            if card.screen {
                show_on(ui, card, queue);
            }
            send_to(ui, card, queue);
        }
        CardState::Asleep { .. } => {
            let words = Text::Wake.say();
            if Button::new(&words).icon(Icon::Sun).show(ui).clicked() {
                queue.push(Command::Resume { session: card.session.clone() });
            }
        }
        CardState::Starting => more(ui, card, queue),
        CardState::Moving(_) | CardState::Arriving(_) | CardState::Busy(_) | CardState::Ended { .. } => {}
    }
}

/// With one place to go, one click; with more, a menu.
fn send_to(ui: &mut Ui, card: &Card, queue: &mut Queue) {
    let send = |target: &Target| Command::Send { session: card.session.clone(), machine: target.to.clone() };
    let online: Vec<&Target> = card.targets.iter().filter(|target| target.online).collect();
    if let ([only], 1) = (online.as_slice(), card.targets.len()) {
        let (words, label, icon) = if only.here {
            (Text::BringHere.say(), Text::BringTitleHere(&card.title).say(), Icon::Bring)
        } else {
            (Text::SendTo(&only.machine).say(), Text::SendTitle(&card.title, &only.machine).say(), Icon::Send)
        };
        if Button::new(&words).label(&label).icon(icon).weight(Weight::Soft).show(ui).clicked() {
            queue.push(send(only));
        }
        return;
    }
    let (words, label) = (Text::SendMenu.say(), Text::SendMenuTitle(&card.title).say());
    let weight = if online.is_empty() { Weight::Quiet } else { Weight::Soft };
    Button::new(&words).label(&label).icon(Icon::Send).weight(weight).menu(ui, |ui| {
        if card.targets.is_empty() {
            Entry::new(&Text::NoTargets.say()).enabled(false).show(ui);
        }
        for target in &card.targets {
            let words = match (target.here, target.online) {
                (true, _) => Text::BringHere.say(),
                (false, true) => target.machine.clone(),
                (false, false) => Text::IsOffline(&target.machine).say(),
            };
            let icon = if target.here { Icon::Bring } else { Icon::Machine };
            let label = if target.online && !target.here {
                Text::SendTo(&target.machine).say()
            } else {
                words.clone()
            };
            if Entry::new(&words).label(&label).icon(Some(icon)).enabled(target.online).show(ui) {
                queue.push(send(target));
            }
        }
    });
}

fn show_on(ui: &mut Ui, card: &Card, queue: &mut Queue) {
    let (words, label) = (Text::ShowMenu.say(), Text::ShowTitle(&card.title).say());
    Button::new(&words).label(&label).icon(Icon::Show).menu(ui, |ui| {
        for screen in &card.screens {
            let Screen { machine, on, shown, online } = screen;
            let words = match (shown, on.is_none(), online) {
                (false, true, _) => Text::ShowHere.say(),
                (true, true, _) => Text::HideHere.say(),
                (true, false, _) => Text::HideOn(machine).say(),
                (false, false, true) => Text::ShowOn(machine).say(),
                (false, false, false) => Text::IsOffline(machine).say(),
            };
            let icon = shown.then_some(Icon::Tick);
            if Entry::new(&words).icon(icon).enabled(*online || *shown).show(ui) {
                let session = card.session.clone();
                // Hiding names the machine: no name would mean everywhere.
                queue.push(if *shown {
                    Command::Hide { session, on: Some(machine.clone()) }
                } else {
                    Command::Show { session, on: on.clone() }
                });
            }
        }
    });
}

fn more(ui: &mut Ui, card: &Card, queue: &mut Queue) {
    let label = Text::More(&card.title).say();
    Button::picture(Icon::More, &label).menu(ui, |ui| {
        let session = card.session.clone();
        if card.state == CardState::Running && Entry::new(&Text::Park.say()).icon(Some(Icon::Moon)).show(ui) {
            queue.push(Command::Park { session: session.clone() });
        }
        if Entry::new(&Text::Stop.say()).icon(Some(Icon::Close)).danger().show(ui) {
            queue.push(Command::AskStop { session, title: card.title.clone() });
        }
    });
}

/// A move under way.
fn travel(ui: &mut Ui, card: &Card, title: &str, moving: &Moving, queue: &mut Queue) {
    let stage = Text::Stage(moving.stage, &moving.target).say();
    progress::show(ui, moving.fraction, &format!("{title}: {stage}"));
    ui.horizontal(|ui| {
        ui.set_height(size::BUTTON);
        ui.with_layout(Layout::right_to_left(Align::Center), |ui| {
            let (words, label) = (Text::Cancel.say(), Text::CancelMove(&card.title).say());
            if moving.cancellable && Button::new(&words).label(&label).show(ui).clicked() {
                queue.push(Command::CancelSend { session: card.session.clone() });
            }
            ui.with_layout(Layout::left_to_right(Align::Center), |ui| {
                let p = theme::palette(ui);
                ui.spacing_mut().item_spacing.x = 10.0;
                ui.add(Label::new(surface::strong(title).size(13.0).color(p.text)).selectable(false));
                let mut words = vec![stage];
                words.extend(moving.bytes.as_ref().map(|(sent, total)| Text::BytesOf(sent, total).say()));
                words.extend(moving.seconds_left.map(|seconds| Text::SecondsLeft(seconds).say()));
                surface::small(ui, words.join("  ·  "));
            });
        });
    });
}

/// What became of the last thing asked.
fn after(ui: &mut Ui, card: &Card, aftermath: &Aftermath, queue: &mut Queue) {
    match aftermath {
        Aftermath::Moved { to, paused, undo, dismiss } => {
            let words = if card.here && card.host == *to {
                Text::MovedHere(paused).say()
            } else {
                Text::MovedTo(to, paused).say()
            };
            surface::message_line(ui, Tone::Good, |ui| line(ui, &words, undo.as_ref(), dismiss, queue));
        }
        Aftermath::Cancelled { dismiss } => {
            let words = Text::MoveCancelled(&card.host).say();
            surface::message_line(ui, Tone::Plain, |ui| line(ui, &words, None, dismiss, queue));
        }
        Aftermath::Failed { failure, retry, dismiss } => surface::message(ui, Tone::Bad, |ui| {
            failure_words(ui, failure);
            ui.add_space(6.0);
            ui.horizontal(|ui| {
                if let Some(retry) = retry
                    && Button::new(&Text::TryAgain.say()).weight(Weight::Plain).show(ui).clicked()
                {
                    queue.push(retry.clone());
                }
                if Button::new(&Text::Dismiss.say()).weight(Weight::Bare).show(ui).clicked() {
                    queue.push(Command::Dismiss(dismiss.clone()));
                }
            });
        }),
    }
}

/// Words at the left; undo and a cross at the right.
fn line(ui: &mut Ui, words: &str, undo: Option<&Command>, dismiss: &Dismissed, queue: &mut Queue) {
    ui.with_layout(Layout::right_to_left(Align::Center), |ui| {
        if Button::picture(Icon::Close, &Text::Dismiss.say()).show(ui).clicked() {
            queue.push(Command::Dismiss(dismiss.clone()));
        }
        if let Some(undo) = undo
            && Button::new(&Text::BringBack.say()).weight(Weight::Plain).show(ui).clicked()
        {
            queue.push(undo.clone());
        }
        ui.with_layout(Layout::left_to_right(Align::Center), |ui| {
            // Where there is no room for all of it, its first sentence says what matters.
            let first = words.split_inclusive(". ").next().unwrap_or(words).trim_end();
            let font = eframe::egui::TextStyle::Body.resolve(ui.style());
            let whole = ui.painter().layout_no_wrap(words.to_owned(), font, Color32::PLACEHOLDER).size().x;
            let words = if whole <= ui.available_width() { words } else { first };
            ui.add(Label::new(words).truncate())
        });
    });
}

/// A failure: what happened, every reason, and what to do.
pub fn failure_words(ui: &mut Ui, failure: &Failure) {
    ui.spacing_mut().item_spacing.y = 4.0;
    ui.label(surface::strong(&failure.sentence));
    for refusal in &failure.refusals {
        surface::weak(ui, capitalised(&refusal.to_string()));
    }
    if let Some(next) = &failure.next_step {
        surface::weak(ui, next);
    }
}

/// As a sentence begins.
fn capitalised(words: &str) -> String {
    let mut chars = words.chars();
    chars.next().map(|first| first.to_uppercase().chain(chars).collect()).unwrap_or_default()
}
