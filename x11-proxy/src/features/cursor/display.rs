//! Reads the cursor that the pod's X server shows.

use anyhow::Result;
use roam_api::display::{Cursor, MAX_PICTURE_SIDE, Size};
use x11rb::protocol::xfixes::{ConnectionExt as _, CursorNotifyMask};

use crate::codec;
use crate::x11::X;

/// Asks to be told when the cursor changes.
pub(crate) fn watch(x: &X) -> Result<()> {
    x.conn.xfixes_select_cursor_input(x.root, CursorNotifyMask::DISPLAY_CURSOR)?;
    Ok(())
}

/// The cursor now; none if it is invisible.
pub(crate) fn read(x: &X) -> Result<Option<Cursor>> {
    let Ok(image) = x.conn.xfixes_get_cursor_image()?.reply() else { return Ok(None) };
    let size = Size::new(image.width, image.height);
    let sane = (1..=MAX_PICTURE_SIDE).contains(&size.width)
        && (1..=MAX_PICTURE_SIDE).contains(&size.height)
        && image.cursor_image.len() == size.pixels();
    if !sane || image.cursor_image.iter().all(|pixel| pixel >> 24 == 0) {
        return Ok(None);
    }
    Ok(Some(Cursor {
        picture: codec::picture(size, &image.cursor_image, true)?,
        hot_x: image.xhot.min(size.width - 1),
        hot_y: image.yhot.min(size.height - 1),
    }))
}
