//! Notifications: scripts are handed to their thread, lines are written into FIFOs.

use std::fs::File;
use std::io::{self, Write as _};
use std::os::unix::fs::{FileTypeExt as _, OpenOptionsExt as _};

use nix::sys::stat::Mode;
use nix::unistd::{chown, mkfifo};
use tokio::sync::oneshot;

use super::script::{Outcome, Scripts, account};
use crate::engine::{Notification, Side};
use crate::model::{Fifo, Fifos, Model, Script};

/// Where notifications go.
#[derive(Debug)]
pub struct Notifier {
    scripts: Scripts,
    all: Option<Open>,
    vrrp: Option<Open>,
    lvs: Option<Open>,
}

/// A FIFO that is written to; dropping it removes it if it was made here, and ends its reader.
#[derive(Debug)]
struct Open {
    config: Fifo,
    file: File,
    made: bool,
    /// Lines that found no room since this was said.
    lost: u64,
    reader: Option<Outcome>,
}

impl Notifier {
    /// One without FIFOs.
    #[must_use]
    pub fn new(scripts: Scripts) -> Self {
        Notifier {
            scripts,
            all: None,
            vrrp: None,
            lvs: None,
        }
    }

    /// Takes over a configuration; a FIFO that did not change stays open.
    pub fn configure(&mut self, model: &Model) {
        self.scripts.configure(model);
        let Fifos { all, vrrp, lvs } = &model.global.fifos;
        for (open, wanted) in [
            (&mut self.all, all),
            (&mut self.vrrp, vrrp),
            (&mut self.lvs, lvs),
        ] {
            if open.as_ref().map(|o| &o.config) == wanted.as_ref() {
                continue;
            }
            // The old one goes first: the new one may have its name.
            *open = None;
            if let Some(fifo) = wanted {
                match Open::new(fifo) {
                    Ok(opened) => *open = Some(opened),
                    Err(why) => tracing::error!("notify FIFO {}: {why}", fifo.path),
                }
            }
        }
        self.look_after_readers();
    }

    /// Starts the scripts that read FIFOs where they do not run.
    pub fn look_after_readers(&mut self) {
        let open = [&mut self.all, &mut self.vrrp, &mut self.lvs];
        for open in open.into_iter().flatten() {
            open.look_after_reader(&self.scripts);
        }
    }

    /// Closes the FIFOs: their readers find the end when they have read everything. Gives what keeps
    /// those readers running.
    #[must_use]
    pub fn close(&mut self) -> Vec<Outcome> {
        let open = [self.all.take(), self.vrrp.take(), self.lvs.take()];
        let readers = open.into_iter().flatten().map(|mut o| o.reader.take());
        readers.flatten().collect()
    }

    /// Runs the scripts of a notification and writes its line.
    pub fn tell(&mut self, notification: Notification) {
        let Notification {
            scripts,
            line,
            side,
            // Sent by its own action.
            mail: _,
        } = notification;
        for script in scripts {
            let name = script.to_string();
            if !self.scripts.notify(script) {
                tracing::error!("script {name} is not run: too many wait");
            }
        }
        let special = match side {
            Side::Vrrp => &mut self.vrrp,
            Side::Lvs => &mut self.lvs,
        };
        for open in [&mut self.all, special].into_iter().flatten() {
            open.write(&line);
        }
    }
}

impl Open {
    fn new(config: &Fifo) -> Result<Open, String> {
        let words = |e: &io::Error| super::files::reason(e);
        let path = config.path.as_str();
        let made = match mkfifo(path, Mode::S_IRUSR | Mode::S_IWUSR) {
            Ok(()) => true,
            Err(nix::errno::Errno::EEXIST) => false,
            Err(e) => return Err(e.desc().to_lowercase()),
        };
        if made {
            let account = account(config.user.as_ref())?;
            chown(path, Some(account.uid), Some(account.gid))
                .map_err(|e| e.desc().to_lowercase())?;
        }
        // Also for reading: a line waits for its reader, and none that goes ends this process.
        let file = File::options()
            .read(true)
            .write(true)
            .custom_flags(libc::O_NONBLOCK | libc::O_CLOEXEC)
            .open(path)
            .map_err(|e| words(&e))?;
        let kind = file.metadata().map_err(|e| words(&e))?.file_type();
        if !kind.is_fifo() {
            return Err("it is there and no FIFO".to_owned());
        }
        Ok(Open {
            config: config.clone(),
            file,
            made,
            lost: 0,
            reader: None,
        })
    }

    fn look_after_reader(&mut self, scripts: &Scripts) {
        let Some(script) = &self.config.script else {
            return;
        };
        if let Some(reader) = &mut self.reader {
            match reader.try_recv() {
                Err(oneshot::error::TryRecvError::Empty) => return,
                Ok((ended, _)) => tracing::warn!("script {script}: {ended}; it is started again"),
                Err(oneshot::error::TryRecvError::Closed) => {}
            }
        }
        let mut command = script.command.clone();
        command.push(self.config.path.clone());
        let script = Script {
            command,
            user: script.user.clone(),
        };
        self.reader = Some(scripts.keep(script));
    }

    fn write(&mut self, line: &str) {
        let path = &self.config.path;
        // A line is written whole or not at all: it is shorter than PIPE_BUF.
        match (&self.file).write_all(format!("{line}\n").as_bytes()) {
            Ok(()) => {
                if self.lost > 0 {
                    tracing::warn!("notify FIFO {path}: {} line(s) found no room", self.lost);
                    self.lost = 0;
                }
            }
            Err(e) => {
                if self.lost == 0 {
                    let why = super::files::reason(&e);
                    tracing::warn!("notify FIFO {path}: nobody reads it: {why}");
                }
                self.lost += 1;
            }
        }
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        if self.made {
            // It may have been removed by others.
            let _ = std::fs::remove_file(&self.config.path);
        }
    }
}
