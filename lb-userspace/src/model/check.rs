//! Checkers of real servers.

use std::net::IpAddr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{DnsCheck, Http, MiscCheck, SmtpCheck, UdpCheck};

/// A checker of a real server, all timings effective (inherited values filled in).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Check {
    /// What is tried.
    pub kind: CheckKind,
    /// `connect_ip`, by default the real server's.
    pub addr: IpAddr,
    /// `connect_port`, by default the real server's; 0 where there is none and none is needed.
    pub port: u16,
    /// `bindto`.
    #[serde(default)]
    pub bind_addr: Option<IpAddr>,
    /// `bind_port`; 0: any.
    #[serde(default)]
    pub bind_port: u16,
    /// `bind_if`.
    #[serde(default)]
    pub bind_if: Option<String>,
    /// `fwmark` of the packets that it sends; 0: none.
    #[serde(default)]
    pub fwmark: u32,
    /// `connect_timeout`, default 5 s.
    pub timeout: Duration,
    /// `delay_loop`, default 60 s: from one check to the next.
    pub interval: Duration,
    /// `retry`, by default the kind's ([`CheckKind::retry`]): failures in a row beyond the first
    /// that are forgiven.
    pub retry: u32,
    /// `delay_before_retry`, by default the kind's ([`CheckKind::retry_delay`]).
    pub retry_delay: Duration,
    /// `warmup`, default `delay_loop`: the first check starts at random within it.
    pub warmup: Duration,
    /// `alpha` of this check: down until it has passed.
    #[serde(default)]
    pub alpha: bool,
    /// `log_all_failures`, by default `checker_log_all_failures` of `global_defs`: each failed run of
    /// a check that is up is told, not only the one that takes it down.
    #[serde(default)]
    pub log_all_failures: bool,
}

impl Check {
    /// `connect_timeout` where none is given.
    pub const TIMEOUT: Duration = Duration::from_secs(5);
    /// `delay_loop` where none is given.
    pub const INTERVAL: Duration = Duration::from_secs(60);

    /// A check of `kind` with keepalived's defaults.
    #[must_use]
    pub const fn new(kind: CheckKind, addr: IpAddr, port: u16) -> Self {
        let (retry, retry_delay) = (kind.retry(), kind.retry_delay(Self::INTERVAL));
        Check {
            kind,
            addr,
            port,
            bind_addr: None,
            bind_port: 0,
            bind_if: None,
            fwmark: 0,
            timeout: Self::TIMEOUT,
            interval: Self::INTERVAL,
            retry,
            retry_delay,
            warmup: Self::INTERVAL,
            alpha: false,
            log_all_failures: false,
        }
    }
}

/// The kind of a check.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CheckKind {
    /// `TCP_CHECK`: the connection is established.
    Tcp,
    /// `UDP_CHECK`: no ICMP error comes back, or the answer that is required.
    Udp(UdpCheck),
    /// `HTTP_GET` and `SSL_GET`: a URL is answered as it should be.
    Http(Http),
    /// `DNS_CHECK`: a question is answered without an error.
    Dns(DnsCheck),
    /// `PING_CHECK`: an echo comes back.
    Ping,
    /// `SMTP_CHECK`: a mail server greets and answers.
    Smtp(SmtpCheck),
    /// `MISC_CHECK`: a script says so.
    Misc(MiscCheck),
    /// lbd's own `DR_PATH_CHECK`: what is addressed to the service and sent to the server's MAC, as
    /// direct routing does, is answered.
    DrPath,
    /// `BFD_CHECK`: the session of this name ([`super::Bfd`]) is up. It is not run, and has no timings.
    Bfd(String),
    /// `FILE_CHECK`: a file says so. It is not run, and has no timings.
    File(FileCheck),
}

/// `FILE_CHECK`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FileCheck {
    /// Name of a [`super::TrackFile`] that exists.
    pub file: String,
    /// What its value is multiplied by before it is added to the server's weight; at -2147483648 and
    /// below the check fails. 0: it fails unless the value is 0.
    pub weight: i32,
    /// `reverse`: subtracted; with weight 0, it fails while the value is 0.
    #[serde(default)]
    pub reverse: bool,
}

impl FileCheck {
    /// At this product and below the check fails (keepalived's `IPVS_WEIGHT_FAULT`).
    pub const FAULT: i64 = i32::MIN as i64;
}

impl CheckKind {
    /// Its name, as in keepalived.conf.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            CheckKind::Tcp => "TCP_CHECK",
            CheckKind::Udp(_) => "UDP_CHECK",
            CheckKind::Http(http) => http.name(),
            CheckKind::Dns(_) => "DNS_CHECK",
            CheckKind::Ping => "PING_CHECK",
            CheckKind::Smtp(_) => "SMTP_CHECK",
            CheckKind::Misc(_) => "MISC_CHECK",
            CheckKind::DrPath => "DR_PATH_CHECK",
            CheckKind::Bfd(_) => "BFD_CHECK",
            CheckKind::File(_) => "FILE_CHECK",
        }
    }

    /// `retry` where none is given.
    #[must_use]
    pub const fn retry(&self) -> u32 {
        match self {
            CheckKind::Tcp
            | CheckKind::Udp(_)
            | CheckKind::Http(_)
            | CheckKind::Ping
            | CheckKind::Smtp(_)
            | CheckKind::DrPath => 1,
            CheckKind::Dns(_) => 3,
            CheckKind::Misc(_) | CheckKind::Bfd(_) | CheckKind::File(_) => 0,
        }
    }

    /// `delay_before_retry` where none is given; `interval` is the check's `delay_loop`.
    #[must_use]
    pub const fn retry_delay(&self, interval: Duration) -> Duration {
        match self {
            CheckKind::Tcp
            | CheckKind::Udp(_)
            | CheckKind::Ping
            | CheckKind::Smtp(_)
            | CheckKind::Misc(_)
            | CheckKind::DrPath
            | CheckKind::Bfd(_)
            | CheckKind::File(_) => Duration::from_secs(1),
            CheckKind::Dns(_) => interval,
            CheckKind::Http(_) => Duration::from_secs(3),
        }
    }

    /// Whether it needs a port to connect to.
    #[must_use]
    pub const fn has_port(&self) -> bool {
        match self {
            CheckKind::Tcp
            | CheckKind::Udp(_)
            | CheckKind::Http(_)
            | CheckKind::Dns(_)
            | CheckKind::Smtp(_) => true,
            CheckKind::Ping
            | CheckKind::Misc(_)
            | CheckKind::DrPath
            | CheckKind::Bfd(_)
            | CheckKind::File(_) => false,
        }
    }

    /// Whether it sends anything itself: only then it has `connect_ip` and the like.
    #[must_use]
    pub const fn connects(&self) -> bool {
        match self {
            CheckKind::Tcp
            | CheckKind::Udp(_)
            | CheckKind::Http(_)
            | CheckKind::Dns(_)
            | CheckKind::Ping
            | CheckKind::Smtp(_)
            | CheckKind::DrPath => true,
            CheckKind::Misc(_) | CheckKind::Bfd(_) | CheckKind::File(_) => false,
        }
    }
}
