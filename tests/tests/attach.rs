//! The program on an interface: it stays when its daemon is killed, the next daemon's takes over
//! without a frame lost, and who took it off is noticed.

use std::io::{BufRead as _, BufReader};
use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use lb_tests::clock::wait_for;
use lb_tests::frame::{self, frame};
use lb_tests::namespace::Namespace;
use lb_tests::scratch::Scratch;
use lb_tests::switch::{Host, Switch};
use lb_userspace::io::bpf::{BpfError, Config, DataPlane, ModeWish, XdpMode, test_run};
use lb_userspace::io::clock;
use lb_userspace::model::{Protocol, Scheduler, ServiceKey};
use lb_userspace::plan::{DesiredBackend, DesiredService, Link, Refs, Tables};

const VIP: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
const IFNAME: &str = "eth0";
const LIMIT: Duration = Duration::from_secs(10);
/// Tells this test binary, started once more, to be a daemon with this pin directory.
const DAEMON: &str = "LB_TEST_DAEMON_PIN";

/// A director and a host that sends to it and, as the only real server, gets everything back.
struct Net {
    // The cables end in the switch.
    _switch: Switch,
    director: Host,
    sender: Host,
    scratch: Scratch,
}

impl Net {
    fn new() -> Result<Net> {
        let scratch = Scratch::new()?;
        let mut switch = Switch::new()?;
        let director = switch.host(
            "director",
            IFNAME,
            &[(Ipv4Addr::new(10, 0, 0, 1), 24)],
            true,
        )?;
        let sender = switch.host("sender", IFNAME, &[(Ipv4Addr::new(10, 0, 0, 2), 24)], false)?;
        Ok(Net {
            _switch: switch,
            director,
            sender,
            scratch,
        })
    }

    fn pin(&self, name: &str) -> PathBuf {
        self.scratch.pins().join(name)
    }

    /// Opens a data plane in the director, with the service, on no interface yet.
    fn open(&self, pin: &str, mode: ModeWish) -> Result<DataPlane> {
        let (pin, server, own) = (self.pin(pin), self.sender.mac.0, self.director.mac.0);
        self.director.ns.call(move || open(&pin, mode, server, own))
    }

    /// Runs `f` with a data plane in the director's namespace.
    fn with<T: Send + 'static>(
        &self,
        mut dp: DataPlane,
        f: impl FnOnce(&mut DataPlane) -> T + Send + 'static,
    ) -> (DataPlane, T) {
        self.director.ns.call(move || {
            let value = f(&mut dp);
            (dp, value)
        })
    }

    fn echo(&self) -> Result<Echo> {
        Echo::new(&self.sender.ns, self.sender.mac.0, self.director.mac.0)
    }

    /// A daemon in a process of its own, attached.
    fn daemon(&self, pin: &str) -> Result<Daemon> {
        let exe = std::env::current_exe()?;
        let (pin, server, own) = (self.pin(pin), self.sender.mac.0, self.director.mac.0);
        let mut child = self.director.ns.call(move || {
            Command::new(exe)
                .args(["--exact", "daemon_for_the_other_tests", "--nocapture"])
                .env(DAEMON, pin)
                .env("LB_TEST_MACS", format!("{server:?} {own:?}"))
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .spawn()
        })?;
        let out = child.stdout.take().context("its output")?;
        let ready = BufReader::new(out)
            .lines()
            .map_while(Result::ok)
            .any(|line| line.ends_with("attached"));
        ensure!(ready, "the daemon ended before it was attached");
        Ok(Daemon(child))
    }
}

fn open(pin: &Path, mode: ModeWish, server: [u8; 6], own: [u8; 6]) -> Result<DataPlane> {
    let mut dp = DataPlane::open(&Config {
        pin: pin.to_owned(),
        flow_buckets: 1 << 12,
        mode,
    })?;
    let ifindex = nix::net::if_::if_nametoindex(IFNAME)?;
    let key = ServiceKey {
        addr: VIP.into(),
        port: 80,
        protocol: Protocol::Tcp,
    };
    let service = DesiredService {
        sloppy: true,
        backends: vec![DesiredBackend {
            link: Some(Link::new(server, own, ifindex)),
            ..DesiredBackend::new(Ipv4Addr::new(10, 0, 0, 2).into(), 80, 1)
        }],
        ..DesiredService::new(key, Scheduler::Rr)
    };
    let mut tables = Tables::adopt(&dp.dump()?, clock::now());
    let plan = tables.plan(&[service], &Refs::default(), clock::now());
    ensure!(plan.ops.is_empty() == dp.adopted(), "{:?}", plan.ops);
    dp.apply(&plan.ops)?;
    Ok(dp)
}

/// A process that is killed at the latest when it is dropped.
struct Daemon(Child);

impl Daemon {
    /// `kill -9`.
    fn kill(mut self) -> Result<()> {
        self.0.kill()?;
        self.0.wait()?;
        Ok(())
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Not a test by itself: what [`Net::daemon`] starts.
#[test]
fn daemon_for_the_other_tests() -> Result<()> {
    let Some(pin) = std::env::var_os(DAEMON) else {
        return Ok(());
    };
    let macs: Vec<u8> = std::env::var("LB_TEST_MACS")?
        .split(|c: char| !c.is_ascii_digit())
        .filter(|n| !n.is_empty())
        .map(str::parse)
        .collect::<Result<_, _>>()?;
    let mut dp = open(
        Path::new(&pin),
        ModeWish::Auto,
        macs[..6].try_into()?,
        macs[6..].try_into()?,
    )?;
    dp.attach(IFNAME)?;
    println!("attached");
    // Until the other end of the pipe is gone, or this process.
    std::io::stdin().lines().for_each(drop);
    Ok(())
}

/// Sends frames to the VIP and waits for each to come back.
struct Echo {
    socket: OwnedFd,
    own: [u8; 6],
    director: [u8; 6],
    sent: u16,
}

impl Echo {
    fn new(ns: &Namespace, own: [u8; 6], director: [u8; 6]) -> Result<Echo> {
        let socket = ns.call(|| -> Result<OwnedFd> {
            let all = i32::from((libc::ETH_P_ALL as u16).to_be());
            // SAFETY: a plain system call.
            let fd =
                unsafe { libc::socket(libc::AF_PACKET, libc::SOCK_RAW | libc::SOCK_CLOEXEC, all) };
            ensure!(fd >= 0, std::io::Error::last_os_error());
            // SAFETY: a new descriptor that nobody else owns.
            let socket = unsafe { OwnedFd::from_raw_fd(fd) };
            // SAFETY: all zero is a valid address.
            let mut addr: libc::sockaddr_ll = unsafe { std::mem::zeroed() };
            addr.sll_family = libc::AF_PACKET as u16;
            addr.sll_protocol = (libc::ETH_P_ALL as u16).to_be();
            addr.sll_ifindex = nix::net::if_::if_nametoindex(IFNAME)? as i32;
            // SAFETY: the address and its length.
            let bound = unsafe {
                libc::bind(
                    socket.as_raw_fd(),
                    (&raw const addr).cast(),
                    size_of_val(&addr) as libc::socklen_t,
                )
            };
            ensure!(bound == 0, std::io::Error::last_os_error());
            Ok(socket)
        })?;
        let timeout = nix::sys::time::TimeVal::new(0, 20_000);
        nix::sys::socket::setsockopt(&socket, nix::sys::socket::sockopt::ReceiveTimeout, &timeout)?;
        Ok(Echo {
            socket,
            own,
            director,
            sent: 0,
        })
    }

    /// Whether a frame, sent once, comes back within `limit`.
    fn once(&mut self, limit: Duration) -> Result<bool> {
        self.sent = self.sent.wrapping_add(1);
        let client = SocketAddrV4::new(Ipv4Addr::new(198, 51, 100, 7), 1024 + self.sent % 4096);
        let mut f = frame(
            self.director,
            self.own,
            client,
            SocketAddrV4::new(VIP, 80),
            frame::ACK,
        );
        f[18..20].copy_from_slice(&self.sent.to_be_bytes());
        f[24..26].fill(0);
        let sum = frame::checksum(&f[14..34]);
        f[24..26].copy_from_slice(&sum.to_be_bytes());
        // SAFETY: the frame and its length.
        let n = unsafe { libc::send(self.socket.as_raw_fd(), f.as_ptr().cast(), f.len(), 0) };
        ensure!(n == f.len() as isize, std::io::Error::last_os_error());
        let back = |got: &[u8]| {
            got[..6] == self.own
                && got[6..12] == self.director
                && got[18..20] == f[18..20]
                && got[30..34] == VIP.octets()
        };
        let end = lb_tests::clock::Instant::now().plus(limit);
        while lb_tests::clock::Instant::now() < end {
            let mut got = [0u8; 2048];
            // SAFETY: the buffer and its length.
            let n = unsafe {
                libc::recv(
                    self.socket.as_raw_fd(),
                    got.as_mut_ptr().cast(),
                    got.len(),
                    0,
                )
            };
            if n >= 34 && back(&got) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn works(&mut self) -> Result<bool> {
        self.once(Duration::from_secs(2))
    }

    fn is_dead(&mut self) -> Result<bool> {
        Ok(!self.once(Duration::from_millis(200))?)
    }
}

#[test]
fn forwarding_goes_on_when_the_daemon_is_killed_and_the_next_adopts_it() -> Result<()> {
    let net = Net::new()?;
    let mut echo = net.echo()?;
    let daemon = net.daemon("d")?;
    assert!(echo.works()?);
    daemon.kill()?;
    for _ in 0..20 {
        assert!(echo.works()?);
    }
    let dp = net.open("d", ModeWish::Auto)?;
    assert!(dp.adopted());
    let (dp, before) = net.with(dp, |dp| dp.is_attached(IFNAME));
    assert!(
        before,
        "the dead daemon's program is still on, and it is this build's"
    );
    let (dp, attachment) = net.with(dp, |dp| dp.attach(IFNAME));
    let attachment = attachment?;
    assert!(attachment.taken_over);
    assert_eq!(
        (attachment.mode, attachment.mac),
        (XdpMode::Native, net.director.mac.0)
    );
    assert!(echo.works()?);
    let (dp, attached) = net.with(dp, |dp| dp.is_attached(IFNAME));
    assert!(attached);
    let counted: u64 = dp.counters()?.backends.values().map(|c| c.packets).sum();
    assert_eq!(
        counted, 22,
        "nothing was counted anew, nothing went elsewhere"
    );
    net.director.ns.call(move || dp.unload())?;
    assert!(echo.is_dead()?);
    assert!(!net.pin("d").exists());
    Ok(())
}

/// Removes the pins of the programs; what is attached stays so.
fn forget_programs(dir: &Path) -> Result<()> {
    for entry in std::fs::read_dir(dir)? {
        let entry = entry?;
        if entry.file_name().to_string_lossy().starts_with("program-") {
            std::fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

#[test]
fn no_frame_is_lost_while_one_program_follows_the_other() -> Result<()> {
    let net = Net::new()?;
    let dp = net.open("d", ModeWish::Auto)?;
    let (dp, first) = net.with(dp, |dp| dp.attach(IFNAME));
    assert!(!first?.taken_over);
    let mut echo = net.echo()?;
    assert!(echo.works()?);
    let stop = Arc::new(AtomicBool::new(false));
    let seen = Arc::clone(&stop);
    let traffic = std::thread::spawn(move || -> Result<(u32, u32)> {
        let (mut sent, mut lost) = (0, 0);
        while !seen.load(Ordering::Relaxed) {
            sent += 1;
            lost += u32::from(!echo.works()?);
        }
        Ok((sent, lost))
    });
    let mut now = dp;
    for _ in 0..10 {
        // As another build finds it: it has no use for this one's programs.
        forget_programs(&net.pin("d"))?;
        let next = net.open("d", ModeWish::Auto)?;
        let (next, before) = net.with(next, |dp| dp.is_attached(IFNAME));
        assert!(!before, "the same program again");
        let (next, attachment) = net.with(next, |dp| dp.attach(IFNAME));
        assert!(attachment?.taken_over);
        now = next;
    }
    stop.store(true, Ordering::Relaxed);
    let (sent, lost) = traffic.join().expect("the traffic's thread")?;
    println!("{sent} frames, {lost} lost");
    assert!(sent > 100, "{sent}");
    assert_eq!(lost, 0);
    let counted: u64 = now.counters()?.backends.values().map(|c| c.packets).sum();
    assert_eq!(counted, u64::from(sent) + 1);
    net.director.ns.call(move || now.unload())?;
    Ok(())
}

#[test]
fn who_takes_the_program_off_is_noticed_and_it_can_be_put_back() -> Result<()> {
    let net = Net::new()?;
    let mut echo = net.echo()?;
    let dp = net.open("d", ModeWish::Auto)?;
    let (dp, attachment) = net.with(dp, |dp| dp.attach(IFNAME));
    let attachment = attachment?;
    assert!(echo.works()?);
    force_detach(&net.pin("d").join(format!("link-{}", attachment.ifindex)))?;
    let (dp, attached) = net.with(dp, |dp| dp.is_attached(IFNAME));
    assert!(!attached);
    assert!(echo.is_dead()?);
    let (dp, again) = net.with(dp, |dp| dp.attach(IFNAME));
    assert!(!again?.taken_over);
    assert!(echo.works()?);
    // Taken off as it should be.
    let (dp, detached) = net.with(dp, |dp| dp.detach(IFNAME));
    detached?;
    let (dp, attached) = net.with(dp, |dp| dp.is_attached(IFNAME));
    assert!(!attached && dp.attachments().is_empty());
    assert!(echo.is_dead()?);
    net.director.ns.call(move || dp.unload())?;
    Ok(())
}

#[test]
fn another_program_on_the_interface_is_named() -> Result<()> {
    let net = Net::new()?;
    let first = net.open("first", ModeWish::Auto)?;
    let (first, attached) = net.with(first, |dp| dp.attach(IFNAME));
    attached?;
    for mode in [ModeWish::Auto, ModeWish::Native, ModeWish::Generic] {
        let second = net.open("second", mode)?;
        let (second, refused) = net.with(second, |dp| dp.attach(IFNAME));
        let error = refused.expect_err("two programs on one interface");
        assert!(matches!(error, BpfError::Busy { .. }), "{error}");
        assert!(error.to_string().contains("balance (id "), "{error}");
        net.director.ns.call(move || second.unload())?;
    }
    let mut echo = net.echo()?;
    assert!(echo.works()?);
    net.director.ns.call(move || first.unload())?;
    Ok(())
}

#[test]
fn generic_mode_works_where_it_is_wanted_and_a_changed_mac_is_followed() -> Result<()> {
    let net = Net::new()?;
    let dp = net.open("d", ModeWish::Generic)?;
    let (dp, attachment) = net.with(dp, |dp| dp.attach(IFNAME));
    let attachment = attachment?;
    assert_eq!(
        (attachment.mode, attachment.why_generic),
        (XdpMode::Generic, None)
    );
    let mut echo = net.echo()?;
    assert!(echo.works()?);
    let (dp, changed) = net.with(dp, |dp| dp.refresh_iface(IFNAME));
    assert!(!changed?);
    let new_mac = [2, 0, 0, 0, 0x77, 1];
    set_mac(&net.director.ns, new_mac)?;
    let (dp, changed) = net.with(dp, |dp| dp.refresh_iface(IFNAME));
    assert!(changed?);
    assert_eq!(dp.attachments()[0].mac, new_mac);
    // Frames to the old MAC are another host's now. (The sender still gets them from the old MAC.)
    let other = lb_common::reason::Reason::OtherMac;
    assert_eq!(dp.counters()?.reasons[&other], 0);
    assert!(echo.is_dead()?);
    echo.director = new_mac;
    wait_for("a frame to the new MAC", LIMIT, || {
        // It is answered from the MAC that the real server's entry has, which is still the old one.
        let before: u64 = dp
            .counters()
            .ok()?
            .backends
            .values()
            .map(|c| c.packets)
            .sum();
        echo.once(Duration::from_millis(20)).ok()?;
        let after: u64 = dp
            .counters()
            .ok()?
            .backends
            .values()
            .map(|c| c.packets)
            .sum();
        (after > before).then_some(())
    })?;
    net.director.ns.call(move || dp.unload())?;
    Ok(())
}

fn set_mac(ns: &Namespace, mac: [u8; 6]) -> Result<()> {
    let message = rtnetlink::LinkUnspec::new_with_name(IFNAME)
        .address(mac.to_vec())
        .build();
    ns.netlink("set the MAC", |h| async move {
        h.link().set(message).execute().await
    })
}

/// What `bpftool link detach pinned PATH` does.
fn force_detach(path: &Path) -> Result<()> {
    const BPF_OBJ_GET: libc::c_long = 7;
    const BPF_LINK_DETACH: libc::c_long = 34;
    use std::os::unix::ffi::OsStrExt as _;
    let path = std::ffi::CString::new(path.as_os_str().as_bytes())?;
    let get = [path.as_ptr() as u64, 0];
    // SAFETY: the head of union bpf_attr for this command: a path that lives through the call.
    let fd = unsafe { libc::syscall(libc::SYS_bpf, BPF_OBJ_GET, get.as_ptr(), size_of_val(&get)) };
    ensure!(fd >= 0, std::io::Error::last_os_error());
    // SAFETY: a new descriptor that nobody else owns.
    let link = unsafe { OwnedFd::from_raw_fd(fd as i32) };
    let detach = [link.as_raw_fd() as u32, 0];
    // SAFETY: the head of union bpf_attr for this command: a link.
    let done = unsafe {
        libc::syscall(
            libc::SYS_bpf,
            BPF_LINK_DETACH,
            detach.as_ptr(),
            size_of_val(&detach),
        )
    };
    ensure!(done == 0, std::io::Error::last_os_error());
    Ok(())
}

#[test]
fn frames_that_come_in_by_a_port_are_the_interface_s_also_after_a_restart() -> Result<()> {
    const DROP: u32 = 1;
    const REDIRECT: u32 = 4;
    let net = Net::new()?;
    let dp = net.open("ports", ModeWish::Auto)?;
    let client = SocketAddrV4::new(Ipv4Addr::new(198, 51, 100, 7), 1024);
    let vip = SocketAddrV4::new(VIP, 80);
    let f = frame(
        net.director.mac.0,
        net.sender.mac.0,
        client,
        vip,
        frame::SYN,
    );
    // A test run comes in by the loopback interface, which here is the port.
    let run = move |dp: &DataPlane| test_run(dp.program(), &f, 1).map(|run| run.verdict);
    let again = run;
    let (dp, verdicts) = net.with(dp, move |dp| -> Result<[u32; 2]> {
        let attached = dp.attach(IFNAME)?;
        let before = run(dp)?;
        dp.set_ports([(1, attached.ifindex)])?;
        Ok([before, run(dp)?])
    });
    assert_eq!(verdicts?, [DROP, REDIRECT]);
    drop(dp);
    let dp = net.open("ports", ModeWish::Auto)?;
    let (_, verdict) = net.with(dp, move |dp| again(dp));
    assert_eq!(verdict?, REDIRECT);
    Ok(())
}
