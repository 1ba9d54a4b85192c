//! Answers as tables, in pieces, and at random.

use md5::{Digest as _, Md5};
use proptest::prelude::*;

use super::*;
use crate::model::{HttpRegex, HttpRegexText, StatusCodes};

fn url() -> Url {
    Url {
        path: "/".into(),
        host: None,
        status: StatusCodes::default(),
        digest: None,
        regex: None,
    }
}

fn md5(bytes: &[u8]) -> HttpDigest {
    HttpDigest(Md5::digest(bytes).into())
}

fn digest_of(body: &[u8]) -> Url {
    Url {
        digest: Some(md5(body)),
        ..url()
    }
}

fn regex(text: &str, no_match: bool) -> Url {
    let text = HttpRegexText {
        text: text.into(),
        no_match,
        ..HttpRegexText::default()
    };
    Url {
        regex: Some(HttpRegex::new(text).unwrap()),
        ..url()
    }
}

/// What an answer gives that comes in pieces of so many bytes, and whether its end was seen before
/// that of the connection.
fn judge(url: &Url, bytes: &[u8], piece: usize) -> (bool, Result<(), Fault>) {
    let mut answer = Answer::new(url);
    for piece in bytes.chunks(piece) {
        match answer.take(piece) {
            Ok(Progress::More) => {}
            Ok(Progress::Complete) => return (true, answer.end()),
            Err(fault) => return (true, Err(fault)),
        }
    }
    (false, answer.end())
}

/// In pieces of all sizes the outcome is one.
#[track_caller]
fn gives(url: &Url, bytes: &[u8], complete: bool, want: Result<(), Fault>) {
    for piece in [1, 2, 3, 7, 4096] {
        assert_eq!(
            judge(url, bytes, piece),
            (complete, want.clone()),
            "in pieces of {piece}: {}",
            String::from_utf8_lossy(bytes)
        );
    }
}

#[test]
fn the_request_is_keepaliveds() {
    let to: SocketAddr = "192.0.2.1:8080".parse().unwrap();
    let six: SocketAddr = "[2001:db8::1]:80".parse().unwrap();
    let named = Url {
        path: "/a?b".into(),
        host: Some("www.example.org".into()),
        ..url()
    };
    let http = |version| Http {
        tls: false,
        sni: false,
        trust: crate::model::Trust::default(),
        version,
        fast_recovery: false,
        urls: Vec::new(),
    };
    for (version, url, to, want) in [
        (
            HttpVersion::V1_0,
            &url(),
            to,
            "GET / HTTP/1.0\r\nUser-Agent: KeepAliveClient\r\nHost: 192.0.2.1:8080\r\n\r\n",
        ),
        (
            HttpVersion::V1_0Close,
            &url(),
            six,
            "GET / HTTP/1.0\r\nUser-Agent: KeepAliveClient\r\nConnection: close\r\nHost: [2001:db8::1]:80\r\n\r\n",
        ),
        (
            HttpVersion::V1_1,
            &named,
            to,
            "GET /a?b HTTP/1.1\r\nUser-Agent: KeepAliveClient\r\nConnection: close\r\nHost: www.example.org\r\n\r\n",
        ),
    ] {
        assert_eq!(request(&http(version), url, to), want);
    }
}

#[test]
fn the_status_is_judged_with_the_header() {
    let wrong = |got| {
        Err(Fault::Status {
            got,
            want: "200-299".into(),
        })
    };
    for (head, complete, want) in [
        ("HTTP/1.0 200 OK\r\n\r\n", false, Ok(())),
        ("HTTP/1.0 299\r\n\r\n", false, Ok(())),
        ("HTTP/1.1  200  OK\r\n\r\n", false, Ok(())),
        ("HTTP/1.0 200 OK\n\n", false, Ok(())),
        (
            "HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\n",
            true,
            Ok(()),
        ),
        ("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", true, Ok(())),
        ("HTTP/1.0 503 Busy\r\n\r\n", true, wrong(503)),
        (
            "HTTP/1.0 199 Odd\r\n\r\nHTTP/1.0 200 OK\r\n\r\n",
            false,
            Ok(()),
        ),
        (
            "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 500 No\r\n\r\n",
            true,
            wrong(500),
        ),
        ("HTTP/1.1 101 Switching\r\n\r\n", true, wrong(101)),
        ("HTTP/1.1 100 Continue\r\n\r\n", false, Err(Fault::HeadCut)),
        ("HTTP/1.0 200 OK\r\nA: b\r\n", false, Err(Fault::HeadCut)),
        ("", false, Err(Fault::Nothing)),
        ("HTTP/1.0 20 OK\r\n\r\n", true, Err(Fault::NotHttp)),
        ("HTTP/1.0 2000 OK\r\n\r\n", true, Err(Fault::NotHttp)),
        ("HTTP/1.0 2x0 OK\r\n\r\n", true, Err(Fault::NotHttp)),
        ("HTTP/1.0\r\n\r\n", true, Err(Fault::NotHttp)),
        ("220 mail ESMTP\r\n\r\n", true, Err(Fault::NotHttp)),
        ("\r\n\r\n", true, Err(Fault::NotHttp)),
    ] {
        gives(&url(), head.as_bytes(), complete, want);
    }
    let busy = Url {
        status: StatusCodes::from(vec![(200, 299), (503, 503)]),
        ..url()
    };
    gives(&busy, b"HTTP/1.0 503 Busy\r\n\r\n", false, Ok(()));
}

#[test]
fn an_answer_ends_where_its_header_says() {
    let got = |bytes: &[u8]| Err(Fault::Digest { got: md5(bytes) });
    let hello = digest_of(b"hello");
    for (answer, complete, want) in [
        ("HTTP/1.0 200 OK\r\n\r\nhello", false, Ok(())),
        (
            "HTTP/1.0 200 OK\r\nContent-Length: 5\r\n\r\nhello",
            true,
            Ok(()),
        ),
        // What follows belongs to nothing.
        (
            "HTTP/1.0 200 OK\r\ncontent-length:5\r\n\r\nhello, world",
            true,
            Ok(()),
        ),
        // What is missing is not asked for.
        (
            "HTTP/1.0 200 OK\r\nContent-Length: 9\r\n\r\nhello",
            false,
            Ok(()),
        ),
        // A length that is none.
        (
            "HTTP/1.0 200 OK\r\nContent-Length: -1\r\n\r\nhello",
            false,
            Ok(()),
        ),
        (
            "HTTP/1.0 200 OK\r\nContent-Length: 99999999999999999999\r\n\r\nhello",
            false,
            Ok(()),
        ),
        (
            "HTTP/1.0 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello",
            false,
            Ok(()),
        ),
        (
            "HTTP/1.0 200 OK\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\nhello",
            true,
            Ok(()),
        ),
        ("HTTP/1.0 200 OK\r\n\r\nhello!", false, got(b"hello!")),
        (
            "HTTP/1.0 200 OK\r\nContent-Length: 4\r\n\r\nhello",
            true,
            got(b"hell"),
        ),
        (
            "HTTP/1.0 200 OK\r\nContent-Length: 0\r\n\r\nhello",
            true,
            got(b""),
        ),
    ] {
        gives(&hello, answer.as_bytes(), complete, want);
    }
}

#[test]
fn chunks_are_hashed_as_they_come_and_matched_as_they_mean() {
    let head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, Chunked\r\n\r\n".to_vec();
    let with = |body: &[u8]| [head.clone(), body.to_vec()].concat();
    let whole = b"3\r\nhel\r\n2;x=y\r\nlo\r\n0\r\nTrailer: x\r\n\r\n";
    gives(&digest_of(whole), &with(whole), true, Ok(()));
    let more = [&whole[..], b"HTTP/1.1 200 OK\r\n"].concat();
    gives(&digest_of(whole), &with(&more), true, Ok(()));
    gives(&regex("hello", false), &with(whole), true, Ok(()));
    gives(
        &regex("Trailer", false),
        &with(whole),
        true,
        Err(Fault::NoMatch),
    );
    // Not in chunks: it goes on to the end of the connection.
    for broken in [
        &b"hello"[..],
        b"\r\nhello",
        b"3\r\nhelX\r\nhello",
        b"fffffffffffffffff\r\nhello",
    ] {
        gives(&digest_of(broken), &with(broken), false, Ok(()));
        gives(&regex("hel", false), &with(broken), false, Ok(()));
    }
    // Cut.
    gives(&regex("hel", false), &with(b"8\r\nhello"), false, Ok(()));
}

#[test]
fn a_regex_sees_the_body_only() {
    let answer = b"HTTP/1.0 200 Fine\r\nServer: x\r\n\r\nall is well\n";
    gives(&regex("is well$", false), answer, false, Ok(()));
    gives(
        &regex("Server|200", false),
        answer,
        false,
        Err(Fault::NoMatch),
    );
    gives(&regex("ill", true), answer, false, Ok(()));
    gives(&regex("well", true), answer, false, Err(Fault::Match));
}

#[test]
fn memory_is_bounded() {
    let line = vec![b'x'; 1 << 16];
    let plain = url();
    let mut answer = Answer::new(&plain);
    assert_eq!(answer.take(b"HTTP/1.0 200 "), Ok(Progress::More));
    assert_eq!(answer.take(&line), Err(Fault::HeadTooLong));

    let interim = b"HTTP/1.1 100 Continue\r\n\r\n".repeat(MOST_HEAD / 25 + 1);
    let url = url();
    let mut answer = Answer::new(&url);
    assert_eq!(answer.take(&interim), Err(Fault::HeadTooLong));

    let url = regex("y", false);
    let mut answer = Answer::new(&url);
    answer.take(b"HTTP/1.0 200 OK\r\n\r\n").unwrap();
    for n in 1..=MOST_BODY >> 16 {
        assert_eq!(answer.take(&line), Ok(Progress::More), "{n}");
    }
    assert!(format!("{answer:?}").len() < 8 * MOST_MATCHED);
    assert_eq!(answer.take(b"y"), Err(Fault::TooLong));
}

fn piece() -> impl Strategy<Value = Vec<u8>> {
    let words = [
        "HTTP/1.1 200 OK\r\n",
        "HTTP/1.1 100 Continue\r\n",
        "HTTP/1.0 404 No\r\n",
        "Content-Length: 7\r\n",
        "Transfer-Encoding: chunked\r\n",
        "\r\n",
        "\n",
        "7\r\nabcdefg\r\n",
        "0\r\n",
        "ffffffffffffffff\r\n",
    ];
    prop_oneof![
        4 => prop::sample::select(words.to_vec()).prop_map(|w| w.as_bytes().to_vec()),
        1 => prop::collection::vec(any::<u8>(), 0..40),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4096))]

    /// Whatever comes, however it is cut, the outcome is one.
    #[test]
    fn cuts_change_nothing(
        pieces in prop::collection::vec(piece(), 0..12),
        size in 1usize..20,
        kind in 0usize..3,
    ) {
        let bytes = pieces.concat();
        let url = [url(), digest_of(b"abcdefg"), regex("c+d", false)][kind].clone();
        prop_assert_eq!(judge(&url, &bytes, size), judge(&url, &bytes, usize::MAX));
    }

    /// A whole answer is good, and its end is seen, whatever its body is.
    #[test]
    fn a_whole_answer_is_good(body in prop::collection::vec(any::<u8>(), 1..300), cut in 1usize..50) {
        let mut chunked = Vec::new();
        for chunk in body.chunks(cut) {
            chunked.extend(format!("{:x}\r\n", chunk.len()).bytes());
            chunked.extend(chunk);
            chunked.extend(b"\r\n");
        }
        chunked.extend(b"0\r\n\r\n");
        let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len());
        let known = [head.as_bytes(), &body].concat();
        prop_assert_eq!(judge(&digest_of(&body), &known, cut), (true, Ok(())));
        let head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n".to_vec();
        let in_chunks = [head, chunked.clone()].concat();
        prop_assert_eq!(judge(&digest_of(&chunked), &in_chunks, cut), (true, Ok(())));
    }
}
