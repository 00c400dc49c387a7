//! What comes before the apps: the code to show, questions, failures, and the agent being away.

use eframe::egui::Ui;

use crate::command::{Command, Dismissed, Queue};
use crate::model::{Link, Model, Notice};
use crate::text::Text;
use crate::theme;
use crate::widgets::button::{Button, Weight};
use crate::widgets::surface::{self, Tone};

/// Draws them all.
pub fn show(ui: &mut Ui, model: &Model, queue: &mut Queue) {
    if let Link::Lost(failure) = &model.link {
        surface::message(ui, Tone::Bad, |ui| {
            super::card::failure_words(ui, failure);
            if model.snapshot.is_some() {
                surface::weak(ui, Text::AgentLost.say());
            }
        });
    }
    let Some(snapshot) = &model.snapshot else { return };
    if let Some((code, machine)) = &snapshot.pairing_code {
        surface::message(ui, Tone::Ask, |ui| {
            ui.label(surface::strong(Text::CodeHere(machine).say()));
            let p = theme::palette(ui);
            let code = surface::strong(spaced(code)).size(34.0).extra_letter_spacing(3.0).color(p.text);
            ui.label(code);
            surface::weak(ui, Text::CodeHereHint(machine).say());
        });
    }
    for question in &snapshot.questions {
        surface::message(ui, Tone::Ask, |ui| {
            ui.label(surface::strong(&question.text));
            ui.add_space(4.0);
            ui.horizontal(|ui| {
                for (text, weight, yes) in
                    [(Text::Accept, Weight::Main, true), (Text::Decline, Weight::Plain, false)]
                {
                    if Button::new(&text.say()).weight(weight).show(ui).clicked() {
                        queue.push(Command::Answer { question: question.number, yes });
                    }
                }
            });
        });
    }
    if let Some(check) = model.bad_checks.first() {
        surface::message(ui, Tone::Bad, |ui| {
            ui.label(surface::strong(Text::CantHold(&check.name).say()));
            surface::weak(ui, &check.detail);
            if Button::new(&Text::Details.say()).weight(Weight::Plain).show(ui).clicked() {
                queue.push(Command::Check);
            }
        });
    }
    let notices: Vec<&Notice> = model.top_notices().collect();
    for notice in notices {
        surface::message(ui, Tone::Bad, |ui| {
            super::card::failure_words(ui, &notice.failure);
            ui.add_space(4.0);
            ui.horizontal(|ui| {
                let again = Text::TryAgain.say();
                if notice.command.can_retry() && Button::new(&again).weight(Weight::Plain).show(ui).clicked()
                {
                    queue.push(notice.command.clone());
                }
                if Button::new(&Text::Dismiss.say()).weight(Weight::Bare).show(ui).clicked() {
                    queue.push(Command::Dismiss(Dismissed::Notice(notice.number)));
                }
            });
        });
    }
}

/// `482913` is easier to read as `482 913`.
fn spaced(code: &str) -> String {
    if code.len() == 6 && code.is_ascii() {
        format!("{} {}", &code[..3], &code[3..])
    } else {
        code.to_owned()
    }
}
