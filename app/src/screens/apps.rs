//! The main screen: what needs an answer, then the running apps; or the first steps.

use eframe::egui::{Align, Layout, RichText, Sense, TextStyle, Ui, vec2};

use super::{banners, card};
use crate::command::{Command, Queue};
use crate::model::{Link, Model};
use crate::text::Text;
use crate::theme::{self, size};
use crate::widgets::button::{Button, Weight};
use crate::widgets::icon::{self, Icon};
use crate::widgets::surface;

/// Draws the screen.
pub fn show(ui: &mut Ui, model: &Model, queue: &mut Queue) {
    let cards = model.cards();
    let connected = model.snapshot.is_some();
    let paired = model.rows().into_iter().find(|row| row.paired);
    let first_steps = connected && cards.is_empty() && model.starting().is_none();
    ui.horizontal(|ui| {
        ui.set_height(size::BUTTON);
        ui.label(RichText::new(Text::Apps.say()).text_style(TextStyle::Heading));
        if connected && !first_steps {
            ui.with_layout(Layout::right_to_left(Align::Center), |ui| start(ui, queue));
        }
    });
    ui.add_space(size::GAP);
    ui.spacing_mut().item_spacing.y = 10.0;
    banners::show(ui, model, queue);
    if !connected {
        if model.link == Link::Connecting {
            ui.add_space(size::GAP);
            surface::weak(ui, Text::Connecting.say());
        }
        return;
    }
    if let Some(label) = model.starting() {
        surface::card(ui, |ui| surface::weak(ui, Text::StartingApp(label).say()));
    }
    for card in &cards {
        card::show(ui, model, card, queue);
    }
    if first_steps {
        match paired {
            None => welcome(ui, model.rows().first().map(|row| row.name.clone()), queue),
            Some(machine) => nothing_runs(ui, &machine.name, queue),
        }
    }
}

fn start(ui: &mut Ui, queue: &mut Queue) {
    let words = Text::StartApp.say();
    if Button::new(&words).icon(Icon::Plus).weight(Weight::Main).show(ui).clicked() {
        queue.push(Command::OpenLauncher);
    }
}

fn journey(ui: &mut Ui) {
    let p = theme::palette(ui);
    let (rect, _) = ui.allocate_exact_size(vec2(250.0, 84.0), Sense::hover());
    icon::paint_journey(ui.painter(), rect, p.weak.gamma_multiply(0.8), p.accent_text, p.ground);
}

/// For someone who has never used Roam. With a machine nearby the first step is done.
fn welcome(ui: &mut Ui, nearby: Option<String>, queue: &mut Queue) {
    ui.vertical_centered(|ui| {
        ui.add_space(size::EDGE);
        journey(ui);
        ui.add_space(size::EDGE);
        ui.label(RichText::new(Text::Welcome.say()).text_style(TextStyle::Heading));
        surface::weak(ui, Text::WelcomeWords.say());
        ui.add_space(size::GAP);
        ui.scope(|ui| {
            ui.set_max_width(430.0);
            let found = nearby.as_deref().map_or(Text::StepInstallWords, Text::StepFoundWords);
            let steps = [
                (Text::StepInstall, found),
                (Text::StepPair, Text::StepPairWords),
                (Text::StepStart, Text::StepStartWords),
            ];
            for (number, (title, words)) in steps.into_iter().enumerate() {
                step(ui, number + 1, number == 0 && nearby.is_some(), &title.say(), &words.say());
            }
        });
        ui.add_space(size::GAP);
        start(ui, queue);
    });
}

fn step(ui: &mut Ui, number: usize, done: bool, title: &str, words: &str) {
    let p = theme::palette(ui);
    ui.horizontal_top(|ui| {
        ui.spacing_mut().item_spacing.x = 14.0;
        let (rect, _) = ui.allocate_exact_size(vec2(28.0, 28.0), Sense::hover());
        ui.painter().circle_filled(rect.center(), 14.0, if done { p.good_soft } else { p.accent_soft });
        if done {
            icon::paint(ui.painter(), rect.shrink(8.0), Icon::Tick, p.good);
        } else {
            let font = eframe::egui::FontId::new(13.5, theme::strong());
            crate::widgets::button::centered(ui, rect, &number.to_string(), font, p.accent_text);
        }
        ui.vertical(|ui| {
            ui.spacing_mut().item_spacing.y = 2.0;
            ui.label(surface::strong(title));
            surface::weak(ui, words);
        });
    });
}

/// Paired, but nothing runs.
fn nothing_runs(ui: &mut Ui, machine: &str, queue: &mut Queue) {
    ui.vertical_centered(|ui| {
        ui.add_space(size::EDGE * 3.0);
        journey(ui);
        ui.add_space(size::EDGE);
        ui.label(RichText::new(Text::NothingRuns.say()).text_style(TextStyle::Heading));
        surface::weak(ui, Text::NothingRunsWords(machine).say());
        ui.add_space(size::GAP);
        start(ui, queue);
    });
}
