//! A bar that shows how far something is. It moves when the agent says so, never by itself, so that
//! it costs nothing between two reports.

use eframe::egui::{self, CornerRadius, Rect, Role, Sense, Ui, WidgetInfo, vec2};

use crate::theme;

/// Draws the bar; the label is for screen readers.
pub fn show(ui: &mut Ui, fraction: f32, label: &str) {
    let p = theme::palette(ui);
    let (rect, response) = ui.allocate_exact_size(vec2(ui.available_width(), 6.0), Sense::hover());
    let fraction = fraction.clamp(0.0, 1.0);
    let percent = f64::from(fraction) * 100.0;
    response.widget_info(|| {
        let mut info = WidgetInfo::labeled(Role::ProgressIndicator, true, label);
        info.value = Some(percent.round());
        info
    });
    let round = CornerRadius::same(3);
    ui.painter().rect_filled(rect, round, p.quiet_hover);
    let done = Rect::from_min_size(rect.min, egui::vec2((rect.width() * fraction).max(6.0), rect.height()));
    ui.painter().rect_filled(done, round, p.accent);
}
