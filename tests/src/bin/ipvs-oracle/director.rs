//! A director with IPVS on one end of a veth pair; on the other end a packet socket that is the
//! clients, the router and the real servers at once.

use std::fs;
use std::io::{ErrorKind, Write as _};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use lb_tests::frame::{Kind, checksum, frame};
use socket2::{Domain, SockAddr, SockAddrStorage, Socket, Type};

const DIRECTOR: [u8; 6] = [2, 0, 0, 0, 0, 0x0d];
const CLIENTS: [u8; 6] = [2, 0, 0, 0, 0, 0x0a];
/// The next hop to every client.
const ROUTER: [u8; 6] = [2, 0xcc, 0, 0, 0, 1];
/// The MAC of a real server begins so and ends with its number.
const SERVERS: [u8; 5] = [2, 0xaa, 0, 0, 0];

/// Real servers that are reachable, numbered from 1.
pub(crate) const MOST_SERVERS: u8 = 12;

/// How long an answer may take: it comes before the call that sends has returned, unless the
/// machine is very busy.
const PATIENCE: Duration = Duration::from_secs(5);

/// What became of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Choice {
    /// It went to the real server of this number.
    Server(u8),
    /// It was answered with ICMP "port unreachable".
    Refused,
}

/// The director.
pub(crate) struct Director {
    socket: Socket,
}

/// An IPv4 or IPv6 service by its number, from 1 to 500.
pub(crate) fn service(v6: bool, number: u16) -> IpAddr {
    if v6 {
        return Ipv6Addr::new(0x2001, 0xdb8, 1, 0, 0, 0, 0, number).into();
    }
    match number {
        ..=250 => Ipv4Addr::new(192, 0, 2, number as u8),
        _ => Ipv4Addr::new(203, 0, 113, (number - 250) as u8),
    }
    .into()
}

/// A real server by its number, from 1.
pub(crate) fn server(v6: bool, number: u8) -> IpAddr {
    if v6 {
        Ipv6Addr::new(0x2001, 0xdb8, 2, 0, 0, 0, 0, number.into()).into()
    } else {
        Ipv4Addr::new(198, 51, 100, number).into()
    }
}

impl Director {
    /// Sets up links, routes and neighbours.
    pub(crate) fn new() -> Result<Self> {
        let mac = |mac: [u8; 6]| mac.map(|byte| format!("{byte:02x}")).join(":");
        let mut batch = format!(
            "link add clients address {} type veth peer name director address {}\n\
             link set director up\n\
             link set clients up\n\
             addr add 192.0.2.0/24 dev lo\n\
             addr add 203.0.113.0/24 dev lo\n\
             addr add 198.51.100.254/24 dev director\n\
             neigh add 198.51.100.200 lladdr {router} nud permanent dev director\n\
             route add default via 198.51.100.200 dev director\n\
             addr add 2001:db8:2::fe/64 dev director nodad\n\
             route add local 2001:db8:1::/64 dev lo\n\
             neigh add 2001:db8:2::c8 lladdr {router} nud permanent dev director\n\
             route add default via 2001:db8:2::c8 dev director\n",
            mac(CLIENTS),
            mac(DIRECTOR),
            router = mac(ROUTER),
        );
        for number in 1..=MOST_SERVERS {
            let mut lladdr = [number; 6];
            lladdr[..5].copy_from_slice(&SERVERS);
            for v6 in [false, true] {
                batch += &format!(
                    "neigh add {} lladdr {} nud permanent dev director\n",
                    server(v6, number),
                    mac(lladdr)
                );
            }
        }
        feed("ip", &["-batch", "-"], &batch)?;
        for (path, value) in [
            ("net/ipv4/ip_forward", "1"),
            ("net/ipv6/conf/all/forwarding", "1"),
            // Every refusal is answered.
            ("net/ipv4/icmp_ratelimit", "0"),
            ("net/ipv4/icmp_msgs_per_sec", "1000000"),
            ("net/ipv4/icmp_msgs_burst", "1000000"),
            ("net/ipv6/icmp/ratelimit", "0"),
        ] {
            fs::write(format!("/proc/sys/{path}"), value)
                .with_context(|| format!("cannot set {path}"))?;
        }
        Ok(Director { socket: open()? })
    }

    /// Gives `ipvsadm` services and real servers, as `ipvsadm --restore` reads them.
    pub(crate) fn restore(&self, lines: &str) -> Result<()> {
        feed("ipvsadm", &["--restore"], lines)
    }

    /// Active and inactive connections of the first `servers` real servers of a service.
    pub(crate) fn connections(
        &self,
        protocol: &str,
        service: IpAddr,
        servers: u8,
    ) -> Result<Vec<(u32, u32)>> {
        let listed = run("ipvsadm", &["-Ln", protocol, &format!("{service}:80")])?;
        (1..=servers)
            .map(|number| {
                let start = format!("-> {}:80 ", server(service.is_ipv6(), number));
                let words: Vec<&str> = listed
                    .lines()
                    .find(|line| line.trim_start().starts_with(&start))
                    .with_context(|| format!("no {start} in:\n{listed}"))?
                    .split_whitespace()
                    .collect();
                // -> address forward weight active inactive
                ensure!(words.len() == 6, "{words:?}");
                Ok((words[4].parse()?, words[5].parse()?))
            })
            .collect()
    }

    /// Sends a packet of a client and waits for what becomes of it.
    pub(crate) fn ask(
        &self,
        client: SocketAddr,
        service: SocketAddr,
        kind: Kind,
    ) -> Result<Choice> {
        let (frame, flow) = match (client, service) {
            (SocketAddr::V4(client), SocketAddr::V4(service)) => {
                let frame = frame(DIRECTOR, CLIENTS, client, service, kind).to_vec();
                (frame, 26..38)
            }
            (client, service) => (udp6(client, service)?, 22..58),
        };
        let sent = self.socket.send(&frame)?;
        ensure!(sent == frame.len(), "sent {sent} of {} bytes", frame.len());
        // Addresses and ports, which a refusal quotes.
        let flow = &frame[flow];
        let deadline = Instant::now() + PATIENCE;
        let mut buffer = [0u8; 2048];
        loop {
            let len = match std::io::Read::read(&mut &self.socket, &mut buffer) {
                Ok(len) => len,
                Err(error) if error.kind() == ErrorKind::WouldBlock => 0,
                Err(error) => return Err(error.into()),
            };
            let got = &buffer[..len];
            if len >= 14 && got.windows(flow.len()).any(|window| window == flow) {
                if got[..5] == SERVERS {
                    return Ok(Choice::Server(got[5]));
                }
                if got[..6] == ROUTER {
                    return Ok(Choice::Refused);
                }
            }
            if Instant::now() > deadline {
                bail!("nothing came of a packet from {client} to {service}");
            }
        }
    }
}

/// A UDP datagram over IPv6 with its checksum.
fn udp6(client: SocketAddr, service: SocketAddr) -> Result<Vec<u8>> {
    let (IpAddr::V6(from), IpAddr::V6(to)) = (client.ip(), service.ip()) else {
        bail!("{client} and {service} are of different families");
    };
    const UDP: u8 = 17;
    const LEN: u16 = 12;
    let mut udp = Vec::new();
    udp.extend(client.port().to_be_bytes());
    udp.extend(service.port().to_be_bytes());
    udp.extend(LEN.to_be_bytes());
    udp.extend([0, 0]);
    udp.extend(*b"ipvs");
    let mut pseudo = Vec::new();
    pseudo.extend(from.octets());
    pseudo.extend(to.octets());
    pseudo.extend([0, 0, 0, LEN as u8, 0, 0, 0, UDP]);
    pseudo.extend(&udp);
    udp[6..8].copy_from_slice(&checksum(&pseudo).to_be_bytes());

    let mut frame = Vec::new();
    frame.extend(DIRECTOR);
    frame.extend(CLIENTS);
    frame.extend([0x86, 0xdd, 0x60, 0, 0, 0]);
    frame.extend(LEN.to_be_bytes());
    frame.extend([UDP, 64]);
    frame.extend(from.octets());
    frame.extend(to.octets());
    frame.extend(udp);
    Ok(frame)
}

/// A packet socket on the clients' end.
fn open() -> Result<Socket> {
    let protocol = i32::from((libc::ETH_P_ALL as u16).to_be());
    let socket = Socket::new(Domain::PACKET, Type::RAW, Some(protocol.into()))?;
    let mut storage = SockAddrStorage::zeroed();
    // SAFETY: `sockaddr_ll` is one of the socket addresses, all integers, smaller than the storage.
    let link = unsafe { storage.view_as::<libc::sockaddr_ll>() };
    link.sll_family = libc::AF_PACKET as u16;
    link.sll_protocol = (libc::ETH_P_ALL as u16).to_be();
    link.sll_ifindex = nix::net::if_::if_nametoindex("clients")? as i32;
    let len = size_of::<libc::sockaddr_ll>() as libc::socklen_t;
    // SAFETY: the family is that of the type, and the length the type's.
    socket.bind(&unsafe { SockAddr::new(storage, len) })?;
    socket.set_read_timeout(Some(Duration::from_millis(100)))?;
    Ok(socket)
}

/// Runs a program that reads its orders from standard input.
fn feed(program: &str, args: &[&str], input: &str) -> Result<()> {
    let mut child = Command::new(program)
        .args(args)
        .stdin(Stdio::piped())
        .spawn()
        .with_context(|| format!("cannot start {program}"))?;
    child
        .stdin
        .take()
        .context("no standard input")?
        .write_all(input.as_bytes())?;
    let status = child.wait()?;
    ensure!(status.success(), "{program} failed ({status}) on:\n{input}");
    Ok(())
}

fn run(program: &str, args: &[&str]) -> Result<String> {
    let output = Command::new(program)
        .args(args)
        .output()
        .with_context(|| format!("cannot start {program}"))?;
    ensure!(
        output.status.success(),
        "{program} failed: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(String::from_utf8(output.stdout)?)
}
