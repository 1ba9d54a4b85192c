//! `HTTP_GET` and `SSL_GET` against servers of all manners.

use std::io::Write;
use std::net::Shutdown;
use std::process::Command;
use std::sync::{Arc, Mutex};

use tokio_rustls::rustls::version::{TLS12, TLS13};
use tokio_rustls::rustls::{
    self, ServerConfig, ServerConnection, StreamOwned, SupportedProtocolVersion, crypto::ring,
};

use super::*;
use crate::model::{Http, HttpRegex, HttpRegexText, HttpVersion, StatusCodes, Trust, Url};

/// How long a server may be silent where that is tested.
const SHORT: Duration = Duration::from_millis(300);

pub(super) fn url() -> Url {
    Url {
        path: "/".into(),
        host: None,
        status: StatusCodes::default(),
        digest: None,
        regex: None,
    }
}

pub(super) fn get(to: SocketAddr, url: Url) -> Check {
    Check {
        kind: CheckKind::Http(Http {
            tls: false,
            sni: false,
            trust: Trust::default(),
            version: HttpVersion::V1_0,
            fast_recovery: false,
            urls: vec![url],
        }),
        ..check(to)
    }
}

/// The same over TLS.
pub(super) fn secure(check: Check) -> Check {
    let CheckKind::Http(http) = check.kind else {
        panic!("{check:?}")
    };
    Check {
        kind: CheckKind::Http(Http { tls: true, ..http }),
        ..check
    }
}

pub(super) fn failed(words: &str) -> Verdict {
    Verdict::Failed(Failure::Answer(words.to_owned()))
}

/// A server that treats each connection so, until the test is over.
pub(super) fn server(treat: impl Fn(TcpStream) + Send + 'static) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let stream = stream.unwrap();
            stream.set_read_timeout(Some(PATIENCE)).unwrap();
            treat(stream);
        }
    });
    addr
}

/// The request, up to its empty line.
pub(super) fn request(stream: &mut impl Read) -> String {
    let mut text = Vec::new();
    while !text.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        match stream.read(&mut byte) {
            Ok(1) => text.push(byte[0]),
            Ok(_) | Err(_) => break,
        }
    }
    String::from_utf8(text).unwrap()
}

/// A server that answers every request so and closes.
fn answers(answer: &'static [u8]) -> SocketAddr {
    server(move |mut stream| {
        request(&mut stream);
        let _ = stream.write_all(answer);
    })
}

#[test]
fn a_good_answer_passes() {
    let seen = Arc::new(Mutex::new(String::new()));
    let to = Arc::clone(&seen);
    let addr = server(move |mut stream| {
        *to.lock().unwrap() = request(&mut stream);
        stream.write_all(b"HTTP/1.0 200 OK\r\n\r\nhello\n").unwrap();
    });
    let all = Url {
        path: "/health?x=1".into(),
        host: Some("www.example.org".into()),
        digest: "b1946ac92492d2347c6235b4d2611184".parse().ok(),
        regex: HttpRegex::new(HttpRegexText {
            text: "^hel+o$".into(),
            ..HttpRegexText::default()
        })
        .ok(),
        ..url()
    };
    assert_eq!(one(get(addr, all)).0, Verdict::Ok);
    assert_eq!(
        *seen.lock().unwrap(),
        "GET /health?x=1 HTTP/1.0\r\nUser-Agent: KeepAliveClient\r\nHost: www.example.org\r\n\r\n"
    );
}

#[test]
fn the_url_that_is_due_is_asked_for() {
    let addr = server(|mut stream| {
        let path = request(&mut stream);
        let status = if path.starts_with("GET /good ") {
            200
        } else {
            404
        };
        write!(stream, "HTTP/1.0 {status} x\r\n\r\n").unwrap();
    });
    let mut check = get(addr, url());
    if let CheckKind::Http(http) = &mut check.kind {
        http.urls.push(Url {
            path: "/good".into(),
            ..url()
        });
    }
    let runner = Runner::spawn().unwrap();
    let (prober, mut results) = Prober::spawn(runner.scripts()).unwrap();
    for (url, want) in [
        (0, failed("GET /: status 404, not 200-299")),
        (1, Verdict::Ok),
    ] {
        let (id, check) = (ProbeId(7), check.clone());
        prober
            .start(Probe {
                url,
                ..Probe::new(id, check)
            })
            .unwrap();
        assert_eq!(results.blocking_recv().unwrap().verdict, want);
    }
}

#[test]
fn a_bad_answer_fails_and_says_why() {
    let hello = answers(b"HTTP/1.0 200 OK\r\n\r\nhello\n");
    let digest = Url {
        digest: "00000000000000000000000000000000".parse().ok(),
        ..url()
    };
    let regex = |no_match| Url {
        regex: HttpRegex::new(HttpRegexText {
            text: if no_match { "hello" } else { "bye" }.into(),
            no_match,
            ..HttpRegexText::default()
        })
        .ok(),
        ..url()
    };
    let redirect = answers(b"HTTP/1.0 302 Found\r\nLocation: /\r\n\r\n");
    for (to, url, why) in [
        (redirect, url(), "status 302, not 200-299"),
        (
            hello,
            digest,
            "the digest is b1946ac92492d2347c6235b4d2611184",
        ),
        (hello, regex(false), "the regex does not match"),
        (hello, regex(true), "the regex matches"),
        (answers(b""), url(), "closed without an answer"),
        (
            answers(b"HTTP/1.0 200 OK\r\n"),
            url(),
            "closed in the middle of the header",
        ),
        (
            answers(b"220 ESMTP\r\n\r\n"),
            url(),
            "the answer is not HTTP",
        ),
        (
            answers(const { &[b'x'; 70_000] }),
            url(),
            "a header of more than 65536 bytes",
        ),
    ] {
        assert_eq!(one(get(to, url)).0, failed(&format!("GET /: {why}")));
    }
}

#[test]
fn who_does_not_listen_or_resets_is_down() {
    let closed = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let refused = Verdict::Failed(Failure::Refused);
    assert_eq!(one(get(closed, url())).0, refused);
    assert_eq!(one(secure(get(closed, url()))).0, refused);
    let resets = server(|mut stream| {
        request(&mut stream);
        stream.write_all(b"HTTP/1.0 200 OK\r\n\r\n").unwrap();
        let socket = Socket::from(stream);
        socket.set_linger(Some(Duration::ZERO)).unwrap();
    });
    assert_eq!(one(get(resets, url())).0, Verdict::Failed(Failure::Reset));
}

#[test]
fn silence_fails_after_connect_timeout_in_every_part() {
    let held = Arc::new(Mutex::new(Vec::new()));
    let hold = move |say: &'static [u8]| {
        let held = Arc::clone(&held);
        server(move |mut stream| {
            let _ = stream.write_all(say);
            held.lock().unwrap().push(stream);
        })
    };
    let short = |check| Check {
        timeout: SHORT,
        ..check
    };
    let silent = "timed out waiting for the answer";
    let get = |to| short(get(to, url()));
    let checks = [
        get(hold(b"")),
        get(hold(b"HTTP/1.0 200")),
        get(hold(b"HTTP/1.0 200 OK\r\n\r\nhalf")),
        get(hold(b"SSH-2.0-OpenSSH_9.9\r\n")),
        secure(get(hold(b""))),
    ];
    for (n, f) in run(checks).into_iter().enumerate() {
        let what = if n == 4 { "TLS handshake" } else { "GET /" };
        assert_eq!(f.verdict, failed(&format!("{what}: {silent}")), "{n}");
        assert!(f.took >= SHORT && f.took < SHORT + PATIENCE, "{:?}", f.took);
    }
}

#[test]
fn an_answer_may_come_in_drops_but_not_forever() {
    let drips = |drops: usize| {
        server(move |mut stream| {
            request(&mut stream);
            let _ = stream.write_all(b"HTTP/1.0 200 OK\r\n\r\n");
            for _ in 0..drops {
                // The pace of a server, not a wait for something.
                std::thread::sleep(SHORT / 6);
                if stream.write_all(b".").is_err() {
                    break;
                }
            }
        })
    };
    let check = |to| Check {
        timeout: SHORT,
        ..get(to, url())
    };
    let (verdict, took) = one(check(drips(9)));
    assert_eq!(verdict, Verdict::Ok);
    assert!(
        took > SHORT,
        "{took:?}: longer than the silence that is allowed"
    );
    let (verdict, took) = one(check(drips(usize::MAX)));
    assert_eq!(verdict, failed("GET /: the answer did not end in time"));
    assert!(took >= 3 * SHORT && took < 3 * SHORT + PATIENCE, "{took:?}");
}

#[test]
fn a_flood_is_cut_off() {
    let floods = server(|mut stream| {
        request(&mut stream);
        let _ = stream.write_all(b"HTTP/1.0 200 OK\r\n\r\n");
        while stream.write_all(&[b'x'; 1 << 16]).is_ok() {}
    });
    let verdict = one(get(floods, url())).0;
    assert_eq!(
        verdict,
        failed("GET /: an answer of more than 67108864 bytes")
    );
}

#[test]
fn half_closed_connections() {
    // It hears nothing more but answers.
    let deaf = server(|mut stream| {
        request(&mut stream);
        stream.shutdown(Shutdown::Read).unwrap();
        stream.write_all(b"HTTP/1.0 200 OK\r\n\r\n").unwrap();
    });
    assert_eq!(one(get(deaf, url())).0, Verdict::Ok);
    // It says nothing more but keeps the connection.
    let held = Mutex::new(Vec::new());
    let mute = server(move |mut stream| {
        request(&mut stream);
        stream.shutdown(Shutdown::Write).unwrap();
        held.lock().unwrap().push(stream);
    });
    assert_eq!(
        one(get(mute, url())).0,
        failed("GET /: closed without an answer")
    );
}

#[test]
fn who_keeps_the_connection_is_not_waited_for() {
    let held = Mutex::new(Vec::new());
    let keeps = server(move |mut stream| {
        request(&mut stream);
        let whole = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello";
        stream.write_all(whole).unwrap();
        held.lock().unwrap().push(stream);
    });
    let (verdict, took) = one(get(keeps, url()));
    assert_eq!(verdict, Verdict::Ok);
    assert!(took < PATIENCE / 2, "{took:?}");
}

/// A TLS server of one version; what names it was asked for.
fn tls_server(
    version: &'static SupportedProtocolVersion,
    answer: &'static [u8],
    close: bool,
) -> (SocketAddr, Arc<Mutex<Vec<Option<String>>>>) {
    let key = rcgen::generate_simple_self_signed(vec!["other.example.org".to_owned()]).unwrap();
    let private = rustls::pki_types::PrivatePkcs8KeyDer::from(key.signing_key.serialize_der());
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_protocol_versions(&[version])
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![key.cert.der().clone()], private.into())
        .unwrap();
    let config = Arc::new(config);
    let names = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&names);
    let addr = server(move |stream| {
        let tls = ServerConnection::new(Arc::clone(&config)).unwrap();
        let mut stream = StreamOwned::new(tls, stream);
        if request(&mut stream).is_empty() {
            return;
        }
        let name = stream.conn.server_name().map(str::to_owned);
        seen.lock().unwrap().push(name);
        stream.write_all(answer).unwrap();
        if close {
            stream.conn.send_close_notify();
        }
        stream.flush().unwrap();
    });
    (addr, names)
}

#[test]
fn a_self_signed_certificate_of_another_name_will_do() {
    for version in [&TLS12, &TLS13] {
        for close in [true, false] {
            let (to, names) = tls_server(version, b"HTTP/1.0 200 OK\r\n\r\nhello\n", close);
            let named = Url {
                host: Some("www.example.org:8443".into()),
                digest: "b1946ac92492d2347c6235b4d2611184".parse().ok(),
                ..url()
            };
            let mut check = secure(get(to, named));
            assert_eq!(one(check.clone()).0, Verdict::Ok, "{version:?} {close}");
            if let CheckKind::Http(http) = &mut check.kind {
                http.sni = true;
            }
            assert_eq!(one(check).0, Verdict::Ok, "{version:?} {close}");
            assert_eq!(
                *names.lock().unwrap(),
                [None, Some("www.example.org".to_owned())]
            );
        }
    }
}

#[test]
fn a_server_without_tls_fails_the_handshake_and_the_other_way_round() {
    let plain = server(|mut stream| {
        let _ = stream.read(&mut [0; 512]);
        let _ = stream.write_all(b"HTTP/1.0 400 Bad Request\r\n\r\n");
    });
    let Verdict::Failed(Failure::Answer(why)) = one(secure(get(plain, url()))).0 else {
        panic!("no handshake is possible");
    };
    assert!(why.starts_with("TLS handshake: "), "{why}");
    let (tls, _) = tls_server(&TLS13, b"HTTP/1.0 200 OK\r\n\r\n", true);
    assert!(matches!(one(get(tls, url())).0, Verdict::Failed(_)));
}

/// What genhash prints for the answer of `to`.
fn genhash(to: SocketAddr, version: HttpVersion) -> Option<String> {
    let out = Command::new("genhash")
        .args(["-s", &to.ip().to_string(), "-p", &to.port().to_string()])
        .args(["-u", "/", "-P", &version.name().to_ascii_lowercase()])
        .output()
        .ok()?;
    let text = String::from_utf8_lossy(&out.stdout);
    let hash = text.split_whitespace().last().unwrap_or_default();
    assert_eq!(hash.len(), 32, "{out:?}");
    Some(hash.to_owned())
}

#[test]
fn a_digest_is_that_of_genhash() {
    let bodies: [&'static [u8]; 7] = [
        b"HTTP/1.0 200 OK\r\n\r\nhello\n",
        b"HTTP/1.0 200 OK\r\n\r\n",
        b"HTTP/1.0 200 OK\r\nContent-Length: 6\r\n\r\nhello\n",
        b"HTTP/1.0 200 OK\r\nContent-Length: 3\r\n\r\nhello\n",
        b"HTTP/1.0 200 OK\r\nContent-Length: 9\r\n\r\nhello\n",
        b"HTTP/1.0 200 OK\r\n\r\n\0\xff\r\n\r\n\0binary",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nhel\r\n2\r\nlo\r\n0\r\n\r\n",
    ];
    for body in bodies {
        let to = answers(body);
        let version = match body.starts_with(b"HTTP/1.1") {
            true => HttpVersion::V1_1,
            false => HttpVersion::V1_0,
        };
        let Some(hash) = genhash(to, version) else {
            eprintln!("skipped: genhash is not installed");
            return;
        };
        let wanted = Url {
            digest: hash.parse().ok(),
            ..url()
        };
        let mut check = get(to, wanted);
        if let CheckKind::Http(http) = &mut check.kind {
            http.version = version;
        }
        assert_eq!(
            one(check).0,
            Verdict::Ok,
            "{}",
            String::from_utf8_lossy(body)
        );
    }
}
