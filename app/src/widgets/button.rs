//! Buttons: the main action, quiet actions, a picture alone, and menus.

use eframe::egui::{
    Align2, Color32, CornerRadius, FontId, Galley, Popup, PopupCloseBehavior, Rect, RectAlign, Response,
    Role, Sense, Stroke, StrokeKind, TextStyle, Ui, Vec2, WidgetInfo, pos2, vec2,
};
use std::sync::Arc;

use super::icon::{self, Icon};
use super::surface;
use crate::theme::{self, Palette, size};

/// How much a button asks to be pressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Weight {
    /// The one main action.
    Main,
    /// The main action of one of many things.
    Soft,
    /// One of several.
    Quiet,
    /// One of several, on a coloured ground.
    Plain,
    /// Destroys something.
    Danger,
    /// No ground until the pointer is there.
    Bare,
}

/// A button.
pub struct Button<'a> {
    text: &'a str,
    label: &'a str,
    icon: Option<Icon>,
    weight: Weight,
    opens: bool,
    enabled: bool,
}

const ICON: f32 = 15.0;
const MENU: f32 = 210.0;

impl<'a> Button<'a> {
    /// A quiet button with words.
    #[must_use]
    pub fn new(text: &'a str) -> Self {
        Self { text, label: text, icon: None, weight: Weight::Quiet, opens: false, enabled: true }
    }

    /// A bare button that is only a picture; the label is for screen readers and the tooltip.
    #[must_use]
    pub fn picture(icon: Icon, label: &'a str) -> Self {
        Self { text: "", label, icon: Some(icon), weight: Weight::Bare, opens: false, enabled: true }
    }

    /// With a picture before the words.
    #[must_use]
    pub fn icon(mut self, icon: Icon) -> Self {
        self.icon = Some(icon);
        self
    }

    /// What a screen reader says, where the words alone would not do.
    #[must_use]
    pub fn label(mut self, label: &'a str) -> Self {
        self.label = label;
        self
    }

    /// With this weight.
    #[must_use]
    pub fn weight(mut self, weight: Weight) -> Self {
        self.weight = weight;
        self
    }

    /// Can't be pressed while false.
    #[must_use]
    pub fn enabled(mut self, enabled: bool) -> Self {
        self.enabled = enabled;
        self
    }

    /// The button's width, before it is drawn.
    #[must_use]
    pub fn width(&self, ui: &Ui) -> f32 {
        self.layout(ui).1.x
    }

    fn layout(&self, ui: &Ui) -> (Option<Arc<Galley>>, Vec2) {
        let galley = (!self.text.is_empty()).then(|| {
            let font = TextStyle::Button.resolve(ui.style());
            ui.painter().layout_no_wrap(self.text.to_owned(), font, Color32::PLACEHOLDER)
        });
        let text = galley.as_ref().map_or(0.0, |g| g.size().x);
        let icon = if self.icon.is_some() { ICON + if galley.is_some() { 7.0 } else { 0.0 } } else { 0.0 };
        let chevron = if self.opens { 18.0 } else { 0.0 };
        let width = if galley.is_some() { text + icon + chevron + 24.0 } else { size::BUTTON };
        (galley, vec2(width, size::BUTTON))
    }

    /// Draws it.
    pub fn show(self, ui: &mut Ui) -> Response {
        let (galley, size) = self.layout(ui);
        let sense = if self.enabled { Sense::click() } else { Sense::hover() };
        let (rect, response) = ui.allocate_exact_size(size, sense);
        let (label, enabled) = (self.label.to_owned(), self.enabled && ui.is_enabled());
        response.widget_info(|| WidgetInfo::labeled(Role::Button, enabled, &label));
        if ui.is_rect_visible(rect) {
            let p = theme::palette(ui);
            let open = self.opens && Popup::is_id_open(ui.ctx(), Popup::default_response_id(&response));
            let (fill, front) = self.colors(p, &response, open);
            let painter = ui.painter();
            painter.rect_filled(rect, CornerRadius::same(size::ROUND_SMALL), fill);
            focus_ring(ui, &response, rect);
            let mut x = if galley.is_some() { rect.min.x + 12.0 } else { rect.center().x - ICON / 2.0 };
            if let Some(icon) = self.icon {
                let place = Rect::from_min_size(pos2(x, rect.center().y - ICON / 2.0), Vec2::splat(ICON));
                icon::paint(painter, place, icon, front);
                x += ICON + 7.0;
            }
            if let Some(galley) = galley {
                let width = galley.size().x;
                painter.galley(pos2(x, rect.center().y - galley.size().y / 2.0), galley, front);
                x += width + 4.0;
            }
            if self.opens {
                let place = Rect::from_center_size(pos2(x + 8.0, rect.center().y + 0.5), Vec2::splat(12.0));
                icon::paint(painter, place, Icon::Down, front);
            }
        }
        // A picture alone is explained when the pointer rests on it.
        if self.text.is_empty() { response.on_hover_text(self.label) } else { response }
    }

    fn colors(&self, p: &Palette, response: &Response, open: bool) -> (Color32, Color32) {
        let on = response.hovered() || response.is_pointer_button_down_on() || open;
        let (fill, hover, front) = match self.weight {
            Weight::Main => (p.accent, p.accent_hover, p.on_accent),
            Weight::Soft => (p.accent_soft, p.accent_soft_hover, p.accent_text),
            Weight::Plain => (p.card, p.quiet, p.text),
            Weight::Quiet => (p.quiet, p.quiet_hover, p.text),
            Weight::Danger => (p.bad_soft, p.bad_soft.gamma_multiply(0.8), p.bad),
            Weight::Bare => (Color32::TRANSPARENT, p.quiet_hover, p.weak),
        };
        if !self.enabled {
            return (if self.weight == Weight::Bare { fill } else { p.quiet }, p.weak.gamma_multiply(0.6));
        }
        (if on { hover } else { fill }, front)
    }

    /// Draws it as the opener of a menu.
    pub fn menu(mut self, ui: &mut Ui, contents: impl FnOnce(&mut Ui)) {
        self.opens = !self.text.is_empty();
        // A picture alone stands at the right end, so its menu grows to the left.
        let align = if self.opens { RectAlign::BOTTOM_START } else { RectAlign::BOTTOM_END };
        let label = self.label;
        let response = self.show(ui);
        Popup::menu(&response)
            .gap(4.0)
            .width(MENU)
            .align(align)
            .close_behavior(PopupCloseBehavior::CloseOnClick)
            .accessible_name(label)
            .show(|ui| {
                ui.set_width(MENU);
                ui.spacing_mut().item_spacing.y = 2.0;
                contents(ui);
            });
    }
}

/// The line around what the keyboard is on.
pub fn focus_ring(ui: &Ui, response: &Response, rect: Rect) {
    if response.has_focus() {
        let p = theme::palette(ui);
        ui.painter().rect_stroke(
            rect.expand(2.0),
            CornerRadius::same(size::ROUND_SMALL + 2),
            Stroke::new(2.0, p.accent_text),
            StrokeKind::Middle,
        );
    }
}

/// One line of a menu.
pub struct Entry<'a> {
    text: &'a str,
    label: &'a str,
    icon: Option<Icon>,
    enabled: bool,
    danger: bool,
}

impl<'a> Entry<'a> {
    /// With these words.
    #[must_use]
    pub fn new(text: &'a str) -> Self {
        Self { text, label: text, icon: None, enabled: true, danger: false }
    }

    /// What a screen reader says, where the words alone would not do.
    #[must_use]
    pub fn label(mut self, label: &'a str) -> Self {
        self.label = label;
        self
    }

    /// With a picture before them.
    #[must_use]
    pub fn icon(mut self, icon: Option<Icon>) -> Self {
        self.icon = icon;
        self
    }

    /// Can't be chosen while false.
    #[must_use]
    pub fn enabled(mut self, enabled: bool) -> Self {
        self.enabled = enabled;
        self
    }

    /// Destroys something.
    #[must_use]
    pub fn danger(mut self) -> Self {
        self.danger = true;
        self
    }

    /// Draws it; true when it was chosen.
    pub fn show(self, ui: &mut Ui) -> bool {
        let p = theme::palette(ui);
        let font = TextStyle::Body.resolve(ui.style());
        let width = ui.available_width();
        let sense = if self.enabled { Sense::click() } else { Sense::hover() };
        let (rect, response) = ui.allocate_exact_size(vec2(width, 30.0), sense);
        let (label, enabled) = (self.label.to_owned(), self.enabled);
        response.widget_info(|| WidgetInfo::labeled(Role::MenuItem, enabled, &label));
        let on = self.enabled && (response.hovered() || response.has_focus());
        if on {
            ui.painter().rect_filled(rect, CornerRadius::same(size::ROUND_SMALL), p.quiet_hover);
        }
        focus_ring(ui, &response, rect.shrink(2.0));
        let front = match (self.enabled, self.danger) {
            (false, _) => p.weak.gamma_multiply(0.75),
            (true, true) => p.bad,
            (true, false) => p.text,
        };
        if let Some(icon) = self.icon {
            let place = Rect::from_center_size(pos2(rect.min.x + 17.0, rect.center().y), Vec2::splat(ICON));
            icon::paint(ui.painter(), place, icon, front);
        }
        let at = pos2(rect.min.x + 34.0, rect.center().y - 8.5);
        surface::paint_line(ui, at, width - 44.0, self.text, font, front);
        self.enabled && response.clicked()
    }
}

/// Words in the middle of a place, in the button's type.
pub fn centered(ui: &Ui, rect: Rect, text: &str, font: FontId, color: Color32) {
    ui.painter().text(rect.center(), Align2::CENTER_CENTER, text, font, color);
}
