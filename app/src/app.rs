//! The window: takes events in, acts on what was clicked, draws.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::Receiver;
use std::time::{SystemTime, UNIX_EPOCH};

use eframe::egui;

use crate::agent_client::{AgentClient, Events};
use crate::command::Queue;
use crate::model::{Effect, Event, Model};
use crate::screens::{self, Drafts};
use crate::user_time::{UserTime, is_use};
use crate::{launch, settings, theme};

/// Carries out what the model wants done.
pub trait Hands {
    /// Carries one effect out; its end comes back as an event.
    fn carry_out(&self, effect: Effect);
}

/// The real hands: the agent's socket and this desktop.
pub struct Desktop {
    /// The agent.
    pub client: std::sync::Arc<AgentClient>,
    /// Where ends go.
    pub events: Events,
}

impl Hands for Desktop {
    fn carry_out(&self, effect: Effect) {
        match effect {
            Effect::Request { task, request } => self.client.request(task, request),
            Effect::Start { task, argv } => {
                let request = roam_api::agent::Request::Run(launch::spec(&argv));
                self.client.request(task, request);
            }
            Effect::ReadApplications => {
                let events = self.events.clone();
                std::thread::spawn(move || events.send(Event::Applications(launch::read_applications())));
            }
            Effect::SetTheme(choice) => settings::save_theme(choice),
        }
    }
}

/// The app.
pub struct RoamApp<H> {
    /// Its state.
    pub model: Model,
    drafts: Drafts,
    queue: Queue,
    events: Receiver<Event>,
    hands: H,
    closing: Arc<AtomicBool>,
    user_time: Option<UserTime>,
}

impl<H: Hands> RoamApp<H> {
    /// An app that knows nothing yet; `closing` becomes true with the window's last frame.
    pub fn new(events: Receiver<Event>, hands: H, closing: Arc<AtomicBool>) -> Self {
        let model = Model::new(settings::load_theme());
        hands.carry_out(Effect::ReadApplications);
        Self {
            model,
            drafts: Drafts::default(),
            queue: Queue::default(),
            events,
            hands,
            closing,
            user_time: None,
        }
    }

    /// Has the desktop told when the window is used.
    #[must_use]
    pub fn on_a_desktop(mut self) -> Self {
        self.user_time = UserTime::new();
        self
    }

    /// Takes in what happened and acts on what was clicked, before anything is drawn.
    pub fn update(&mut self, ctx: &egui::Context) {
        while let Ok(event) = self.events.try_recv() {
            let effects = self.model.event(event);
            effects.into_iter().for_each(|effect| self.carry_out(ctx, effect));
        }
        for command in self.queue.take() {
            let effects = self.model.command(command);
            effects.into_iter().for_each(|effect| self.carry_out(ctx, effect));
        }
    }

    /// Draws everything.
    pub fn draw(&mut self, ui: &mut egui::Ui) {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        screens::show(ui, &self.model, &mut self.drafts, &mut self.queue, now);
        // What was clicked shows in the next frame.
        if !self.queue.is_empty() {
            ui.ctx().request_repaint();
        }
    }

    fn carry_out(&self, ctx: &egui::Context, effect: Effect) {
        if let Effect::SetTheme(choice) = &effect {
            theme::choose(ctx, *choice);
        }
        self.hands.carry_out(effect);
    }
}

impl<H: Hands> eframe::App for RoamApp<H> {
    fn logic(&mut self, ctx: &egui::Context, frame: &mut eframe::Frame) {
        if let Some(user_time) = &self.user_time
            && ctx.input(|input| input.events.iter().any(is_use))
        {
            user_time.used(frame);
        }
        if ctx.input(|input| input.viewport().close_requested()) {
            self.closing.store(true, Ordering::Relaxed);
        }
        self.update(ctx);
    }

    fn ui(&mut self, ui: &mut egui::Ui, _frame: &mut eframe::Frame) {
        self.draw(ui);
        if ui.input_mut(|input| {
            input.consume_key(egui::Modifiers::COMMAND, egui::Key::Q)
                || input.consume_key(egui::Modifiers::COMMAND, egui::Key::W)
        }) {
            self.closing.store(true, Ordering::Relaxed);
            ui.ctx().send_viewport_cmd(egui::ViewportCommand::Close);
        }
    }
}
