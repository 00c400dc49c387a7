//! Every word that the app shows: the message catalogue. A message is a value of [`Text`]; a
//! language is one function with one arm for each, so that a translation that forgets a message
//! does not compile.

use roam_api::session::MoveStage;

use crate::model::words::Unfinished;
use crate::settings::ThemeChoice;

/// A message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs, reason = "each message is documented by its English words below")]
pub enum Text<'a> {
    // Names
    Roam,
    Apps,
    Machines,
    Nearby,
    ThisMachine,
    // The window
    StartApp,
    Back,
    Close,
    Cancel,
    Dismiss,
    More(&'a str),
    CheckMachine,
    PairByAddress,
    Theme(ThemeChoice),
    Connecting,
    AgentLost,
    // Machines
    Online,
    Offline,
    OnlineApps(usize),
    LastSeen(u64),
    Pair,
    PairWith(&'a str),
    NoMachines,
    NoMachinesHint,
    // First steps
    Welcome,
    WelcomeWords,
    StepInstall,
    StepInstallWords,
    StepFoundWords(&'a str),
    StepPair,
    StepPairWords,
    StepStart,
    StepStartWords,
    NothingRuns,
    NothingRunsWords(&'a str),
    // Cards
    RunsOn(&'a str),
    RunsHere,
    HereWhole,
    OnWhole(&'a str),
    Shown(&'a str),
    AlsoShown(&'a str),
    Here,
    On(&'a str),
    And,
    NotShown,
    NoWindows,
    SendTo(&'a str),
    SendMenu,
    SendTitle(&'a str, &'a str),
    BringHere,
    BringTitleHere(&'a str),
    ShowMenu,
    ShowTitle(&'a str),
    SendMenuTitle(&'a str),
    ShowOn(&'a str),
    HideOn(&'a str),
    ShowHere,
    HideHere,
    IsOffline(&'a str),
    NoTargets,
    Park,
    Wake,
    Stop,
    StopIt,
    Starting,
    StartingApp(&'a str),
    Stopping,
    Parking,
    Waking,
    Asleep,
    Ended,
    EndedWith(i32),
    Stage(MoveStage, &'a str),
    MovingTo(&'a str),
    ArrivingFrom(&'a str),
    BytesOf(&'a str, &'a str),
    SecondsLeft(u64),
    CancelMove(&'a str),
    MovedTo(&'a str, &'a str),
    MovedHere(&'a str),
    MoveCancelled(&'a str),
    BringBack,
    TryAgain,
    // Launcher
    LauncherTitle,
    LauncherHint,
    RunLine(&'a str),
    RunLineHint,
    Unfinished(Unfinished),
    // Pairing
    PairingWith(&'a str),
    AskingForCode(&'a str),
    TypeCode(&'a str),
    CodeField,
    CheckingCode,
    PairAction,
    NewCode,
    CodeHere(&'a str),
    CodeHereHint(&'a str),
    AddressTitle,
    AddressHint,
    AddressField,
    Next,
    // A machine's page
    MayHere(&'a str),
    Permission(&'a str),
    PermissionValue(&'a str),
    Unpair,
    UnpairYes,
    UnpairTitle(&'a str),
    UnpairWords(&'a str),
    // Stopping
    StopTitle(&'a str),
    StopWords,
    // Questions
    Accept,
    Decline,
    Question,
    // Checks
    ChecksTitle,
    Checking,
    Good,
    Limited,
    Bad,
    CantHold(&'a str),
    Details,
    // Failures
    Told(Told<'a>),
    // Tray
    OpenRoam,
    Quit,
    NoAppsRunning,
    TrayHint(usize),
    SendingTo(&'a str, &'a str),
    NotConnected,
    TrayCode(&'a str, &'a str),
    AsleepShort,
    // The command line
    Usage,
}

/// Sentences for failures that the app itself finds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Told<'a> {
    /// The agent's socket could not be reached.
    NoAgent(&'a str),
    /// What to do about it.
    NoAgentNext,
    /// The connection broke before the answer.
    AgentBroke(&'a str),
    /// What to do about it.
    AgentBrokeNext,
    /// No folder for sockets.
    NoRuntime(&'a str),
    /// What to do about it.
    NoRuntimeNext,
    /// Neither X nor Wayland.
    NoScreen,
    /// What to do about it.
    NoScreenNext,
    /// The window could not be opened.
    NoWindow(&'a str),
    /// What to do about it.
    NoWindowNext,
}

impl Text<'_> {
    /// The message's words.
    #[must_use]
    pub fn say(self) -> String {
        english(self)
    }
}

impl std::fmt::Display for Text<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.say())
    }
}

fn plural(count: usize, one: &str, many: &str) -> String {
    format!("{count} {}", if count == 1 { one } else { many })
}

fn ago(seconds: u64) -> String {
    let (count, unit) = match seconds {
        0..90 => return "just now".to_owned(),
        90..5_400 => (seconds.div_ceil(60), "minute"),
        5_400..129_600 => (seconds.div_ceil(3_600), "hour"),
        _ => (seconds / 86_400, "day"),
    };
    format!("{count} {unit}{} ago", if count == 1 { "" } else { "s" })
}

fn english(text: Text<'_>) -> String {
    match text {
        Text::Roam => "Roam".into(),
        Text::Apps => "Apps".into(),
        Text::Machines => "Machines".into(),
        Text::Nearby => "Nearby".into(),
        Text::ThisMachine => "This machine".into(),

        Text::StartApp => "Start an app".into(),
        Text::Back => "Back".into(),
        Text::Close => "Close".into(),
        Text::Cancel => "Cancel".into(),
        Text::Dismiss => "Dismiss".into(),
        Text::More(title) => format!("More for {title}"),
        Text::CheckMachine => "Check this machine".into(),
        Text::PairByAddress => "Pair by address…".into(),
        Text::Theme(ThemeChoice::System) => "Colours: as the desktop".into(),
        Text::Theme(ThemeChoice::Light) => "Colours: light".into(),
        Text::Theme(ThemeChoice::Dark) => "Colours: dark".into(),
        Text::Connecting => "Starting Roam's agent…".into(),
        Text::AgentLost => "What you see is how things were. Your apps go on.".into(),

        Text::Online => "Online".into(),
        Text::Offline => "Offline".into(),
        Text::OnlineApps(count) => plural(count, "app", "apps"),
        Text::LastSeen(seconds) => format!("Last seen {}", ago(seconds)),
        Text::Pair => "Pair".into(),
        Text::PairWith(machine) => format!("Pair with {machine}"),
        Text::NoMachines => "No other machines yet".into(),
        Text::NoMachinesHint => "Open Roam on another machine in this network and it appears here.".into(),

        Text::Welcome => "Move running apps between your machines".into(),
        Text::WelcomeWords => "Unsaved work, undo history and open connections go along.".into(),
        Text::StepInstall => "Open Roam on another machine".into(),
        Text::StepInstallWords => "It appears on the left when both are in the same network.".into(),
        Text::StepFoundWords(machine) => format!("{machine} is there, on the left."),
        Text::StepPair => "Pair the two".into(),
        Text::StepPairWords => "The other machine shows six digits to type here.".into(),
        Text::StepStart => "Start an app here".into(),
        Text::StepStartWords => "Then send it over whenever you like.".into(),
        Text::NothingRuns => "No apps yet".into(),
        Text::NothingRunsWords(machine) => {
            format!("Start an app here and send it to {machine} while it runs.")
        }

        Text::RunsOn(machine) => format!("Runs on {machine}"),
        Text::RunsHere => "Runs here".into(),
        Text::HereWhole => "On this machine".into(),
        Text::OnWhole(machine) => format!("On {machine}"),
        Text::Shown(places) => format!("Shown {places}"),
        Text::AlsoShown(places) => format!("Also shown {places}"),
        Text::Here => "here".into(),
        Text::On(machine) => format!("on {machine}"),
        Text::And => " and ".into(),
        Text::NotShown => "Not shown".into(),
        Text::NoWindows => "No windows".into(),
        Text::SendTo(machine) => format!("Send to {machine}"),
        Text::SendMenu => "Send to".into(),
        Text::SendTitle(title, machine) => format!("Send {title} to {machine}"),
        Text::BringHere => "Bring here".into(),
        Text::BringTitleHere(title) => format!("Bring {title} here"),
        Text::ShowMenu => "Show on".into(),
        Text::ShowTitle(title) => format!("Show {title} on"),
        Text::SendMenuTitle(title) => format!("Send {title} to"),
        Text::ShowOn(machine) => format!("Show on {machine}"),
        Text::HideOn(machine) => format!("Hide on {machine}"),
        Text::ShowHere => "Show here".into(),
        Text::HideHere => "Hide here".into(),
        Text::IsOffline(machine) => format!("{machine} (offline)"),
        Text::NoTargets => "Pair with another machine first".into(),
        Text::Park => "Put to sleep".into(),
        Text::Wake => "Wake".into(),
        Text::Stop => "Stop…".into(),
        Text::StopIt => "Stop it".into(),
        Text::Starting => "Starting…".into(),
        Text::StartingApp(label) => format!("Starting {label}…"),
        Text::Stopping => "Stopping…".into(),
        Text::Parking => "Going to sleep…".into(),
        Text::Waking => "Waking…".into(),
        Text::Asleep => "Asleep in a file".into(),
        Text::Ended => "Ended".into(),
        Text::EndedWith(status) => format!("Ended with status {status}"),
        Text::Stage(stage, machine) => match stage {
            MoveStage::Offer => format!("Asking {machine}…"),
            MoveStage::Reserve => format!("{machine} is making room…"),
            MoveStage::PreCopy => "Copying while it runs".into(),
            MoveStage::StopAndCopy => "Pausing for the last bytes…".into(),
            MoveStage::Prepared => format!("{machine} is ready…"),
            MoveStage::Commit => "Handing over…".into(),
            MoveStage::Activate => format!("Waking on {machine}…"),
        },
        Text::MovingTo(machine) => format!("Moving to {machine}"),
        Text::ArrivingFrom(machine) => format!("Arriving from {machine}"),
        Text::BytesOf(sent, total) => format!("{sent} of {total}"),
        Text::SecondsLeft(seconds) if seconds >= 60 => format!("about {} min left", seconds / 60),
        Text::SecondsLeft(seconds) => format!("about {seconds} s left"),
        Text::CancelMove(title) => format!("Cancel moving {title}"),
        Text::MovedTo(machine, paused) => format!("Moved to {machine}. It paused for {paused}."),
        Text::MovedHere(paused) => format!("Moved here. It paused for {paused}."),
        Text::MoveCancelled(machine) => format!("Cancelled. It stays on {machine}."),
        Text::BringBack => "Undo".into(),
        Text::TryAgain => "Try again".into(),

        Text::LauncherTitle => "Start an app".into(),
        Text::LauncherHint => "Find an app, or type a command".into(),
        Text::RunLine(line) => format!("Run “{line}”"),
        Text::RunLineHint => "Command".into(),
        Text::Unfinished(Unfinished::Quote) => "A quotation mark is missing its partner.".into(),
        Text::Unfinished(Unfinished::Backslash) => "The backslash at the end escapes nothing.".into(),

        Text::PairingWith(machine) => format!("Pair with {machine}"),
        Text::AskingForCode(machine) => format!("Asking {machine} to show a code…"),
        Text::TypeCode(machine) => format!("{machine} now shows six digits. Type them here."),
        Text::CodeField => "Pairing code".into(),
        Text::CheckingCode => "Checking the code…".into(),
        Text::PairAction => "Pair".into(),
        Text::NewCode => "Ask for a new code".into(),
        Text::CodeHere(machine) => format!("{machine} wants to pair with this machine"),
        Text::CodeHereHint(machine) => {
            format!("Type this code on {machine}. Not yours? Ignore it, and nothing happens.")
        }
        Text::AddressTitle => "Pair by address".into(),
        Text::AddressHint => "The name or address of a machine that runs Roam.".into(),
        Text::AddressField => "laptop.example:7626".into(),
        Text::Next => "Next".into(),

        Text::MayHere(machine) => format!("What {machine} may do here"),
        Text::Permission(name) => match name {
            "send" => "Send apps to this machine".into(),
            "list" => "See which apps run here".into(),
            "show" => "Show and use windows".into(),
            "memory" => "Memory of one app".into(),
            "cpu" => "Run apps here".into(),
            "network" => "Use this network".into(),
            "files" => "Files of its apps".into(),
            other => other.into(),
        },
        Text::PermissionValue(value) => match value {
            "ask" => "Ask me".into(),
            "always" => "Always".into(),
            "never" => "Never".into(),
            "yes" => "Yes".into(),
            "no" => "No".into(),
            "any" => "Any amount".into(),
            size => match size.strip_suffix('G') {
                Some(number) => format!("Up to {number} GB"),
                None => size.into(),
            },
        },
        Text::Unpair => "Unpair…".into(),
        Text::UnpairYes => "Unpair".into(),
        Text::UnpairTitle(machine) => format!("Unpair {machine}?"),
        Text::UnpairWords(machine) => {
            format!("{machine} can no longer send, show or list anything here. You can pair again at any time.")
        }

        Text::StopTitle(title) => format!("Stop {title}?"),
        Text::StopWords => "Unsaved work in it is lost.".into(),

        Text::Accept => "Accept".into(),
        Text::Decline => "Decline".into(),
        Text::Question => "A question for you".into(),

        Text::ChecksTitle => "Check of this machine".into(),
        Text::Checking => "Checking…".into(),
        Text::Good => "Good".into(),
        Text::Limited => "Limited".into(),
        Text::Bad => "Not working".into(),
        Text::CantHold(name) => format!("Apps can't be moved here yet: {name}"),
        Text::Details => "Details".into(),

        Text::Told(Told::NoAgent(why)) => format!("Roam's agent is not answering: {why}."),
        Text::Told(Told::NoAgentNext) => "Starting it again by itself…".into(),
        Text::Told(Told::AgentBroke(why)) => format!("Roam's agent went away before it answered: {why}."),
        Text::Told(Told::AgentBrokeNext) => "See whether it was done, then try again.".into(),
        Text::Told(Told::NoRuntime(why)) => format!("There is no safe folder for Roam's sockets: {why}."),
        Text::Told(Told::NoRuntimeNext) => "Remove that folder, or log in again.".into(),
        Text::Told(Told::NoScreen) => {
            "There is no screen here: neither DISPLAY nor WAYLAND_DISPLAY is set.".into()
        }
        Text::Told(Told::NoScreenNext) => "Start it from your desktop, or use the command “roam”.".into(),
        Text::Told(Told::NoWindow(why)) => format!("The window can't be opened: {why}."),
        Text::Told(Told::NoWindowNext) => "Use the command “roam” instead.".into(),

        Text::OpenRoam => "Open Roam".into(),
        Text::Quit => "Quit".into(),
        Text::NoAppsRunning => "No apps yet".into(),
        Text::TrayHint(0) => "No apps".into(),
        Text::TrayHint(count) => plural(count, "app", "apps"),
        Text::SendingTo(title, machine) => format!("{title} → {machine}"),
        Text::TrayCode(machine, code) => format!("Code for {machine}: {code}"),
        Text::AsleepShort => "asleep".into(),
        Text::NotConnected => "Starting Roam's agent…".into(),

        Text::Usage => "Usage: roam-app [--tray]\n\nWithout an option, opens Roam's window, or brings the open one to the \
             front.\n  --tray     only the tray icon\n  --version  what this is\n"
            .into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_ago_are_words() {
        for (seconds, words) in [
            (0, "just now"),
            (100, "2 minutes ago"),
            (3_600 * 2, "2 hours ago"),
            (86_400 * 3, "3 days ago"),
            (5_399, "90 minutes ago"),
        ] {
            assert_eq!(ago(seconds), words);
        }
    }

    #[test]
    fn one_is_not_many() {
        assert_eq!(Text::OnlineApps(1).say(), "1 app");
        assert_eq!(Text::OnlineApps(2).say(), "2 apps");
    }
}
