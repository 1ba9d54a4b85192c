//! What goes into the router and what comes out of it: closed enums.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::forwarding::Forwarding;
use super::packet::Reject;
use super::report::Report;
use crate::model::{AddressOptions, Broadcast};

/// An instance for as long as it is configured. Not reused while the process lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct InstanceId(pub u32);

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event<'a> {
    /// An IP packet of protocol 112 arrived on `iface`. `packet` starts with the IP header;
    /// what lies behind the IP length (Ethernet padding) is ignored.
    Advert {
        /// Name of the interface.
        iface: &'a str,
        /// The IP packet.
        packet: &'a [u8],
        /// The frame's source MAC.
        src_mac: [u8; 6],
    },
    /// The state of an interface, told at the start and whenever it changes. Telling it again is
    /// harmless. As long as an interface was not told of, its instances stay in INIT.
    Link {
        /// Name of the interface.
        iface: &'a str,
        /// Its state.
        state: LinkState,
    },
    /// All addresses of an interface, in the kernel's order: at the start and after a netlink
    /// overrun. Must come from a dump made after the last applied action.
    AddressSnapshot {
        /// Name of the interface.
        iface: &'a str,
        /// Address and prefix length.
        addresses: &'a [(IpAddr, u8)],
    },
    /// Netlink reported a new address.
    AddressAdded {
        /// Name of the interface.
        iface: &'a str,
        /// The address.
        addr: IpAddr,
        /// Prefix length.
        prefix_len: u8,
    },
    /// Netlink reported that an address is gone, whoever removed it.
    AddressRemoved {
        /// Name of the interface.
        iface: &'a str,
        /// The address.
        addr: IpAddr,
        /// Prefix length.
        prefix_len: u8,
    },
    /// The outcome of an [`Action::AddAddress`] or [`Action::DelAddress`], to be given right after
    /// it was carried out, before the next netlink event.
    Applied {
        /// The interface of the action.
        iface: &'a str,
        /// The address of the action.
        addr: IpAddr,
        /// The prefix length of the action.
        prefix_len: u8,
        /// What came of it.
        outcome: Applied,
    },
    /// The outcome of a [`Report::RunScript`].
    ScriptEnded {
        /// Its number.
        run: u64,
        /// Whether it succeeded; none when nothing was learnt.
        good: Option<bool>,
        /// What came of it, in words.
        words: &'a str,
    },
    /// A tracked file was read; told again is harmless. Until then who follows it stays in INIT.
    FileRead {
        /// Its name in the configuration.
        name: &'a str,
        /// The number in it; 0 when it is not there.
        value: i64,
    },
    /// Something else that instances follow is good or not, as [`Event::FileRead`].
    Followed {
        /// Its kind: any but [`Followed::Interface`] and [`Followed::File`].
        what: Followed,
        /// Its name.
        name: &'a str,
        /// As good.
        good: bool,
    },
    /// Another host says by ARP, or in a neighbour advertisement, that an address is its own.
    Claimed {
        /// Where it was heard.
        iface: &'a str,
        /// The address.
        addr: IpAddr,
        /// Its MAC, none of this host's.
        mac: [u8; 6],
    },
    /// Where this host can forward. An instance whose packets come by another interface is not
    /// MASTER. It holds until an interface is gone; told again is harmless.
    Ready(&'a Forwarding),
    /// The process is asked to stop: hand over, then let go. Done when [`super::Router::is_stopped`].
    Shutdown,
}

/// What instances follow beside scripts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Followed {
    /// `track_interface` with a weight.
    Interface,
    /// `track_file`.
    File,
    /// `track_process`.
    Process,
    /// `track_bfd`.
    Bfd,
    /// `track_service`.
    Service,
    /// `track_group`: static addresses, routes and rules.
    Statics,
}

impl Followed {
    /// As it is called in logs.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Followed::Interface => "interface",
            Followed::File => "file",
            Followed::Process => "process",
            Followed::Bfd => "BFD session",
            Followed::Service => "service",
            Followed::Statics => "static group",
        }
    }
}

/// State of an interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LinkState {
    /// Administratively up with a carrier.
    Up,
    /// It exists but is down or has no carrier.
    Down,
    /// There is no interface of this name.
    Gone,
}

/// The outcome of an address operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Applied {
    /// The address is there now (an `EEXIST` counts as this).
    Present,
    /// The address was removed: netlink will report it as well.
    Removed,
    /// There was no such address to remove (`EADDRNOTAVAIL`), or no such interface any more.
    NotThere,
    /// The kernel refused; tried again after a second.
    Failed,
}

/// A virtual address as the kernel is to have it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    /// Name of the interface.
    pub iface: Arc<str>,
    /// The address.
    pub addr: IpAddr,
    /// Prefix length.
    pub prefix_len: u8,
    /// Label.
    pub label: Option<String>,
    /// Broadcast address.
    pub broadcast: Option<Broadcast>,
    /// Scope, the kernel's number.
    pub scope: u8,
    /// `peer` and the like.
    pub options: AddressOptions,
}

/// What is to be done, in this order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Send `packet`, an IP packet with its header, out of `iface` to its destination.
    SendAdvert {
        /// Whose advert it is.
        instance: InstanceId,
        /// Outgoing interface.
        iface: Arc<str>,
        /// The whole IP packet.
        packet: Vec<u8>,
        /// The priority in it; the time of the last one that is not 0 is what [`super::Resume`]
        /// wants back after a crash.
        priority: u8,
        /// The sequence number of AH, likewise.
        sequence: u32,
    },
    /// Add an address, then give [`Event::Applied`].
    AddAddress {
        /// Whose address it is.
        instance: InstanceId,
        /// The address.
        address: Address,
    },
    /// Remove an address, then give [`Event::Applied`].
    DelAddress {
        /// Whose address it was.
        instance: InstanceId,
        /// The address.
        address: Address,
    },
    /// Tell everybody on `iface` that `addr` has its MAC: by one gratuitous ARP request, or for IPv6
    /// one unsolicited neighbour advertisement.
    Announce {
        /// Whose address it is.
        instance: InstanceId,
        /// Outgoing interface.
        iface: Arc<str>,
        /// The virtual address.
        addr: IpAddr,
    },
    /// Ask on `iface` who else has `addr`: by an ARP probe (RFC 5227), or for IPv6 by a neighbour
    /// solicitation. The answer is [`Event::Claimed`].
    AskFor {
        /// Outgoing interface.
        iface: Arc<str>,
        /// The virtual address.
        addr: IpAddr,
        /// This host's own address there, which solicitations come from; none: it has none.
        from: Option<IpAddr>,
    },
    /// Something for the rest of the daemon.
    Report(Report),
}

/// State of an instance as it is reported.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum State {
    /// Not started: nothing is known of its interface yet.
    Init,
    /// Listening.
    Backup,
    /// Advertising, all addresses are there and this host forwards.
    Master,
    /// It cannot take part: interface down, no address, program not attached, or a fellow of its
    /// sync group cannot.
    Fault,
    /// Stopped or removed.
    Stopped,
}

impl State {
    /// The word used in logs, `lbctl` and metrics.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            State::Init => "INIT",
            State::Backup => "BACKUP",
            State::Master => "MASTER",
            State::Fault => "FAULT",
            State::Stopped => "STOPPED",
        }
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A change of state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transition {
    /// The instance.
    pub instance: InstanceId,
    /// Its name.
    pub name: Arc<str>,
    /// The state before.
    pub from: State,
    /// The state now.
    pub to: State,
    /// Why.
    pub reason: Reason,
    /// The priority at that time.
    pub priority: u8,
}

/// Why a state changed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// The instance takes part: its interface is up and has an address.
    Started,
    /// What kept it in FAULT is over.
    Recovered {
        /// What that was at last.
        from: Box<Reason>,
    },
    /// No advert within the master down interval.
    MasterDown,
    /// The master gave up (priority 0) and nobody was quicker.
    MasterResigned,
    /// Priority 255: the address owner does not wait.
    Owner,
    /// The daemon was restarted before a peer can have taken over.
    Resumed,
    /// A better advert: its sender and priority.
    HigherPriority {
        /// Who sent it.
        from: IpAddr,
        /// Its priority.
        priority: u8,
    },
    /// The sync group moved.
    Group {
        /// Name of the group.
        name: String,
    },
    /// An interface is down.
    LinkDown {
        /// Its name.
        iface: String,
    },
    /// An interface does not exist.
    LinkGone {
        /// Its name.
        iface: String,
    },
    /// The interface has no IPv4 address of its own.
    NoAddress {
        /// Its name.
        iface: String,
    },
    /// The interface has no link-local address of its own, as adverts over IPv6 must come from.
    NoLinkLocal {
        /// Its name.
        iface: String,
    },
    /// The source address of its adverts is not on this host (`track_src_ip`).
    NoSource {
        /// The address.
        addr: IpAddr,
    },
    /// Adverts are to go by unicast, but no peer is named (`unicast_fault_no_peer`).
    NoPeer,
    /// A script that it tracks without weight fails.
    Script {
        /// Its name.
        name: String,
    },
    /// Something else that it tracks.
    Followed {
        /// Its kind.
        what: Followed,
        /// Its name.
        name: String,
    },
    /// The XDP program is not attached.
    NotReady,
    /// An operator has it give the role away.
    Released,
    /// An operator has it take the role.
    TakenOver,
    /// It was released, and nobody took over.
    NoSuccessor,
    /// The daemon stops.
    Shutdown,
    /// The instance was removed from the configuration.
    Removed,
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Reason::Started => f.write_str("interface is ready"),
            Reason::Recovered { from } => write!(f, "recovered from: {from}"),
            Reason::MasterDown => f.write_str("no advert within the master down interval"),
            Reason::MasterResigned => f.write_str("the master resigned"),
            Reason::Owner => f.write_str("priority 255 owns the address"),
            Reason::Resumed => {
                f.write_str("was master, restarted before a peer can have taken over")
            }
            Reason::HigherPriority { from, priority } => {
                write!(f, "better advert from {from}, priority {priority}")
            }
            Reason::Group { name } => write!(f, "sync group {name}"),
            Reason::LinkDown { iface } => write!(f, "interface {iface} is down"),
            Reason::LinkGone { iface } => write!(f, "interface {iface} does not exist"),
            Reason::NoAddress { iface } => write!(f, "interface {iface} has no IPv4 address"),
            Reason::NoLinkLocal { iface } => {
                write!(f, "interface {iface} has no link-local IPv6 address")
            }
            Reason::NoSource { addr } => write!(f, "source address {addr} is not on this host"),
            Reason::NoPeer => f.write_str("unicast is wanted but unicast_peer names nobody"),
            Reason::Script { name } => write!(f, "tracked script {name}"),
            Reason::Followed { what, name } => write!(f, "tracked {} {name}", what.name()),
            Reason::NotReady => f.write_str("the XDP program is not attached"),
            Reason::Released => f.write_str("released by hand"),
            Reason::TakenOver => f.write_str("taken over by hand"),
            Reason::NoSuccessor => f.write_str("released by hand, and nobody took over"),
            Reason::Shutdown => f.write_str("shutdown"),
            Reason::Removed => f.write_str("removed from the configuration"),
        }
    }
}

/// `02:00:00:00:00:01`.
#[must_use]
pub fn mac_text(mac: [u8; 6]) -> String {
    mac.map(|b| format!("{b:02x}")).join(":")
}

/// Something that an operator wants to read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Notice {
    /// Another program took a virtual address away; it is put back.
    AddressTakenAway {
        /// Interface.
        iface: Arc<str>,
        /// The address.
        addr: IpAddr,
    },
    /// The kernel refused to add or remove an address; tried again every second and told once, until it
    /// did.
    AddressFailed {
        /// Interface.
        iface: Arc<str>,
        /// There is no such interface.
        missing: bool,
        /// The address.
        addr: IpAddr,
    },
    /// Adverts were rejected: the first of its reason at once, then at most one notice in ten
    /// seconds with the number since the last one.
    AdvertRejected {
        /// Why.
        reason: Reject,
        /// Who sent the last one.
        from: IpAddr,
        /// How many since the last notice.
        count: u64,
    },
    /// Somebody else advertises this virtual router, as master like this host, and each refuses what the
    /// other says; told once.
    Rival {
        /// Who.
        from: IpAddr,
        /// Why it is refused.
        reason: Reject,
    },
    /// Nothing more was heard of it.
    RivalGone {
        /// Who.
        from: IpAddr,
    },
    /// Another host answers for a virtual address while this one is master; told once.
    Claimed {
        /// Where.
        iface: Arc<str>,
        /// The address.
        addr: IpAddr,
        /// The other's MAC.
        mac: [u8; 6],
        /// The real server of this MAC. The engine, which knows, fills it in.
        server: Option<IpAddr>,
    },
    /// It does no longer.
    ClaimGone {
        /// The address.
        addr: IpAddr,
        /// The other's MAC.
        mac: [u8; 6],
    },
    /// A master heard an advert with a lower priority and answers it; limited as above.
    LowerPriority {
        /// Who sent it.
        from: IpAddr,
        /// Its priority.
        priority: u8,
    },
    /// An equal or better master is heard while BACKUP and it is another one than before.
    NewMaster {
        /// Who.
        from: IpAddr,
        /// Its priority.
        priority: u8,
    },
    /// A unicast peer computes the checksum of version 3 as keepalived up to 1.3.6 did: it is answered
    /// likewise from now on.
    OldChecksum {
        /// Who.
        from: IpAddr,
    },
    /// Nobody took over within the time allowed, the addresses are removed all the same.
    NoSuccessor,
}

impl fmt::Display for Notice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Notice::AddressTakenAway { iface, addr } => {
                write!(
                    f,
                    "{addr} was taken from {iface} by another program, putting it back"
                )
            }
            Notice::AddressFailed {
                iface,
                missing: true,
                addr,
            } => write!(
                f,
                "there is no interface {iface} for {addr}, waiting for it"
            ),
            Notice::AddressFailed {
                iface,
                missing: false,
                addr,
            } => write!(
                f,
                "the kernel refused {addr} on {iface}, trying every second"
            ),
            Notice::AdvertRejected {
                reason,
                from,
                count,
            } => {
                write!(f, "{count} advert(s) rejected, {reason}, last from {from}")
            }
            Notice::Rival { from, reason } => write!(
                f,
                "TWO MASTERS: {from} advertises this virtual router too and is refused: {reason}; compare {} \
                 of both",
                reason.disagreement().unwrap_or("the configuration")
            ),
            Notice::RivalGone { from } => {
                write!(
                    f,
                    "{from} no longer advertises this virtual router as another master"
                )
            }
            Notice::Claimed {
                iface,
                addr,
                mac,
                server: Some(server),
            } => write!(
                f,
                "real server {server} ({}) answers for {addr} on {iface} too, so clients may bypass this host: \
                 set arp_ignore 1 and arp_announce 2 there",
                mac_text(*mac)
            ),
            Notice::Claimed {
                iface,
                addr,
                mac,
                server: None,
            } => write!(
                f,
                "TWO MASTERS or a duplicate address: {} answers for {addr} on {iface} too, and no advert of it is \
                 heard; does a switch or firewall drop adverts, or has another host this address?",
                mac_text(*mac)
            ),
            Notice::ClaimGone { addr, mac } => {
                write!(f, "{} no longer answers for {addr}", mac_text(*mac))
            }
            Notice::LowerPriority { from, priority } => {
                write!(
                    f,
                    "advert of lower priority {priority} from {from}, answering it"
                )
            }
            Notice::NewMaster { from, priority } => {
                write!(f, "master is {from}, priority {priority}")
            }
            Notice::OldChecksum { from } => write!(
                f,
                "{from} sends the unicast checksum of keepalived before 1.3.7, doing so too"
            ),
            Notice::NoSuccessor => f.write_str("nobody took over, removing the addresses"),
        }
    }
}
