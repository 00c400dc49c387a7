//! Starting an app: a field that finds the desktop's applications or takes a command line. Arrow
//! keys choose, Enter starts.

use eframe::egui::{
    CornerRadius, FontFamily, FontId, Key, Modifiers, Rect, RichText, Role, Sense, TextEdit, TextStyle, Ui,
    WidgetInfo, pos2, vec2,
};

use super::Drafts;
use crate::command::{Command, Queue};
use crate::model::applications::{self, Application};
use crate::model::{Model, words};
use crate::text::Text;
use crate::theme::{self, size};
use crate::widgets::button::{self, Button};
use crate::widgets::icon::{self, Icon};
use crate::widgets::{surface, tile};

const ROW: f32 = 52.0;

/// Something that can be started.
enum Choice<'a> {
    Application(&'a Application),
    Line(Vec<String>),
}

/// Draws the launcher.
pub fn show(ui: &mut Ui, model: &Model, drafts: &mut Drafts, queue: &mut Queue) {
    ui.horizontal(|ui| {
        ui.set_height(size::BUTTON);
        let label = Text::Back.say();
        if Button::picture(Icon::Back, &label).show(ui).clicked() {
            queue.push(Command::GoHome);
        }
        ui.label(RichText::new(Text::LauncherTitle.say()).text_style(TextStyle::Heading));
    });
    ui.add_space(size::GAP);

    let (down, up) = ui.input_mut(|input| {
        (input.consume_key(Modifiers::NONE, Key::ArrowDown), input.consume_key(Modifiers::NONE, Key::ArrowUp))
    });
    let enter = field(ui, drafts);
    let found = applications::find(&model.applications, &drafts.query);
    let line = words::split(drafts.query.trim());
    let mut choices: Vec<Choice<'_>> = found.into_iter().map(Choice::Application).collect();
    // A line with several words is meant as a command; one word may be either.
    if let Ok(argv) = &line
        && !argv.is_empty()
    {
        let position = if argv.len() > 1 { 0 } else { choices.len() };
        choices.insert(position, Choice::Line(argv.clone()));
    }
    drafts.chosen = match (down, up) {
        (true, _) => drafts.chosen + 1,
        (_, true) => drafts.chosen.saturating_sub(1),
        _ => drafts.chosen,
    }
    .min(choices.len().saturating_sub(1));

    ui.add_space(size::SMALL);
    ui.spacing_mut().item_spacing.y = 2.0;
    if let Err(unfinished) = line {
        surface::weak(ui, Text::Unfinished(unfinished).say());
    }
    for (index, choice) in choices.iter().enumerate() {
        let chosen = index == drafts.chosen;
        let clicked = row(ui, choice, drafts.query.trim(), chosen, chosen && (down || up));
        if clicked || (chosen && enter) {
            queue.push(start(choice));
            drafts.query.clear();
            drafts.chosen = 0;
            return;
        }
    }
}

fn start(choice: &Choice<'_>) -> Command {
    match choice {
        Choice::Application(app) => Command::Start { label: app.name.clone(), argv: app.argv.clone() },
        Choice::Line(argv) => {
            Command::Start { label: applications::program(argv).to_owned(), argv: argv.clone() }
        }
    }
}

/// The field, which has the keyboard; true when Enter was pressed in it.
fn field(ui: &mut Ui, drafts: &mut Drafts) -> bool {
    let p = theme::palette(ui);
    let hint = Text::LauncherHint.say();
    let edit = TextEdit::singleline(&mut drafts.query)
        .hint_text(RichText::new(&hint).color(p.weak))
        .margin(eframe::egui::Margin { left: 38, right: 12, top: 10, bottom: 10 })
        .desired_width(f32::INFINITY);
    let response = ui.add(edit);
    let place =
        Rect::from_center_size(pos2(response.rect.left() + 20.0, response.rect.center().y), vec2(16.0, 16.0));
    icon::paint(ui.painter(), place, Icon::Find, p.weak);
    if response.changed() {
        drafts.chosen = 0;
    }
    let enter = response.lost_focus() && ui.input(|input| input.key_pressed(Key::Enter));
    if !ui.memory(|memory| memory.focused().is_some()) {
        response.request_focus();
    }
    enter
}

fn row(ui: &mut Ui, choice: &Choice<'_>, line: &str, chosen: bool, reveal: bool) -> bool {
    let p = theme::palette(ui);
    let (title, words, icon) = match choice {
        Choice::Application(app) => (app.name.clone(), app.comment.clone(), Some(app.icon.as_str())),
        Choice::Line(_) => (Text::RunLine(line).say(), Text::RunLineHint.say(), None),
    };
    let (rect, response) = ui.allocate_exact_size(vec2(ui.available_width(), ROW), Sense::click());
    response.widget_info(|| WidgetInfo::selected(Role::Button, true, chosen, &title));
    if reveal {
        response.scroll_to_me(None);
    }
    if !ui.is_rect_visible(rect) {
        return response.clicked();
    }
    let round = CornerRadius::same(size::ROUND);
    if chosen {
        ui.painter().rect_filled(rect, round, p.accent_soft);
    } else if response.hovered() {
        ui.painter().rect_filled(rect, round, p.quiet_hover);
    }
    button::focus_ring(ui, &response, rect.shrink(2.0));
    let square = Rect::from_center_size(pos2(rect.left() + 28.0, rect.center().y), vec2(32.0, 32.0));
    match choice {
        Choice::Application(app) => tile::paint(ui, square, &app.name, icon),
        Choice::Line(_) => {
            ui.painter().rect_filled(square, CornerRadius::same(8), p.quiet);
            icon::paint(ui.painter(), square.shrink(7.0), Icon::Prompt, p.text);
        }
    }
    let (left, width) = (rect.left() + 58.0, rect.width() - 70.0);
    let font = FontId::new(14.0, FontFamily::Proportional);
    if words.is_empty() {
        let at = pos2(left, rect.center().y - 8.5);
        surface::paint_line(ui, at, width, &title, font, p.text);
    } else {
        let at = pos2(left, rect.top() + 8.0);
        let height = surface::paint_line(ui, at, width, &title, font, p.text);
        let font = FontId::new(12.5, FontFamily::Proportional);
        surface::paint_line(ui, at + vec2(0.0, height + 2.0), width, &words, font, p.weak);
    }
    response.clicked()
}
