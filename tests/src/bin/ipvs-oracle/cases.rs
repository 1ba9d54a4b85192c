//! What is asked, and how the answers are written down.

use std::fmt::Write as _;
use std::net::{IpAddr, SocketAddr};

use anyhow::{Result, ensure};
use lb_tests::frame::{ACK, FIN, Kind, RST, SYN};

use crate::clients;
use crate::director::{Choice, Director, MOST_SERVERS, server, service};

/// The head of the file: what its lines mean.
const FORMAT: &str = "\
# Which real servers IPVS chooses. Made by `cargo xtask guest oracle`; do not edit.
#
# Every service and real server has port 80 unless said otherwise; forwarding is direct routing. Real servers are numbered
# from 1 in the order in which they were added; number N is 198.51.100.N, or 2001:db8:2::N behind an IPv6 service. CHOICES
# has one character a packet: the number of the server (base 36), or `-` when the client was answered with ICMP \"port
# unreachable\". SERVERS lists the servers as WEIGHT, WEIGHT/UPPER/LOWER with thresholds of connections, or WEIGHT>NEW
# when the weight was changed to NEW after all servers were added. FLAGS are those of `ipvsadm -b`, or `-`.
#
# kernel RELEASE
# clients4, clients6 ADDRESS:PORT...     the clients of their family, in order, over several lines
# hash SCHEDULER FLAGS SERVICE SERVERS CHOICES
#     one UDP packet of each client of the service's family
# destination FAMILY SERVERS CHOICES
#     scheduler dh: one UDP packet to each of many services with the same servers, at 192.0.2.1,
#     192.0.2.2 ..., or 2001:db8:1::1, 2001:db8:1::2 ... (the last group in hexadecimal)
# turns SCHEDULER FLAGS KIND SERVICE SERVERS CHOICES COUNTS
#     new connections, one after the other; COUNTS are ACTIVE/INACTIVE of each server at the end. KIND is
#     syn    TCP: a SYN of clients4 0, 1, 2 ...
#     churn  TCP: the same, each SYN followed by an ACK of the same client; and from the eleventh on then a segment that
#            closes the connection opened ten before: FIN+ACK if the number of the one just opened is even (from 0), else
#            RST. CHOICES has the SYNs only; all else went to the connection's server (unless the SYN was refused, then
#            nothing more was sent of this connection)
#     udp    UDP: one packet of clients4 0, 1, 2 ...
#     ops    UDP, one-packet scheduling: packets of clients4 0, 1, 2, 0, 1, 2 ...
";

/// New connections of a sequence.
const TURNS: usize = 200;

/// Services of the same servers that dh is asked about.
const DESTINATIONS: u16 = 200;

/// How many connections are open at once in `churn`.
const OPEN: usize = 10;

/// Weights for the schedulers that hash; the first ones also for IPv6.
const WEIGHTS: [&str; 7] = [
    "1,1,1,1,1",
    "1,2,3,5,8",
    "2,0,3,4,5",
    "2,7>0,3,4,5",
    "100,250,1000,30,65535",
    "1,1,1,1,1,1,1,1,1,1,1,1",
    "0,0,0,0,0",
];
const WEIGHTS_V6: usize = 4;

/// Servers for the sequences.
const SERVERS: [&str; 4] = [
    "1,1,1",
    "1,2,3,5,8",
    "3,0,2,1,4",
    "4/10/4,1,2/6/0,1/3/1,3/20/10",
];

const HASHES: [(&str, &str); 6] = [
    ("sh", "-"),
    ("sh", "sh-port"),
    ("sh", "sh-fallback"),
    ("mh", "-"),
    ("mh", "mh-port"),
    ("mh", "mh-fallback"),
];

/// All but twos, which draws lots.
const TURN_TAKERS: [(&str, &str); 15] = [
    ("rr", "-"),
    ("wrr", "-"),
    ("lc", "-"),
    ("wlc", "-"),
    ("sed", "-"),
    ("nq", "-"),
    ("fo", "-"),
    ("ovf", "-"),
    ("lblc", "-"),
    ("lblcr", "-"),
    ("dh", "-"),
    ("sh", "-"),
    ("sh", "sh-fallback"),
    ("mh", "-"),
    ("mh", "mh-fallback"),
];

/// Asks everything.
pub(crate) fn all() -> Result<String> {
    let director = Director::new()?;
    let kernel = nix::sys::utsname::uname()?;
    let mut text = FORMAT.to_owned();
    writeln!(text, "kernel {}", kernel.release().to_string_lossy())?;
    let (clients4, clients6) = (clients::v4(), clients::v6());
    for (word, clients) in [("clients4", &clients4), ("clients6", &clients6)] {
        for some in clients.chunks(10) {
            let some: Vec<String> = some.iter().map(SocketAddr::to_string).collect();
            writeln!(text, "{word} {}", some.join(" "))?;
        }
    }
    let mut oracle = Oracle {
        director,
        services: [0; 2],
        text,
    };
    for (scheduler, flags) in HASHES {
        for (i, servers) in WEIGHTS.into_iter().enumerate() {
            oracle.hash(scheduler, flags, 80, servers, &clients4)?;
            if i < WEIGHTS_V6 {
                oracle.hash(scheduler, flags, 80, servers, &clients6)?;
            }
        }
    }
    // The permutation of mh has to do with the servers' port.
    oracle.hash("mh", "-", 443, WEIGHTS[1], &clients4)?;
    oracle.hash("mh", "-", 443, WEIGHTS[1], &clients6)?;
    for (scheduler, flags) in TURN_TAKERS {
        for servers in SERVERS {
            for sequence in [
                Sequence::Syn,
                Sequence::Churn,
                Sequence::Udp,
                Sequence::OnePacket,
            ] {
                oracle.turns(scheduler, flags, sequence, servers, &clients4)?;
            }
        }
    }
    for (port, servers) in [(1000, WEIGHTS[0]), (1001, WEIGHTS[2])] {
        oracle.destinations(servers, &format!("10.20.40.1:{port}"))?;
        oracle.destinations(servers, &format!("[3000:20:40::1]:{port}"))?;
    }
    Ok(oracle.text)
}

/// How connections come and go.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Sequence {
    Syn,
    Churn,
    Udp,
    OnePacket,
}

impl Sequence {
    const fn name(self) -> &'static str {
        match self {
            Sequence::Syn => "syn",
            Sequence::Churn => "churn",
            Sequence::Udp => "udp",
            Sequence::OnePacket => "ops",
        }
    }

    /// The option of `ipvsadm` for the protocol.
    const fn protocol(self) -> &'static str {
        match self {
            Sequence::Syn | Sequence::Churn => "-t",
            Sequence::Udp | Sequence::OnePacket => "-u",
        }
    }
}

struct Oracle {
    director: Director,
    /// How many services there have been of each family. An address is used once, so that no
    /// connection of an earlier case is in the way.
    services: [u16; 2],
    text: String,
}

impl Oracle {
    /// A new address for a service.
    fn address(&mut self, v6: bool) -> Result<IpAddr> {
        let used = &mut self.services[usize::from(v6)];
        *used += 1;
        ensure!(*used <= 500, "no address is left");
        Ok(service(v6, *used))
    }

    fn hash(
        &mut self,
        scheduler: &str,
        flags: &str,
        port: u16,
        servers: &str,
        clients: &[SocketAddr],
    ) -> Result<()> {
        let service = SocketAddr::new(self.address(clients[0].is_ipv6())?, port);
        let options = options(scheduler, flags);
        self.director
            .restore(&orders("-u", service, &options, servers)?)?;
        let choices = self.choices(clients, service)?;
        writeln!(
            self.text,
            "hash {scheduler} {flags} {service} {servers} {choices}"
        )?;
        println!("hash {scheduler} {flags} {service} {servers}");
        Ok(())
    }

    fn choices(&self, clients: &[SocketAddr], service: SocketAddr) -> Result<String> {
        clients
            .iter()
            .map(|&client| self.director.ask(client, service, Kind::Udp).map(letter))
            .collect()
    }

    /// `client` must be of no other case, so that no connection is in the way: addresses of services
    /// are used again.
    fn destinations(&mut self, servers: &str, client: &str) -> Result<()> {
        let client: SocketAddr = client.parse()?;
        let v6 = client.is_ipv6();
        self.director.restore("-C\n")?;
        let mut lines = String::new();
        for number in 1..=DESTINATIONS {
            let service = SocketAddr::new(service(v6, number), 80);
            lines += &orders("-u", service, "-s dh", servers)?;
        }
        self.director.restore(&lines)?;
        let mut choices = String::new();
        for number in 1..=DESTINATIONS {
            let service = SocketAddr::new(service(v6, number), 80);
            choices.push(letter(self.director.ask(client, service, Kind::Udp)?));
        }
        let family = if v6 { 6 } else { 4 };
        writeln!(self.text, "destination {family} {servers} {choices}")?;
        println!("destination {family} {servers}");
        Ok(())
    }

    fn turns(
        &mut self,
        scheduler: &str,
        flags: &str,
        sequence: Sequence,
        servers: &str,
        clients: &[SocketAddr],
    ) -> Result<()> {
        let service = SocketAddr::new(self.address(false)?, 80);
        let mut options = options(scheduler, flags);
        if sequence == Sequence::OnePacket {
            options += " --ops";
        }
        let protocol = sequence.protocol();
        self.director
            .restore(&orders(protocol, service, &options, servers)?)?;
        let mut choices = Vec::new();
        for turn in 0..TURNS {
            choices.push(match sequence {
                Sequence::Syn => self.director.ask(clients[turn], service, SYN)?,
                Sequence::Udp => self.director.ask(clients[turn], service, Kind::Udp)?,
                Sequence::OnePacket => self.director.ask(clients[turn % 3], service, Kind::Udp)?,
                Sequence::Churn => {
                    let choice = self.director.ask(clients[turn], service, SYN)?;
                    self.follow(clients[turn], service, ACK, choice)?;
                    if let Some(old) = turn.checked_sub(OPEN) {
                        let kind = if turn % 2 == 0 { FIN } else { RST };
                        self.follow(clients[old], service, kind, choices[old])?;
                    }
                    choice
                }
            });
        }
        let count = servers.split(',').count() as u8;
        let counts: Vec<String> = self
            .director
            .connections(protocol, service.ip(), count)?
            .iter()
            .map(|(active, inactive)| format!("{active}/{inactive}"))
            .collect();
        let choices: String = choices.into_iter().map(letter).collect();
        let (kind, counts) = (sequence.name(), counts.join(","));
        writeln!(
            self.text,
            "turns {scheduler} {flags} {kind} {service} {servers} {choices} {counts}"
        )?;
        println!("turns {scheduler} {flags} {kind} {servers}");
        Ok(())
    }

    /// A later segment of a connection goes where its SYN went.
    fn follow(
        &self,
        client: SocketAddr,
        service: SocketAddr,
        kind: Kind,
        choice: Choice,
    ) -> Result<()> {
        if choice != Choice::Refused {
            let went = self.director.ask(client, service, kind)?;
            ensure!(went == choice, "{client} {kind:?}: {went:?}, {choice:?}");
        }
        Ok(())
    }
}

fn letter(choice: Choice) -> char {
    match choice {
        Choice::Server(number) => char::from_digit(number.into(), 36).unwrap_or('?'),
        Choice::Refused => '-',
    }
}

fn options(scheduler: &str, flags: &str) -> String {
    if flags == "-" {
        format!("-s {scheduler}")
    } else {
        format!("-s {scheduler} -b {flags}")
    }
}

/// Lines for `ipvsadm --restore`.
fn orders(protocol: &str, service: SocketAddr, options: &str, servers: &str) -> Result<String> {
    let mut add = format!("-A {protocol} {service} {options}\n");
    let mut edit = String::new();
    for (number, words) in (1..).zip(servers.split(',')) {
        ensure!(number <= MOST_SERVERS, "{servers}");
        let server = SocketAddr::new(server(service.is_ipv6(), number), service.port());
        let (weight, new) = words.split_once('>').unwrap_or((words, ""));
        let mut parts = weight.split('/');
        write!(
            add,
            "-a {protocol} {service} -r {server} -g -w {}",
            parts.next().unwrap_or_default()
        )?;
        for (option, threshold) in ["-x", "-y"].into_iter().zip(parts) {
            write!(add, " {option} {threshold}")?;
        }
        add.push('\n');
        if !new.is_empty() {
            writeln!(edit, "-e {protocol} {service} -r {server} -g -w {new}")?;
        }
    }
    Ok(add + &edit)
}
