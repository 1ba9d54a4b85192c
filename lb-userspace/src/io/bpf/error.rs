//! What can go wrong with the data plane, and what to do about it.

use std::io;
use std::path::PathBuf;

use aya::EbpfError;
use aya::maps::MapError;
use aya::programs::ProgramError;

/// An error of the data plane. Its text says what to do.
#[derive(Debug, thiserror::Error)]
pub enum BpfError {
    /// A capability is missing.
    #[error(
        "{capability} is missing: run as root, or give the process CAP_BPF, CAP_NET_ADMIN and CAP_NET_RAW"
    )]
    Capability {
        /// Its name.
        capability: &'static str,
    },
    /// The kernel cannot run the program.
    #[error("kernel {found} is too old: Linux {needed} or later is needed")]
    Kernel {
        /// `uname -r`.
        found: String,
        /// The oldest that will do.
        needed: &'static str,
    },
    /// The directory of pins cannot be used.
    #[error("the pin directory {path}: {why}")]
    PinDir {
        /// The directory.
        path: PathBuf,
        /// What is wrong with it and what to do.
        why: String,
    },
    /// Another process works with these pins.
    #[error(
        "another lbd runs with the pin directory {path}: stop it first, or give this one a directory of its own (--pin)"
    )]
    InUse {
        /// The directory.
        path: PathBuf,
    },
    /// bpffs cannot be mounted.
    #[error("cannot mount a bpf filesystem on {path}: {source}; as root: mount -t bpf bpf {path}")]
    Mount {
        /// Where.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// A file of bpffs cannot be made, read or removed.
    #[error("{action} {path}: {source}")]
    Pin {
        /// What was tried.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// The object with maps and programs cannot be loaded.
    #[error("the kernel does not take the maps: {0}")]
    Load(#[source] Box<EbpfError>),
    /// A program is refused, most likely by the verifier.
    #[error("the kernel does not take the program `{name}`: {source}")]
    Program {
        /// Its name.
        name: &'static str,
        /// What the kernel said, the verifier's log included.
        source: Box<ProgramError>,
    },
    /// A map cannot be read or written.
    #[error("map {name}: {source}")]
    Map {
        /// Its name.
        name: &'static str,
        /// What the kernel said.
        source: MapError,
    },
    /// A map cannot be mapped into memory.
    #[error("map {name} into memory: {source}")]
    Mmap {
        /// Its name.
        name: &'static str,
        /// What the kernel said.
        source: io::Error,
    },
    /// A program or a map of our own object is not in it: the build is broken.
    #[error("the object file lacks `{name}`: build again")]
    Missing {
        /// Its name.
        name: &'static str,
    },
    /// An operation names something outside of the maps.
    #[error("map {name} has no element {index}")]
    OutOfRange {
        /// The map.
        name: &'static str,
        /// The element.
        index: u32,
    },
    /// There is no such interface in this network namespace.
    #[error("there is no interface {ifname}")]
    NoInterface {
        /// Its name.
        ifname: String,
    },
    /// Asking the kernel for an interface failed.
    #[error("cannot ask the kernel for interface {ifname}: {source}")]
    Netlink {
        /// Its name.
        ifname: String,
        /// What the kernel said.
        source: io::Error,
    },
    /// Another XDP program holds the interface.
    #[error(
        "{ifname} already has the XDP program {other}: detach that one first (ip link set dev {ifname} xdp off, or stop who owns it)"
    )]
    Busy {
        /// The interface.
        ifname: String,
        /// Name and id of the other program.
        other: String,
    },
    /// The program cannot be attached.
    #[error("cannot attach to {ifname} in {mode} mode: {source}{hint}")]
    Attach {
        /// The interface.
        ifname: String,
        /// `native` or `generic`.
        mode: &'static str,
        /// What the kernel said.
        source: io::Error,
        /// What is usually meant by it; empty or beginning with `; `.
        hint: &'static str,
    },
    /// The table of interfaces is full.
    #[error("too many interfaces: {ifname} finds no place in the table")]
    TooManyInterfaces {
        /// The one that does not fit.
        ifname: String,
    },
    /// The clocks of the kernel could not be read.
    #[error("cannot read the kernel's clocks through a test run: {0}")]
    Clock(#[source] io::Error),
}
