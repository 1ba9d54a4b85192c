use std::io::{BufRead as _, BufReader, Write as _};

use super::*;
use crate::model::SmtpCheck;

fn smtp(to: SocketAddr) -> Check {
    Check {
        kind: CheckKind::Smtp(SmtpCheck {
            helo_name: "me.example".into(),
        }),
        ..check(to)
    }
}

/// Runs the check against a server that says `greeting` and then one of `answers` to each line, then
/// waits for the other side to end or, with `closes`, ends by itself. Gives the lines it heard too.
fn against(
    greeting: &str,
    answers: &[&str],
    closes: bool,
    timeout: Duration,
) -> (Verdict, Vec<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let to = listener.local_addr().unwrap();
    let (greeting, answers) = (greeting.to_owned(), answers.join("\0"));
    let server = std::thread::spawn(move || {
        let mut stream = listener.accept().unwrap().0;
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.write_all(greeting.as_bytes()).unwrap();
        let mut lines = BufReader::new(stream.try_clone().unwrap()).lines();
        let mut heard = Vec::new();
        for answer in answers.split('\0').filter(|a| !a.is_empty()) {
            let Some(Ok(line)) = lines.next() else {
                return heard;
            };
            heard.push(line);
            stream.write_all(answer.as_bytes()).unwrap();
        }
        if closes {
            // No more is said, but the other side may still speak.
            stream.shutdown(std::net::Shutdown::Write).unwrap();
        }
        heard.extend(lines.map_while(Result::ok));
        heard
    });
    let verdict = one(Check {
        timeout,
        ..smtp(to)
    })
    .0;
    (verdict, server.join().unwrap())
}

fn wrong(why: &str) -> Verdict {
    Verdict::Failed(Failure::Answer(why.to_owned()))
}

#[test]
fn a_mail_server_passes() {
    let answers = ["250-mail\r\n250 hello\r\n", "221 bye\r\n"];
    let (verdict, heard) = against("220-mail\r\n220 here\r\n", &answers, true, PATIENCE);
    assert_eq!(verdict, Verdict::Ok);
    assert_eq!(heard, ["HELO me.example", "QUIT"]);
}

#[test]
fn what_is_no_mail_server_does_not() {
    let at =
        |greeting: &str, answers: &[&str], closes| against(greeting, answers, closes, PATIENCE).0;
    assert_eq!(
        at("554 no\r\n", &[], false),
        wrong("the greeting is `554 no`")
    );
    assert_eq!(
        at("SSH-2.0-OpenSSH\r\n", &[], false),
        wrong("the greeting is `SSH-2.0-OpenSSH`")
    );
    assert_eq!(
        at(&"220 ".repeat(99_999), &[], false),
        wrong("the greeting has a line that is too long")
    );
    assert_eq!(
        at("", &[], true),
        wrong("the server closes the connection before the greeting")
    );
    assert_eq!(
        at("220 he", &[], true),
        wrong("the greeting ends in the middle")
    );
    assert_eq!(
        at("220 a\r\n", &["502 b\r\n"], false),
        wrong("the answer to HELO is `502 b`")
    );
    assert_eq!(
        at("220 a\r\n", &["250 b\r\n"], true),
        wrong("the server closes the connection before the answer to QUIT")
    );
    let closed = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    assert_eq!(one(smtp(closed)).0, Verdict::Failed(Failure::Refused));
}

#[test]
fn a_slow_one_fails_in_time() {
    let at = |greeting: &str, answers: &[&str]| {
        against(greeting, answers, false, Duration::from_millis(200)).0
    };
    assert_eq!(at("", &[]), wrong("the greeting does not come in time"));
    assert_eq!(
        at("220-a\r\n", &[]),
        wrong("the greeting is not whole in time")
    );
    assert_eq!(
        at("220 a\r\n", &[]),
        wrong("the answer to HELO does not come in time")
    );
    assert_eq!(
        at("220 a\r\n", &["250 b\r\n"]),
        wrong("the answer to QUIT does not come in time")
    );
}
