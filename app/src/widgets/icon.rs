//! Small pictures, drawn with lines, so that they are sharp at every scale and have the colour of
//! the words beside them.

use eframe::egui::{self, Color32, Painter, Pos2, Rect, Shape, Stroke, StrokeKind, Vec2, pos2, vec2};

/// The pictures there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Icon {
    /// A screen on a foot.
    Machine,
    /// An arrow to the right, leaving something.
    Send,
    /// An arrow to the left, entering something.
    Bring,
    /// An eye.
    Show,
    /// Three dots.
    More,
    /// A plus.
    Plus,
    /// A cross.
    Close,
    /// An arrow to the left.
    Back,
    /// A moon.
    Moon,
    /// A sun.
    Sun,
    /// Half light, half dark.
    Half,
    /// A tick in a circle.
    Check,
    /// A tick.
    Tick,
    /// A warning.
    Warning,
    /// A magnifying glass.
    Find,
    /// A chevron down.
    Down,
    /// A prompt.
    Prompt,
}

/// Draws the picture in the middle of the place.
pub fn paint(painter: &Painter, place: Rect, icon: Icon, color: Color32) {
    let side = place.width().min(place.height());
    let rect = Rect::from_center_size(place.center(), Vec2::splat(side));
    // The pictures are drawn on a grid of 16.
    let at = |x: f32, y: f32| -> Pos2 { rect.min + vec2(x, y) * (side / 16.0) };
    let stroke = Stroke::new((side / 16.0 * 1.5).max(1.2), color);
    let line = |points: &[(f32, f32)]| {
        painter.add(Shape::line(points.iter().map(|(x, y)| at(*x, *y)).collect(), stroke));
    };
    let unit = side / 16.0;
    let boxed = |x0: f32, y0: f32, x1: f32, y1: f32, round: f32| {
        painter.rect_stroke(
            Rect::from_min_max(at(x0, y0), at(x1, y1)),
            round * unit,
            stroke,
            StrokeKind::Middle,
        );
    };
    match icon {
        Icon::Machine => {
            boxed(1.5, 2.5, 14.5, 11.0, 1.8);
            line(&[(5.0, 14.0), (11.0, 14.0)]);
            line(&[(8.0, 11.0), (8.0, 14.0)]);
        }
        Icon::Send => {
            line(&[(6.0, 2.5), (2.5, 2.5), (2.5, 13.5), (6.0, 13.5)]);
            line(&[(6.0, 8.0), (14.0, 8.0)]);
            line(&[(10.5, 4.5), (14.0, 8.0), (10.5, 11.5)]);
        }
        Icon::Bring => {
            line(&[(10.0, 2.5), (13.5, 2.5), (13.5, 13.5), (10.0, 13.5)]);
            line(&[(10.0, 8.0), (2.0, 8.0)]);
            line(&[(5.5, 4.5), (2.0, 8.0), (5.5, 11.5)]);
        }
        Icon::Show => {
            let arc = |up: f32| -> Vec<Pos2> {
                (0..=16)
                    .map(|i| {
                        let t = i as f32 / 16.0;
                        at(1.2 + 13.6 * t, 8.0 + up * 5.0 * (std::f32::consts::PI * t).sin())
                    })
                    .collect()
            };
            painter.add(Shape::line(arc(-1.0), stroke));
            painter.add(Shape::line(arc(1.0), stroke));
            painter.circle_stroke(at(8.0, 8.0), 2.2 * unit, stroke);
        }
        Icon::More => {
            for x in [3.0, 8.0, 13.0] {
                painter.circle_filled(at(x, 8.0), 1.4 * unit, color);
            }
        }
        Icon::Plus => {
            line(&[(8.0, 3.0), (8.0, 13.0)]);
            line(&[(3.0, 8.0), (13.0, 8.0)]);
        }
        Icon::Close => {
            line(&[(4.0, 4.0), (12.0, 12.0)]);
            line(&[(12.0, 4.0), (4.0, 12.0)]);
        }
        Icon::Back => {
            line(&[(14.0, 8.0), (2.5, 8.0)]);
            line(&[(7.0, 3.5), (2.5, 8.0), (7.0, 12.5)]);
        }
        Icon::Moon => {
            // A circle's far side, and back along a smaller circle through the same two corners.
            let mut points = arc_points(7.5, 8.5, 6.0, 7.1, 262.9);
            points.extend(arc_points(11.0, 5.0, 4.9, 210.05, 59.95));
            points.push(points[0]);
            painter.add(Shape::line(points.into_iter().map(|(x, y)| at(x, y)).collect(), stroke));
        }
        Icon::Sun => {
            painter.circle_stroke(at(8.0, 8.0), 3.0 * unit, stroke);
            for i in 0..8 {
                let angle = f32::from(i as u8) * std::f32::consts::FRAC_PI_4;
                let (sin, cos) = angle.sin_cos();
                line(&[(8.0 + 5.2 * cos, 8.0 + 5.2 * sin), (8.0 + 6.9 * cos, 8.0 + 6.9 * sin)]);
            }
        }
        Icon::Half => {
            painter.circle_stroke(at(8.0, 8.0), 5.8 * unit, stroke);
            let half: Vec<Pos2> =
                arc_points(8.0, 8.0, 5.8, -90.0, 90.0).into_iter().map(|(x, y)| at(x, y)).collect();
            painter.add(Shape::convex_polygon(half, color, Stroke::NONE));
        }
        Icon::Check => {
            painter.circle_stroke(at(8.0, 8.0), 6.5 * unit, stroke);
            line(&[(5.0, 8.2), (7.2, 10.4), (11.2, 6.0)]);
        }
        Icon::Tick => line(&[(3.0, 8.5), (6.5, 12.0), (13.0, 4.5)]),
        Icon::Warning => {
            painter.circle_stroke(at(8.0, 8.0), 6.5 * unit, stroke);
            line(&[(8.0, 4.4), (8.0, 8.8)]);
            painter.circle_filled(at(8.0, 11.3), 1.0 * unit, color);
        }
        Icon::Find => {
            painter.circle_stroke(at(7.0, 7.0), 4.5 * unit, stroke);
            line(&[(10.3, 10.3), (14.0, 14.0)]);
        }
        Icon::Down => line(&[(4.5, 6.5), (8.0, 10.0), (11.5, 6.5)]),
        Icon::Prompt => {
            line(&[(2.5, 4.0), (6.5, 8.0), (2.5, 12.0)]);
            line(&[(8.0, 12.5), (13.5, 12.5)]);
        }
    }
}

/// Points on a circle, from one angle to another in degrees.
fn arc_points(x: f32, y: f32, radius: f32, from: f32, to: f32) -> Vec<(f32, f32)> {
    (0..=20)
        .map(|i| {
            let (sin, cos) = (from + (to - from) * i as f32 / 20.0).to_radians().sin_cos();
            (x + radius * cos, y + radius * sin)
        })
        .collect()
}

/// A picture without a meaning of its own, in the line of words.
pub fn show(ui: &mut egui::Ui, icon: Icon, side: f32, color: Color32) {
    let (rect, _) = ui.allocate_exact_size(Vec2::splat(side), egui::Sense::hover());
    paint(ui.painter(), rect, icon, color);
}

/// Draws the travelling window, the mark of the empty screen.
pub fn paint_journey(painter: &Painter, rect: Rect, from: Color32, to: Color32, ground: Color32) {
    let at = |x: f32, y: f32| pos2(rect.min.x + x * rect.width(), rect.min.y + y * rect.height());
    let screen = |left: f32, color: Color32| {
        let body = Rect::from_min_max(at(left, 0.06), at(left + 0.34, 0.78));
        painter.rect_stroke(body, 8.0, Stroke::new(2.0, color), StrokeKind::Middle);
        painter.line_segment([at(left + 0.17, 0.78), at(left + 0.17, 0.97)], Stroke::new(2.0, color));
        painter.line_segment([at(left + 0.09, 0.97), at(left + 0.25, 0.97)], Stroke::new(2.0, color));
        body
    };
    let left = screen(0.01, from);
    let right = screen(0.65, from);
    let ghost = Rect::from_center_size(left.center(), left.size() * vec2(0.56, 0.52));
    for (a, b) in [
        (ghost.left_top(), ghost.right_top()),
        (ghost.right_top(), ghost.right_bottom()),
        (ghost.right_bottom(), ghost.left_bottom()),
        (ghost.left_bottom(), ghost.left_top()),
    ] {
        painter.extend(Shape::dashed_line(&[a, b], Stroke::new(1.5, from), 4.0, 4.0));
    }
    let window = Rect::from_center_size(right.center(), right.size() * vec2(0.56, 0.52));
    painter.rect_filled(window, 4.0, to);
    painter.line_segment(
        [window.left_top() + vec2(7.0, 9.0), window.right_top() + vec2(-7.0, 9.0)],
        Stroke::new(2.0, ground),
    );
    let y = left.center().y;
    let (start, end) = (at(0.39, 0.0).x, at(0.61, 0.0).x);
    painter.extend(Shape::dotted_line(&[pos2(start, y), pos2(end - 12.0, y)], to, 9.0, 2.0));
    painter.add(Shape::line(
        vec![pos2(end - 9.0, y - 7.0), pos2(end, y), pos2(end - 9.0, y + 7.0)],
        Stroke::new(2.5, to),
    ));
}
