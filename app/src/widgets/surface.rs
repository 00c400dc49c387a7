//! The grounds that things stand on: cards, messages and dialogs; and words in their sizes.

use eframe::egui::{
    self, Color32, CornerRadius, Frame, Id, InnerResponse, Label, Margin, Modal, RichText, Stroke, TextStyle,
    Ui,
};

use super::button::{Button, Weight};
use super::icon::{self, Icon};
use crate::text::Text;
use crate::theme::{self, size};

/// A card.
pub fn card<R>(ui: &mut Ui, contents: impl FnOnce(&mut Ui) -> R) -> InnerResponse<R> {
    let p = theme::palette(ui);
    frame(p.card, p.line).show(ui, |ui| {
        ui.set_width(ui.available_width());
        contents(ui)
    })
}

/// The kinds of messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tone {
    /// Something to know or to answer.
    Ask,
    /// It went well.
    Good,
    /// It failed.
    Bad,
    /// By the way.
    Plain,
}

impl Tone {
    /// Ground and mark.
    fn colors(self, p: &theme::Palette) -> (Color32, Color32, Icon) {
        match self {
            Self::Ask => (p.accent_soft, p.accent_text, Icon::Machine),
            Self::Good => (p.good_soft, p.good, Icon::Check),
            Self::Bad => (p.bad_soft, p.bad, Icon::Warning),
            Self::Plain => (p.quiet, p.weak, Icon::Warning),
        }
    }
}

/// A message on a ground of its tone, with its mark to the left.
pub fn message(ui: &mut Ui, tone: Tone, contents: impl FnOnce(&mut Ui)) {
    let p = theme::palette(ui);
    let (ground, mark, icon) = tone.colors(p);
    frame(ground, Color32::TRANSPARENT).inner_margin(Margin::symmetric(14, 11)).show(ui, |ui| {
        ui.set_width(ui.available_width());
        ui.horizontal_top(|ui| {
            ui.spacing_mut().item_spacing.x = 10.0;
            ui.vertical(|ui| {
                ui.add_space(1.5);
                icon::show(ui, icon, 17.0, mark);
            });
            ui.vertical(|ui| {
                ui.set_width(ui.available_width());
                contents(ui);
            });
        });
    });
}

/// A message of one line, with its mark and everything else in the middle of it.
pub fn message_line(ui: &mut Ui, tone: Tone, contents: impl FnOnce(&mut Ui)) {
    let p = theme::palette(ui);
    let (ground, mark, icon) = tone.colors(p);
    frame(ground, Color32::TRANSPARENT).inner_margin(Margin { left: 14, right: 6, top: 5, bottom: 5 }).show(
        ui,
        |ui| {
            let line = egui::vec2(ui.available_width(), size::BUTTON);
            let layout = egui::Layout::left_to_right(egui::Align::Center);
            ui.allocate_ui_with_layout(line, layout, |ui| {
                ui.spacing_mut().item_spacing.x = 10.0;
                icon::show(ui, icon, 17.0, mark);
                contents(ui);
            });
        },
    );
}

fn frame(fill: Color32, line: Color32) -> Frame {
    Frame::new()
        .fill(fill)
        .stroke(Stroke::new(1.0, line))
        .corner_radius(CornerRadius::same(size::ROUND))
        .inner_margin(Margin::symmetric(16, 14))
}

/// A dialog in front of everything, with a title and a way out; true when it was left.
pub fn dialog(ctx: &egui::Context, name: &str, title: &str, contents: impl FnOnce(&mut Ui)) -> bool {
    let style = ctx.global_style();
    let frame = Frame::window(&style).inner_margin(Margin { left: 24, right: 24, top: 16, bottom: 20 });
    let modal = Modal::new(Id::unique(name)).frame(frame).backdrop_color(Color32::from_black_alpha(90));
    let response = modal.show(ctx, |ui| {
        ui.set_width(420.0_f32.min(ui.ctx().content_rect().width() - 80.0));
        let mut close = false;
        ui.horizontal(|ui| {
            ui.add(Label::new(RichText::new(title).text_style(TextStyle::Heading).size(17.0)).truncate());
            ui.with_layout(egui::Layout::right_to_left(egui::Align::Center), |ui| {
                let label = Text::Close.say();
                close = Button::picture(Icon::Close, &label).show(ui).clicked();
            });
        });
        ui.add_space(size::SMALL);
        contents(ui);
        close
    });
    response.inner || response.should_close()
}

/// A row of buttons at the right end of a dialog, added from right to left.
pub fn actions(ui: &mut Ui, contents: impl FnOnce(&mut Ui)) {
    ui.add_space(size::GAP);
    ui.allocate_ui_with_layout(
        egui::vec2(ui.available_width(), size::BUTTON),
        egui::Layout::right_to_left(egui::Align::Center),
        contents,
    );
}

/// A dialog's button that leaves it.
#[must_use]
pub fn cancel(ui: &mut Ui) -> bool {
    let words = Text::Cancel.say();
    Button::new(&words).weight(Weight::Quiet).show(ui).clicked()
}

/// Words of less weight.
pub fn weak(ui: &mut Ui, words: impl Into<String>) {
    let color = theme::palette(ui).weak;
    ui.label(RichText::new(words).color(color));
}

/// Small words of less weight, on one line.
pub fn small(ui: &mut Ui, words: impl Into<String>) -> egui::Response {
    let color = theme::palette(ui).weak;
    ui.add(Label::new(RichText::new(words).small().size(12.5).color(color)).truncate())
}

/// Words in the strong type.
#[must_use]
pub fn strong(words: impl Into<String>) -> RichText {
    RichText::new(words).family(theme::strong())
}

/// Draws words on one line, cut with an ellipsis where they do not fit; for places that tell their
/// words to screen readers themselves. Returns the words' height.
pub fn paint_line(
    ui: &Ui,
    at: egui::Pos2,
    width: f32,
    words: &str,
    font: egui::FontId,
    color: Color32,
) -> f32 {
    let mut job = egui::text::LayoutJob::simple_singleline(words.to_owned(), font, color);
    job.wrap = egui::text::TextWrapping::truncate_at_width(width);
    let galley = ui.painter().layout_job(job);
    let height = galley.size().y;
    ui.painter().galley(at, galley, color);
    height
}

/// Small words of less weight, on as many lines as they need.
pub fn small_wrapped(ui: &mut Ui, words: impl Into<String>) {
    let color = theme::palette(ui).weak;
    ui.add(Label::new(RichText::new(words).size(12.5).color(color)).wrap());
}
