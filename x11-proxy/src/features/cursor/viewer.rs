//! Makes a native cursor of the picture.

use roam_api::display::Cursor;
use winit::event_loop::ActiveEventLoop;
use winit::window::{CustomCursor, CustomCursorSource};

use crate::codec::{DecodeError, Decoder};

/// A native cursor; none if this system takes no such picture.
pub(crate) fn native(
    cursor: &Cursor,
    decoder: &mut Decoder,
    event_loop: &ActiveEventLoop,
) -> Result<Option<CustomCursor>, DecodeError> {
    let rgba = decoder.picture(&cursor.picture)?;
    let size = cursor.picture.size;
    let source: Result<CustomCursorSource, _> =
        CustomCursor::from_rgba(rgba, size.width, size.height, cursor.hot_x, cursor.hot_y);
    Ok(source.ok().map(|source| event_loop.create_custom_cursor(source)))
}
