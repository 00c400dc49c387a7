//! The Roam app: one window and a tray icon, and nothing that can be lost.
//!
//! The agent owns every state. The app shows the snapshots that the agent sends
//! ([`roam_api::agent::Request::Watch`]) and turns what the person does into requests; closing,
//! killing or upgrading it changes nothing of a session. The way of every frame:
//!
//! ```text
//! agent socket --Event--> Model --view--> screens --Command--> Model --Effect--> agent socket
//! ```
//! [`model`] is pure: no socket, no clock, no egui. [`screens`] draw it and only ever push a
//! [`command::Command`]. [`agent_client`] has the threads. Every word on the screen is in
//! [`text`], every colour and size in [`theme`].
//!
//! The tray icon is a process of its own (`roam-app --tray`), because a hidden window can't be
//! brought back on every desktop while a new one can always be opened.

pub mod agent_client;
pub mod app;
pub mod command;
pub mod instance;
pub mod launch;
pub mod model;
#[cfg(target_os = "linux")]
pub mod notify;
pub mod paths;
pub mod screens;
pub mod settings;
pub mod text;
pub mod theme;
#[cfg(target_os = "linux")]
pub mod tray;
pub mod user_time;
pub mod widgets;
