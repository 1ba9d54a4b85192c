//! `lbd`'s command line.

use std::path::PathBuf;

use clap::Parser;

use super::log::Target;

/// The load balancer's daemon: VRRP, health checks, and the XDP program's tables.
#[derive(Clone, Debug, Parser)]
#[command(name = "lbd", version, after_help = EXIT_CODES)]
pub struct Options {
    /// Configuration: a keepalived.conf, or a TOML file (.toml).
    #[arg(
        short,
        long,
        value_name = "FILE",
        default_value = "/etc/keepalived/keepalived.conf"
    )]
    pub config: PathBuf,

    /// Which `@id` lines of the configuration hold; the host's name by default.
    #[arg(short = 'i', long, value_name = "ID")]
    pub config_id: Option<String>,

    /// Interface to balance on; may be given more than once. Default: those of the VRRP instances
    /// and of their addresses.
    #[arg(long, value_name = "IF")]
    pub iface: Vec<String>,

    /// Where in a bpffs the program and its maps are pinned.
    #[arg(long, value_name = "DIR", default_value = "/sys/fs/bpf/lbd")]
    pub pin: PathBuf,

    /// Connections that must have room at a time. The table takes 64 bytes for each (a power of two in
    /// all); it is made with its maps, and kept by daemons that find it.
    #[arg(long, value_name = "N", default_value_t = 1_000_000, value_parser = clap::value_parser!(u32).range(1_000..=100_000_000))]
    pub flows: u32,

    /// The socket for lbctl.
    #[arg(long, value_name = "SOCKET", default_value = crate::control::protocol::SOCKET_PATH)]
    pub control: PathBuf,

    /// Where the daemon keeps what its successor needs (on tmpfs).
    #[arg(long, value_name = "DIR", default_value = "/run/lbd")]
    pub state_dir: PathBuf,

    /// Run without the services and instances of a kind that is not built yet, instead of refusing
    /// the file.
    #[arg(long)]
    pub skip_unsupported: bool,

    /// Check the configuration and exit, as `lbctl check` does.
    #[arg(short = 't', long)]
    pub test: bool,

    /// Take the program off the interfaces, remove its pinned maps, and exit.
    #[arg(long)]
    pub unload: bool,

    /// What is logged: error, warn, info, debug or trace, or a filter such as `info,lbd::vrrp=debug`.
    #[arg(long, value_name = "LEVEL", default_value = "info")]
    pub log_level: String,

    /// Where the log goes.
    #[arg(long, value_enum, value_name = "WHERE", default_value = "auto")]
    pub log_to: Target,

    /// Log to syslog with the facility local0 to local7, as keepalived does.
    #[arg(short = 'S', long, value_name = "N", value_parser = clap::value_parser!(u8).range(0..=7))]
    pub log_facility: Option<u8>,
}

const EXIT_CODES: &str = "Signals: TERM and INT hand the addresses over and stop (the program stays attached, see --unload); HUP reloads.\n\
Exit codes: 0 stopped as asked; 1 cannot run here (the message says what to do); 2 the configuration or the command line is refused.";
