//! The story's face: one screen that is drawn again and again on a terminal, lines otherwise.

use std::fmt::Write as _;
use std::io::{IsTerminal as _, Write as _, stdout};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::clock::Instant;

/// What is on the screen.
#[derive(Clone, Debug, Default)]
pub struct View {
    /// The first line.
    pub title: String,
    /// Each director: name, program, state.
    pub directors: Vec<(String, String, Light)>,
    /// Each real server: name, requests answered, whether it serves.
    pub reals: Vec<(String, u64, bool)>,
    /// Requests answered and failed so far.
    pub requests: (u64, u64),
    /// What is being waited for.
    pub now: String,
    /// What was seen: the moment since the start, and the words.
    pub seen: Vec<(Duration, String)>,
}

/// A director's state.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Light {
    /// It answers for the virtual address.
    Master,
    /// It is there and silent.
    Backup,
    /// It is cut off.
    Off,
}

/// The screen and the thread that draws it.
#[derive(Debug)]
pub struct Screen {
    view: Arc<Mutex<View>>,
    start: Instant,
    stop: Arc<AtomicBool>,
    drawer: Option<std::thread::JoinHandle<()>>,
}

const CLEAR: &str = "\x1b[2J";
const HOME: &str = "\x1b[H";
const HIDE_CURSOR: &str = "\x1b[?25l";
const SHOW_CURSOR: &str = "\x1b[?25h";
const END_OF_LINE: &str = "\x1b[K\r\n";
const END_OF_SCREEN: &str = "\x1b[J";

impl Screen {
    /// Starts drawing, if there is a terminal.
    #[must_use]
    pub fn new(title: &str) -> Self {
        let view = Arc::new(Mutex::new(View {
            title: title.to_owned(),
            ..View::default()
        }));
        let (stop, start) = (Arc::new(AtomicBool::new(false)), Instant::now());
        let drawer = stdout().is_terminal().then(|| {
            let (view, stop) = (Arc::clone(&view), Arc::clone(&stop));
            std::thread::spawn(move || {
                print!("{HIDE_CURSOR}{CLEAR}");
                loop {
                    let last = stop.load(Ordering::Relaxed);
                    let text = paint(&lock(&view), Instant::now().since(start));
                    print!("{HOME}{}{END_OF_SCREEN}", text.replace('\n', END_OF_LINE));
                    let _ = stdout().flush();
                    if last {
                        print!("{SHOW_CURSOR}");
                        let _ = stdout().flush();
                        return;
                    }
                    std::thread::sleep(Duration::from_millis(100));
                }
            })
        });
        if drawer.is_none() {
            println!("{title}");
        }
        Screen {
            view,
            start,
            stop,
            drawer,
        }
    }

    /// Changes what is shown.
    pub fn change(&self, change: impl FnOnce(&mut View)) {
        change(&mut lock(&self.view));
    }

    /// Says what is waited for.
    pub fn now(&self, what: impl Into<String>) {
        let what = what.into();
        if self.drawer.is_none() {
            println!("          ... {what}");
        }
        self.change(|v| v.now = what);
    }

    /// Says what was seen.
    pub fn seen(&self, what: impl Into<String>) {
        let (at, what) = (Instant::now().since(self.start), what.into());
        if self.drawer.is_none() {
            println!("{:>7.1} s {what}", at.as_secs_f64());
        }
        self.change(|v| {
            v.now.clear();
            v.seen.push((at, what));
        });
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(drawer) = self.drawer.take() {
            let _ = drawer.join();
        }
    }
}

fn lock(view: &Mutex<View>) -> std::sync::MutexGuard<'_, View> {
    view.lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner)
}

fn paint(view: &View, time: Duration) -> String {
    const BAR: u64 = 30;
    let mut t = String::new();
    let _ = writeln!(
        t,
        "\x1b[1m{}\x1b[0m   {:.1} s\n",
        view.title,
        time.as_secs_f64()
    );
    for (name, program, light) in &view.directors {
        let (colour, word) = match light {
            Light::Master => (32, "MASTER"),
            Light::Backup => (36, "backup"),
            Light::Off => (31, "off"),
        };
        let _ = writeln!(t, "  {name:<5} \x1b[{colour}m{word:<7}\x1b[0m {program}");
    }
    let _ = writeln!(t);
    let most = view
        .reals
        .iter()
        .map(|r| r.1)
        .max()
        .unwrap_or_default()
        .max(1);
    for (name, count, serves) in &view.reals {
        let bar = "█".repeat(usize::try_from(count * BAR / most).unwrap_or_default());
        let state = if *serves {
            ""
        } else {
            "\x1b[31mstopped\x1b[0m"
        };
        let _ = writeln!(t, "  {name:<5} {bar:<30} {count:>7} {state}");
    }
    if !view.reals.is_empty() {
        let _ = writeln!(
            t,
            "\n  requests: {} answered, {} failed\n",
            view.requests.0, view.requests.1
        );
    }
    for (at, what) in &view.seen {
        let _ = writeln!(t, "  {:>6.1} s  {what}", at.as_secs_f64());
    }
    if !view.now.is_empty() {
        let _ = writeln!(t, "  \x1b[33m     ...  {}\x1b[0m", view.now);
    }
    t
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_screen_shows_who_is_master_and_who_answered() {
        let view = View {
            title: "lab".into(),
            directors: vec![
                ("ds1".into(), "lbd".into(), Light::Master),
                ("ds2".into(), "lbd".into(), Light::Off),
            ],
            reals: vec![("rs1".into(), 10, true), ("rs2".into(), 5, false)],
            requests: (15, 1),
            now: "something".into(),
            seen: vec![(Duration::from_secs(1), "ds1 is master".into())],
        };
        let text = paint(&view, Duration::from_millis(1500));
        for part in [
            "MASTER",
            "off",
            "stopped",
            "15 answered, 1 failed",
            "1.0 s  ds1 is master",
            "...  something",
        ] {
            assert!(text.contains(part), "{part}: {text}");
        }
        let bars: Vec<_> = text
            .lines()
            .map(|l| l.matches('█').count())
            .filter(|n| *n > 0)
            .collect();
        assert_eq!(bars, [30, 15]);
    }
}
