//! The clipboard, as text, both ways. On X11 both halves are the same: [`Bridge`] watches the
//! selection CLIPBOARD of one X server, and can own it on behalf of the other side. Texts longer
//! than one request travel in pieces (INCR), both ways; longer ones than a message may carry are
//! left where they are.

#[cfg(unix)]
pub(crate) mod viewer;

use anyhow::Result;
use roam_api::display::MAX_CLIPBOARD;
use x11rb::connection::Connection;
use x11rb::protocol::Event;
use x11rb::protocol::xfixes::{ConnectionExt as _, SelectionEventMask};
use x11rb::protocol::xproto::{
    Atom, AtomEnum, ChangeWindowAttributesAux, ConnectionExt as _, CreateWindowAux, EventMask, PropMode,
    Property, PropertyNotifyEvent, SELECTION_NOTIFY_EVENT, SelectionNotifyEvent, SelectionRequestEvent,
    Window, WindowClass,
};
use x11rb::rust_connection::RustConnection;
use x11rb::wrapper::ConnectionExt as _;

use crate::x11::Atoms;

/// Bytes of text in one property.
const PIECE: usize = 64 << 10;
/// Long texts handed out at the same time.
const MOST_OUTGOING: usize = 8;

/// One X server's clipboard.
pub(crate) struct Bridge {
    window: Window,
    /// The text that we own the selection with.
    owned: Option<String>,
    /// A long text that arrives in pieces.
    incoming: Option<Vec<u8>>,
    outgoing: Vec<Outgoing>,
}

/// A long text that an app takes in pieces.
struct Outgoing {
    requestor: Window,
    property: Atom,
    target: Atom,
    text: Vec<u8>,
    sent: usize,
}

impl Bridge {
    /// Begins to watch. The connection's XFixes must have been asked for its version.
    pub fn new(conn: &RustConnection, root: Window, atoms: &Atoms) -> Result<Self> {
        let window = conn.generate_id()?;
        let values = CreateWindowAux::new().override_redirect(1).event_mask(EventMask::PROPERTY_CHANGE);
        conn.create_window(0, window, root, -20, -20, 1, 1, 0, WindowClass::INPUT_ONLY, 0, &values)?;
        let mask = SelectionEventMask::SET_SELECTION_OWNER;
        conn.xfixes_select_selection_input(window, atoms.CLIPBOARD, mask)?;
        let bridge = Self { window, owned: None, incoming: None, outgoing: Vec::new() };
        bridge.ask(conn, atoms, x11rb::CURRENT_TIME)?;
        Ok(bridge)
    }

    /// Puts the other side's text into this clipboard.
    pub fn offer(&mut self, conn: &RustConnection, atoms: &Atoms, text: String) -> Result<()> {
        if self.owned.as_ref() != Some(&text) {
            self.owned = Some(text);
            conn.set_selection_owner(self.window, atoms.CLIPBOARD, x11rb::CURRENT_TIME)?;
        }
        Ok(())
    }

    /// Handles an event, if it concerns the clipboard; gives the text that somebody here copied.
    pub fn on_event(
        &mut self,
        conn: &RustConnection,
        atoms: &Atoms,
        event: &Event,
    ) -> Result<Option<String>> {
        match event {
            Event::XfixesSelectionNotify(e) if e.selection == atoms.CLIPBOARD => {
                if e.owner != self.window && e.owner != 0 {
                    self.owned = None;
                    self.ask(conn, atoms, e.timestamp)?;
                }
                Ok(None)
            }
            Event::SelectionNotify(e) if e.requestor == self.window => {
                if e.property == 0 {
                    Ok(None)
                } else {
                    self.on_answer(conn, atoms)
                }
            }
            Event::PropertyNotify(e) if e.window == self.window => self.on_piece(conn, atoms, e),
            Event::PropertyNotify(e) if e.state == Property::DELETE => {
                self.send_piece(conn, e.window, e.atom)?;
                Ok(None)
            }
            Event::SelectionRequest(e) if e.owner == self.window => {
                self.on_request(conn, atoms, e)?;
                Ok(None)
            }
            _ => Ok(None),
        }
    }

    fn ask(&self, conn: &RustConnection, atoms: &Atoms, time: u32) -> Result<()> {
        let (selection, target) = (atoms.CLIPBOARD, atoms.UTF8_STRING);
        conn.convert_selection(self.window, selection, target, atoms.ROAM_CLIPBOARD, time)?;
        Ok(())
    }

    fn on_answer(&mut self, conn: &RustConnection, atoms: &Atoms) -> Result<Option<String>> {
        let words = (MAX_CLIPBOARD / 4 + 1) as u32;
        let property = conn.get_property(true, self.window, atoms.ROAM_CLIPBOARD, AtomEnum::ANY, 0, words)?;
        let Ok(reply) = property.reply() else { return Ok(None) };
        if reply.type_ == atoms.INCR {
            self.incoming = Some(Vec::new());
            return Ok(None);
        }
        self.incoming = None;
        Ok(if reply.format == 8 { text(reply.value) } else { None })
    }

    /// A piece of a long text, or its end, which is an empty piece.
    fn on_piece(
        &mut self,
        conn: &RustConnection,
        atoms: &Atoms,
        e: &PropertyNotifyEvent,
    ) -> Result<Option<String>> {
        if e.atom != atoms.ROAM_CLIPBOARD || e.state != Property::NEW_VALUE {
            return Ok(None);
        }
        let Some(mut received) = self.incoming.take() else { return Ok(None) };
        let words = (MAX_CLIPBOARD / 4 + 1) as u32;
        let property = conn.get_property(true, self.window, atoms.ROAM_CLIPBOARD, AtomEnum::ANY, 0, words)?;
        let Ok(reply) = property.reply() else { return Ok(None) };
        if reply.value.is_empty() {
            return Ok(text(received));
        }
        // What is too long is still read to its end, or its owner would wait for ever.
        if received.len() <= MAX_CLIPBOARD {
            received.extend_from_slice(&reply.value);
        }
        self.incoming = Some(received);
        Ok(None)
    }

    fn on_request(&mut self, conn: &RustConnection, atoms: &Atoms, e: &SelectionRequestEvent) -> Result<()> {
        let property = if e.property == 0 { e.target } else { e.property };
        let answered = self.answer(conn, atoms, e, property)?;
        let notify = SelectionNotifyEvent {
            response_type: SELECTION_NOTIFY_EVENT,
            sequence: 0,
            time: e.time,
            requestor: e.requestor,
            selection: e.selection,
            target: e.target,
            property: if answered { property } else { 0 },
        };
        conn.send_event(false, e.requestor, EventMask::NO_EVENT, notify)?;
        Ok(())
    }

    fn answer(
        &mut self,
        conn: &RustConnection,
        atoms: &Atoms,
        e: &SelectionRequestEvent,
        property: Atom,
    ) -> Result<bool> {
        let Some(owned) = &self.owned else { return Ok(false) };
        if e.target == atoms.TARGETS {
            let targets = [atoms.TARGETS, atoms.UTF8_STRING, atoms.TEXT_PLAIN_UTF8, AtomEnum::STRING.into()];
            conn.change_property32(PropMode::REPLACE, e.requestor, property, AtomEnum::ATOM, &targets)?;
            return Ok(true);
        }
        let bytes = if e.target == atoms.UTF8_STRING || e.target == atoms.TEXT_PLAIN_UTF8 {
            owned.clone().into_bytes()
        } else if e.target == Atom::from(AtomEnum::STRING) {
            owned.chars().map(|c| u8::try_from(c).unwrap_or(b'?')).collect()
        } else {
            return Ok(false);
        };
        if bytes.len() <= PIECE {
            conn.change_property8(PropMode::REPLACE, e.requestor, property, e.target, &bytes)?;
            return Ok(true);
        }
        if self.outgoing.len() >= MOST_OUTGOING {
            self.outgoing.remove(0);
        }
        let values = ChangeWindowAttributesAux::new().event_mask(EventMask::PROPERTY_CHANGE);
        conn.change_window_attributes(e.requestor, &values)?;
        let len = [bytes.len() as u32];
        conn.change_property32(PropMode::REPLACE, e.requestor, property, atoms.INCR, &len)?;
        self.outgoing.push(Outgoing {
            requestor: e.requestor,
            property,
            target: e.target,
            text: bytes,
            sent: 0,
        });
        Ok(true)
    }

    /// The requestor has taken a piece: the next one, at last an empty one.
    fn send_piece(&mut self, conn: &RustConnection, requestor: Window, property: Atom) -> Result<()> {
        let found = self.outgoing.iter().position(|o| o.requestor == requestor && o.property == property);
        let Some(at) = found else { return Ok(()) };
        let out = &mut self.outgoing[at];
        let piece = &out.text[out.sent..(out.sent + PIECE).min(out.text.len())];
        conn.change_property8(PropMode::REPLACE, requestor, property, out.target, piece)?;
        out.sent += piece.len();
        if piece.is_empty() {
            self.outgoing.remove(at);
        }
        Ok(())
    }
}

fn text(bytes: Vec<u8>) -> Option<String> {
    if bytes.is_empty() || bytes.len() > MAX_CLIPBOARD {
        return None;
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_text_that_a_message_can_carry_is_told() {
        assert_eq!(text(b"abc".to_vec()), Some("abc".to_owned()));
        assert_eq!(text(vec![0xff]), None);
        assert_eq!(text(Vec::new()), None);
        assert_eq!(text(vec![b'a'; MAX_CLIPBOARD + 1]), None);
    }
}
