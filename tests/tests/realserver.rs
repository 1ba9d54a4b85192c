//! `lbctl realserver` in a namespace: what it does to the host, that packets in tunnels arrive, and
//! that nothing of it is left.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV4, UdpSocket};
use std::os::fd::AsRawFd as _;
use std::path::PathBuf;
use std::process::{Command, Output};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use lb_tests::scratch::Scratch;
use lb_tests::switch::{Host, Switch};
use socket2::{Domain, Protocol, Socket, Type};

const VIP: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
const SECOND: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 2);
const OWN: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);
const CLIENT: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 2);
const PORT: u16 = 80;

struct Net {
    _switch: Switch,
    server: Host,
    client: Host,
    scratch: Scratch,
}

impl Net {
    fn new() -> Result<Net> {
        let scratch = Scratch::new()?;
        let mut switch = Switch::new()?;
        let server = switch.host("server", "eth0", &[(OWN, 24)], true)?;
        let client = switch.host("client", "eth0", &[(CLIENT, 24)], false)?;
        Ok(Net {
            _switch: switch,
            server,
            client,
            scratch,
        })
    }

    /// `lbctl realserver` on the server.
    fn lbctl(&self, args: &[&str]) -> Result<Output> {
        let exe = std::env::current_exe()?;
        let lbctl: PathBuf = exe
            .ancestors()
            .map(|dir| dir.join("lbctl"))
            .find(|path| path.is_file())
            .context("lbctl is not built")?;
        let mut command = Command::new(lbctl);
        command
            .arg("realserver")
            .args(args)
            .arg("--state-dir")
            .arg(self.scratch.files())
            .arg("--pin")
            .arg(self.scratch.pins().join("realserver"));
        Ok(self.server.ns.call(move || command.output())?)
    }

    fn done(&self, args: &[&str]) -> Result<String> {
        let output = self.lbctl(args)?;
        let text = String::from_utf8(output.stdout)?;
        ensure!(
            output.status.success(),
            "{args:?}: {}{text}{}",
            output.status,
            String::from_utf8_lossy(&output.stderr)
        );
        Ok(text)
    }

    /// Addresses, sysctls and XDP program as `ip` and the kernel's files show them.
    fn picture(&self) -> Result<String> {
        self.server.ns.call(|| {
            let ip = |args: &[&str]| -> Result<String> {
                Ok(String::from_utf8(
                    Command::new("ip").args(args).output()?.stdout,
                )?)
            };
            let mut picture = ip(&["-br", "address", "show"])?;
            // The long form names the program by its id.
            picture += if ip(&["link", "show", "eth0"])?.contains("xdp") {
                "a program\n"
            } else {
                "no program\n"
            };
            for iface in ["all", "lo", "eth0"] {
                for name in ["arp_ignore", "arp_announce", "rp_filter"] {
                    let path = format!("/proc/sys/net/ipv4/conf/{iface}/{name}");
                    picture += &format!("{path} {}", std::fs::read_to_string(&path)?);
                }
            }
            Ok(picture)
        })
    }
}

/// A UDP datagram from the client to the VIP, as an IP packet.
fn packet(text: &[u8]) -> Result<Vec<u8>> {
    let mut packet = Vec::new();
    etherparse::PacketBuilder::ipv4(CLIENT.octets(), VIP.octets(), 64)
        .udp(4000, PORT)
        .write(&mut packet, text)?;
    Ok(packet)
}

/// Sends that in a tunnel whose outer header the client's kernel makes.
fn send(client: &Host, tunnel: &str, text: &[u8]) -> Result<()> {
    let packet = packet(text)?;
    let tunnel = tunnel.to_owned();
    client.ns.call(move || {
        let (proto, shim): (i32, &[u8]) = match tunnel.as_str() {
            "ipip" => (4, &[]),
            "gre" => (47, &[0, 0, 8, 0]),
            _ => (17, &[0, 4, 0, 0]),
        };
        let message = [shim, &packet].concat();
        if proto == 17 {
            let socket = UdpSocket::bind((CLIENT, 0))?;
            // Over a virtual cable the kernel leaves checksums undone.
            let on: libc::c_int = 1;
            // SAFETY: the value and its size.
            let rc = unsafe {
                libc::setsockopt(
                    socket.as_raw_fd(),
                    libc::SOL_SOCKET,
                    libc::SO_NO_CHECK,
                    (&raw const on).cast(),
                    size_of_val(&on) as libc::socklen_t,
                )
            };
            ensure!(rc == 0, "SO_NO_CHECK");
            socket.send_to(&message, (OWN, 6080))?;
        } else {
            let socket = Socket::new(Domain::IPV4, Type::RAW, Some(Protocol::from(proto)))?;
            socket.send_to(&message, &SocketAddrV4::new(OWN, 0).into())?;
        }
        Ok(())
    })
}

#[test]
fn packets_of_every_tunnel_arrive_and_down_leaves_the_host_as_it_was() -> Result<()> {
    let net = Net::new()?;
    net.server.ns.sysctl("net/ipv4/conf/all/rp_filter", "1")?;
    let before = net.picture()?;
    ensure!(before.contains("no program"), "{before}");
    for tunnel in ["ipip", "gue", "gre"] {
        let vip = VIP.to_string();
        net.done(&["up", "--vip", &vip, "--tun", tunnel])?;
        let up = net.picture()?;
        for expected in [
            "192.0.2.1/32",
            "a program",
            "all/arp_ignore 1",
            "all/arp_announce 2",
            "eth0/rp_filter 2",
        ] {
            ensure!(up.contains(expected), "{tunnel}: {expected}: {up}");
        }
        net.done(&["show"])?;
        let socket = net.server.ns.call(|| UdpSocket::bind((VIP, PORT)))?;
        socket.set_read_timeout(Some(Duration::from_secs(10)))?;
        let text = format!("through {tunnel}");
        send(&net.client, tunnel, text.as_bytes())?;
        let mut buffer = [0; 100];
        let (len, from) = socket.recv_from(&mut buffer).context(text.clone())?;
        assert_eq!(&buffer[..len], text.as_bytes());
        let client = SocketAddr::new(IpAddr::V4(CLIENT), 4000);
        assert_eq!(from, client, "{tunnel}: the client's own address");
        let shown: serde_json::Value = serde_json::from_str(&net.done(&["show", "--json"])?)?;
        let counts = shown["counts"].as_array().context("counts")?;
        let count = counts.iter().find(|c| c["name"] == tunnel);
        assert_eq!(count.context("its count")?["count"], 1, "{tunnel}");
        net.done(&["down"])?;
        assert_eq!(net.picture()?, before, "{tunnel}");
        net.done(&["down"])?;
        assert_eq!(net.picture()?, before, "{tunnel}: again");
    }
    Ok(())
}

#[test]
fn addresses_come_and_go_by_themselves_and_a_change_from_outside_is_shown() -> Result<()> {
    let net = Net::new()?;
    let before = net.picture()?;
    let (first, second) = (VIP.to_string(), SECOND.to_string());
    net.done(&["up", "--vip", &first])?;
    let one = net.picture()?;
    net.done(&["up", "--vip", &second, "--tun", "ipip"])?;
    net.done(&["down", "--vip", &second])?;
    assert_eq!(net.picture()?, one);
    net.server.ns.sysctl("net/ipv4/conf/all/arp_ignore", "0")?;
    let shown = net.lbctl(&["show"])?;
    assert_eq!(shown.status.code(), Some(1));
    let text = String::from_utf8(shown.stdout)?;
    ensure!(text.contains("net/ipv4/conf/all/arp_ignore = 1"), "{text}");
    net.done(&["up", "--vip", &first])?;
    assert_eq!(net.picture()?, one);
    net.done(&["down"])?;
    assert_eq!(net.picture()?, before);
    let refused = net.lbctl(&["up", "--vip", &OWN.to_string()])?;
    assert_eq!(refused.status.code(), Some(2));
    assert_eq!(net.picture()?, before);
    Ok(())
}
