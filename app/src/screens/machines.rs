//! The list at the left: this machine, the paired ones, those found nearby. An app's card can be
//! dropped on a paired machine.

use eframe::egui::{
    Align, Color32, CornerRadius, FontFamily, FontId, Frame, Id, Layout, Margin, Rect, Role, ScrollArea,
    Sense, Ui, UiBuilder, Vec2, WidgetInfo, pos2, vec2,
};

use super::card::Dragged;
use roam_api::session::MachineKey;

use crate::command::{Command, Queue};
use crate::model::view::Row;
use crate::model::{Link, Model};
use crate::settings::ThemeChoice;
use crate::text::Text;
use crate::theme::{self, size};
use crate::widgets::button::{self, Button, Weight};
use crate::widgets::icon::{self, Icon};
use crate::widgets::surface;

const ROW: f32 = 48.0;
const FOOT: f32 = 40.0;

/// Draws the list.
pub fn show(ui: &mut Ui, model: &Model, queue: &mut Queue, now_unix: u64) {
    let foot =
        Rect::from_min_max(pos2(ui.max_rect().left(), ui.max_rect().bottom() - FOOT), ui.max_rect().max);
    let list = Rect::from_min_max(ui.max_rect().min, pos2(ui.max_rect().right(), foot.top() - 8.0));
    ui.scope_builder(UiBuilder::new().max_rect(list), |ui| {
        ScrollArea::vertical().auto_shrink(false).show(ui, |ui| {
            ui.spacing_mut().item_spacing.y = 4.0;
            rows(ui, model, queue, now_unix);
        });
    });
    ui.scope_builder(UiBuilder::new().max_rect(foot).layout(Layout::left_to_right(Align::Center)), |ui| {
        footer(ui, model, queue);
    });
}

fn rows(ui: &mut Ui, model: &Model, queue: &mut Queue, now_unix: u64) {
    title(ui, &Text::ThisMachine.say());
    let name = model.snapshot.as_ref().map_or("…", |s| s.machine.as_str());
    let words = match model.apps_here() {
        0 => Text::NoAppsRunning.say(),
        count => Text::OnlineApps(count).say(),
    };
    row(
        ui,
        Look {
            key: None,
            name,
            words: &words,
            mark: Some(true),
            clickable: false,
            target: Some("."),
            button: 0.0,
        },
    );

    let rows = model.rows();
    let (paired, found): (Vec<&Row>, Vec<&Row>) = rows.iter().partition(|row| row.paired);
    ui.add_space(size::GAP);
    title(ui, &Text::Machines.say());
    for row_ in &paired {
        let words = match (row_.online, row_.apps) {
            (false, _) => Text::Offline.say(),
            (true, 0) => Text::Online.say(),
            (true, apps) => Text::OnlineApps(apps).say(),
        };
        let look = Look {
            key: row_.key,
            name: &row_.name,
            words: &words,
            mark: Some(row_.online),
            clickable: true,
            target: row_.online.then_some(row_.name.as_str()),
            button: 0.0,
        };
        let reply = row(ui, look);
        if let Some(session) = reply.dropped {
            queue.push(Command::Send { session, machine: row_.name.clone() });
        }
        let seen = now_unix.saturating_sub(row_.last_seen_unix);
        let response = if row_.online || row_.last_seen_unix == 0 {
            reply.response
        } else {
            reply.response.on_hover_text(Text::LastSeen(seen).say())
        };
        if response.clicked() {
            queue.push(Command::OpenMachine { machine: row_.name.clone() });
        }
    }
    if paired.is_empty() {
        ui.add_space(2.0);
        let margin = Margin { left: 8, right: 8, top: 2, bottom: 4 };
        Frame::new().inner_margin(margin).show(ui, |ui| {
            surface::weak(ui, Text::NoMachines.say());
            if found.is_empty() {
                surface::small_wrapped(ui, Text::NoMachinesHint.say());
            }
        });
    }
    if !found.is_empty() {
        ui.add_space(size::GAP);
        title(ui, &Text::Nearby.say());
        for row_ in found {
            nearby(ui, row_, queue);
        }
    }
    ui.add_space(size::SMALL);
    let words = Text::PairByAddress.say();
    if Button::new(&words).icon(Icon::Plus).weight(Weight::Bare).show(ui).clicked() {
        queue.push(Command::AskAddress);
    }
}

/// A machine that was found and is not paired: its name and nothing else is known.
fn nearby(ui: &mut Ui, row_: &Row, queue: &mut Queue) {
    let (words, label) = (Text::Pair.say(), Text::PairWith(&row_.name).say());
    let action = Button::new(&words).label(&label).weight(Weight::Plain);
    let width = action.width(ui);
    let look = Look {
        key: row_.key,
        name: &row_.name,
        words: "",
        mark: None,
        clickable: false,
        target: None,
        button: width,
    };
    let place = row(ui, look).response.rect;
    let spot = Rect::from_min_size(
        pos2(place.right() - width - 4.0, place.center().y - size::BUTTON / 2.0),
        vec2(width, size::BUTTON),
    );
    let pressed = ui.scope_builder(UiBuilder::new().max_rect(spot), |ui| action.show(ui).clicked()).inner;
    if pressed {
        queue.push(Command::Pair { machine: row_.name.clone() });
    }
}

fn footer(ui: &mut Ui, model: &Model, queue: &mut Queue) {
    let label = Text::CheckMachine.say();
    if Button::picture(Icon::Check, &label).enabled(model.link == Link::Connected).show(ui).clicked() {
        queue.push(Command::Check);
    }
    let icon = match model.theme {
        ThemeChoice::System => Icon::Half,
        ThemeChoice::Light => Icon::Sun,
        ThemeChoice::Dark => Icon::Moon,
    };
    let label = Text::Theme(model.theme).say();
    if Button::picture(icon, &label).show(ui).clicked() {
        queue.push(Command::SetTheme(model.theme.next()));
    }
}

fn title(ui: &mut Ui, words: &str) {
    let p = theme::palette(ui);
    ui.horizontal(|ui| {
        ui.add_space(8.0);
        ui.label(surface::strong(words).size(12.0).color(p.weak));
    });
}

/// How a row is to look.
struct Look<'a> {
    key: Option<MachineKey>,
    name: &'a str,
    words: &'a str,
    /// Online or offline; none for a machine of which nothing is known.
    mark: Option<bool>,
    clickable: bool,
    /// What the agent is told when an app is dropped here.
    target: Option<&'a str>,
    /// Room for a button at the right end.
    button: f32,
}

struct Reply {
    response: eframe::egui::Response,
    /// The session that was dropped here.
    dropped: Option<String>,
}

fn row(ui: &mut Ui, look: Look<'_>) -> Reply {
    let p = theme::palette(ui);
    let sense = if look.clickable { Sense::click() } else { Sense::hover() };
    let id = Id::unique(("machine", look.key, look.name));
    let (_, rect) = ui.allocate_space(vec2(ui.available_width(), ROW));
    let response = ui.interact(rect, id, sense);
    let label = format!("{}, {}", look.name, look.words);
    let kind = if look.clickable { Role::Button } else { Role::Label };
    response.widget_info(|| WidgetInfo::labeled(kind, true, label.trim_end_matches(", ")));

    let hovering =
        look.target.and_then(|to| response.dnd_hover_payload::<Dragged>().filter(|d| d.goes_to(to)));
    let dropped = look
        .target
        .and_then(|to| response.dnd_release_payload::<Dragged>().filter(|d| d.goes_to(to)))
        .map(|dragged| dragged.session.clone());
    let round = CornerRadius::same(size::ROUND);
    let fill = match (hovering.is_some(), look.clickable && response.hovered()) {
        (true, _) => p.accent_soft,
        (false, true) => p.quiet_hover,
        (false, false) => Color32::TRANSPARENT,
    };
    ui.painter().rect_filled(rect, round, fill);
    if hovering.is_some() {
        let line = eframe::egui::Stroke::new(1.5, p.accent_text);
        ui.painter().rect_stroke(rect, round, line, eframe::egui::StrokeKind::Inside);
    }
    button::focus_ring(ui, &response, rect.shrink(2.0));

    let front = if look.mark == Some(false) { p.weak } else { p.text };
    let place = Rect::from_center_size(pos2(rect.left() + 20.0, rect.center().y), Vec2::splat(20.0));
    icon::paint(ui.painter(), place, Icon::Machine, front);
    if let Some(online) = look.mark {
        let at = place.right_bottom() + vec2(-1.0, -3.0);
        ui.painter().circle_filled(at, 5.5, p.side);
        ui.painter().circle_filled(at, 3.8, if online { p.good } else { p.weak.gamma_multiply(0.6) });
    }
    let left = rect.left() + 42.0;
    let right = rect.right() - 8.0 - look.button;
    let name = FontId::new(14.0, FontFamily::Proportional);
    if look.words.is_empty() {
        let at = pos2(left, rect.center().y - 8.5);
        surface::paint_line(ui, at, right - left, look.name, name, front);
    } else {
        let at = pos2(left, rect.top() + 6.0);
        let height = surface::paint_line(ui, at, right - left, look.name, name, front);
        let words = FontId::new(12.0, FontFamily::Proportional);
        let at = at + vec2(0.0, height + 1.0);
        surface::paint_line(ui, at, right - left, look.words, words, p.weak);
    }
    Reply { response, dropped }
}
