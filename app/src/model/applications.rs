//! The desktop's applications: `.desktop` files by the freedesktop.org Desktop Entry
//! Specification, as far as starting a program needs it. Parsing is pure; [`crate::launch`] finds
//! and reads the files.
//!
//! Refused (not listed): hidden entries, links and folders, entries whose `TryExec` is missing,
//! entries for other desktops, and lines that can't be split into words.

use super::words;

/// One application that can be started.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Application {
    /// The file's name without `.desktop`.
    pub id: String,
    /// What people call it, in their language where the file has it.
    pub name: String,
    /// What it is for.
    pub comment: String,
    /// Program and arguments, without placeholders.
    pub argv: Vec<String>,
    /// A name in the icon theme, or an absolute path.
    pub icon: String,
    /// It wants a terminal.
    pub terminal: bool,
    /// `TryExec`: list it only if this program is there.
    pub needs: Option<String>,
    /// More words to find it by.
    pub keywords: String,
}

/// What a file has to be read against.
#[derive(Debug, Clone, Default)]
pub struct Reader {
    /// `de_AT`, `de`: the suffixes of translated keys, best first.
    pub languages: Vec<String>,
    /// The desktops of `XDG_CURRENT_DESKTOP`.
    pub desktops: Vec<String>,
}

impl Reader {
    /// Reads one file; none if it is not to be listed.
    #[must_use]
    pub fn parse(&self, id: &str, text: &str) -> Option<Application> {
        let entry: Vec<(&str, &str)> = text
            .lines()
            .map(str::trim)
            .skip_while(|line| *line != "[Desktop Entry]")
            .skip(1)
            .take_while(|line| !line.starts_with('['))
            .filter(|line| !line.starts_with('#'))
            .filter_map(|line| line.split_once('='))
            .map(|(key, value)| (key.trim_end(), value.trim_start()))
            .collect();
        let raw = |key: &str| entry.iter().find(|(k, _)| *k == key).map(|(_, value)| *value);
        let yes = |key: &str| raw(key) == Some("true");
        let list = |key: &str| raw(key).map(|v| v.split(';').filter(|s| !s.is_empty()).collect::<Vec<_>>());
        let spoken = |key: &str| {
            self.languages
                .iter()
                .find_map(|lang| raw(&format!("{key}[{lang}]")))
                .or_else(|| raw(key))
                .map(unescape)
        };

        if raw("Type") != Some("Application") || yes("Hidden") || yes("NoDisplay") {
            return None;
        }
        let mine = |desktops: &[&str]| self.desktops.iter().any(|d| desktops.contains(&d.as_str()));
        if list("OnlyShowIn").is_some_and(|only| !mine(&only))
            || list("NotShowIn").is_some_and(|not| mine(&not))
        {
            return None;
        }
        let name = spoken("Name").filter(|name| !name.is_empty())?;
        let argv = plain_argv(&words::split(&unescape(raw("Exec")?)).ok()?, &name);
        if argv.is_empty() {
            return None;
        }
        Some(Application {
            id: id.to_owned(),
            comment: spoken("Comment").or_else(|| spoken("GenericName")).unwrap_or_default(),
            argv,
            icon: raw("Icon").unwrap_or_default().to_owned(),
            terminal: yes("Terminal"),
            needs: raw("TryExec").map(str::to_owned),
            keywords: [spoken("Keywords"), spoken("GenericName")]
                .into_iter()
                .flatten()
                .collect::<Vec<_>>()
                .join(" "),
            name,
        })
    }
}

/// The specification's escapes of string values.
fn unescape(value: &str) -> String {
    let mut text = String::with_capacity(value.len());
    let mut chars = value.chars();
    while let Some(c) = chars.next() {
        match (c, c == '\\') {
            (_, false) => text.push(c),
            _ => match chars.next() {
                Some('s') => text.push(' '),
                Some('n') => text.push('\n'),
                Some('t') => text.push('\t'),
                Some('r') => text.push('\r'),
                Some('\\') | None => text.push('\\'),
                Some(other) => text.extend(['\\', other]),
            },
        }
    }
    text
}

/// Takes the placeholders for files, icon and the like out: an app is started with nothing to open.
fn plain_argv(words: &[String], name: &str) -> Vec<String> {
    words
        .iter()
        .filter(|word| !(word.len() == 2 && word.starts_with('%') && !["%%", "%c"].contains(&word.as_str())))
        .map(|word| {
            let mut plain = String::with_capacity(word.len());
            let mut chars = word.chars();
            while let Some(c) = chars.next() {
                match c {
                    '%' => match chars.next() {
                        Some('%') => plain.push('%'),
                        Some('c') => plain.push_str(name),
                        _ => {}
                    },
                    other => plain.push(other),
                }
            }
            plain
        })
        .collect()
}

/// The applications that a query finds, best first; all of them, by name, for an empty query.
#[must_use]
pub fn find<'a>(applications: &'a [Application], query: &str) -> Vec<&'a Application> {
    let query = query.trim().to_lowercase();
    let mut found: Vec<(u8, String, &Application)> = applications
        .iter()
        .filter_map(|app| {
            let name = app.name.to_lowercase();
            let rank = if query.is_empty() || name.starts_with(&query) {
                0
            } else if name.split_whitespace().any(|word| word.starts_with(&query)) {
                1
            } else if program(&app.argv).starts_with(&query) {
                2
            } else if name.contains(&query) {
                3
            } else if [&app.keywords, &app.comment].iter().any(|t| t.to_lowercase().contains(&query)) {
                4
            } else {
                return None;
            };
            Some((rank, name, app))
        })
        .collect();
    found.sort_by(|a, b| (a.0, &a.1, &a.2.id).cmp(&(b.0, &b.1, &b.2.id)));
    found.into_iter().map(|(_, _, app)| app).collect()
}

/// The application that a session's program line belongs to, for its name and icon.
#[must_use]
pub fn of_command<'a>(applications: &'a [Application], command: &str) -> Option<&'a Application> {
    let argv = words::split(command).ok()?;
    let name = program(&argv);
    if name.is_empty() {
        return None;
    }
    // A program may have several entries (its settings, say): the plainest one is the program.
    applications
        .iter()
        .filter(|app| program(&app.argv) == name)
        .min_by_key(|app| (app.argv.len(), app.id.len(), &app.id))
}

/// The program's name without its folder.
#[must_use]
pub fn program(argv: &[String]) -> &str {
    argv.first().map_or("", |first| first.rsplit('/').next().unwrap_or(first))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const EDITOR: &str = "[Desktop Entry]\nType=Application\nName=Text Editor\nName[de]=Texteditor\n\
        Comment=Write\nKeywords=notes;\nExec=gedit --name=%c %U\nIcon=gedit\n[Desktop Action new]\nName=New\nExec=other\n";

    fn reader(language: &str) -> Reader {
        Reader { languages: vec![language.to_owned()], desktops: vec!["XFCE".to_owned()] }
    }

    #[test]
    fn an_entry_is_read_in_the_persons_language() {
        let app = reader("de").parse("gedit", EDITOR).unwrap();
        assert_eq!(app.name, "Texteditor");
        assert_eq!(app.argv, ["gedit", "--name=Texteditor"]);
        assert_eq!(reader("fr").parse("gedit", EDITOR).unwrap().name, "Text Editor");
    }

    #[test]
    fn what_is_not_to_be_listed_is_not() {
        for line in ["NoDisplay=true", "Hidden=true", "OnlyShowIn=GNOME;", "NotShowIn=KDE;XFCE;", "Type=Link"]
        {
            let text = EDITOR.replacen("[Desktop Entry]\n", &format!("[Desktop Entry]\n{line}\n"), 1);
            assert_eq!(reader("C").parse("gedit", &text), None, "{line}");
        }
        assert_eq!(reader("C").parse("x", "[Desktop Entry]\nType=Application\nName=X\n"), None);
        assert_eq!(reader("C").parse("x", "[Desktop Entry]\nType=Application\nName=X\nExec=a \"b\n"), None);
    }

    #[test]
    fn placeholders_vanish_and_percent_stays() {
        let argv = |exec: &str| {
            let text = format!("[Desktop Entry]\nType=Application\nName=N\nExec={exec}\n");
            reader("C").parse("n", &text).unwrap().argv
        };
        assert_eq!(argv("a %f %i 100%% --at=%k"), ["a", "100%", "--at="]);
        assert_eq!(argv(r#"sh -c "echo \\$HOME""#), ["sh", "-c", "echo $HOME"]);
    }

    #[test]
    fn names_come_before_keywords() {
        let app = |id: &str, name: &str, keywords: &str| Application {
            id: id.to_owned(),
            name: name.to_owned(),
            comment: String::new(),
            argv: vec![format!("/usr/bin/{id}")],
            icon: String::new(),
            terminal: false,
            needs: None,
            keywords: keywords.to_owned(),
        };
        let all = [
            app("zed", "Notes", "editor"),
            app("mousepad", "Mousepad", "text editor"),
            app("ed", "Editor", ""),
        ];
        let ids = |query: &str| find(&all, query).iter().map(|a| a.id.clone()).collect::<Vec<_>>();
        assert_eq!(ids("ed"), ["ed", "mousepad", "zed"]);
        assert_eq!(ids("EDIT"), ["ed", "mousepad", "zed"]);
        assert_eq!(ids("qqq"), Vec::<String>::new());
        assert_eq!(of_command(&all, "mousepad --foo 'a b'").unwrap().id, "mousepad");
        assert_eq!(of_command(&all, ""), None);
    }

    proptest! {
        #[test]
        fn any_file_is_read_or_refused(text in "(\\[Desktop Entry\\]\nType=Application\nName=.{0,5}\nExec=.{0,30}\n)?.{0,80}") {
            let _ = reader("de").parse("x", &text);
        }
    }
}
