//! Whole VRRP packets as they come in at a host, and what tcpdump says about them.

use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context as _, Result, bail, ensure};
use nix::sys::socket::{self, LinkAddr, MsgFlags};
use std::os::fd::{AsRawFd as _, OwnedFd};

use crate::namespace::Namespace;
use crate::recorder::{dropped, open};

/// Ethernet.
const LINKTYPE: u32 = 1;
const SNAPLEN: u32 = 65535;
/// Bytes of an Ethernet header.
pub const ETHERNET: usize = 14;

#[derive(Debug, Default)]
struct Shared {
    frames: Mutex<Vec<Vec<u8>>>,
    stop: AtomicBool,
}

/// Records adverts until it is finished.
#[derive(Debug)]
pub struct Tape {
    shared: Arc<Shared>,
    thread: std::thread::JoinHandle<Result<()>>,
}

impl Tape {
    /// Starts recording the adverts that come in at `link`.
    ///
    /// # Errors
    /// Those of packet sockets.
    pub fn start(ns: &Namespace, link: &str) -> Result<Self> {
        let ifindex = ns.index(link)?;
        let socket = ns.call(move || open(ifindex)).context("packet socket")?;
        let shared = Arc::new(Shared::default());
        let theirs = Arc::clone(&shared);
        let thread = std::thread::Builder::new()
            .name(format!("{}-tape", ns.name()))
            .spawn(move || record(&socket, &theirs))?;
        Ok(Tape { shared, thread })
    }

    /// Looks at all frames so far.
    pub fn with<T>(&self, look: impl FnOnce(&[Vec<u8>]) -> T) -> T {
        look(
            &self
                .shared
                .frames
                .lock()
                .unwrap_or_else(PoisonError::into_inner),
        )
    }

    /// Stops; the frames.
    ///
    /// # Errors
    /// What went wrong while recording, above all frames that the socket had no room for.
    pub fn finish(self) -> Result<Vec<Vec<u8>>> {
        self.shared.stop.store(true, Ordering::Relaxed);
        match self.thread.join() {
            Ok(result) => result?,
            Err(_) => bail!("the recorder panicked"),
        }
        let mut frames = self
            .shared
            .frames
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        Ok(std::mem::take(&mut frames))
    }
}

fn record(socket: &OwnedFd, shared: &Shared) -> Result<()> {
    let mut buffer = [0u8; 2048];
    while !shared.stop.load(Ordering::Relaxed) {
        let mut parts = [std::io::IoSliceMut::new(&mut buffer)];
        let got =
            socket::recvmsg::<LinkAddr>(socket.as_raw_fd(), &mut parts, None, MsgFlags::empty());
        let (len, from) = match got {
            Ok(got) => (got.bytes, got.address),
            Err(nix::errno::Errno::EAGAIN | nix::errno::Errno::EINTR) => continue,
            Err(e) => return Err(e).context("receive frames"),
        };
        let outgoing = from.is_some_and(|a| a.pkttype() == libc::PACKET_OUTGOING);
        let frame = &buffer[..len];
        if !outgoing && is_advert(frame) {
            shared
                .frames
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .push(frame.to_vec());
        }
    }
    let lost = dropped(socket)?;
    ensure!(lost == 0, "{lost} frames were lost by the packet socket");
    Ok(())
}

/// Whether it is VRRP, in AH or not.
fn is_advert(frame: &[u8]) -> bool {
    let byte = |at: usize| frame.get(ETHERNET + at).copied();
    match frame.get(12..ETHERNET) {
        Some([0x08, 0x00]) => matches!(byte(9), Some(112 | 51)),
        Some([0x86, 0xdd]) => byte(6) == Some(112),
        _ => false,
    }
}

/// What `tcpdump -vvv` says about each of some frames, on one line.
///
/// # Errors
/// When it cannot be run, or does not speak about each.
pub fn tcpdump(frames: &[Vec<u8>], dir: &Path) -> Result<Vec<String>> {
    let mut pcap = Vec::new();
    for word in [0xa1b2_c3d4u32, 0x0004_0002, 0, 0, SNAPLEN, LINKTYPE] {
        pcap.extend(word.to_le_bytes());
    }
    for frame in frames {
        let len = u32::try_from(frame.len())?;
        for word in [0, 0, len, len] {
            pcap.extend(word.to_le_bytes());
        }
        pcap.extend(frame);
    }
    let path = dir.join("adverts.pcap");
    std::fs::write(&path, pcap)?;
    let out = Command::new("tcpdump")
        .args(["-vvv", "-n", "-t", "-r"])
        .arg(&path)
        .output()
        .context("tcpdump")?;
    let said = String::from_utf8(out.stdout).context("tcpdump's text")?;
    let mut lines: Vec<String> = Vec::new();
    for line in said.lines() {
        match lines.last_mut() {
            // The rest of what it says about an IPv4 packet.
            Some(last) if line.starts_with(' ') => {
                last.push(' ');
                last.push_str(line.trim_start());
            }
            _ => lines.push(line.to_owned()),
        }
    }
    ensure!(
        lines.len() == frames.len(),
        "tcpdump says {} lines about {} frames: {}",
        lines.len(),
        frames.len(),
        String::from_utf8_lossy(&out.stderr)
    );
    Ok(lines)
}
