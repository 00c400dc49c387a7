//! One window of the app as roam-display knows it, and how it is described to a viewer.

use std::collections::BTreeMap;
use std::time::Duration;

use roam_api::display::{MAX_SIDE, Size, WindowId, WindowInfo, WindowKind};
use x11rb::connection::Connection;
use x11rb::protocol::xproto::{AtomEnum, Pixmap, Window};

use super::outline::Outline;
use super::tiles::Shadow;
use crate::geometry::Rect;
use crate::x11::X;

/// How long an app may take to follow a resize before the viewer is told what it has instead.
pub(crate) const RESIZE_PATIENCE: Duration = Duration::from_millis(500);

/// A child of the root window that is or may be shown.
pub(crate) struct Tracked {
    /// Placed by the app itself (override-redirect).
    pub popup: bool,
    /// With the border.
    pub rect: Rect,
    pub border: i32,
    /// A popup whose pixels may be see-through.
    pub translucent: bool,
    pub damage: u32,
    pub pixmap: Option<Pixmap>,
    pub shadow: Option<Shadow>,
    /// For a translucent one: which part is seen; begins anew with the shadow.
    pub outline: Option<Outline>,
    /// The server reported damage that was not captured yet.
    pub damaged: bool,
    /// Properties or place changed since the viewer was told.
    pub stale: bool,
    pub icon_stale: bool,
    /// What the viewer was told last.
    pub told: Option<WindowInfo>,
    /// When its last frame was sent.
    pub last_frame: Option<Duration>,
    /// Captures that failed since the last that did not.
    pub failures: u8,
    /// The newest serial of this viewer's resizes that the window answered.
    pub resize_serial: u32,
    /// A resize under way.
    pub resize: Option<PendingResize>,
}

/// A resize that the app has not followed yet.
#[derive(Debug, Clone, Copy)]
pub(crate) struct PendingResize {
    pub serial: u32,
    pub size: Size,
    pub until: Duration,
}

impl Tracked {
    pub fn size(&self) -> Size {
        Size::new(side(self.rect.width), side(self.rect.height))
    }

    /// A popup that lies wholly off the screen is hidden by its app.
    pub fn is_visible(&self, screen: Rect) -> bool {
        !self.popup || (!self.rect.intersection(screen).is_empty() && self.rect.area() > 1)
    }

    /// The resize under way is answered when the size is reached or patience ends.
    pub fn settle_resize(&mut self, now: Duration) {
        if let Some(resize) = self.resize
            && (resize.size == self.size() || now >= resize.until)
        {
            self.resize_serial = resize.serial;
            self.resize = None;
            self.stale = true;
        }
    }
}

/// How long to wait before a capture is tried again that has failed so often; none: no more.
pub(crate) fn retry(failures: u8) -> Option<Duration> {
    (failures < 10).then(|| Duration::from_millis(10 << failures))
}

fn side(length: i32) -> u16 {
    length.clamp(1, i32::from(MAX_SIDE)) as u16
}

/// Reads everything that a viewer is told of a window.
pub(crate) fn describe(
    x: &X,
    window: Window,
    tracked: &Tracked,
    all: &BTreeMap<Window, Tracked>,
    active: Option<Window>,
) -> WindowInfo {
    let properties = x.properties(window);
    let kind = x.kind(window, tracked.popup);
    let parent = match properties.transient_for {
        Some(owner) if all.contains_key(&owner) => Some(owner),
        _ if tracked.popup => popup_parent(window, tracked, all, active, !x.conn.setup().resource_id_mask),
        _ => None,
    };
    let motif = x.words(window, x.atoms._MOTIF_WM_HINTS);
    // Flag 2: the third word says which decorations; none of them means that the app draws its own.
    let undecorated = motif.first().is_some_and(|flags| flags & 2 != 0) && motif.get(2) == Some(&0);
    let mut class = x.text(window, AtomEnum::WM_CLASS.into()).unwrap_or_default();
    if let Some((_, name)) = class.trim_end_matches('\0').split_once('\0') {
        class = name.to_owned();
    }
    WindowInfo {
        window: WindowId(window),
        x: tracked.rect.x,
        y: tracked.rect.y,
        size: tracked.size(),
        resize_serial: tracked.resize_serial,
        kind,
        popup: tracked.popup,
        parent: parent.map(WindowId),
        title: x.title(window),
        class,
        hints: properties.hints,
        state: x.state(window),
        decorated: !(tracked.popup || undecorated || kind == WindowKind::Splash),
        focusable: !tracked.popup && (properties.input || properties.take_focus),
    }
}

/// The window that a popup belongs to if it names none: one of the same program, the one with the
/// keyboard first, else the one that it lies over. `program` is the mask of an id's bits that are
/// the same for all windows of one X client.
fn popup_parent(
    window: Window,
    popup: &Tracked,
    all: &BTreeMap<Window, Tracked>,
    active: Option<Window>,
    program: u32,
) -> Option<Window> {
    let candidates = all.iter().filter(|(w, t)| **w != window && !t.popup);
    let rank = |w: Window, t: &Tracked| {
        let overlap = t.rect.intersection(popup.rect).area();
        ((w ^ window) & program == 0, active == Some(w), overlap)
    };
    candidates.max_by_key(|(w, t)| rank(**w, t)).map(|(w, _)| *w)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tracked(rect: Rect, popup: bool) -> Tracked {
        Tracked {
            popup,
            rect,
            border: 0,
            translucent: false,
            damage: 0,
            pixmap: None,
            shadow: None,
            outline: None,
            damaged: false,
            stale: false,
            icon_stale: false,
            told: None,
            last_frame: None,
            failures: 0,
            resize_serial: 0,
            resize: None,
        }
    }

    #[test]
    fn a_popup_belongs_to_its_program_then_to_the_active_window_then_to_the_one_below_it() {
        let mut all = BTreeMap::new();
        all.insert(0x101, tracked(Rect::new(0, 0, 100, 100), false));
        all.insert(0x102, tracked(Rect::new(200, 0, 100, 100), false));
        all.insert(0x201, tracked(Rect::new(200, 0, 100, 100), false));
        let menu = tracked(Rect::new(210, 20, 50, 150), true);
        let parent = |active| popup_parent(0x103, &menu, &all, active, 0xff00);
        assert_eq!(parent(Some(0x101)), Some(0x101));
        assert_eq!(parent(Some(0x201)), Some(0x102));
        assert_eq!(parent(None), Some(0x102));
        assert_eq!(popup_parent(0x301, &menu, &all, Some(0x201), 0xff00), Some(0x201));
    }

    #[test]
    fn a_failing_capture_is_given_up_in_the_end() {
        let waits: Vec<_> = (0..=u8::MAX).map_while(retry).collect();
        assert!(waits.windows(2).all(|w| w[0] < w[1]));
        assert!(waits.iter().sum::<Duration>() < Duration::from_secs(15));
    }

    #[test]
    fn a_resize_is_answered_by_the_size_or_by_the_end_of_patience() {
        let pending = PendingResize { serial: 5, size: Size::new(80, 80), until: Duration::from_millis(500) };
        let mut window = tracked(Rect::new(0, 0, 100, 100), false);
        window.resize = Some(pending);
        window.settle_resize(Duration::from_millis(1));
        assert_eq!(window.resize_serial, 0);
        window.settle_resize(Duration::from_millis(500));
        assert_eq!((window.resize_serial, window.stale), (5, true));
        let mut window = tracked(Rect::new(0, 0, 80, 80), false);
        window.resize = Some(pending);
        window.settle_resize(Duration::ZERO);
        assert_eq!(window.resize_serial, 5);
    }
}
