//! Virtual servers and real servers.

use super::Block;
use super::Body::Block as Of;
use super::Status::{Acted, NoEffect, NotNeeded, Own, Removed, Unsupported};
use super::{Keyword, b, k};

const NAT_MASK: &str = "keepalived dropped it in 2015: it never had an effect outside of NAT; remove the line";

pub(super) const VIRTUAL_SERVER: &[Keyword] = &[
    k("delay_loop", "SECONDS", Acted, "60", "from one check to the next"),
    k("lb_algo", "rr|wrr|lc|wlc|lblc|lblcr|sh|mh|dh|fo|ovf|sed|nq|twos", Acted, "wlc", "how a server is chosen for a new connection"),
    k("lvs_sched", "rr|wrr|lc|wlc|lblc|lblcr|sh|mh|dh|fo|ovf|sed|nq|twos", Acted, "wlc", "the same as lb_algo"),
    k("lb_kind", "DR|NAT|TUN [type] [ipip|gue|gre] [port] [N] [csum]", Acted, "NAT", "how packets are forwarded"),
    k("lvs_method", "DR|NAT|TUN [type] [ipip|gue|gre] [port] [N] [csum]", Acted, "NAT", "the same as lb_kind"),
    k("protocol", "TCP|UDP|SCTP", Acted, "UDP", "the transport protocol"),
    k("persistence_timeout", "[1..2678400]", Acted, "off; 360 without a number", "seconds for which a client stays with its server"),
    k("persistence_granularity", "NETMASK", Acted, "255.255.255.255", "clients whose masked address is the same count as one"),
    k("persistence_engine", "NAME", Unsupported, "", "persistence by contents (sip)"),
    k("weight", "1..65535", Acted, "1", "the weight of real servers that do not say"),
    k("sloppy", "[BOOL]", Own, "off", "TCP in mid-stream without an entry is scheduled instead of passed on"),
    k("alpha", "[BOOL]", Acted, "off", "real servers start down and must pass their check first"),
    k("omega", "[BOOL]", Acted, "off", "on stop, quorum_down and notify_down are run"),
    k("quorum", "1..", Acted, "1", "the weight of living servers that the service needs"),
    k("hysteresis", "0..", Acted, "0", "how much more is needed to gain the quorum again"),
    k("ha_suspend", "", Acted, "off", "checks rest while the virtual address is not here"),
    k("sorry_server", "IP [PORT]", Acted, "", "gets the traffic while the quorum is lost"),
    k("sorry_server_inhibit", "", Acted, "off", "the sorry server stays in the table with weight 0"),
    k("sorry_server_lvs_method", "DR|NAT|TUN [type] [ipip|gue|gre] [port] [N] [csum]", Acted, "lb_kind", "how packets reach the sorry server"),
    b("real_server", "IP [PORT]", Of(Block::RealServer), Acted, "a server of the service"),
    k("connect_timeout", "SECONDS", Acted, "5", "how long a check may take to connect"),
    k("retry", "1..", Acted, "1", "failures in a row, after the first, that are forgiven"),
    k("delay_before_retry", "SECONDS", Acted, "1", "from a failed check to the next try"),
    k("warmup", "SECONDS", Acted, "delay_loop", "the first check starts at random within it"),
    k("inhibit_on_failure", "[BOOL]", Acted, "off", "weight 0 instead of removal when a server is down"),
    k("hashed", "", NotNeeded, "", "an IPVS flag that the kernel sets itself"),
    k("ops", "", Unsupported, "off", "each UDP packet is scheduled by itself"),
    k("flag-1", "", Unsupported, "off", "sh-fallback or mh-fallback"),
    k("flag-2", "", Unsupported, "off", "sh-port or mh-port"),
    k("flag-3", "", NotNeeded, "off", "an IPVS flag without a meaning"),
    k("sh-port", "", Unsupported, "off", "sh hashes the port too"),
    k("sh-fallback", "", Unsupported, "off", "sh goes to the next server when the chosen one is down"),
    k("mh-port", "", Unsupported, "off", "mh hashes the port too"),
    k("mh-fallback", "", Unsupported, "off", "mh goes to the next server when the chosen one is down"),
    k("ip_family", "inet|inet6", NotNeeded, "inet", "the family of a fwmark service"),
    k("virtualhost", "NAME", NoEffect, "", "the Host of HTTP_GET and SSL_GET"),
    k("snmp_name", "NAME", NoEffect, "", "a name for SNMP"),
    k("quorum_up", "SCRIPT [USER [GROUP]]", NoEffect, "", "a script to run when the quorum is gained"),
    k("quorum_down", "SCRIPT [USER [GROUP]]", NoEffect, "", "a script to run when the quorum is lost"),
    k("smtp_alert", "[BOOL]", NoEffect, "off", "mails about the quorum"),
    k("nat_mask", "NETMASK", Removed(NAT_MASK), "", "the netmask of NAT, removed in 2015"),
    k("net_mask", "NETMASK", Removed(NAT_MASK), "", "nat_mask under another name"),
];

pub(super) const REAL_SERVER: &[Keyword] = &[
    k("weight", "0..65535", Acted, "1", "its share; 0: nothing new"),
    k("lvs_method", "DR|NAT|TUN [type] [ipip|gue|gre] [port] [N] [csum]", Acted, "the service's", "how packets reach it"),
    k("inhibit_on_failure", "[BOOL]", Acted, "off", "weight 0 instead of removal when it is down"),
    k("alpha", "[BOOL]", Acted, "the service's", "it starts down and must pass its checks first"),
    k("connect_timeout", "SECONDS", Acted, "the service's", "how long a check may take to connect"),
    k("retry", "1..", Acted, "the service's", "failures in a row, after the first, that are forgiven"),
    k("delay_before_retry", "SECONDS", Acted, "the service's", "from a failed check to the next try"),
    k("warmup", "SECONDS", Acted, "the service's", "the first check starts at random within it"),
    k("delay_loop", "SECONDS", Acted, "the service's", "from one check to the next"),
    b("TCP_CHECK", "", Of(Block::TcpCheck), Acted, "a TCP connection must be established"),
    b("HTTP_GET", "", Of(Block::HttpGet), Unsupported, "an HTTP request must be answered"),
    b("SSL_GET", "", Of(Block::SslGet), Unsupported, "an HTTPS request must be answered"),
    b("SMTP_CHECK", "", Of(Block::SmtpCheck), Unsupported, "a mail server must greet"),
    b("DNS_CHECK", "", Of(Block::DnsCheck), Unsupported, "a DNS query must be answered"),
    b("MISC_CHECK", "", Of(Block::MiscCheck), Unsupported, "a script must succeed"),
    b("BFD_CHECK", "", Of(Block::BfdCheck), Unsupported, "a BFD session must be up"),
    b("PING_CHECK", "", Of(Block::PingCheck), Unsupported, "a ping must be answered"),
    b("UDP_CHECK", "", Of(Block::UdpCheck), Unsupported, "a UDP packet must not be refused"),
    b("FILE_CHECK", "", Of(Block::FileCheck), Unsupported, "a file must say so"),
    k("uthreshold", "0..", Unsupported, "0", "connections from which on it gets nothing new"),
    k("lthreshold", "0..", Unsupported, "0", "connections below which it gets new ones again"),
    k("notify_up", "SCRIPT [USER [GROUP]]", NoEffect, "", "a script to run when it comes up"),
    k("notify_down", "SCRIPT [USER [GROUP]]", NoEffect, "", "a script to run when it goes down"),
    k("smtp_alert", "[BOOL]", NoEffect, "on", "mails about it"),
    k("virtualhost", "NAME", NoEffect, "the service's", "the Host of HTTP_GET and SSL_GET"),
    k("snmp_name", "NAME", NoEffect, "", "a name for SNMP"),
];

pub(super) const SSL: &[Keyword] = &[
    k("password", "TEXT", NoEffect, "", "the key's password"),
    k("ca", "PATH", NoEffect, "", "the certificates that are trusted"),
    k("certificate", "PATH", NoEffect, "", "the client's certificate"),
    k("key", "PATH", NoEffect, "", "the client's key"),
];
