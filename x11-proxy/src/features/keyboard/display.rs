//! Finds the pod's key for a keysym, or gives a spare key that meaning. Pure.
//!
//! Spare keys get the same keysym on every level, so that modifiers which the person's layout
//! needed to reach the character (Shift, AltGr) can't change it again.

use std::collections::BTreeMap;

use super::{SHIFT_L, SHIFT_R};

/// X11's "no symbol".
const NONE: u32 = 0;
/// Keysyms of a spare key: plain and shifted, in both groups.
const LEVELS: usize = 4;

/// The pod's keyboard as the core protocol tells it.
#[derive(Debug, Clone)]
pub(crate) struct Keymap {
    first: u8,
    per_key: usize,
    keysyms: Vec<u32>,
}

/// How a keysym is typed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Plan {
    /// With this key.
    Press(u8),
    /// With this key, after it was given the meaning.
    Remap(u8),
}

impl Keymap {
    pub fn new(first: u8, per_key: u8, keysyms: Vec<u32>) -> Self {
        Self { first, per_key: usize::from(per_key).max(1), keysyms }
    }

    fn keys(&self) -> impl Iterator<Item = (u8, &[u32])> {
        (self.first..=u8::MAX).zip(self.keysyms.chunks_exact(self.per_key))
    }

    /// The key that means this keysym while Shift is as given.
    fn find(&self, keysym: u32, shift: bool) -> Option<u8> {
        let level = usize::from(shift);
        let here = |keysyms: &[u32]| keysyms.get(level).copied().unwrap_or(NONE);
        let exact = self.keys().find(|(_, keysyms)| here(keysyms) == keysym);
        let any_level = || {
            // Keys that are no characters mean the same with Shift, and apps look at both.
            let function = is_function(keysym).then_some(keysym)?;
            self.keys().find(|(_, keysyms)| keysyms[0] == function)
        };
        exact.or_else(any_level).map(|(key, _)| key)
    }

    /// How to type a keysym. `turn` chooses among keys that were given a meaning earlier, if no key
    /// is left without one; keys in `held` are left alone.
    pub fn plan(&self, keysym: u32, shift: bool, held: &Held, turn: usize) -> Option<Plan> {
        if keysym == NONE {
            return None;
        }
        if let Some(key) = self.find(keysym, shift) {
            return Some(Plan::Press(key));
        }
        let free = |key: &u8| !held.keys.values().any(|k| k == key);
        let empty = self.keys().filter(|(_, s)| s.iter().all(|&s| s == NONE)).map(|(k, _)| k).find(free);
        let reused = || {
            let ours = self.keys().filter(|(_, s)| is_ours(s)).map(|(k, _)| k).filter(free);
            let ours: Vec<u8> = ours.collect();
            (!ours.is_empty()).then(|| ours[turn % ours.len()])
        };
        empty.or_else(reused).map(Plan::Remap)
    }

    /// The keysyms that a spare key is given.
    pub fn spare(keysym: u32) -> [u32; LEVELS] {
        [keysym; LEVELS]
    }

    /// Notes that a key was given a meaning.
    pub fn set(&mut self, key: u8, keysym: u32) {
        let start = usize::from(key.saturating_sub(self.first)) * self.per_key;
        if let Some(levels) = self.keysyms.get_mut(start..start + self.per_key.min(LEVELS)) {
            levels.fill(keysym);
        }
    }
}

/// Function, cursor and modifier keys, but not the keypad's digits.
fn is_function(keysym: u32) -> bool {
    matches!(keysym, 0xfe00..=0xff7f | 0xffbe..=0xffff | 0x1008_ff00..=0x1008_ffff)
}

/// A key that looks as if a display gave it its meaning: a character, the same on all levels, but
/// for the space bar and the keypad's operators, which are made like that.
fn is_ours(keysyms: &[u32]) -> bool {
    let first = keysyms[0];
    let ordinary = first == u32::from(b' ') || matches!(first, 0xffaa..=0xffaf);
    keysyms.len() >= 2
        && !ordinary
        && first != NONE
        && !is_function(first)
        && keysyms[1..LEVELS.min(keysyms.len())].iter().all(|&s| s == first)
}

/// The keys that this viewer holds down: keysym and key.
#[derive(Debug, Default)]
pub(crate) struct Held {
    keys: BTreeMap<u32, u8>,
}

impl Held {
    pub fn shift(&self) -> bool {
        self.keys.contains_key(&SHIFT_L) || self.keys.contains_key(&SHIFT_R)
    }

    pub fn get(&self, keysym: u32) -> Option<u8> {
        self.keys.get(&keysym).copied()
    }

    pub fn press(&mut self, keysym: u32, key: u8) {
        self.keys.insert(keysym, key);
    }

    /// The key to release.
    pub fn release(&mut self, keysym: u32) -> Option<u8> {
        self.keys.remove(&keysym)
    }

    /// All keys, to be released.
    pub fn take_all(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.keys).into_values().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const TAB: u32 = 0xff09;
    const LEFT_TAB: u32 = 0xfe20;
    const KP_HOME: u32 = 0xff95;
    const KP_7: u32 = 0xffb7;

    fn us() -> Keymap {
        let keys = [
            ['q' as u32, 'Q' as u32],
            ['2' as u32, '@' as u32],
            [TAB, LEFT_TAB],
            [SHIFT_L, NONE],
            [KP_HOME, KP_7],
            [NONE, NONE],
            [NONE, NONE],
        ];
        Keymap::new(8, 4, keys.iter().flat_map(|k| [k[0], k[1], k[0], k[1]]).collect())
    }

    fn plan(keysym: u32, shift: bool) -> Option<Plan> {
        us().plan(keysym, shift, &Held::default(), 0)
    }

    #[test]
    fn a_key_is_used_as_it_is_if_its_meaning_fits() {
        assert_eq!(plan('q' as u32, false), Some(Plan::Press(8)));
        assert_eq!(plan('Q' as u32, true), Some(Plan::Press(8)));
        assert_eq!(plan('@' as u32, true), Some(Plan::Press(9)));
        assert_eq!(plan(TAB, true), Some(Plan::Press(10)));
        assert_eq!(plan(SHIFT_L, true), Some(Plan::Press(11)));
    }

    #[test]
    fn other_layouts_get_a_spare_key() {
        // Caps Lock, AltGr+Q of a German layout, an umlaut, the keypad with Num Lock.
        for keysym in ['Q' as u32, '@' as u32, 0xe4, KP_7] {
            assert_eq!(plan(keysym, false), Some(Plan::Remap(13)));
        }
        let mut keymap = us();
        keymap.set(13, 0xe4);
        for shift in [false, true] {
            assert_eq!(keymap.plan(0xe4, shift, &Held::default(), 0), Some(Plan::Press(13)));
        }
        assert_eq!(keymap.plan(0xf6, false, &Held::default(), 0), Some(Plan::Remap(14)));
    }

    #[test]
    fn used_spare_keys_take_turns_but_not_while_held() {
        let mut keymap = us();
        keymap.set(13, 0xe4);
        keymap.set(14, 0xf6);
        let mut held = Held::default();
        assert_eq!(keymap.plan(0xfc, false, &held, 0), Some(Plan::Remap(13)));
        assert_eq!(keymap.plan(0xfc, false, &held, 1), Some(Plan::Remap(14)));
        held.press(0xe4, 13);
        assert_eq!(keymap.plan(0xfc, false, &held, 0), Some(Plan::Remap(14)));
    }

    proptest! {
        #[test]
        fn no_keyboard_breaks_it(
            first in any::<u8>(), per_key in any::<u8>(), keysyms in proptest::collection::vec(0u32..9, 0..600),
            keysym in 0u32..9, key in any::<u8>(), shift in any::<bool>(), turn in any::<usize>()
        ) {
            let mut keymap = Keymap::new(first, per_key, keysyms);
            let _ = keymap.plan(keysym, shift, &Held::default(), turn);
            keymap.set(key, keysym);
        }
    }
}
