//! What the window shows. Screens read the model and queue commands; what is being typed and not
//! yet sent is in [`Drafts`], and nothing else is kept here.

mod apps;
mod banners;
mod card;
mod dialogs;
mod launcher;
mod machines;

use eframe::egui::{CentralPanel, Frame, Key, Margin, Modifiers, Panel, ScrollArea, Ui};

use crate::command::{Command, Queue};
use crate::model::{Model, Screen};
use crate::theme::{self, size};

/// What is being typed.
#[derive(Debug, Default)]
pub struct Drafts {
    /// The launcher's field.
    pub query: String,
    /// The launcher's chosen line.
    pub chosen: usize,
    /// The pairing code's digits.
    pub code: String,
    /// An address.
    pub address: String,
}

/// Draws everything. The time is only used for words such as "5 minutes ago".
pub fn show(ui: &mut Ui, model: &Model, drafts: &mut Drafts, queue: &mut Queue, now_unix: u64) {
    keys(ui, model, queue);
    let p = theme::palette(ui);
    Panel::left("machines")
        .resizable(false)
        .exact_size(size::SIDE)
        .frame(Frame::new().fill(p.side).inner_margin(Margin::symmetric(14, 16)))
        .show_separator_line(false)
        .show(ui, |ui| machines::show(ui, model, queue, now_unix));
    CentralPanel::default().frame(Frame::new().fill(p.ground)).show(ui, |ui| {
        ScrollArea::vertical().auto_shrink(false).show(ui, |ui| {
            let margin = ((ui.available_width() - size::COLUMN) / 2.0).max(size::EDGE);
            Frame::new()
                .inner_margin(Margin { left: margin as i8, right: margin as i8, top: 16, bottom: 24 })
                .show(ui, |ui| match model.screen {
                    Screen::Home => apps::show(ui, model, queue),
                    Screen::Launcher => launcher::show(ui, model, drafts, queue),
                });
        });
    });
    dialogs::show(ui, model, drafts, queue);
    card::show_dragged(ui);
}

/// Keys that work everywhere.
fn keys(ui: &mut Ui, model: &Model, queue: &mut Queue) {
    if model.dialog.is_some() {
        return;
    }
    let (new, escape) = ui.input_mut(|input| {
        let new = input.consume_key(Modifiers::COMMAND, Key::N);
        let escape = model.screen == Screen::Launcher && input.key_pressed(Key::Escape);
        (new, escape)
    });
    if new {
        queue.push(Command::OpenLauncher);
    }
    if escape {
        queue.push(Command::GoHome);
    }
}
