use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpListener;

use super::*;

fn message(subject: &str) -> Message {
    Message {
        subject: subject.to_owned(),
        body: ".=> it is\r\nso <=".to_owned(),
    }
}

fn model(port: u16) -> Model {
    let mut model = Model::default();
    model.global.router_id = Some("LB 1".to_owned());
    model.global.mail = Mail {
        to: vec!["a@example.com".to_owned(), "b@example.com".to_owned()],
        server: Some(MailServer {
            host: "127.0.0.1".to_owned(),
            port,
        }),
        timeout: Duration::from_secs(20),
        ..Mail::default()
    };
    model
}

/// Answers a client with these lines, one for the greeting and each command, and gives what it said.
fn sink(listener: &TcpListener, answers: &[&str]) -> Vec<String> {
    let (stream, _) = listener.accept().unwrap();
    let mut from = BufReader::new(stream.try_clone().unwrap());
    let mut to = stream;
    let mut heard = Vec::new();
    let mut data = false;
    for answer in answers {
        to.write_all(answer.as_bytes()).unwrap();
        data |= answer.starts_with("354");
        loop {
            let mut line = String::new();
            if from.read_line(&mut line).unwrap() == 0 {
                return heard;
            }
            let line = line.trim_end_matches("\r\n").to_owned();
            let end = !data || line == ".";
            heard.push(line);
            if end {
                data = false;
                break;
            }
        }
    }
    heard
}

#[test]
fn a_mail_is_said_word_by_word() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut mailer = Mailer::spawn().unwrap();
    mailer.configure(&model(listener.local_addr().unwrap().port()), "me.example");
    mailer.send(message("VRRP Instance V\n1 - Entering MASTER state"));
    let answers = [
        "220-welcome\r\n220 here\r\n",
        "250 me\r\n",
        "250 ok\r\n",
        "550 who is a\r\n",
        "250 ok\r\n",
        "354 go on\r\n",
        "250 taken\r\n",
    ];
    let heard = sink(&listener, &answers);
    let (date, rest) = {
        let mut rest = heard;
        let at = rest.iter().position(|l| l.starts_with("Date: ")).unwrap();
        (rest.remove(at), rest)
    };
    assert!(date.ends_with("+0000"), "{date}");
    assert_eq!(
        rest,
        [
            "HELO me.example",
            "MAIL FROM:<keepalived@me.example>",
            "RCPT TO:<a@example.com>",
            "RCPT TO:<b@example.com>",
            "DATA",
            "From: keepalived@me.example",
            "Subject: [LB 1] VRRP Instance V 1 - Entering MASTER state",
            "X-Mailer: lbd",
            "To: a@example.com, b@example.com",
            "",
            "..=> it is  so <=",
            "",
            ".",
            "QUIT",
        ]
    );
}

#[test]
fn a_server_that_refuses_keeps_no_later_mail_from_going() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut mailer = Mailer::spawn().unwrap();
    mailer.configure(&model(listener.local_addr().unwrap().port()), "me");
    for subject in ["one", "two", "three", "four"] {
        mailer.send(message(subject));
    }
    assert!(sink(&listener, &["554 go away\r\n"]).is_empty());
    assert!(sink(&listener, &["what\r\n"]).is_empty());
    let heard = sink(
        &listener,
        &[
            "220 x\r\n",
            "250 x\r\n",
            "250 x\r\n",
            "550 a\r\n",
            "550 b\r\n",
        ],
    );
    assert_eq!(heard.last().unwrap(), "RCPT TO:<b@example.com>");
    let heard = sink(
        &listener,
        &[
            "220 x\r\n",
            "250 x\r\n",
            "250 x\r\n",
            "250 x\r\n",
            "250 x\r\n",
            "354 x\r\n",
        ],
    );
    assert!(
        heard.iter().any(|l| l == "Subject: [LB 1] four"),
        "{heard:?}"
    );
}

#[test]
fn without_a_server_or_recipients_nothing_is_sent() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let mut nobody = model(listener.local_addr().unwrap().port());
    nobody.global.mail.to.clear();
    let mut mailer = Mailer::spawn().unwrap();
    mailer.configure(&nobody, "me");
    mailer.send(message("one"));
    // Waits for what was to be sent.
    drop(mailer);
    assert!(listener.accept().is_err());
}

#[test]
fn dates_are_those_of_the_calendar() {
    for (unix, want) in [
        (0, "Thu, 01 Jan 1970 00:00:00 +0000"),
        (951_782_400, "Tue, 29 Feb 2000 00:00:00 +0000"),
        (1_709_251_199, "Thu, 29 Feb 2024 23:59:59 +0000"),
        (1_735_689_599, "Tue, 31 Dec 2024 23:59:59 +0000"),
        (4_107_542_400, "Mon, 01 Mar 2100 00:00:00 +0000"),
    ] {
        assert_eq!(date(unix), want);
    }
}
