//! The windows in front: pairing, an address, a machine's permissions, "really?", the checks.

use eframe::egui::{
    Align, ComboBox, FontFamily, FontId, Grid, Key, Label, Layout, Margin, RichText, ScrollArea, TextEdit, Ui,
};
use roam_api::agent::{Check, Verdict};

use super::Drafts;
use super::card::failure_words;
use crate::command::{Command, Queue};
use crate::model::{Dialog, Model, Pairing, view};
use crate::text::Text;
use crate::theme::{self, size};
use crate::widgets::button::{Button, Weight};
use crate::widgets::icon::{self, Icon};
use crate::widgets::surface::{self, Tone};

/// Draws the dialog that is open.
pub fn show(ui: &mut Ui, model: &Model, drafts: &mut Drafts, queue: &mut Queue) {
    let Some(dialog) = &model.dialog else { return };
    let ctx = ui.ctx().clone();
    let closed = match dialog {
        Dialog::Pairing { machine, stage } => {
            surface::dialog(&ctx, "pairing", &Text::PairingWith(machine).say(), |ui| {
                pairing(ui, machine, stage, drafts, queue);
            })
        }
        Dialog::Address => surface::dialog(&ctx, "address", &Text::AddressTitle.say(), |ui| {
            address(ui, drafts, queue);
        }),
        Dialog::Machine { name } => {
            surface::dialog(&ctx, "machine", name, |ui| machine(ui, model, name, queue))
        }
        Dialog::Unpair { name } => surface::dialog(&ctx, "unpair", &Text::UnpairTitle(name).say(), |ui| {
            let words = Text::UnpairWords(name).say();
            let yes = Text::UnpairYes.say();
            really(ui, &words, &yes, Command::Unpair { machine: name.clone() }, queue);
        }),
        Dialog::Stop { session, title } => {
            surface::dialog(&ctx, "stop", &Text::StopTitle(title).say(), |ui| {
                let (words, yes) = (Text::StopWords.say(), Text::StopIt.say());
                really(ui, &words, &yes, Command::Stop { session: session.clone() }, queue);
            })
        }
        Dialog::Checks(checks) => surface::dialog(&ctx, "checks", &Text::ChecksTitle.say(), |ui| {
            show_checks(ui, checks.as_deref());
        }),
    };
    if closed {
        drafts.code.clear();
        queue.push(Command::CloseDialog);
    }
}

fn pairing(ui: &mut Ui, machine: &str, stage: &Pairing, drafts: &mut Drafts, queue: &mut Queue) {
    match stage {
        Pairing::Asking => {
            drafts.code.clear();
            surface::weak(ui, Text::AskingForCode(machine).say());
        }
        Pairing::Typing(wrong) => {
            surface::weak(ui, Text::TypeCode(machine).say());
            ui.add_space(size::SMALL);
            let enter = code_field(ui, drafts);
            if let Some(failure) = wrong {
                ui.add_space(size::SMALL);
                surface::message(ui, Tone::Bad, |ui| failure_words(ui, failure));
            }
            let whole = drafts.code.len() == 6;
            let (words, again) = (Text::PairAction.say(), Text::NewCode.say());
            surface::actions(ui, |ui| {
                let button = Button::new(&words).weight(Weight::Main).enabled(whole);
                if (button.show(ui).clicked() || enter) && whole {
                    let code = std::mem::take(&mut drafts.code);
                    queue.push(Command::GiveCode { machine: machine.to_owned(), code });
                }
                if wrong.is_some() {
                    if Button::new(&again).show(ui).clicked() {
                        queue.push(Command::Pair { machine: machine.to_owned() });
                    }
                } else if surface::cancel(ui) {
                    queue.push(Command::CloseDialog);
                }
            });
        }
        Pairing::Checking => surface::weak(ui, Text::CheckingCode.say()),
        Pairing::Failed(failure) => {
            surface::message(ui, Tone::Bad, |ui| failure_words(ui, failure));
            let words = Text::TryAgain.say();
            surface::actions(ui, |ui| {
                if Button::new(&words).weight(Weight::Main).show(ui).clicked() {
                    queue.push(Command::Pair { machine: machine.to_owned() });
                }
                if surface::cancel(ui) {
                    queue.push(Command::CloseDialog);
                }
            });
        }
    }
}

/// Six digits, large; true when Enter was pressed.
fn code_field(ui: &mut Ui, drafts: &mut Drafts) -> bool {
    let label = ui.label(RichText::new(Text::CodeField.say()).size(12.5));
    let edit = TextEdit::singleline(&mut drafts.code)
        .font(FontId::new(28.0, FontFamily::Monospace))
        .margin(Margin::symmetric(14, 8))
        .desired_width(150.0);
    let response = ui.add(edit).labelled_by(label.id);
    if response.changed() {
        drafts.code = drafts.code.chars().filter(char::is_ascii_digit).take(6).collect();
    }
    let enter = response.lost_focus() && ui.input(|input| input.key_pressed(Key::Enter));
    focus_if_idle(ui, &response);
    enter
}

fn address(ui: &mut Ui, drafts: &mut Drafts, queue: &mut Queue) {
    let label = ui.label(RichText::new(Text::AddressHint.say()).color(theme::palette(ui).weak));
    let hint = Text::AddressField.say();
    let edit = TextEdit::singleline(&mut drafts.address)
        .hint_text(hint)
        .margin(Margin::symmetric(12, 9))
        .desired_width(f32::INFINITY);
    let response = ui.add(edit).labelled_by(label.id);
    let enter = response.lost_focus() && ui.input(|input| input.key_pressed(Key::Enter));
    focus_if_idle(ui, &response);
    let machine = drafts.address.trim().to_owned();
    let words = Text::Next.say();
    surface::actions(ui, |ui| {
        let button = Button::new(&words).weight(Weight::Main).enabled(!machine.is_empty());
        if (button.show(ui).clicked() || enter) && !machine.is_empty() {
            drafts.address.clear();
            queue.push(Command::Pair { machine });
        }
        if surface::cancel(ui) {
            queue.push(Command::CloseDialog);
        }
    });
}

/// A dialog with one field gives it the keyboard, unless the person went elsewhere.
fn focus_if_idle(ui: &Ui, response: &eframe::egui::Response) {
    if !ui.memory(|memory| memory.focused().is_some()) {
        response.request_focus();
    }
}

fn machine(ui: &mut Ui, model: &Model, machine: &str, queue: &mut Queue) {
    let Some(info) = model.machine(machine) else { return };
    let words = if info.online { Text::Online } else { Text::Offline };
    let mut line = vec![words.say()];
    line.extend(info.addresses.first().cloned());
    line.extend(info.key.map(|key| key.short()));
    surface::small(ui, line.join("  ·  "));
    ui.add_space(size::GAP);
    if !info.permissions.is_empty() {
        ui.label(surface::strong(Text::MayHere(machine).say()));
        Grid::new("permissions").num_columns(2).spacing([20.0, 6.0]).show(ui, |ui| {
            for (permission, value) in &info.permissions {
                let label = Text::Permission(permission).say();
                let name = ui.add(Label::new(&label).selectable(false));
                let values = view::choices(permission);
                if !values.is_empty() {
                    let mut picked = value.as_str();
                    let combo = ComboBox::from_id_salt(("permission", permission))
                        .selected_text(Text::PermissionValue(value).say())
                        .width(130.0);
                    let response = combo.show_ui(ui, |ui| {
                        for value in values {
                            ui.selectable_value(&mut picked, *value, Text::PermissionValue(value).say());
                        }
                    });
                    let _ = response.response.labelled_by(name.id);
                    if picked != value.as_str() {
                        queue.push(Command::Allow {
                            machine: machine.to_owned(),
                            permission: permission.clone(),
                            value: picked.to_owned(),
                        });
                    }
                } else {
                    surface::weak(ui, Text::PermissionValue(value).say());
                }
                ui.end_row();
            }
        });
    }
    let words = Text::Unpair.say();
    surface::actions(ui, |ui| {
        if Button::new(&words).weight(Weight::Danger).show(ui).clicked() {
            queue.push(Command::AskUnpair { machine: machine.to_owned() });
        }
    });
}

/// A question before something that can't be undone.
fn really(ui: &mut Ui, words: &str, yes: &str, command: Command, queue: &mut Queue) {
    surface::weak(ui, words);
    surface::actions(ui, |ui| {
        if Button::new(yes).weight(Weight::Danger).show(ui).clicked() {
            queue.push(command);
        }
        if surface::cancel(ui) {
            queue.push(Command::CloseDialog);
        }
    });
}

fn show_checks(ui: &mut Ui, checks: Option<&[Check]>) {
    let Some(checks) = checks else {
        surface::weak(ui, Text::Checking.say());
        return;
    };
    let p = theme::palette(ui);
    ScrollArea::vertical().max_height(380.0).min_scrolled_height(380.0).show(ui, |ui| {
        for check in checks {
            ui.horizontal_top(|ui| {
                ui.spacing_mut().item_spacing.x = 10.0;
                let (icon, color, word) = match check.verdict {
                    Verdict::Good => (Icon::Check, p.good, Text::Good),
                    Verdict::Limited => (Icon::Warning, p.warn, Text::Limited),
                    Verdict::Bad => (Icon::Warning, p.bad, Text::Bad),
                };
                icon::show(ui, icon, 17.0, color);
                ui.with_layout(Layout::top_down(Align::Min), |ui| {
                    ui.spacing_mut().item_spacing.y = 2.0;
                    ui.spacing_mut().interact_size.y = 18.0;
                    ui.horizontal(|ui| {
                        ui.label(surface::strong(&check.name));
                        if check.verdict != Verdict::Good {
                            ui.label(RichText::new(word.say()).size(12.5).color(color));
                        }
                    });
                    surface::small_wrapped(ui, &check.detail);
                    if let Some(remedy) = &check.remedy {
                        ui.add(Label::new(RichText::new(remedy).size(12.5)).wrap());
                    }
                });
            });
            ui.add_space(size::SMALL);
        }
    });
}
