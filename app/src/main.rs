//! `roam-app`: Roam's window, or with `--tray` its tray icon.

use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use eframe::egui::{self, IconData, ViewportBuilder};
use roam_api::error::Failure;
use roam_app::agent_client::{AgentClient, Events, start_agent};
use roam_app::app::{Desktop, RoamApp};
use roam_app::instance::{self, Instance};
use roam_app::text::{Text, Told};
use roam_app::theme::{self, size};
use roam_app::{paths, settings};

/// The window's icon.
const ICON: &[u8] = include_bytes!("../../assets/icons/roam-128.png");

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let result = match arguments.as_slice() {
        [] => window(),
        #[cfg(target_os = "linux")]
        ["--tray"] => tray(),
        ["--version"] => {
            println!("roam-app {}", env!("CARGO_PKG_VERSION"));
            return ExitCode::SUCCESS;
        }
        ["--help" | "-h"] => {
            print!("{}", Text::Usage);
            return ExitCode::SUCCESS;
        }
        _ => {
            eprint!("{}", Text::Usage);
            return ExitCode::from(2);
        }
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("roam-app: {failure}");
            ExitCode::from(failure.outcome.exit_code())
        }
    }
}

/// Says why there is no folder for sockets.
fn no_runtime(error: &std::io::Error) -> Failure {
    Failure::refused(Text::Told(Told::NoRuntime(&error.to_string())).say())
        .next(Text::Told(Told::NoRuntimeNext).say())
}

/// Opens the window, or brings the open one to the front.
fn window() -> Result<(), Failure> {
    #[cfg(target_os = "linux")]
    if ["DISPLAY", "WAYLAND_DISPLAY", "WAYLAND_SOCKET"].iter().all(|name| std::env::var_os(name).is_none()) {
        return Err(
            Failure::refused(Text::Told(Told::NoScreen).say()).next(Text::Told(Told::NoScreenNext).say())
        );
    }
    let runtime = paths::make_runtime().map_err(|error| no_runtime(&error))?;
    let mut claimed = Instance::claim(&runtime, "app").map_err(|error| no_runtime(&error))?;
    if claimed.is_none() && !instance::knock(&runtime, "app") {
        claimed = Instance::succeed(&runtime, "app").map_err(|error| no_runtime(&error))?;
    }
    let Some(mut instance) = claimed else { return Ok(()) };
    start_tray(&runtime);

    let mut options = eframe::NativeOptions {
        viewport: ViewportBuilder::default()
            .with_app_id("roam")
            .with_title(Text::Roam.say())
            .with_inner_size(size::WINDOW)
            .with_min_inner_size(size::WINDOW_LEAST),
        renderer: eframe::Renderer::Glow,
        ..Default::default()
    };
    if let Ok(icon) = image::load_from_memory_with_format(ICON, image::ImageFormat::Png) {
        let icon = icon.into_rgba8();
        let (width, height) = icon.dimensions();
        options.viewport = options.viewport.with_icon(IconData { rgba: icon.into_raw(), width, height });
    }
    // Handed out of the window's life, for the sends that must not be cancelled by closing it.
    let kept = Arc::new(std::sync::Mutex::new(None));
    let keep = kept.clone();
    eframe::run_native(
        "roam",
        options,
        Box::new(move |creation| {
            let ctx = creation.egui_ctx.clone();
            theme::install(&ctx);
            theme::choose(&ctx, settings::load_theme());
            let raise = ctx.clone();
            let closing = Arc::new(std::sync::atomic::AtomicBool::new(false));
            let closed = closing.clone();
            instance.on_knock(move || {
                if closed.load(Ordering::Relaxed) {
                    return false;
                }
                raise.send_viewport_cmd(egui::ViewportCommand::Minimized(false));
                raise.send_viewport_cmd(egui::ViewportCommand::Focus);
                raise.request_repaint();
                true
            });
            let (events, receiver) = Events::new(Arc::new(move || ctx.request_repaint()));
            let client = Arc::new(AgentClient::new(paths::agent_socket(), events.clone(), start_agent));
            if let Ok(mut keep) = keep.lock() {
                *keep = Some((client.clone(), instance));
            }
            Ok(Box::new(RoamApp::new(receiver, Desktop { client, events }, closing).on_a_desktop()))
        }),
    )
    .map_err(|error| {
        let why = error.to_string();
        Failure::refused(Text::Told(Told::NoWindow(why.trim_end_matches('.'))).say())
            .next(Text::Told(Told::NoWindowNext).say())
    })?;
    let kept = kept.lock().ok().and_then(|mut kept| kept.take());
    if let Some((client, instance)) = kept {
        // The window is gone: a new one may open while the last sends end.
        drop(instance);
        client.wait_for_sends();
    }
    Ok(())
}

/// Makes sure that there is a tray icon, in a process of its own.
#[cfg(target_os = "linux")]
fn start_tray(runtime: &std::path::Path) {
    use std::os::unix::process::CommandExt;
    if instance::is_there(runtime, "tray") {
        return;
    }
    let Ok(exe) = std::env::current_exe() else { return };
    let child = std::process::Command::new(exe)
        .arg("--tray")
        .stdin(std::process::Stdio::null())
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::null())
        .process_group(0)
        .spawn();
    if let Ok(mut child) = child {
        std::thread::spawn(move || child.wait());
    }
}

#[cfg(not(target_os = "linux"))]
fn start_tray(_runtime: &std::path::Path) {}

#[cfg(target_os = "linux")]
fn tray() -> Result<(), Failure> {
    let runtime = paths::make_runtime().map_err(|error| no_runtime(&error))?;
    if let Some(mut instance) = Instance::claim(&runtime, "tray").map_err(|error| no_runtime(&error))? {
        instance.on_knock(|| true);
        roam_app::tray::run(&runtime);
    }
    Ok(())
}
