//! An application's icon, or its first letter on a colour of its own where it has none.

use std::collections::HashMap;
use std::sync::Arc;

use eframe::egui::{
    self, Color32, ColorImage, CornerRadius, FontId, Id, Rect, TextureHandle, TextureOptions, Ui, Vec2,
};

use super::button;
use crate::{launch, theme};

/// Grounds for letters; white reaches a contrast of 4.5 on each.
const GROUNDS: [Color32; 8] = [
    Color32::from_rgb(0x3A, 0x5B, 0xC7),
    Color32::from_rgb(0x1F, 0x78, 0x6A),
    Color32::from_rgb(0x9A, 0x4A, 0x86),
    Color32::from_rgb(0xA8, 0x51, 0x2B),
    Color32::from_rgb(0x4F, 0x6B, 0x2A),
    Color32::from_rgb(0x6A, 0x52, 0xB8),
    Color32::from_rgb(0x2A, 0x70, 0x96),
    Color32::from_rgb(0xA5, 0x3E, 0x52),
];

/// Icons that were read, by their name in the theme; none where there is no picture.
#[derive(Clone, Default)]
struct Icons(HashMap<String, Option<TextureHandle>>);

/// Draws the tile of an application.
pub fn show(ui: &mut Ui, side: f32, name: &str, icon: Option<&str>) -> Rect {
    let (rect, _) = ui.allocate_exact_size(Vec2::splat(side), egui::Sense::hover());
    paint(ui, rect, name, icon);
    rect
}

/// Draws it at a place.
pub fn paint(ui: &Ui, rect: Rect, name: &str, icon: Option<&str>) {
    if let Some(texture) = icon.and_then(|icon| texture(ui.ctx(), icon)) {
        egui::Image::from_texture(&texture).paint_at(ui, rect);
        return;
    }
    let ground = GROUNDS[name.bytes().fold(0usize, |sum, b| sum.wrapping_mul(31).wrapping_add(b.into())) % 8];
    let round = CornerRadius::same((rect.width() * 0.24) as u8);
    ui.painter().rect_filled(rect, round, ground);
    let letter: String =
        name.chars().find(|c| c.is_alphanumeric()).map(|c| c.to_uppercase().collect()).unwrap_or_default();
    button::centered(ui, rect, &letter, FontId::new(rect.width() * 0.46, theme::strong()), Color32::WHITE);
}

fn texture(ctx: &egui::Context, icon: &str) -> Option<TextureHandle> {
    let id = Id::unique("application icons");
    let known = ctx.data(|data| data.get_temp::<Arc<egui::mutex::Mutex<Icons>>>(id));
    let icons = known.unwrap_or_else(|| {
        let fresh = Arc::<egui::mutex::Mutex<Icons>>::default();
        ctx.data_mut(|data| data.insert_temp(id, fresh.clone()));
        fresh
    });
    if let Some(read) = icons.lock().0.get(icon) {
        return read.clone();
    }
    // A small local file, read once.
    let read = launch::read_icon(icon).map(|(size, rgba)| {
        let image = ColorImage::from_rgba_unmultiplied(size, &rgba);
        let options =
            TextureOptions { mipmap_mode: Some(egui::TextureFilter::Linear), ..TextureOptions::LINEAR };
        ctx.load_texture(icon, image, options)
    });
    icons.lock().0.insert(icon.to_owned(), read.clone());
    read
}
