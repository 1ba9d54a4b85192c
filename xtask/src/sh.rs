//! Running other programs, and telling the person in front of the screen what goes on.

use std::ffi::OsStr;
use std::io::{BufRead, BufReader, IsTerminal, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc::{RecvTimeoutError, sync_channel};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

/// How much of a failed program's output is shown.
const TAIL: usize = 60;

/// The repository's root.
pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .unwrap_or(Path::new("/"))
}

/// Where cargo puts what it builds.
pub(crate) fn target_dir() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), PathBuf::from)
}

/// Cargo's own directory, `~/.cargo`.
pub(crate) fn cargo_home() -> PathBuf {
    home_dir("CARGO_HOME", ".cargo")
}

/// Rustup's own directory, `~/.rustup`.
pub(crate) fn rustup_home() -> PathBuf {
    home_dir("RUSTUP_HOME", ".rustup")
}

fn home_dir(variable: &str, below_home: &str) -> PathBuf {
    std::env::var_os(variable).map_or_else(
        || PathBuf::from(std::env::var_os("HOME").unwrap_or_default()).join(below_home),
        PathBuf::from,
    )
}

/// A command in the repository's root, with cargo's programs on its path.
pub(crate) fn command(program: impl AsRef<OsStr>) -> Command {
    let mut cmd = Command::new(program);
    cmd.current_dir(root()).env("PATH", path());
    // What `cargo run` says about xtask itself is not for the programs that xtask starts: build
    // scripts would be run again for it.
    for (name, _) in std::env::vars_os() {
        let name_text = name.to_string_lossy();
        if name_text.starts_with("CARGO_PKG_") || name_text.starts_with("CARGO_MANIFEST_") {
            cmd.env_remove(&name);
        }
    }
    cmd
}

/// The cargo that runs this.
pub(crate) fn cargo() -> Command {
    command(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
}

/// The search path for what is started: ours, cargo's programs, and where Debian keeps the
/// programs of root (which are not on the path of a plain user, nor of `su` without a dash).
fn path() -> std::ffi::OsString {
    let mut dirs: Vec<PathBuf> = std::env::var_os("PATH")
        .map(|p| std::env::split_paths(&p).collect())
        .unwrap_or_default();
    for extra in [
        cargo_home().join("bin"),
        "/usr/local/sbin".into(),
        "/usr/sbin".into(),
        "/sbin".into(),
    ] {
        if !dirs.contains(&extra) {
            dirs.push(extra);
        }
    }
    std::env::join_paths(dirs).unwrap_or_default()
}

/// Where `program` lies on the search path.
pub(crate) fn which(program: &str) -> Option<PathBuf> {
    std::env::split_paths(&path())
        .map(|dir| dir.join(program))
        .find(|file| is_executable(file))
}

fn is_executable(file: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    file.metadata()
        .is_ok_and(|m| m.is_file() && m.permissions().mode() & 0o111 != 0)
}

/// Whether this process is root.
pub(crate) fn is_root() -> bool {
    // SAFETY: geteuid has no arguments and cannot fail.
    unsafe { libc::geteuid() == 0 }
}

/// The command as one would type it.
pub(crate) fn show(cmd: &Command) -> String {
    let program = Path::new(cmd.get_program())
        .file_name()
        .unwrap_or(cmd.get_program());
    std::iter::once(program)
        .chain(cmd.get_args())
        .map(OsStr::to_string_lossy)
        .collect::<Vec<_>>()
        .join(" ")
}

/// Seconds since `start`, for people.
pub(crate) fn took(start: Instant) -> String {
    format!("{:.1} s", start.elapsed().as_secs_f64())
}

/// Runs `cmd` with the terminal as its own, between two lines that say what it is and how long it
/// took.
pub(crate) fn step(label: &str, cmd: &mut Command) -> Result<()> {
    let start = Instant::now();
    last_step(label, cmd)?;
    eprintln!("    {label}: done in {}", took(start));
    Ok(())
}

/// As [`step`], but what `cmd` prints last stays the last.
pub(crate) fn last_step(label: &str, cmd: &mut Command) -> Result<()> {
    let start = Instant::now();
    eprintln!("==> {label}: {}", show(cmd));
    let status = cmd
        .status()
        .with_context(|| format!("cannot start {}", show(cmd)))?;
    if !status.success() {
        bail!(
            "{label} failed ({status}) after {}: {}",
            took(start),
            show(cmd)
        );
    }
    Ok(())
}

/// What a program that was run by [`output`] wrote to standard output; an error when it failed.
pub(crate) fn output(cmd: &mut Command) -> Result<String> {
    let out = cmd
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("cannot start {}", show(cmd)))?;
    if !out.status.success() {
        bail!(
            "{} failed ({}): {}",
            show(cmd),
            out.status,
            String::from_utf8_lossy(&out.stderr).trim()
        );
    }
    Ok(String::from_utf8_lossy(&out.stdout).into_owned())
}

/// Runs a talkative `cmd` and shows only its latest line now and then; the end of what it wrote is
/// part of the error when it fails.
pub(crate) fn quietly(label: &str, cmd: &mut Command) -> Result<()> {
    let start = Instant::now();
    let mut child = cmd
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("cannot start {}", show(cmd)))?;
    let (lines, received) = sync_channel(256);
    let stdout = child
        .stdout
        .take()
        .map(|s| Box::new(s) as Box<dyn Read + Send>);
    let stderr = child
        .stderr
        .take()
        .map(|s| Box::new(s) as Box<dyn Read + Send>);
    let readers: Vec<_> = [stdout, stderr]
        .into_iter()
        .flatten()
        .map(|stream| {
            let lines = lines.clone();
            std::thread::spawn(move || {
                for line in BufReader::new(stream).split(b'\n').map_while(Result::ok) {
                    if lines
                        .send(String::from_utf8_lossy(&line).trim_end().to_owned())
                        .is_err()
                    {
                        return;
                    }
                }
            })
        })
        .collect();
    drop(lines);

    let mut progress = Progress::new(label, start);
    let mut tail: Vec<String> = Vec::new();
    loop {
        match received.recv_timeout(Duration::from_millis(500)) {
            Ok(line) => {
                if tail.len() == TAIL {
                    tail.remove(0);
                }
                tail.push(line);
            }
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => break,
        }
        progress.tick(tail.last().map_or("", String::as_str));
    }
    for reader in readers {
        // A reader only ends; it has nothing to panic about.
        let _ = reader.join();
    }
    let status = child.wait()?;
    progress.clear();
    if !status.success() {
        bail!(
            "{} failed ({status}) after {}:\n{}",
            show(cmd),
            took(start),
            tail.join("\n")
        );
    }
    Ok(())
}

/// One line that is written over on a terminal; a line every ten seconds elsewhere.
struct Progress<'a> {
    label: &'a str,
    start: Instant,
    last: Instant,
    terminal: bool,
    shown: bool,
}

impl<'a> Progress<'a> {
    fn new(label: &'a str, start: Instant) -> Self {
        Progress {
            label,
            start,
            last: start,
            terminal: std::io::stderr().is_terminal(),
            shown: false,
        }
    }

    fn tick(&mut self, latest: &str) {
        let every = Duration::from_secs(if self.terminal { 1 } else { 10 });
        if self.last.elapsed() < every {
            return;
        }
        self.last = Instant::now();
        let text: String = format!(
            "    {} ... {:.0} s  {}",
            self.label,
            self.start.elapsed().as_secs_f64(),
            latest.trim()
        )
        .chars()
        .take(100)
        .collect();
        if self.terminal {
            eprint!("\r\x1b[K{text}");
            // A terminal that cannot be written to shows no progress; nothing else depends on it.
            let _ = std::io::stderr().flush();
        } else {
            eprintln!("{text}");
        }
        self.shown = true;
    }

    fn clear(&mut self) {
        if self.terminal && self.shown {
            eprint!("\r\x1b[K");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_quiet_program_shows_what_it_wrote() {
        let error = quietly(
            "x",
            command("sh").args(["-c", "echo to-stdout; echo to-stderr >&2; exit 3"]),
        )
        .unwrap_err();
        let text = format!("{error:#}");
        assert!(
            text.contains("to-stdout") && text.contains("to-stderr") && text.contains('3'),
            "{text}"
        );
    }

    #[test]
    fn a_quiet_program_that_writes_more_than_a_pipe_holds_ends() {
        quietly(
            "x",
            command("sh").args([
                "-c",
                "i=0; while [ $i -lt 20000 ]; do echo 0123456789; i=$((i+1)); done",
            ]),
        )
        .unwrap();
    }

    #[test]
    fn which_finds_what_is_there_only() {
        assert!(which("sh").is_some());
        assert!(which("no-such-program-here").is_none());
    }
}
