//! Which pages of shared objects the target has, so that those that stayed as they are need not be sent again.
//!
//! The kernel tells of each process what it wrote, but not of an object, which anybody may write through a
//! descriptor as well. So pages are known by a hash of their bytes, 16 bytes for each page.

use roam_sys::runs::{Run, push};

use super::memory_send::is_zero;
use crate::objects::{Object, ObjectId, ObjectKind};
use crate::pages::PAGE;

/// What is known of a page: part of its blake3 hash. All zero for a page of zeros, as it is in a new object.
pub type Known = [u8; 16];

/// What is known of a page with these bytes.
#[must_use]
pub fn known(page: &[u8]) -> Known {
    if is_zero(page) {
        return Known::default();
    }
    let mut known = Known::default();
    known.copy_from_slice(&blake3::hash(page).as_bytes()[..16]);
    known
}

/// A page that is to be sent whatever is in it.
const UNKNOWN: Known = [u8::MAX; 16];

/// The pages that the target has of each object.
#[derive(Debug, Default)]
pub struct ObjectPages(Vec<Shown>);

#[derive(Debug)]
struct Shown {
    kind: ObjectKind,
    size: u64,
    pages: Vec<Known>,
}

impl ObjectPages {
    /// The target is told of these objects: what is made anew or becomes shorter there loses its pages.
    pub fn told(&mut self, objects: &[Object]) {
        for (index, object) in objects.iter().enumerate() {
            match self.0.get_mut(index) {
                Some(shown) if shown.kind.is_made_like(&object.kind) => shown.told(object),
                Some(shown) => *shown = Shown::new(object),
                None => self.0.push(Shown::new(object)),
            }
        }
    }

    /// What the target has at this page of an object.
    #[must_use]
    pub fn at(&self, object: ObjectId, page: u64) -> Known {
        let shown = self.0.get(object.0 as usize);
        shown.and_then(|shown| shown.pages.get(page as usize)).copied().unwrap_or_default()
    }

    /// The parts of an object, in bytes, that are not known to be zero there.
    #[must_use]
    pub fn filled(&self, object: ObjectId) -> Vec<Run> {
        let mut filled = Vec::new();
        let pages = self.0.get(object.0 as usize).map_or(&[][..], |shown| &shown.pages);
        for (page, _) in (0..).zip(pages).filter(|(_, known)| **known != Known::default()) {
            push(&mut filled, Run { start: page * PAGE, end: (page + 1) * PAGE });
        }
        filled
    }

    /// It was sent these pages. It leaves out what lies behind the end that it was told of.
    pub fn sent(&mut self, object: ObjectId, first: u64, pages: &[Known]) {
        let Some(shown) = self.0.get_mut(object.0 as usize) else { return };
        let end = (first as usize + pages.len()).min(shown.size.div_ceil(PAGE) as usize);
        if shown.pages.len() < end {
            shown.pages.resize(end, Known::default());
        }
        for (known, page) in shown.pages[..end].iter_mut().skip(first as usize).zip(pages) {
            *known = *page;
        }
    }
}

impl Shown {
    fn new(object: &Object) -> Self {
        Self { kind: object.kind.clone(), size: object.size, pages: Vec::new() }
    }

    fn told(&mut self, object: &Object) {
        let end = self.size.min(object.size);
        if self.size != object.size
            && !end.is_multiple_of(PAGE)
            && let Some(cut) = self.pages.get_mut((end / PAGE) as usize)
        {
            *cut = UNKNOWN;
        }
        self.pages.truncate(object.size.div_ceil(PAGE) as usize);
        self.size = object.size;
        self.kind.clone_from(&object.kind);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn object(name: &[u8], size: u64) -> Object {
        Object { kind: ObjectKind::memory(name), size }
    }

    #[test]
    fn pages_are_known_until_the_target_loses_them() {
        let id = ObjectId(0);
        let page = |byte: u8| known(&[byte; PAGE as usize]);
        assert_eq!(page(0), Known::default());
        assert_ne!(page(1), page(2));
        let mut pages = ObjectPages::default();
        pages.told(&[object(b"a", 4 * PAGE)]);
        assert_eq!(pages.at(id, 2), page(0));
        pages.sent(id, 1, &[page(1), page(2), page(3)]);
        assert_eq!([0, 1, 2, 3].map(|at| pages.at(id, at)), [0, 1, 2, 3].map(page));
        assert_eq!(pages.filled(id), [Run { start: PAGE, end: 4 * PAGE }]);
        pages.told(&[object(b"a", 3 * PAGE), object(b"b", PAGE)]);
        pages.told(&[object(b"a", 4 * PAGE), object(b"b", PAGE)]);
        assert_eq!([1, 2, 3].map(|at| pages.at(id, at)), [page(1), page(2), page(0)]);
        pages.told(&[object(b"a", 2 * PAGE + 7)]);
        assert_eq!([1, 2].map(|at| pages.at(id, at)), [page(1), UNKNOWN]);
        pages.sent(id, 2, &[page(4), page(5)]);
        assert_eq!([2, 3].map(|at| pages.at(id, at)), [page(4), page(0)]);
        pages.told(&[object(b"a", 4 * PAGE)]);
        assert_eq!([1, 2, 3].map(|at| pages.at(id, at)), [page(1), UNKNOWN, page(0)]);
        pages.sent(id, 9, &[page(4), page(5)]);
        pages.told(&[object(b"other", 4 * PAGE)]);
        assert_eq!(pages.at(id, 1), page(0));
    }
}
