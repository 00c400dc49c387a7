//! The tray icon in a real panel: a send chosen from its menu, there and back.

use std::fs;

use anyhow::{Context, Result};
use roam_tests::lab::screen::SIZE;
use roam_tests::lab::state::HOME_OWNER;

use super::{Window, crop};
use crate::desktop::Key::Named;

/// A panel at the top with nothing but a tray at its right end.
const PANEL: &str = r#"<?xml version="1.0" encoding="UTF-8"?>
<channel name="xfce4-panel" version="1.0">
  <property name="configver" type="int" value="2"/>
  <property name="panels" type="array"><value type="int" value="1"/>
    <property name="panel-1" type="empty">
      <property name="position" type="string" value="p=6;x=0;y=0"/>
      <property name="length" type="uint" value="100"/>
      <property name="position-locked" type="bool" value="true"/>
      <property name="size" type="uint" value="30"/>
      <property name="plugin-ids" type="array"><value type="int" value="1"/><value type="int" value="2"/></property>
    </property>
  </property>
  <property name="plugins" type="empty">
    <property name="plugin-1" type="string" value="separator"><property name="expand" type="bool" value="true"/>
      <property name="style" type="uint" value="0"/></property>
    <property name="plugin-2" type="string" value="systray"><property name="square-icons" type="bool" value="true"/></property>
  </property>
</channel>
"#;

/// Opens the panel and sends by its menu.
pub fn tray(window: &Window) -> Result<()> {
    let mut folder = window.lab.folder().home();
    for part in [".config", "xfce4", "xfconf", "xfce-perchannel-xml"] {
        folder.push(part);
        fs::create_dir_all(&folder)?;
        std::os::unix::fs::chown(&folder, Some(HOME_OWNER), Some(HOME_OWNER))?;
    }
    fs::write(folder.join("xfce4-panel.xml"), PANEL)?;
    let null = std::process::Stdio::null;
    let mut panel = window.lab.on("desk", &["setsid", "--fork", "xfce4-panel", "--disable-wm-check"])?;
    panel.stdout(null()).stderr(null()).status().context("xfce4-panel is missing")?;
    let desk = window.desk();
    desk.wait_for_tray()?;
    // The window is closed: the tray does without it.
    window.close("desk")?;
    choose_first(window, Some("tray"))?;
    window.runs_on("mousepad", "laptop")?;
    choose_first(window, Some("tray-away"))?;
    window.runs_on("mousepad", "desk")?;
    // And it opens the window: the second of its lines, from below.
    open_menu(window)?;
    desk.press(&[Named("Up"), Named("Up"), Named("Return")])?;
    desk.see("desk, 1 app").map(drop)
}

fn open_menu(window: &Window) -> Result<()> {
    let desk = window.desk();
    desk.settle()?;
    desk.click_at(i32::from(SIZE.0) - 16, 15, "3")?;
    desk.settle()
}

/// Opens the menu, the first app's menu in it, and chooses its first line.
fn choose_first(window: &Window, picture: Option<&str>) -> Result<()> {
    let desk = window.desk();
    open_menu(window)?;
    desk.press(&[Named("Down"), Named("Right")])?;
    desk.settle()?;
    if let Some(name) = picture {
        let file = window.file(name);
        desk.photograph(&file)?;
        crop(&file, [u32::from(SIZE.0) - 520, 0, 520, 240])?;
    }
    desk.press(&[Named("Return")])
}
