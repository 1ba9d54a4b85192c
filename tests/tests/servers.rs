//! Each checker against a server of its kind: nginx, dnsmasq, aiosmtpd and the host itself; up, silent,
//! gone, wrong, cut off; and in their place one that talks rubbish, or nothing and says so.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use lb_tests::clock::wait_for;
use lb_tests::conf::PairConf;
use lb_tests::director::{Director, Kind, Process};
use lb_tests::lab::{Lab, Spec};
use lb_tests::namespace::Namespace;
use lb_tests::random::Random;
use lb_userspace::control::status::CheckState;
use nix::sys::signal::Signal;
use tokio::io::AsyncWriteExt as _;
use tokio::net::{TcpListener, UdpSocket};
use tokio::task::AbortHandle;

const LIMIT: Duration = Duration::from_secs(30);
const PORT: u16 = 8000;
/// `connect_timeout`, `delay_before_retry` and `delay_loop`.
const STEP: Duration = Duration::from_millis(500);
const KINDS: [&str; 6] = [
    "DNS_CHECK",
    "HTTP_GET",
    "HTTP_GET",
    "PING_CHECK",
    "SMTP_CHECK",
    "SSL_GET",
];

/// What is checked, all at one real server.
fn service(addr: Ipv4Addr, digest: &str, ca: &Path) -> String {
    let get = |port, more: &str, url: &str| {
        format!("{{\n connect_port {port}\n {more}\n url {{\n path /hello\n {url}\n }}\n }}\n")
    };
    let plain = get(8080, "", &format!("digest {digest}"));
    let newer = get(8080, "http_protocol 1.1", "regex ^hello$");
    let secure = get(
        8443,
        "virtualhost www.example.org\n enable_sni\n verify_certificate",
        "",
    );
    format!(
        "\nSSL {{\n ca {}\n}}\nvirtual_server 10.77.0.100 {PORT} {{\n lb_algo rr\n lb_kind DR\n protocol TCP\n delay_loop 0.5\n \
         connect_timeout 0.5\n delay_before_retry 0.5\n retry 1\n warmup 0\n alpha\n real_server {addr} {PORT} {{\n \
         HTTP_GET {plain} HTTP_GET {newer} SSL_GET {secure} PING_CHECK {{\n }}\n \
         DNS_CHECK {{\n connect_port 5353\n type A\n name www.example.org\n }}\n \
         SMTP_CHECK {{\n connect_port 2525\n }}\n }}\n}}\n",
        ca.display()
    )
}

/// The servers of a host, by name.
struct Servers<'l> {
    ns: &'l Namespace,
    addr: Ipv4Addr,
    dir: PathBuf,
    running: BTreeMap<&'static str, Process>,
}

impl Servers<'_> {
    /// Starts a server; `good`: it answers as it should.
    fn start(&mut self, name: &'static str, good: bool) -> Result<()> {
        self.running.remove(name);
        let mut command = Command::new(name);
        match name {
            "nginx" => {
                let answer = if good { "200 'hello\\n'" } else { "503" };
                let dir = self.dir.display();
                let text = format!(
                    "daemon off; master_process off; pid {dir}/nginx.pid;\nevents {{}}\nhttp {{\n access_log off;\n server {{\n \
                     listen 8080;\n listen 8443 ssl;\n ssl_certificate {dir}/server.crt;\n ssl_certificate_key {dir}/server.key;\n \
                     location / {{ default_type text/plain; return {answer}; }}\n }}\n}}\n"
                );
                let conf = self.dir.join("nginx.conf");
                std::fs::write(&conf, text)?;
                command.arg("-c").arg(conf).arg("-e").arg("stderr");
            }
            "dnsmasq" => {
                command.args([
                    "-k",
                    "-C",
                    "/dev/null",
                    "--no-resolv",
                    "--no-hosts",
                    "--port=5353",
                ]);
                command.args(["--bind-interfaces", "--user=root", "--pid-file="]);
                command.arg(format!("--listen-address={}", self.addr));
                if good {
                    command.arg("--address=/www.example.org/192.0.2.1");
                }
            }
            _ => {
                command
                    .args(["-n", "-l"])
                    .arg(format!("{}:2525", self.addr));
            }
        }
        let log = self.dir.join(format!("{name}.log"));
        let process = Process::start(self.ns, command, &log)?;
        self.running.insert(name, process);
        Ok(())
    }

    fn signal(&self, name: &str, signal: Signal) -> Result<()> {
        self.running
            .get(name)
            .context("not running")?
            .signal(signal)
    }
}

/// What stands where the servers stood.
#[derive(Clone, Copy, Debug)]
enum Rogue {
    /// Sends what no protocol knows.
    Rubbish,
    /// Closes its half of each connection at once, and keeps the other.
    HalfClosed,
}

impl Rogue {
    /// Answers so at all ports, until it is told to abort.
    fn start(self, ns: &Namespace, addr: Ipv4Addr) -> Result<AbortHandle> {
        let bound = ns.block_on(async move {
            let tcp = async |port: u16| TcpListener::bind((addr, port)).await;
            let listeners = [tcp(8080).await?, tcp(8443).await?, tcp(2525).await?];
            std::io::Result::Ok((listeners, UdpSocket::bind((addr, 5353)).await?))
        });
        let (listeners, names) = bound.context("bind the ports of the servers")?;
        let serving = async move {
            let [a, b, c] = &listeners;
            tokio::join!(
                self.take(a),
                self.take(b),
                self.take(c),
                self.answer(&names)
            );
        };
        Ok(ns.spawn(serving).abort_handle())
    }

    async fn take(self, listener: &TcpListener) {
        let mut random = Random::new(1);
        let mut kept = Vec::new();
        while let Ok((mut stream, _)) = listener.accept().await {
            // A client that goes away meanwhile is no matter of this.
            let _ = match self {
                Rogue::Rubbish => {
                    let figures = (0..64).flat_map(|_| random.figure().to_ne_bytes());
                    let line: Vec<u8> = figures.chain(*b"\n\n").collect();
                    stream.write_all(&line).await
                }
                Rogue::HalfClosed => stream.shutdown().await,
            };
            kept.push(stream);
        }
    }

    async fn answer(self, socket: &UdpSocket) {
        let mut question = [0; 512];
        while let Ok((n, from)) = socket.recv_from(&mut question).await {
            if let Rogue::Rubbish = self {
                // The question, answered in another language.
                question[2..n].reverse();
                let _ = socket.send_to(&question[..n], from).await;
            }
        }
    }
}

/// Waits until the checks of these kinds are down and all others up; what the last runs said.
fn wait_down(director: &Director, what: &str, down: &[&str]) -> Result<Vec<(String, String)>> {
    director.wait_status(what, LIMIT, |status| {
        let ours = status.checks.iter().filter(|c| c.service.port == PORT);
        let mut said = Vec::new();
        for check in ours {
            let away = down.contains(&check.kind.as_str());
            let want = if away {
                CheckState::Down
            } else {
                CheckState::Up
            };
            if check.state != want {
                return None;
            }
            said.push((check.kind.clone(), check.last_result.clone()?));
        }
        said.sort();
        said.iter()
            .map(|(k, _)| k.as_str())
            .eq(KINDS)
            .then_some(said)
    })
}

fn all_say(said: &[(String, String)], kind: &str, words: &str) {
    for (_, why) in said.iter().filter(|(k, _)| k == kind) {
        assert!(why.ends_with(words), "{kind}: {why}");
    }
}

/// Milliseconds of the day of a line of the log.
fn stamp(line: &str) -> Option<f64> {
    let mut parts = line.split_once('T')?.1.split_once('Z')?.0.split(':');
    let mut next = || parts.next()?.parse::<f64>().ok();
    Some(((next()? * 60.0 + next()?) * 60.0 + next()?) * 1000.0)
}

/// From each first failure that was forgiven to the one that took the check down: how much longer it
/// was than `delay_before_retry` and, where the server was silent, `connect_timeout`; in milliseconds.
fn lateness(log: &str) -> Vec<(f64, &str)> {
    let mut forgiven: BTreeMap<&str, f64> = BTreeMap::new();
    let mut late = Vec::new();
    for line in log.lines() {
        let (Some(at), Some((_, rest))) = (stamp(line), line.split_once("Z ")) else {
            continue;
        };
        let Some(kind) = KINDS.iter().find(|k| rest.contains(&format!("{k} of "))) else {
            continue;
        };
        if *kind == "HTTP_GET" {
            // There are two, which the log does not tell apart.
            continue;
        }
        if rest.contains(" failed: ") {
            forgiven.insert(kind, at);
        } else if rest.contains(" fails: ")
            && let Some(first) = forgiven.remove(kind)
        {
            // One that answers amiss by UDP may still answer well until then.
            let waited = ["timed out", "in time", "is no answer"];
            let silent = waited.iter().any(|w| rest.contains(w));
            let steps = if silent { 2.0 } else { 1.0 };
            late.push((at - first - steps * STEP.as_secs_f64() * 1000.0, rest));
        }
    }
    late.sort_by(|(a, _), (b, _)| a.total_cmp(b));
    late
}

/// A certificate for www.example.org and who signed it, in files.
fn certificates(dir: &Path) -> Result<PathBuf> {
    let mut params = rcgen::CertificateParams::new(Vec::new())?;
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let key = rcgen::KeyPair::generate()?;
    let ca = dir.join("ca.crt");
    std::fs::write(&ca, params.self_signed(&key)?.pem())?;
    let issuer = rcgen::Issuer::new(params, key);
    let key = rcgen::KeyPair::generate()?;
    let params = rcgen::CertificateParams::new(vec!["www.example.org".to_owned()])?;
    std::fs::write(
        dir.join("server.crt"),
        params.signed_by(&key, &issuer)?.pem(),
    )?;
    std::fs::write(dir.join("server.key"), key.serialize_pem())?;
    Ok(ca)
}

/// What genhash of keepalived says of the page.
fn genhash(ns: &Namespace, addr: Ipv4Addr) -> Result<String> {
    let ask = move || {
        let mut command = Command::new("genhash");
        let at = addr.to_string();
        command
            .args(["-s", &at, "-p", "8080", "-u", "/hello"])
            .output()
    };
    wait_for("genhash", LIMIT, || {
        let out = ns.call(ask).ok()?;
        let text = String::from_utf8_lossy(&out.stdout).into_owned();
        Some(text.trim().rsplit("MD5SUM = ").next()?.trim().to_owned()).filter(|d| d.len() == 32)
    })
}

#[test]
fn checkers_and_servers_of_their_kind() -> Result<()> {
    for tool in ["nginx", "dnsmasq", "aiosmtpd", "genhash"] {
        let found = Command::new("which").arg(tool).output()?.status.success();
        ensure!(found, "{tool} is missing: `cargo xtask setup` installs it");
    }
    let mut conf = PairConf::http(2, Duration::from_secs(1));
    conf.global_lines = "  checker_log_all_failures\n".to_owned();
    let mut lab = Lab::new(&Spec::pair(&conf, [Kind::Lbd; 2]))?;
    let Lab {
        directors: [director, _],
        reals,
        ..
    } = &mut lab;
    let host = &reals[0].host;
    let dir = director.control().with_file_name("servers");
    std::fs::create_dir(&dir)?;
    let ca = certificates(&dir)?;
    let mut servers = Servers {
        ns: &host.ns,
        addr: host.address(),
        dir,
        running: BTreeMap::new(),
    };
    for name in ["nginx", "dnsmasq", "aiosmtpd"] {
        servers.start(name, true)?;
    }
    let digest = genhash(&director.host.ns, servers.addr)?;
    let text = conf.text(0) + &service(servers.addr, &digest, &ca);
    director.write_conf(&text)?;
    director.start()?;
    wait_down(director, "all checks to pass", &[])?;

    for (name, kinds) in [
        ("nginx", &["HTTP_GET", "SSL_GET"][..]),
        ("dnsmasq", &["DNS_CHECK"]),
        ("aiosmtpd", &["SMTP_CHECK"]),
    ] {
        servers.signal(name, Signal::SIGSTOP)?;
        let said = wait_down(director, &format!("{name} silent"), kinds)?;
        for (kind, words) in [
            ("HTTP_GET", "timed out waiting for the answer"),
            ("SSL_GET", "timed out waiting for the answer"),
            ("DNS_CHECK", "no answer in time"),
            ("SMTP_CHECK", "in time"),
        ] {
            if kinds.contains(&kind) {
                all_say(&said, kind, words);
            }
        }
        servers.signal(name, Signal::SIGCONT)?;
        wait_down(director, &format!("{name} awake"), &[])?;
        servers.running.remove(name);
        let said = wait_down(director, &format!("{name} gone"), kinds)?;
        kinds
            .iter()
            .for_each(|k| all_say(&said, k, "connection refused"));
        if name != "aiosmtpd" {
            servers.start(name, false)?;
            let wrong = |words: &str| {
                wait_for(&format!("{name} wrong"), LIMIT, || {
                    let said = wait_down(director, "wrong", kinds).ok()?;
                    let of = |k: &&str| {
                        said.iter()
                            .any(|(kind, why)| kind == k && why.contains(words))
                    };
                    kinds.iter().all(of).then_some(())
                })
            };
            wrong(if name == "nginx" {
                "status 503"
            } else {
                "REFUSED"
            })?;
        }
        servers.start(name, true)?;
        wait_down(director, &format!("{name} back"), &[])?;
    }
    servers.running.clear();
    let connecting = ["DNS_CHECK", "HTTP_GET", "SMTP_CHECK", "SSL_GET"];
    for (rogue, words) in [
        (
            Rogue::Rubbish,
            [
                ("HTTP_GET", "the answer is not HTTP"),
                ("SSL_GET", "corrupt message of type InvalidContentType"),
                ("SMTP_CHECK", "`"),
                ("DNS_CHECK", "it is a question"),
            ],
        ),
        (
            Rogue::HalfClosed,
            [
                ("HTTP_GET", "closed without an answer"),
                ("SSL_GET", "the connection was closed"),
                (
                    "SMTP_CHECK",
                    "the server closes the connection before the greeting",
                ),
                ("DNS_CHECK", "no answer in time"),
            ],
        ),
    ] {
        let serving = rogue.start(servers.ns, servers.addr)?;
        let right = |said: &[(String, String)]| {
            let of = |kind: &str, end: &str| {
                let mut of_kind = said.iter().filter(|(k, _)| k == kind);
                of_kind.all(|(_, why)| why.ends_with(end))
            };
            words.iter().all(|(kind, end)| of(kind, end))
        };
        let said = wait_for(&format!("{rogue:?}"), LIMIT, || {
            let said = wait_down(director, "a rogue", &connecting).ok()?;
            right(&said).then_some(said)
        });
        said.with_context(|| director.log())?;
        serving.abort();
        wait_down(director, "nobody", &connecting)?;
    }
    for name in ["nginx", "dnsmasq", "aiosmtpd"] {
        servers.start(name, true)?;
    }
    wait_down(director, "all back", &[])?;
    host.ns.link_down("eth0")?;
    wait_down(director, "the host gone", &KINDS)?;
    host.ns.link_up("eth0")?;
    wait_down(director, "the host back", &[])?;

    let log = director.log();
    let late = lateness(&log);
    println!("retries late by so many ms: {late:#.1?}");
    ensure!(late.len() >= 12, "{late:#?}");
    ensure!(late[0].0 > -10.0, "a retry came early: {late:#?}");
    // A loaded machine may hold up a few.
    ensure!(
        late[late.len() / 2].0 < 100.0,
        "retries are late: {late:#?}"
    );
    drop(servers);
    lab.finish()
}
