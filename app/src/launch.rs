//! From a click in the launcher to what the agent needs to start a session, and the desktop's list
//! of applications. Everything here reads files, so it runs on threads, never in a frame.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use roam_api::environment;
use roam_api::session::SessionSpec;

use crate::model::applications::{self, Application, Reader};

/// Pictures larger than this on a side are no icons.
const LARGEST_ICON: u32 = 512;

/// What `roam run` would ask for, with the app's environment and the person's home as the working
/// directory.
#[must_use]
pub fn spec(argv: &[String]) -> SessionSpec {
    let home = std::env::var_os("HOME").filter(|home| Path::new(home).is_dir()).unwrap_or_else(|| "/".into());
    SessionSpec {
        // The agent chooses one that is not taken.
        name: String::new(),
        argv: argv.iter().map(|word| word.clone().into_bytes()).collect(),
        env: environment::cleaned(std::env::vars_os(), Vec::new()),
        cwd: home.into_vec(),
        umask: umask(),
        screen: true,
        publish: Vec::new(),
    }
}

fn umask() -> u32 {
    // Reading it by umask(2) would change it for a moment, for all threads.
    std::fs::read_to_string("/proc/self/status")
        .ok()
        .and_then(|text| {
            let line = text.lines().find_map(|line| line.strip_prefix("Umask:"))?;
            u32::from_str_radix(line.trim(), 8).ok()
        })
        .unwrap_or(0o022)
}

/// Reads the desktop's applications: the person's own files first, then the system's; an id that
/// was seen hides later ones.
#[must_use]
pub fn read_applications() -> Vec<Application> {
    let reader = Reader { languages: languages(), desktops: list("XDG_CURRENT_DESKTOP") };
    let mut seen = BTreeSet::new();
    let mut found = Vec::new();
    for dir in data_dirs() {
        let root = dir.join("applications");
        for file in desktop_files(&root) {
            let Ok(relative) = file.strip_prefix(&root) else { continue };
            let id = relative.with_extension("").to_string_lossy().replace('/', "-");
            if !seen.insert(id.clone()) {
                continue;
            }
            let Ok(text) = std::fs::read_to_string(&file) else { continue };
            let application = reader.parse(&id, &text);
            found.extend(application.filter(|a| a.needs.as_deref().is_none_or(is_program)));
        }
    }
    // Roam does not move itself.
    found.retain(|a| !applications::program(&a.argv).starts_with("roam"));
    terminals(&mut found);
    found
}

/// Programs that want a terminal get one.
fn terminals(found: &mut [Application]) {
    const KNOWN: [&str; 4] = ["x-terminal-emulator", "xterm", "xfce4-terminal", "konsole"];
    if let Some(terminal) = KNOWN.into_iter().find(|name| is_program(name)) {
        for application in found.iter_mut().filter(|a| a.terminal) {
            application.argv.splice(0..0, [terminal.to_owned(), "-e".to_owned()]);
        }
    }
}

fn desktop_files(root: &Path) -> Vec<PathBuf> {
    let mut folders = vec![root.to_owned()];
    let mut files = Vec::new();
    // Some desktops use one level of folders; a link to a parent must not go round for ever.
    for _ in 0..64 {
        let Some(folder) = folders.pop() else { break };
        for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
            let path = entry.path();
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                folders.push(path);
            } else if path.extension() == Some(OsStr::new("desktop")) {
                files.push(path);
            }
        }
    }
    files.sort();
    files
}

fn list(name: &str) -> Vec<String> {
    std::env::var(name)
        .unwrap_or_default()
        .split(':')
        .filter(|part| !part.is_empty())
        .map(str::to_owned)
        .collect()
}

fn data_dirs() -> Vec<PathBuf> {
    let own = std::env::var_os("XDG_DATA_HOME").filter(|dir| !dir.is_empty()).map_or_else(
        || std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".local/share")),
        |dir| Some(PathBuf::from(dir)),
    );
    let mut system = list("XDG_DATA_DIRS");
    if system.is_empty() {
        system = vec!["/usr/local/share".to_owned(), "/usr/share".to_owned()];
    }
    own.into_iter().chain(system.into_iter().map(PathBuf::from)).collect()
}

/// `de_AT.UTF-8@euro` means `de_AT@euro`, `de_AT`, `de@euro`, `de`.
fn languages() -> Vec<String> {
    let locale = ["LC_ALL", "LC_MESSAGES", "LANG"]
        .iter()
        .find_map(|name| std::env::var(name).ok().filter(|value| !value.is_empty()))
        .unwrap_or_default();
    language_suffixes(&locale)
}

fn language_suffixes(locale: &str) -> Vec<String> {
    let (base, modifier) = locale.split_once('@').map_or((locale, None), |(b, m)| (b, Some(m)));
    let base = base.split('.').next().unwrap_or_default();
    let language = base.split('_').next().unwrap_or_default();
    let mut suffixes = Vec::new();
    for part in [base, language] {
        if part.is_empty() || part == "C" || part == "POSIX" {
            continue;
        }
        suffixes.extend(modifier.map(|m| format!("{part}@{m}")));
        suffixes.push(part.to_owned());
    }
    suffixes.dedup();
    suffixes
}

/// The program is there and may be executed.
#[must_use]
pub fn is_program(name: &str) -> bool {
    let executable =
        |path: &Path| path.metadata().is_ok_and(|m| m.is_file() && m.permissions().mode() & 0o111 != 0);
    if name.contains('/') {
        return executable(Path::new(name));
    }
    std::env::var_os("PATH")
        .is_some_and(|path| std::env::split_paths(&path).any(|dir| executable(&dir.join(name))))
}

/// The pixels of an application's icon, if the system has it as a PNG: side lengths and RGBA.
#[must_use]
pub fn read_icon(name: &str) -> Option<([usize; 2], Vec<u8>)> {
    let path = icon_file(name)?;
    let bytes = std::fs::read(path).ok().filter(|bytes| bytes.len() < 1 << 20)?;
    let mut reader = image::ImageReader::with_format(std::io::Cursor::new(bytes), image::ImageFormat::Png);
    let mut limits = image::Limits::default();
    limits.max_image_width = Some(LARGEST_ICON);
    limits.max_image_height = Some(LARGEST_ICON);
    reader.limits(limits);
    let picture = reader.decode().ok()?.into_rgba8();
    Some(([picture.width() as usize, picture.height() as usize], picture.into_raw()))
}

fn icon_file(name: &str) -> Option<PathBuf> {
    if name.starts_with('/') {
        return Some(PathBuf::from(name)).filter(|path| path.extension() == Some(OsStr::new("png")));
    }
    if name.is_empty() || name.as_bytes().contains(&b'/') {
        return None;
    }
    let file = format!("{}.png", name.trim_end_matches(".png"));
    let sizes = ["64x64", "72x72", "96x96", "128x128", "48x48", "256x256", "32x32"];
    data_dirs()
        .iter()
        .flat_map(|dir| {
            sizes
                .iter()
                .map(|size| dir.join("icons/hicolor").join(size).join("apps").join(&file))
                .chain([dir.join("pixmaps").join(&file)])
                .collect::<Vec<_>>()
        })
        .find(|path| path.is_file())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn languages_go_from_special_to_general() {
        assert_eq!(language_suffixes("de_AT.UTF-8@euro"), ["de_AT@euro", "de_AT", "de@euro", "de"]);
        assert_eq!(language_suffixes("de.UTF-8"), ["de"]);
        assert_eq!(language_suffixes("C.UTF-8"), Vec::<String>::new());
    }

    #[test]
    fn icons_have_no_way_out_of_their_folders() {
        assert_eq!(icon_file("../../etc/passwd"), None);
        assert_eq!(icon_file("/etc/passwd"), None);
        assert_eq!(icon_file(""), None);
    }
}
