//! `lb_kind` (`lvs_method`): how packets reach the real servers.

use crate::config::diag::{Code, Diagnostic};
use crate::config::lower::{Lower, Walked};
use crate::config::source::Span;
use crate::config::tree::{Node, Word};
use crate::model::{ForwardMethod, Tunnel};

use super::unsupported;

/// What `lb_kind` says, of a service or of one server.
#[derive(Clone)]
pub(in crate::config::lower) enum Kind {
    /// The data plane has it.
    Has(ForwardMethod),
    /// It has not, for this reason.
    HasNot(Box<Diagnostic>),
}

fn nat(span: Span, label: &str) -> Diagnostic {
    unsupported(span, "NAT is not supported", label)
        .help("with NAT every reply would have to come back through this host to be translated")
        .help("write `lb_kind DR` for real servers on the same network, `lb_kind TUN` for others")
}

impl Lower {
    /// The service's `lb_kind`: the default of its servers.
    pub(super) fn kind(&mut self, node: &Node, walked: &Walked<'_>) -> Kind {
        let mut kind = None;
        let words = walked.acted.iter();
        for (_, n) in words.filter(|(k, _)| matches!(*k, "lb_kind" | "lvs_method")) {
            kind = self
                .forwarding(n, Tunnel::Ipip, "its default is NAT")
                .or(kind);
        }
        kind.unwrap_or_else(|| {
            Kind::HasNot(Box::new(nat(
                node.whole(),
                "no `lb_kind` is given, and the default is NAT",
            )))
        })
    }

    /// What one server's own words say, or `above`; `None` after saying why it cannot be.
    pub(in crate::config::lower) fn method_of(
        &mut self,
        own: Option<&Node>,
        above: &Kind,
        bad: &mut Vec<Diagnostic>,
    ) -> Option<ForwardMethod> {
        let tunnel = match above {
            Kind::Has(ForwardMethod::Tun(tunnel)) => *tunnel,
            Kind::Has(ForwardMethod::Dr) | Kind::HasNot(_) => Tunnel::Ipip,
        };
        let own = own.and_then(|n| self.forwarding(n, tunnel, "the service's `lb_kind` holds"));
        match own.as_ref().unwrap_or(above) {
            Kind::Has(method) => Some(*method),
            Kind::HasNot(why) => {
                // Said once for all servers that have it from the service.
                if !bad.contains(why) {
                    bad.push((**why).clone());
                }
                None
            }
        }
    }

    /// `DR`, `NAT` or `TUN [type ipip|gue port N|gre] [nocsum|csum|remcsum]`; `None` when keepalived
    /// ignores the line. With options that it cannot read, it takes the first word and leaves the
    /// tunnel as it was (`before`).
    fn forwarding(&mut self, n: &Node, before: Tunnel, instead: &str) -> Option<Kind> {
        let [w, options @ ..] = n.args() else {
            return None;
        };
        if !matches!(w.text.as_str(), "NAT" | "DR" | "TUN") {
            let severity = self.replaced();
            let mut d = Diagnostic::new(
                Code::InvalidValue,
                severity,
                format!("there is no forwarding method `{}`", w.text),
            )
            .at(w.span, format!("keepalived ignores this line: {instead}"));
            let upper = w.text.to_ascii_uppercase();
            if matches!(upper.as_str(), "NAT" | "DR" | "TUN") {
                d = d.help(format!("write `{upper}`: case matters"));
            }
            self.push(d);
            return None;
        }
        let tunnel = match tunnel(options) {
            Ok(tunnel) => tunnel,
            Err(Wrong::Remcsum(span)) => {
                return Some(Kind::HasNot(Box::new(
                    unsupported(
                        span,
                        "`remcsum` is not supported",
                        "remote checksum offload, which is an extension of GUE",
                    )
                    .help("write `csum`, or `nocsum` where the network's own checksums will do"),
                )));
            }
            Err(Wrong::Options(span, why)) => {
                let d = Diagnostic::new(Code::InvalidValue, self.replaced(), why).at(
                    span.unwrap_or(n.whole()),
                    match w.text.as_str() {
                        "TUN" => format!("the tunnel is {}, as in keepalived", name(before)),
                        _ => "ignored, as by keepalived".to_owned(),
                    },
                );
                self.push(d.help("TUN [type ipip|gre|gue port N] [nocsum|csum]"));
                before
            }
        };
        Some(match w.text.as_str() {
            "NAT" => Kind::HasNot(Box::new(nat(n.whole(), "how packets are forwarded"))),
            "TUN" => Kind::Has(ForwardMethod::Tun(tunnel)),
            _ => Kind::Has(ForwardMethod::Dr),
        })
    }
}

const fn name(tunnel: Tunnel) -> &'static str {
    match tunnel {
        Tunnel::Ipip => "ipip",
        Tunnel::Gue { .. } => "gue",
        Tunnel::Gre { .. } => "gre",
    }
}

/// Why the options of a tunnel say nothing.
enum Wrong {
    Remcsum(Span),
    Options(Option<Span>, String),
}

/// The words after `TUN`; the last of equal ones counts.
fn tunnel(options: &[Word]) -> Result<Tunnel, Wrong> {
    let (mut kind, mut port, mut csum) = ("ipip", None, "nocsum");
    let mut remcsum = None;
    let mut words = options.iter();
    while let Some(w) = words.next() {
        let value = |v: Option<&Word>, what: &str| {
            let missing = || Wrong::Options(Some(w.span), format!("`{}` needs {what}", w.text));
            v.map(|v| (v.text.clone(), v.span)).ok_or_else(missing)
        };
        match w.text.as_str() {
            "type" => {
                let (text, span) = value(words.next(), "ipip, gue or gre")?;
                kind = match text.as_str() {
                    "ipip" => "ipip",
                    "gue" => "gue",
                    "gre" => "gre",
                    _ => {
                        let why = format!("there is no tunnel type `{text}`");
                        return Err(Wrong::Options(Some(span), why));
                    }
                };
            }
            "port" => {
                let (text, span) = value(words.next(), "a port")?;
                let number = text.parse::<u16>().ok().filter(|p| *p != 0);
                port = Some(number.ok_or_else(|| {
                    Wrong::Options(Some(span), format!("`port` needs 1 to 65535, not `{text}`"))
                })?);
            }
            "nocsum" => csum = "nocsum",
            "csum" => csum = "csum",
            "remcsum" => (csum, remcsum) = ("remcsum", Some(w.span)),
            other => {
                let why = format!("`{other}` is no option of a tunnel");
                return Err(Wrong::Options(Some(w.span), why));
            }
        }
    }
    let wrong = |why: &str| Err(Wrong::Options(None, why.to_owned()));
    match (kind, port, csum) {
        ("gue", None, _) => wrong("a tunnel of type gue needs `port N`"),
        ("ipip" | "gre", Some(_), _) => wrong("only a tunnel of type gue has a port"),
        ("ipip", None, "csum" | "remcsum") => wrong("a tunnel of type ipip has no checksum"),
        ("gre", None, "remcsum") => wrong("a tunnel of type gre has no remote checksum"),
        ("gue", Some(_), "remcsum") => Err(Wrong::Remcsum(remcsum.unwrap_or_default())),
        ("gue", Some(port), csum) => Ok(Tunnel::Gue {
            port,
            csum: csum == "csum",
        }),
        ("gre", None, csum) => Ok(Tunnel::Gre {
            csum: csum == "csum",
        }),
        _ => Ok(Tunnel::Ipip),
    }
}
