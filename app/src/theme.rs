//! Colours, type and sizes, as data. Screens take them from here and never name a colour.

use std::collections::BTreeMap;
use std::sync::Arc;

use eframe::egui::{
    self, Color32, CornerRadius, FontData, FontDefinitions, FontFamily, FontId, Margin, Shadow, Stroke,
    TextStyle, Theme, vec2,
};

use crate::settings::ThemeChoice;

/// The colours of one theme. Text reaches a contrast of 4.5 on every ground it stands on.
#[derive(Debug, Clone, Copy)]
pub struct Palette {
    /// Behind the cards.
    pub ground: Color32,
    /// Behind the list of machines.
    pub side: Color32,
    /// Cards, dialogs and menus.
    pub card: Color32,
    /// Fields and quiet buttons.
    pub quiet: Color32,
    /// The same under the pointer.
    pub quiet_hover: Color32,
    /// Lines around things.
    pub line: Color32,
    /// Words.
    pub text: Color32,
    /// Words of less weight.
    pub weak: Color32,
    /// The main action's ground.
    pub accent: Color32,
    /// The same under the pointer.
    pub accent_hover: Color32,
    /// Words on the main action.
    pub on_accent: Color32,
    /// Words and marks in the accent's colour.
    pub accent_text: Color32,
    /// Ground of something chosen, asked or new.
    pub accent_soft: Color32,
    /// The same under the pointer.
    pub accent_soft_hover: Color32,
    /// All is well.
    pub good: Color32,
    /// Less than it could be.
    pub warn: Color32,
    /// Failed.
    pub bad: Color32,
    /// Ground of a failure.
    pub bad_soft: Color32,
    /// Ground of a success.
    pub good_soft: Color32,
}

const fn rgb(hex: u32) -> Color32 {
    Color32::from_rgb((hex >> 16) as u8, (hex >> 8) as u8, hex as u8)
}

/// Light.
pub const LIGHT: Palette = Palette {
    ground: rgb(0xF6F7F9),
    side: rgb(0xECEEF2),
    card: rgb(0xFFFFFF),
    quiet: rgb(0xEEF0F4),
    quiet_hover: rgb(0xE2E6EC),
    line: rgb(0xDDE1E8),
    text: rgb(0x1B2130),
    weak: rgb(0x5A6475),
    accent: rgb(0x2F56D9),
    accent_hover: rgb(0x2447BD),
    on_accent: rgb(0xFFFFFF),
    accent_text: rgb(0x2B4FC9),
    accent_soft: rgb(0xE7ECFC),
    accent_soft_hover: rgb(0xD8E0FA),
    good: rgb(0x16784A),
    warn: rgb(0x8A5A00),
    bad: rgb(0xB3302F),
    bad_soft: rgb(0xFCECEB),
    good_soft: rgb(0xE6F4EC),
};

/// Dark.
pub const DARK: Palette = Palette {
    ground: rgb(0x14171D),
    side: rgb(0x191D25),
    card: rgb(0x1E232C),
    quiet: rgb(0x2A303C),
    quiet_hover: rgb(0x353C4A),
    line: rgb(0x2E3542),
    text: rgb(0xE8EBF1),
    weak: rgb(0x9CA6B7),
    accent: rgb(0x3E63E6),
    accent_hover: rgb(0x5577F2),
    on_accent: rgb(0xFFFFFF),
    accent_text: rgb(0x9DB3FF),
    accent_soft: rgb(0x232C47),
    accent_soft_hover: rgb(0x2C385C),
    good: rgb(0x5CCB94),
    warn: rgb(0xE3B341),
    bad: rgb(0xFF8A82),
    bad_soft: rgb(0x3A2326),
    good_soft: rgb(0x1B3329),
};

/// Spaces and sizes in points.
pub mod size {
    /// Between things that belong together.
    pub const SMALL: f32 = 6.0;
    /// Between things.
    pub const GAP: f32 = 12.0;
    /// Around a screen.
    pub const EDGE: f32 = 20.0;
    /// A button's height.
    pub const BUTTON: f32 = 32.0;
    /// The list of machines.
    pub const SIDE: f32 = 232.0;
    /// The widest that text and cards get.
    pub const COLUMN: f32 = 720.0;
    /// Corners of cards.
    pub const ROUND: u8 = 10;
    /// Corners of buttons.
    pub const ROUND_SMALL: u8 = 7;
    /// The window at first.
    pub const WINDOW: [f32; 2] = [960.0, 640.0];
    /// The smallest window.
    pub const WINDOW_LEAST: [f32; 2] = [600.0, 420.0];
}

/// The family of titles and buttons.
#[must_use]
pub fn strong() -> FontFamily {
    FontFamily::Name("strong".into())
}

/// The palette in use.
#[must_use]
pub fn palette(ui: &egui::Ui) -> &'static Palette {
    if ui.visuals().dark_mode { &DARK } else { &LIGHT }
}

/// Sets fonts and both themes up.
pub fn install(ctx: &egui::Context) {
    ctx.set_fonts(fonts());
    ctx.options_mut(|options| options.fallback_theme = Theme::Light);
    for (theme, palette) in [(Theme::Light, &LIGHT), (Theme::Dark, &DARK)] {
        ctx.style_mut_of(theme, |style| apply(style, palette));
    }
}

/// Follows the person's choice.
pub fn choose(ctx: &egui::Context, choice: ThemeChoice) {
    ctx.set_theme(match choice {
        ThemeChoice::System => egui::ThemePreference::System,
        ThemeChoice::Light => egui::ThemePreference::Light,
        ThemeChoice::Dark => egui::ThemePreference::Dark,
    });
}

fn fonts() -> FontDefinitions {
    const REGULAR: &[u8] = include_bytes!("../../assets/fonts/Inter-Regular.otf");
    const STRONG: &[u8] = include_bytes!("../../assets/fonts/Inter-SemiBold.otf");
    let mut fonts = FontDefinitions::default();
    for (name, bytes) in [("inter", REGULAR), ("inter-strong", STRONG)] {
        fonts.font_data.insert(name.to_owned(), Arc::new(FontData::from_static(bytes)));
    }
    let others = fonts.families.get(&FontFamily::Proportional).cloned().unwrap_or_default();
    for (family, name) in [(FontFamily::Proportional, "inter"), (strong(), "inter-strong")] {
        let names = std::iter::once(name.to_owned()).chain(others.clone()).collect();
        fonts.families.insert(family, names);
    }
    fonts
}

fn apply(style: &mut egui::Style, palette: &Palette) {
    style.text_styles = BTreeMap::from([
        (TextStyle::Small, FontId::new(12.0, FontFamily::Proportional)),
        (TextStyle::Body, FontId::new(14.0, FontFamily::Proportional)),
        (TextStyle::Button, FontId::new(13.5, strong())),
        (TextStyle::Heading, FontId::new(20.0, strong())),
        (TextStyle::Monospace, FontId::new(13.0, FontFamily::Monospace)),
        (TextStyle::Name("title".into()), FontId::new(15.0, strong())),
    ]);
    let spacing = &mut style.spacing;
    spacing.item_spacing = vec2(8.0, 6.0);
    spacing.button_padding = vec2(12.0, 6.0);
    spacing.interact_size = vec2(40.0, size::BUTTON);
    spacing.menu_margin = Margin::same(6);
    spacing.window_margin = Margin::same(20);
    spacing.tooltip_width = 360.0;
    spacing.scroll = egui::style::ScrollStyle::floating();

    let visuals = &mut style.visuals;
    visuals.override_text_color = None;
    visuals.weak_text_color = Some(palette.weak);
    visuals.panel_fill = palette.ground;
    visuals.window_fill = palette.card;
    visuals.window_stroke = Stroke::new(1.0, palette.line);
    visuals.window_corner_radius = CornerRadius::same(size::ROUND + 2);
    visuals.menu_corner_radius = CornerRadius::same(size::ROUND);
    visuals.popup_shadow =
        Shadow { offset: [0, 4], blur: 16, spread: 0, color: Color32::from_black_alpha(40) };
    visuals.window_shadow =
        Shadow { offset: [0, 8], blur: 32, spread: 0, color: Color32::from_black_alpha(60) };
    visuals.extreme_bg_color = palette.quiet;
    visuals.text_edit_bg_color = Some(palette.card);
    visuals.faint_bg_color = palette.quiet;
    visuals.hyperlink_color = palette.accent_text;
    visuals.warn_fg_color = palette.warn;
    visuals.error_fg_color = palette.bad;
    visuals.selection.bg_fill = palette.accent_text.gamma_multiply(0.3);
    visuals.selection.stroke = Stroke::new(1.5, palette.accent_text);
    visuals.interact_cursor = Some(egui::CursorIcon::PointingHand);
    // A blinking cursor would repaint an idle window twice a second.
    visuals.text_cursor.blink = false;
    visuals.text_cursor.stroke = Stroke::new(1.5, palette.accent_text);

    let round = CornerRadius::same(size::ROUND_SMALL);
    let widgets = &mut visuals.widgets;
    for (state, fill, line) in [
        (&mut widgets.noninteractive, palette.card, palette.line),
        (&mut widgets.inactive, palette.quiet, palette.line),
        (&mut widgets.hovered, palette.quiet_hover, palette.line),
        (&mut widgets.active, palette.quiet_hover, palette.accent_text),
        (&mut widgets.open, palette.quiet_hover, palette.line),
    ] {
        state.bg_fill = fill;
        state.weak_bg_fill = fill;
        state.bg_stroke = Stroke::new(1.0, line);
        state.fg_stroke = Stroke::new(1.0, palette.text);
        state.corner_radius = round;
        state.expansion = 0.0;
    }
    widgets.inactive.bg_stroke = Stroke::NONE;
    widgets.hovered.bg_stroke = Stroke::NONE;
    widgets.open.bg_stroke = Stroke::NONE;
}

#[cfg(test)]
mod tests {
    use super::*;

    fn luminance(color: Color32) -> f32 {
        let [r, g, b, _] = egui::Rgba::from(color).to_array();
        0.2126 * r + 0.7152 * g + 0.0722 * b
    }

    fn contrast(a: Color32, b: Color32) -> f32 {
        let (high, low) = (luminance(a).max(luminance(b)), luminance(a).min(luminance(b)));
        (high + 0.05) / (low + 0.05)
    }

    #[test]
    fn words_can_be_read_on_every_ground() {
        for (name, p) in [("light", &LIGHT), ("dark", &DARK)] {
            let grounds = [p.ground, p.side, p.card, p.quiet];
            let mut pairs: Vec<(Color32, Color32)> =
                grounds.iter().flat_map(|g| [(p.text, *g), (p.weak, *g)]).collect();
            pairs.extend([(p.good, p.card), (p.warn, p.card), (p.bad, p.card), (p.accent_text, p.card)]);
            pairs.extend([
                (p.good, p.side),
                (p.bad, p.bad_soft),
                (p.text, p.bad_soft),
                (p.good, p.good_soft),
            ]);
            pairs.extend([(p.text, p.quiet_hover), (p.text, p.accent_soft), (p.weak, p.accent_soft)]);
            pairs.extend([(p.on_accent, p.accent), (p.accent_text, p.accent_soft), (p.weak, p.bad_soft)]);
            pairs.extend([(p.accent_text, p.accent_soft_hover), (p.text, p.good_soft)]);
            for (front, back) in pairs {
                assert!(contrast(front, back) >= 4.5, "{name}: {front:?} on {back:?}");
            }
        }
    }
}
