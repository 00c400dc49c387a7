//! The session's own display: X server, session bus and window manager, inside the pod.

use roam_api::error::Failure;

use crate::journal::Facts;
use crate::pod::handle::Pod;

/// Starts them and returns the facts with what programs need to find them.
///
/// # Errors
/// What could not be started.
pub async fn start(_pod: &Pod, _facts: Facts) -> Result<Facts, Failure> {
    Err(Failure::refused("Sessions with a screen can't be started yet by this version.")
        .next("Use --no-screen."))
}
