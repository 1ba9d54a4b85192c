//! One virtual machine that runs one command.

use std::fs;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::sync::mpsc::{RecvTimeoutError, sync_channel};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use super::archive::Archive;
use super::kernel::Kernel;
use crate::sh;

/// A file that the command may write, and that is brought out.
pub(super) const RESULT: &str = "/result";

/// Where programs lie in the guest; first on its search path.
const PROGRAMS: &str = "/usr/local/bin";

/// A machine that has not been started.
pub(super) struct Machine<'a> {
    kernel: &'a Kernel,
    root: Archive,
    order: Vec<String>,
}

/// What became of the command.
pub(super) struct Ended {
    status: Option<i32>,
    console: PathBuf,
    /// What it wrote to [`RESULT`].
    pub(super) result: String,
}

impl<'a> Machine<'a> {
    /// One with busybox and nothing else.
    pub(super) fn new(kernel: &'a Kernel) -> Result<Self> {
        let mut machine = Machine {
            kernel,
            root: Archive::new(),
            order: Vec::new(),
        };
        for dir in ["/proc", "/sys", "/dev", "/tmp", "/run", "/modules"] {
            machine.root.directory(dir);
        }
        let busybox = sh::which("busybox").context("busybox is not on the search path")?;
        machine.place("/bin/busybox", &busybox)?;
        Ok(machine)
    }

    /// Adds a program that is on this host's search path.
    pub(super) fn host_program(&mut self, name: &str) -> Result<()> {
        let file = sh::which(name).with_context(|| format!("{name} is not on the search path"))?;
        self.program(&file)
    }

    /// Adds a program by its file.
    pub(super) fn program(&mut self, file: &Path) -> Result<()> {
        let name = super::name_of(file)?;
        self.place(&format!("{PROGRAMS}/{name}"), file)
    }

    /// Adds modules and what they depend on; they are loaded before the command starts.
    pub(super) fn modules(&mut self, names: &[&str]) -> Result<()> {
        for file in self.kernel.load_order(names)? {
            let name = super::name_of(&file)?.to_owned();
            self.root
                .file(&format!("/modules/{name}"), &fs::read(&file)?);
            self.order.push(name);
        }
        Ok(())
    }

    /// Puts a program there with the shared libraries that it is linked with.
    fn place(&mut self, path: &str, file: &Path) -> Result<()> {
        let content = fs::read(file).with_context(|| format!("cannot read {}", file.display()))?;
        self.root.file(path, &content);
        // ldd fails for what is not linked dynamically.
        let Ok(listed) = sh::output(sh::command("ldd").arg(file)) else {
            return Ok(());
        };
        for library in libraries(&listed) {
            let content = fs::read(library).with_context(|| format!("cannot read {library}"))?;
            self.root.file(library, &content);
        }
        Ok(())
    }

    /// Starts the machine and waits until the command has ended; what it prints is printed.
    pub(super) fn run(mut self, command: &[&str], timeout: Duration) -> Result<Ended> {
        let order: String = self.order.iter().map(|name| format!("{name}\n")).collect();
        self.root.file("/modules/order", order.as_bytes());
        self.root.file("/command", quoted(command).as_bytes());
        self.root.file("/init", include_bytes!("init.sh"));

        // One directory a process: two guests at once do not meet.
        let dir = sh::target_dir().join(format!("guest/run-{}", std::process::id()));
        fs::create_dir_all(&dir)?;
        let initramfs = dir.join("initramfs");
        fs::write(&initramfs, self.root.finish())?;
        let serial = |name: &str| format!("file:{}", dir.join(name).display());
        // On a busy host the emulated timer comes too late for the kernel's check of it, and the kernel
        // would give up; and the self-tests of its ciphers have been seen to hang there for good.
        // What the kernel does not know is environment: an emulated machine is a hundred times slower.
        let append = "console=ttyS0 quiet panic=-1 mitigations=off no_timer_check cryptomgr.notests \
                      LB_FUZZ_FRAMES=20000";
        let start = Instant::now();
        let mut qemu = sh::command("qemu-system-x86_64");
        qemu.args(["-accel", "tcg,thread=multi", "-cpu", "max", "-smp", "2"])
            .args(["-m", "4G", "-display", "none", "-monitor", "none"])
            .args(["-nic", "none", "-no-reboot"])
            .arg("-kernel")
            .arg(&self.kernel.image)
            .arg("-initrd")
            .arg(&initramfs)
            .args(["-append", append])
            .args(["-serial", &serial("console"), "-serial", "stdio"])
            .args(["-serial", &serial("result"), "-serial", &serial("status")])
            .stdin(Stdio::null())
            .stdout(Stdio::piped());
        eprintln!("==> guest: {}", command.join(" "));
        let child = qemu.spawn().context("cannot start qemu-system-x86_64")?;
        let finished = relay(child, timeout);
        fs::remove_file(&initramfs)?;
        finished?;
        eprintln!("    guest: ended after {}", sh::took(start));
        let text = |name: &str| -> Result<String> {
            Ok(String::from_utf8_lossy(&fs::read(dir.join(name))?).into_owned())
        };
        Ok(Ended {
            status: text("status")?
                .trim()
                .strip_prefix("exit ")
                .and_then(|status| status.parse().ok()),
            result: text("result")?,
            console: dir.join("console"),
        })
    }
}

impl Ended {
    /// An error unless the command ended well. The console is kept for whoever wants to know more.
    pub(super) fn success(&self) -> Result<()> {
        match self.status {
            Some(0) => {
                if let Some(dir) = self.console.parent() {
                    fs::remove_dir_all(dir)?;
                }
                Ok(())
            }
            Some(status) => bail!(
                "the command in the guest ended with {status}; its console: {}",
                self.console.display()
            ),
            None => bail!(
                "the guest ended before the command did; its console: {}",
                self.console.display()
            ),
        }
    }
}

/// Prints what the machine prints until it is switched off.
fn relay(mut child: Child, timeout: Duration) -> Result<()> {
    let deadline = Instant::now() + timeout;
    let mut stdout = child.stdout.take().context("no output of qemu")?;
    let (pieces, received) = sync_channel::<Vec<u8>>(256);
    let reader = std::thread::spawn(move || {
        let mut buffer = [0; 4096];
        while let Ok(n @ 1..) = stdout.read(&mut buffer) {
            if pieces.send(buffer[..n].to_vec()).is_err() {
                return;
            }
        }
    });
    let result = loop {
        let left = deadline.saturating_duration_since(Instant::now());
        match received.recv_timeout(left) {
            Ok(piece) => {
                let mut out = std::io::stdout().lock();
                out.write_all(&piece)?;
                out.flush()?;
            }
            Err(RecvTimeoutError::Disconnected) => break Ok(()),
            Err(RecvTimeoutError::Timeout) => {
                child.kill()?;
                break Err(anyhow::anyhow!(
                    "the guest did not end within {} s",
                    timeout.as_secs()
                ));
            }
        }
    };
    drop(received);
    // A reader only ends; it has nothing to panic about.
    let _ = reader.join();
    let status = child.wait()?;
    result?;
    if !status.success() {
        bail!("qemu-system-x86_64 failed ({status})");
    }
    Ok(())
}

/// The files that `ldd` names.
fn libraries(listed: &str) -> impl Iterator<Item = &str> {
    listed
        .lines()
        .filter_map(|line| line.split_whitespace().find(|word| word.starts_with('/')))
}

/// A line of shell that replaces the shell by the command.
fn quoted(command: &[&str]) -> String {
    let words: Vec<String> = command
        .iter()
        .map(|word| format!("'{}'", word.replace('\'', r"'\''")))
        .collect();
    format!("exec {}\n", words.join(" "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn libraries_are_those_with_a_path() {
        let listed = "\tlinux-vdso.so.1 (0x00007ffd)\n\
                      \tlibc.so.6 => /lib/x86_64-linux-gnu/libc.so.6 (0x00007f99)\n\
                      \t/lib64/ld-linux-x86-64.so.2 (0x00007f9a)\n";
        assert_eq!(
            libraries(listed).collect::<Vec<_>>(),
            [
                "/lib/x86_64-linux-gnu/libc.so.6",
                "/lib64/ld-linux-x86-64.so.2"
            ]
        );
    }

    #[test]
    fn the_shell_gets_every_word_as_it_is() {
        let line = quoted(&["printf", "%s|", "it's", "a b", "$x", "\\"]);
        let out = sh::output(sh::command("sh").args(["-c", &line])).unwrap();
        assert_eq!(out, r"it's|a b|$x|\|");
    }
}
