//! The app's own few settings. They are a convenience: a missing or damaged file means defaults.

use std::path::PathBuf;

use crate::paths;

/// Light, dark, or as the desktop says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ThemeChoice {
    /// As the desktop says; light where it says nothing.
    #[default]
    System,
    /// Always light.
    Light,
    /// Always dark.
    Dark,
}

impl ThemeChoice {
    /// The choice after this one, for a button that goes round.
    #[must_use]
    pub const fn next(self) -> Self {
        match self {
            Self::System => Self::Light,
            Self::Light => Self::Dark,
            Self::Dark => Self::System,
        }
    }

    const fn word(self) -> &'static str {
        match self {
            Self::System => "system",
            Self::Light => "light",
            Self::Dark => "dark",
        }
    }

    fn parse(word: &str) -> Option<Self> {
        [Self::System, Self::Light, Self::Dark].into_iter().find(|choice| choice.word() == word)
    }
}

fn file() -> Option<PathBuf> {
    Some(paths::config()?.join("app.conf"))
}

/// The saved choice of theme.
#[must_use]
pub fn load_theme() -> ThemeChoice {
    file().and_then(|path| std::fs::read_to_string(path).ok()).map(|text| parse(&text)).unwrap_or_default()
}

/// Saves it; a folder that can't be written only means that the choice is forgotten.
pub fn save_theme(choice: ThemeChoice) {
    if let Some(path) = file() {
        let _ = path.parent().map(std::fs::create_dir_all);
        let _ = std::fs::write(path, format!("theme = {}\n", choice.word()));
    }
}

fn parse(text: &str) -> ThemeChoice {
    text.lines()
        .filter_map(|line| line.split_once('='))
        .find(|(key, _)| key.trim() == "theme")
        .and_then(|(_, value)| ThemeChoice::parse(value.trim()))
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_choice_comes_back_and_garbage_means_the_default() {
        for choice in [ThemeChoice::System, ThemeChoice::Light, ThemeChoice::Dark] {
            assert_eq!(parse(&format!("theme = {}\n", choice.word())), choice);
        }
        assert_eq!(parse("theme = \u{0}purple"), ThemeChoice::System);
        assert_eq!(parse(""), ThemeChoice::System);
    }
}
