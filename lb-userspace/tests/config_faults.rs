//! Faults that operators make in keepalived.conf: what becomes of each. docs/faults.md has them beside
//! keepalived's answers.

use lb_userspace::config::{self, Code, MemoryFiles, Options, Severity};

const GOOD: &str = "vrrp_instance VI_1 {
  state MASTER
  interface eth0
  virtual_router_id 62
  priority 100
  advert_int 1
  authentication {
    auth_type PASS
    auth_pass 1111
  }
  virtual_ipaddress {
    10.77.0.100
  }
}
";

/// What is done with a faulty file.
enum Answer {
    /// Refused, a running configuration stays.
    Refused(Code),
    /// It runs, with a warning.
    Warned(Code),
    /// It runs.
    Silent,
}

use Answer::{Refused, Silent, Warned};

#[test]
fn each_fault_is_refused_or_named_as_the_document_says() {
    let with = |from: &str, to: &str| {
        assert!(GOOD.contains(from), "{from}");
        GOOD.replacen(from, to, 1)
    };
    let twice = |name: &str, vrid: &str| {
        let second = GOOD.replace("VI_1", name).replace("62", vrid);
        format!("{GOOD}{}", second.replace("0.100", "0.101"))
    };
    let checked = |check: &str| {
        format!(
            "{GOOD}virtual_server 10.77.0.100 80 {{\n  lb_algo rr\n  lb_kind DR\n  protocol TCP\n  \
             real_server 10.77.0.3 80 {{\n    {check}\n  }}\n}}\n"
        )
    };
    let cases = [
        (
            "missing last }",
            GOOD.trim_end().trim_end_matches('}').to_owned(),
            Refused(Code::UnclosedBlock),
        ),
        (
            "missing } of a block inside",
            with("1111\n  }\n", "1111\n"),
            Refused(Code::UnclosedBlock),
        ),
        (
            "one } too many",
            format!("{GOOD}}}\n"),
            Refused(Code::UnexpectedBrace),
        ),
        (
            "quote not closed",
            with("1111", "\"1111"),
            Refused(Code::UnterminatedQuote),
        ),
        (
            "parameter missing",
            with("auth_pass 1111", "auth_pass"),
            Refused(Code::MissingParameter),
        ),
        (
            "no virtual_router_id",
            with("  virtual_router_id 62\n", ""),
            Refused(Code::Incomplete),
        ),
        (
            "virtual_router_id 256",
            with("62", "256"),
            Refused(Code::Incomplete),
        ),
        (
            "same VRID twice on an interface",
            twice("VI_2", "62"),
            Refused(Code::Duplicate),
        ),
        (
            "undefined track_script",
            with(
                "  virtual_ipaddress",
                "  track_script {\n    chk\n  }\n  virtual_ipaddress",
            ),
            Refused(Code::UnknownName),
        ),
        (
            "misspelt virtual_router_id",
            with("virtual_router_id", "virtual_routerid"),
            Refused(Code::Incomplete),
        ),
        (
            "typing error in a track",
            with(
                "  virtual_ipaddress",
                "  track_scrpt {\n    chk\n  }\n  virtual_ipaddress",
            ),
            Refused(Code::UnknownKeyword),
        ),
        (
            "typing error in a check",
            checked("TCP_CHEK {\n    }"),
            Refused(Code::UnknownKeyword),
        ),
        (
            "typing error in a check without a block",
            checked("TCP_CHEK"),
            Refused(Code::UnknownKeyword),
        ),
        (
            "check without a block",
            checked("TCP_CHECK"),
            Refused(Code::BlockMismatch),
        ),
        (
            "track without a block",
            with(
                "  virtual_ipaddress",
                "  track_script chk\n  virtual_ipaddress",
            ),
            Refused(Code::BlockMismatch),
        ),
        (
            "typing error in a URL of a check",
            checked("HTTP_GET {\n      ulr {\n        path /\n      }\n    }"),
            Refused(Code::Incomplete),
        ),
        (
            "typing error in the path of a check",
            checked("HTTP_GET {\n      url {\n        pth /\n      }\n    }"),
            Refused(Code::Incomplete),
        ),
        (
            "script of a check misspelt",
            checked("MISC_CHECK {\n      misc_pth /bin/true\n    }"),
            Refused(Code::Incomplete),
        ),
        (
            "check outside of its real server",
            checked("}\n  TCP_CHECK {\n    }\n  real_server 10.77.0.4 80 {"),
            Refused(Code::MisplacedKeyword),
        ),
        (
            "typing error in a keyword",
            with("priority", "prioriy"),
            Warned(Code::UnknownKeyword),
        ),
        (
            "typing error in a block",
            with("vrrp_instance", "vrrp_instnce"),
            Warned(Code::UnknownKeyword),
        ),
        (
            "priority 300",
            with("priority 100", "priority 300"),
            Warned(Code::OutOfRange),
        ),
        (
            "advert_int 0",
            with("advert_int 1", "advert_int 0"),
            Warned(Code::OutOfRange),
        ),
        (
            "advert_int 0.5 in version 2",
            with("advert_int 1", "advert_int 0.5"),
            Warned(Code::Adjusted),
        ),
        (
            "unknown auth_type",
            with("PASS", "PAS"),
            Warned(Code::InvalidValue),
        ),
        (
            "unknown state",
            with("MASTER", "MASTR"),
            Warned(Code::InvalidValue),
        ),
        (
            "impossible address",
            with("10.77.0.100", "10.77.0.300"),
            Warned(Code::InvalidValue),
        ),
        (
            "no address",
            with("    10.77.0.100\n", ""),
            Warned(Code::Incomplete),
        ),
        ("name twice", twice("VI_1", "63"), Warned(Code::Duplicate)),
        (
            "include of a missing file",
            format!("include nothere.conf\n{GOOD}"),
            Warned(Code::IncludeNothing),
        ),
        ("nothing in it", String::new(), Warned(Code::Incomplete)),
        (
            "comments alone",
            "# all gone\n".to_owned(),
            Warned(Code::Incomplete),
        ),
        ("byte order mark", format!("\u{feff}{GOOD}"), Silent),
        ("CRLF", GOOD.replace('\n', "\r\n"), Silent),
        (
            "no space before {",
            with("authentication {", "authentication{"),
            Silent,
        ),
        ("{ on the next line", with("VI_1 {", "VI_1\n{"), Silent),
    ];
    for (name, text, answer) in cases {
        let files = MemoryFiles::one("a.conf", &text);
        let l = config::load("a.conf", &files, &Options::default());
        let shown = l.render(false);
        let has = |code, severity| {
            let mut all = l.diagnostics.iter();
            all.any(|d| d.code == code && d.severity == severity)
        };
        match answer {
            Refused(code) => {
                assert!(l.model.is_none(), "{name}: runs\n{shown}");
                assert!(has(code, Severity::Error), "{name}:\n{shown}");
            }
            Warned(code) => {
                assert!(l.model.is_some(), "{name}: refused\n{shown}");
                assert!(has(code, Severity::Warning), "{name}:\n{shown}");
            }
            Silent => {
                assert!(l.model.is_some(), "{name}: refused\n{shown}");
                assert!(l.diagnostics.is_empty(), "{name}:\n{shown}");
            }
        }
    }
}
