//! Checks of every kind.

use lb_userspace::model::*;
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

use super::scripts::script;
use super::values::*;

pub(crate) fn udp() -> impl Strategy<Value = UdpCheck> {
    (
        option::of(vec(any::<u8>(), 1..40)),
        option::of("[0-9A-Fa-fxX ]{0,40}"),
        any::<[u16; 2]>(),
    )
        .prop_map(|(payload, reply, lengths)| UdpCheck {
            payload,
            require_reply: reply.map(|r| Pattern::parse(&r).expect("hexadecimal")),
            min_reply_length: lengths[0].min(lengths[1]),
            max_reply_length: lengths[0].max(lengths[1]),
        })
}

pub(crate) fn regex() -> impl Strategy<Value = HttpRegex> {
    let text = prop_oneof![
        Just("^(up|ok)\\.$".to_owned()),
        Just("a{2,3} [\"'#!]\\d\\<b".to_owned()),
        "[a-zäöü0-9 ./%-]{1,12}"
    ];
    let options = prop::sample::subsequence(RegexOption::ALL.to_vec(), 0..4);
    let offsets = option::of((0u64..900, option::of(0u64..900)));
    (text, options, any::<bool>(), offsets).prop_filter_map(
        "a pattern",
        |(text, options, no_match, offsets)| {
            let (min_offset, more) = offsets.unwrap_or((0, None));
            HttpRegex::new(HttpRegexText {
                text,
                options,
                no_match,
                min_offset,
                max_offset: more.map(|m| min_offset + m),
            })
            .ok()
        },
    )
}

pub(crate) fn url() -> impl Strategy<Value = Url> {
    let code = || (100u16..=599, 0u16..100).prop_map(|(from, n)| (from, (from + n).min(599)));
    (
        "/[!-z|~]{0,20}".prop_filter("no placeholder of a template", |s| !s.contains("<%")),
        option::of("[a-z.:0-9-]{1,12}"),
        vec(code(), 0..4),
        option::of(any::<[u8; 16]>()),
        option::of(regex()),
    )
        .prop_map(|(path, host, codes, digest, regex)| Url {
            path,
            host,
            status: match codes.is_empty() {
                true => StatusCodes::default(),
                false => StatusCodes::from(codes),
            },
            digest: digest.map(HttpDigest),
            regex,
        })
}

/// The files are those of all checks.
fn trust(tls: bool, verify: bool) -> Trust {
    let file = |name: &str, there: bool| there.then(|| format!("/etc/{name}.pem"));
    Trust {
        verify: tls && verify,
        ca: file("all authorities", tls && verify),
        certificate: file("certificate", tls),
        key: file("key", tls),
    }
}

pub(crate) fn http() -> impl Strategy<Value = Http> {
    (
        any::<[bool; 3]>(),
        prop::sample::select(HttpVersion::ALL.to_vec()),
        vec(url(), 1..4),
    )
        .prop_map(|([tls, sni, fast_recovery], version, urls)| Http {
            tls,
            sni: sni && tls,
            trust: trust(tls, fast_recovery),
            version,
            fast_recovery,
            urls,
        })
}

pub(crate) fn kind() -> impl Strategy<Value = CheckKind> {
    let dns = (
        0..DnsType::ALL.len(),
        "[a-z0-9_#-]{1,9}(\\.[a-zA-Z]{1,9}){0,2}|\\.",
    );
    let dns = dns.prop_map(|(record, name)| DnsCheck {
        record: DnsType::ALL[record],
        name,
    });
    let smtp = "[ -~]{1,20}".prop_filter("no placeholder of a template", |s| {
        !["{{", "{%", "<%"].iter().any(|p| s.contains(p))
    });
    let smtp = smtp.prop_map(|helo_name| SmtpCheck { helo_name });
    let misc = (script(), any::<bool>());
    let misc = misc.prop_map(|(script, dynamic)| MiscCheck { script, dynamic });
    prop_oneof![
        Just(CheckKind::Tcp),
        misc.prop_map(CheckKind::Misc),
        udp().prop_map(CheckKind::Udp),
        dns.prop_map(CheckKind::Dns),
        Just(CheckKind::Ping),
        Just(CheckKind::DrPath),
        smtp.prop_map(CheckKind::Smtp),
        http().prop_map(CheckKind::Http),
    ]
}

pub(crate) fn check() -> impl Strategy<Value = Check> {
    (
        (kind(), ip(), 1u16..),
        (
            option::of(ip()),
            any::<u16>(),
            option::of(interface()),
            any::<u32>(),
        ),
        (timer(), timer(), 0u32..9, secs(9), secs(9)),
        any::<[bool; 2]>(),
    )
        .prop_map(|(to, from, times, [alpha, log_all_failures])| {
            let (kind, addr, port) = to;
            let (bind_addr, bind_port, bind_if, fwmark) = from;
            let (timeout, interval, retry, retry_delay, warmup) = times;
            Check {
                kind,
                addr,
                port,
                bind_addr,
                bind_port,
                bind_if,
                fwmark,
                timeout,
                interval,
                retry,
                retry_delay,
                warmup,
                alpha,
                log_all_failures,
            }
        })
}
