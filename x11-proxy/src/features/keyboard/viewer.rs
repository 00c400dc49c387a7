//! A key as the person's toolkit reports it becomes the keysyms that it means. Pure.
//!
//! Keys that only choose among characters (AltGr, Caps Lock, Num Lock, dead keys) stay here: what
//! they led to is told instead.

use winit::keyboard::{Key, KeyCode, KeyLocation, NamedKey, PhysicalKey};

/// What a key press means.
pub(crate) struct Pressed<'a> {
    pub logical: &'a Key,
    pub physical: PhysicalKey,
    pub location: KeyLocation,
    /// The text that it gives, composed with earlier dead keys.
    pub text: Option<&'a str>,
    /// Ctrl, Alt or Super is held: a command, not text.
    pub command: bool,
}

/// The keysyms that the press means: none, one key, or the characters of a composed text.
pub(crate) fn keysyms(pressed: &Pressed<'_>) -> Vec<u32> {
    let typed = pressed.text.filter(|text| !pressed.command && !text.chars().any(char::is_control));
    match pressed.logical {
        Key::Named(NamedKey::Space) => typed.unwrap_or(" ").chars().map(of_char).collect(),
        Key::Named(named) => of_named(*named, pressed.location).into_iter().collect(),
        Key::Character(character) => {
            let character = character.as_str();
            if pressed.location == KeyLocation::Numpad
                && let Some(keysym) = of_keypad(character)
            {
                return vec![keysym];
            }
            if pressed.command
                && !character.is_ascii()
                && let Some(latin) = latin(pressed.physical)
            {
                return vec![latin];
            }
            typed.unwrap_or(character).chars().map(of_char).collect()
        }
        Key::Dead(_) => Vec::new(),
        Key::Unidentified(_) => typed.unwrap_or_default().chars().map(of_char).collect(),
    }
}

/// X11 keysyms of characters: Latin-1 is itself, everything else its Unicode number with a mark.
fn of_char(character: char) -> u32 {
    match u32::from(character) {
        latin @ (0x20..=0x7e | 0xa0..=0xff) => latin,
        other => 0x0100_0000 | other,
    }
}

/// The keypad's characters are keys of their own.
fn of_keypad(character: &str) -> Option<u32> {
    let mut characters = character.chars();
    let keysym = match (characters.next()?, characters.next()) {
        (digit @ '0'..='9', None) => 0xffb0 + u32::from(digit) - u32::from('0'),
        ('*', None) => 0xffaa,
        ('+', None) => 0xffab,
        (',', None) => 0xffac,
        ('-', None) => 0xffad,
        ('.', None) => 0xffae,
        ('/', None) => 0xffaf,
        ('=', None) => 0xffbd,
        _ => return None,
    };
    Some(keysym)
}

/// The key at this place of a Latin keyboard, so that Ctrl+C works on every layout.
fn latin(physical: PhysicalKey) -> Option<u32> {
    const LETTERS: [KeyCode; 26] = [
        KeyCode::KeyA,
        KeyCode::KeyB,
        KeyCode::KeyC,
        KeyCode::KeyD,
        KeyCode::KeyE,
        KeyCode::KeyF,
        KeyCode::KeyG,
        KeyCode::KeyH,
        KeyCode::KeyI,
        KeyCode::KeyJ,
        KeyCode::KeyK,
        KeyCode::KeyL,
        KeyCode::KeyM,
        KeyCode::KeyN,
        KeyCode::KeyO,
        KeyCode::KeyP,
        KeyCode::KeyQ,
        KeyCode::KeyR,
        KeyCode::KeyS,
        KeyCode::KeyT,
        KeyCode::KeyU,
        KeyCode::KeyV,
        KeyCode::KeyW,
        KeyCode::KeyX,
        KeyCode::KeyY,
        KeyCode::KeyZ,
    ];
    let PhysicalKey::Code(code) = physical else { return None };
    let place = LETTERS.iter().position(|&letter| letter == code)?;
    Some(u32::from(b'a') + place as u32)
}

fn of_named(named: NamedKey, location: KeyLocation) -> Option<u32> {
    let keypad = location == KeyLocation::Numpad;
    let right = location == KeyLocation::Right;
    let pick = |plain: u32, on_keypad: u32| if keypad { on_keypad } else { plain };
    let side = |left: u32| if right { left + 1 } else { left };
    Some(match named {
        NamedKey::Backspace => 0xff08,
        NamedKey::Tab => pick(0xff09, 0xff89),
        NamedKey::Clear => 0xff0b,
        NamedKey::Enter => pick(0xff0d, 0xff8d),
        NamedKey::Pause => 0xff13,
        NamedKey::Escape => 0xff1b,
        NamedKey::Delete => pick(0xffff, 0xff9f),
        NamedKey::Home => pick(0xff50, 0xff95),
        NamedKey::ArrowLeft => pick(0xff51, 0xff96),
        NamedKey::ArrowUp => pick(0xff52, 0xff97),
        NamedKey::ArrowRight => pick(0xff53, 0xff98),
        NamedKey::ArrowDown => pick(0xff54, 0xff99),
        NamedKey::PageUp => pick(0xff55, 0xff9a),
        NamedKey::PageDown => pick(0xff56, 0xff9b),
        NamedKey::End => pick(0xff57, 0xff9c),
        NamedKey::Insert => pick(0xff63, 0xff9e),
        NamedKey::PrintScreen => 0xff61,
        NamedKey::ContextMenu => 0xff67,
        NamedKey::Help => 0xff6a,
        NamedKey::Shift => side(super::SHIFT_L),
        NamedKey::Control => side(0xffe3),
        NamedKey::Alt => side(0xffe9),
        NamedKey::Meta => side(0xffe7),
        NamedKey::Super => side(0xffeb),
        NamedKey::Hyper => side(0xffed),
        NamedKey::F1 => 0xffbe,
        NamedKey::F2 => 0xffbf,
        NamedKey::F3 => 0xffc0,
        NamedKey::F4 => 0xffc1,
        NamedKey::F5 => 0xffc2,
        NamedKey::F6 => 0xffc3,
        NamedKey::F7 => 0xffc4,
        NamedKey::F8 => 0xffc5,
        NamedKey::F9 => 0xffc6,
        NamedKey::F10 => 0xffc7,
        NamedKey::F11 => 0xffc8,
        NamedKey::F12 => 0xffc9,
        NamedKey::F13 => 0xffca,
        NamedKey::F14 => 0xffcb,
        NamedKey::F15 => 0xffcc,
        NamedKey::F16 => 0xffcd,
        NamedKey::Undo => 0xff65,
        NamedKey::Redo => 0xff66,
        NamedKey::Find => 0xff68,
        NamedKey::Copy => 0x1008_ff57,
        NamedKey::Cut => 0x1008_ff58,
        NamedKey::Paste => 0x1008_ff6d,
        NamedKey::BrowserBack => 0x1008_ff26,
        NamedKey::BrowserForward => 0x1008_ff27,
        NamedKey::MediaPlayPause => 0x1008_ff14,
        NamedKey::MediaTrackNext => 0x1008_ff17,
        NamedKey::MediaTrackPrevious => 0x1008_ff16,
        // Keys that only choose among characters, and those that the person's own desktop uses.
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(logical: Key, location: KeyLocation, text: Option<&str>, command: bool) -> Vec<u32> {
        let physical = PhysicalKey::Code(KeyCode::KeyC);
        keysyms(&Pressed { logical: &logical, physical, location, text, command })
    }

    fn character(text: &str) -> Key {
        Key::Character(text.into())
    }

    #[test]
    fn characters_are_themselves_or_marked_unicode() {
        let standard = KeyLocation::Standard;
        assert_eq!(of(character("a"), standard, Some("a"), false), [0x61]);
        assert_eq!(of(character("ä"), standard, Some("ä"), false), [0xe4]);
        assert_eq!(of(character("€"), standard, Some("€"), false), [0x0100_20ac]);
    }

    #[test]
    fn dead_keys_are_told_by_what_they_led_to() {
        assert!(of(Key::Dead(Some('´')), KeyLocation::Standard, None, false).is_empty());
        assert_eq!(of(character("e"), KeyLocation::Standard, Some("é"), false), [0xe9]);
    }

    #[test]
    fn commands_use_the_latin_key() {
        assert_eq!(of(character("с"), KeyLocation::Standard, Some("\u{3}"), true), [0x63]);
        assert_eq!(of(character("z"), KeyLocation::Standard, Some("\u{1a}"), true), [0x7a]);
    }

    #[test]
    fn the_keypad_has_keys_of_its_own() {
        assert_eq!(of(character("7"), KeyLocation::Numpad, Some("7"), false), [0xffb7]);
        assert_eq!(of(Key::Named(NamedKey::Enter), KeyLocation::Numpad, Some("\r"), false), [0xff8d]);
        assert_eq!(of(Key::Named(NamedKey::Enter), KeyLocation::Standard, Some("\r"), false), [0xff0d]);
    }

    #[test]
    fn both_shift_keys_are_told_apart_and_locks_stay_here() {
        assert_eq!(of(Key::Named(NamedKey::Shift), KeyLocation::Right, None, false), [0xffe2]);
        assert!(of(Key::Named(NamedKey::CapsLock), KeyLocation::Standard, None, false).is_empty());
        assert!(of(Key::Named(NamedKey::AltGraph), KeyLocation::Right, None, false).is_empty());
    }
}
