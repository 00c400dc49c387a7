//! `roam show` and `roam hide`: where a session's windows are.

use roam_api::agent::Request;
use roam_api::error::Failure;

use super::simple::ask;
use crate::paths::Paths;

pub async fn show(
    paths: &Paths,
    session: String,
    on: Option<String>,
    view_only: bool,
) -> Result<(), Failure> {
    ask(paths, Request::Show { session, on, view_only }).await.map(|_| ())
}

pub async fn hide(paths: &Paths, session: String, on: Option<String>) -> Result<(), Failure> {
    ask(paths, Request::Hide { session, on }).await.map(|_| ())
}
