//! The real keepalived beside ours: the same words are known, and a file has the same effect.
//!
//! keepalived prints its effective configuration at start (`-d`). It runs in a network namespace of
//! its own, with the interfaces that the file names, and with a preloaded library that stands in for
//! IPVS and runs no script.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use lb_userspace::config::keywords::{Block, Body, Status};
use lb_userspace::config::{self, MemoryFiles, Options, Severity};
use lb_userspace::io::clock;
use lb_userspace::model::*;

#[path = "keepalived/services.rs"]
mod services;
#[path = "keepalived/vrrp.rs"]
mod vrrp;

use services::{group, service};

struct Keepalived {
    dir: tempfile::TempDir,
    shim: PathBuf,
}

impl Keepalived {
    /// `None`, after saying why, where it cannot be run.
    fn new() -> Option<Self> {
        let version = Command::new("keepalived").arg("-v").output().ok();
        let text = version
            .map(|o| String::from_utf8_lossy(&o.stderr).into_owned())
            .unwrap_or_default();
        if !text.contains("v2.2.7") {
            println!("keepalived 2.2.7 is not installed: nothing was compared");
            return None;
        }
        let root = Command::new("unshare")
            .args(["--net", "true"])
            .status()
            .is_ok_and(|s| s.success());
        if !root {
            println!("no right to make a network namespace: nothing was compared");
            return None;
        }
        let dir = tempfile::tempdir().expect("a folder");
        let shim = dir.path().join("shim.so");
        let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/keepalived/shim.c");
        let built = Command::new("cc")
            .args(["-shared", "-fPIC", "-o"])
            .arg(&shim)
            .arg(source)
            .status();
        assert!(built.is_ok_and(|s| s.success()), "cc cannot build {source}");
        Some(Keepalived { dir, shim })
    }

    /// What it prints until a line contains `end`, or it ends itself.
    fn run(
        &self,
        file: &Path,
        interfaces: &BTreeSet<String>,
        args: &[&str],
        end: &str,
    ) -> Vec<String> {
        let mut script = String::from("ip link set lo up\n");
        for (n, i) in interfaces.iter().enumerate() {
            script.push_str(&format!(
                "ip link add {i} type veth peer name lbdp{n} && ip link set {i} up && ip link set lbdp{n} up && ip addr add 198.18.{n}.1/24 dev {i}\n"
            ));
        }
        script.push_str("LD_PRELOAD=$SHIM exec keepalived \"$@\"\n");
        // A pid file of an earlier run would name a process that exists in this pid namespace too.
        let own = tempfile::tempdir_in(self.dir.path()).expect("a folder");
        let pid = |n: &str| own.path().join(n).display().to_string();
        let mut child = Command::new("unshare")
            .args([
                "--net",
                "--pid",
                "--fork",
                "--kill-child",
                "--mount-proc",
                "sh",
                "-c",
                &script,
                "sh",
            ])
            .args(args)
            .arg("-f")
            .arg(file)
            .args([
                "-p",
                &pid("p"),
                "-r",
                &pid("r"),
                "-c",
                &pid("c"),
                "-b",
                &pid("b"),
            ])
            .env("SHIM", &self.shim)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("unshare");
        let (send, lines) = mpsc::sync_channel(64);
        let out: [Box<dyn std::io::Read + Send>; 2] = [
            Box::new(child.stdout.take().expect("stdout")),
            Box::new(child.stderr.take().expect("stderr")),
        ];
        for pipe in out {
            let send = send.clone();
            std::thread::spawn(move || {
                for line in BufReader::new(pipe).split(b'\n').map_while(Result::ok) {
                    if send
                        .send(String::from_utf8_lossy(&line).into_owned())
                        .is_err()
                    {
                        return;
                    }
                }
            });
        }
        drop(send);
        let deadline = clock::now() + Duration::from_secs(8);
        let mut text = Vec::new();
        while let Ok(line) = lines.recv_timeout(deadline.since(clock::now())) {
            // Without its time, "Fri Nov 20 22:36:01 2026: ".
            let line = match line.split_once(": ") {
                Some((time, text)) if time.len() == 24 => text.to_owned(),
                _ => line,
            };
            let last = line.contains(end);
            text.push(line);
            if last {
                break;
            }
        }
        let _ = child.kill();
        let _ = child.wait();
        text
    }
}

/// Names of interfaces in a file.
fn interfaces(text: &str) -> BTreeSet<String> {
    let words: Vec<&str> = text
        .lines()
        .map(|l| l.split(['#', '!']).next().unwrap_or_default())
        .flat_map(|l| l.split(|c: char| c.is_whitespace() || matches!(c, '{' | '}')))
        .filter(|w| !w.is_empty())
        .collect();
    let mut out = BTreeSet::new();
    for pair in words.windows(2) {
        if matches!(
            pair[0],
            "interface" | "dev" | "track_interface" | "lvs_sync_daemon_interface"
        ) {
            out.insert(pair[1].to_owned());
        }
    }
    let ok = |n: &String| {
        n != "lo"
            && n.len() <= 15
            && !n.is_empty()
            && n.bytes()
                .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_'))
    };
    // Those listed in `track_interface` have the looks of the others.
    let all = words.iter().map(|w| (*w).to_owned());
    out.extend(all.filter(|w| {
        w.starts_with("eth")
            || w.starts_with("ens")
            || w.starts_with("enp")
            || w.starts_with("bond")
    }));
    out.retain(ok);
    out
}

/// Lines from one header to the next, by the header's value.
fn sections<'a>(lines: &'a [String], header: &str, until: &str) -> Vec<(&'a str, Vec<&'a str>)> {
    let mut out: Vec<(&str, Vec<&str>)> = Vec::new();
    let mut inside = false;
    for l in lines {
        if let Some(name) = l.strip_prefix(header) {
            out.push((name, Vec::new()));
            inside = true;
        } else if l.contains(until) {
            inside = false;
        } else if inside && let Some(last) = out.last_mut() {
            last.1.push(l);
        }
    }
    out
}

fn value<'a>(lines: &[&'a str], key: &str) -> Option<&'a str> {
    lines.iter().find_map(|l| {
        l.trim_start()
            .strip_prefix(key)?
            .trim_start()
            .strip_prefix('=')
            .map(str::trim)
    })
}

/// The deeper lines that follow a header.
fn list<'a>(lines: &[&'a str], head: &str) -> Vec<&'a str> {
    let Some(at) = lines.iter().position(|l| l.trim_start().starts_with(head)) else {
        return Vec::new();
    };
    lines[at + 1..]
        .iter()
        .take_while(|l| l.starts_with("     "))
        .map(|l| l.trim())
        .collect()
}

/// A virtual address in keepalived's words.
fn printed(a: &VirtualAddress, dev: &str) -> String {
    let mut s = a.addr.to_string();
    let bits = if a.addr.is_ipv4() { 32 } else { 128 };
    if a.prefix_len != bits {
        s.push_str(&format!("/{}", a.prefix_len));
    }
    if let (std::net::IpAddr::V4(ip), Some(b)) = (a.addr, a.broadcast) {
        let hosts = u32::MAX.checked_shr(u32::from(a.prefix_len)).unwrap_or(0);
        let brd = match b {
            Broadcast::Addr(x) => x,
            Broadcast::HostBitsSet => (u32::from(ip) | hosts).into(),
            Broadcast::HostBitsClear => (u32::from(ip) & !hosts).into(),
        };
        s.push_str(&format!(" brd {brd}"));
    }
    s.push_str(&format!(" dev {dev}"));
    let scope = match a.scope {
        0 => "global".to_owned(),
        200 => "site".to_owned(),
        253 => "link".to_owned(),
        254 => "host".to_owned(),
        255 => "nowhere".to_owned(),
        n => n.to_string(),
    };
    s.push_str(&format!(" scope {scope}"));
    if let Some(l) = &a.label {
        s.push_str(&format!(" label {l}"));
    }
    s
}

/// Compares one instance with keepalived's dump of it; says what differs.
fn instance(i: &VrrpInstance, lines: &[&str], text: &str, diff: &mut Vec<String>) {
    let mut same = |what: &str, theirs: Option<&str>, ours: String| {
        if theirs != Some(ours.as_str()) {
            diff.push(format!(
                "{}: {what}: keepalived {theirs:?}, lbd {ours:?}",
                i.name
            ));
        }
    };
    let v3 = i.version == VrrpVersion::V3;
    same(
        "version",
        value(lines, "VRRP Version"),
        if v3 { "3" } else { "2" }.to_owned(),
    );
    same(
        "state",
        value(lines, "Wantstate"),
        if i.initial_master { "MASTER" } else { "BACKUP" }.to_owned(),
    );
    let base = &i.interface;
    let interface = match &i.vmac {
        None => base.clone(),
        Some(v) if v.xmit_base => format!("{}, vmac on {base}, xmit base i/f", v.name),
        Some(v) => format!("{}, vmac on {base}", v.name),
    };
    same("interface", value(lines, "Interface"), interface);
    same(
        "virtual_router_id",
        value(lines, "Virtual Router ID"),
        i.virtual_router_id.to_string(),
    );
    same("priority", value(lines, "Priority"), i.priority.to_string());
    let advert = if v3 {
        format!("{} milli-sec", i.advert_int.as_millis())
    } else {
        format!("{} sec", i.advert_int.as_secs())
    };
    same("advert_int", value(lines, "Advert interval"), advert);
    same(
        "preempt",
        value(lines, "Preempt"),
        if i.nopreempt { "disabled" } else { "enabled" }.to_owned(),
    );
    same(
        "garp delay",
        value(lines, "Gratuitous ARP delay"),
        i.garp_master_delay.as_secs().to_string(),
    );
    same(
        "garp repeat",
        value(lines, "Gratuitous ARP repeat"),
        i.garp_master_repeat.to_string(),
    );
    same(
        "garp refresh",
        value(lines, "Gratuitous ARP refresh"),
        i.garp_master_refresh.as_secs().to_string(),
    );
    if !i.garp_master_refresh.is_zero() {
        same(
            "garp refresh repeat",
            value(lines, "Gratuitous ARP refresh repeat"),
            i.garp_master_refresh_repeat.to_string(),
        );
    }
    same(
        "garp lower delay",
        value(lines, "Gratuitous ARP lower priority delay"),
        i.garp_lower_prio_delay.as_secs().to_string(),
    );
    same(
        "garp lower repeat",
        value(lines, "Gratuitous ARP lower priority repeat"),
        i.garp_lower_prio_repeat.to_string(),
    );
    // `auth_type pass` is PASS here, as it was meant, and nothing in 2.2.7.
    let meant = text.lines().any(|l| {
        let mut w = l.split_whitespace();
        w.next() == Some("auth_type")
            && w.next()
                .is_some_and(|t| t != "PASS" && t.eq_ignore_ascii_case("PASS"))
    });
    if !v3 && !meant {
        match &i.auth {
            Auth::None => same(
                "auth",
                value(lines, "Authentication type"),
                "none".to_owned(),
            ),
            // Its password is not printed.
            Auth::Ah(_) => same(
                "auth",
                value(lines, "Authentication type"),
                "IPSEC_AH".to_owned(),
            ),
            Auth::Pass(p) => {
                same(
                    "auth",
                    value(lines, "Authentication type"),
                    "SIMPLE_PASSWORD".to_owned(),
                );
                same(
                    "password",
                    value(lines, "Password"),
                    String::from_utf8_lossy(p).into_owned(),
                );
            }
        }
    }
    for (head, ours) in [
        ("Virtual IP (", &i.addresses),
        ("Virtual IP Excluded", &i.excluded),
    ] {
        let clean = |s: &str| {
            let words = [
                "deprecated",
                "preferred_lft",
                "forever",
                "home",
                "-nodad",
                "mngtmpaddr",
                "noprefixroute",
                "autojoin",
                "no_track",
                "set",
            ];
            s.split_whitespace()
                .filter(|w| !words.contains(w))
                .collect::<Vec<_>>()
                .join(" ")
        };
        let theirs: Vec<String> = list(lines, head).into_iter().map(clean).collect();
        let dev = |a| match (i.iface_of(a), i.base_of(a)) {
            (iface, base) if iface == base => base.to_owned(),
            (vmac, base) => format!("{vmac}@{base}"),
        };
        let ours: Vec<String> = ours.iter().map(|a| printed(a, &dev(a))).collect();
        if theirs != ours {
            diff.push(format!(
                "{}: {head}: keepalived {theirs:?}, lbd {ours:?}",
                i.name
            ));
        }
    }
    vrrp::transport(i, lines, diff);
    vrrp::election(i, lines, diff);
    let tracked: Vec<String> = list(lines, "Tracked interfaces")
        .iter()
        .filter_map(|l| l.split([' ', ',']).next())
        .map(str::to_owned)
        .collect();
    let ours = i.tracks.interfaces.iter().map(|t| t.name.clone());
    let ours: Vec<String> = ours.collect();
    if tracked != ours {
        diff.push(format!(
            "{}: track_interface: keepalived {tracked:?}, lbd {ours:?}",
            i.name
        ));
    }
}

/// What came of one file.
#[derive(Default)]
struct Compared {
    instances: usize,
    services: usize,
    left_out: usize,
    refused: Option<String>,
}

fn compare(k: &Keepalived, path: &Path, diff: &mut Vec<String>) -> Compared {
    let text = String::from_utf8_lossy(&std::fs::read(path).expect("readable")).into_owned();
    let name = path.display().to_string();
    let options = Options {
        skip_unsupported: true,
        ..Options::default()
    };
    let l = config::load(&name, &lb_userspace::io::files::RealFiles, &options);
    let ifs = interfaces(&text);
    // Without a virtual server or an instance the process in question is not even started.
    let has = |word: &str| text.lines().any(|l| l.trim_start().starts_with(word));
    let dump = |word: &str, which: &str, end: &str| {
        if has(word) {
            k.run(path, &ifs, &[which, "-n", "-l", "-d"], end)
        } else {
            Vec::new()
        }
    };
    let vrrp = dump("vrrp_instance", "-P", "------< Interfaces >------");
    let lvs = dump("virtual_server ", "-C", "Activating BFD healthchecker");
    let mut done = Compared::default();
    let theirs = sections(&vrrp, " VRRP Instance = ", "------<");
    let services = sections(&lvs, " VS ", "------< Virtual server");
    let Some(model) = &l.model else {
        let why = l
            .diagnostics
            .iter()
            .find(|d| d.severity == Severity::Error)
            .expect("a reason");
        if !theirs.is_empty() || !services.is_empty() {
            done.refused = Some(format!("{} {}", why.code.name(), why.message));
        }
        return done;
    };
    let mut names: Vec<&str> = Vec::new();
    for (n, lines) in &theirs {
        names.push(n);
        if let Some(i) = model.instances.iter().find(|i| i.name == *n) {
            done.instances += 1;
            instance(i, lines, &text, diff);
        } else if l
            .left_out
            .iter()
            .any(|o| o.strip_prefix("vrrp_instance ") == Some(n))
        {
            done.left_out += 1;
        } else {
            diff.push(format!("keepalived has vrrp_instance {n}, lbd has not"));
        }
    }
    if !theirs.is_empty() {
        for i in model
            .instances
            .iter()
            .filter(|i| !names.contains(&i.name.as_str()))
        {
            diff.push(format!(
                "lbd has vrrp_instance {}, keepalived has not",
                i.name
            ));
        }
    }
    let checks = sections(&lvs, " [", "Activating");
    let checks: Vec<(String, Vec<&str>)> = checks
        .into_iter()
        .map(|(n, l)| (format!("[{n}"), l))
        .collect();
    let checks: Vec<(&str, Vec<&str>)> = checks
        .iter()
        .map(|(n, l)| (n.as_str(), l.clone()))
        .collect();
    let groups = sections(&lvs, " Virtual Server Group = ", " ------<");
    let mut matched = 0;
    for (head, lines) in &services {
        let protocol = value(lines, "protocol").unwrap_or_default();
        let key = head
            .strip_prefix("VIP = ")
            .and_then(|h| h.split_once(", VPORT = "));
        let found = model.services.iter().find(|s| {
            let here = match &s.group {
                Some(g) => head.starts_with(&format!("GROUP = [{}]:", g.name)),
                None => key.is_some_and(|(ip, port)| {
                    s.key.addr.to_string() == ip && s.key.port.to_string() == port
                }),
            };
            here && s.key.protocol.name() == protocol
        });
        if let Some(s) = found {
            matched += 1;
            done.services += 1;
            service(s, lines, &checks, &text, diff);
            if let Some(g) = &s.group {
                let head = format!("{},", g.name);
                let ours: Vec<_> = s.keys().map(|k| (k.addr, k.port)).collect();
                match groups.iter().find(|(n, _)| n.starts_with(&head)) {
                    Some((_, lines)) if group(lines) == ours => {}
                    other => diff.push(format!("group {}: keepalived {other:?}", g.name)),
                }
            }
        } else if l.left_out.iter().any(|o| o.starts_with("virtual_server")) {
            done.left_out += 1;
        } else {
            diff.push(format!("keepalived has {head} {protocol}, lbd has not"));
        }
    }
    if services.is_empty() && !model.services.is_empty() {
        diff.push("keepalived said nothing of its services".to_owned());
    }
    if !services.is_empty() && matched != model.services.len() {
        diff.push(format!(
            "lbd has {} services, keepalived knows {matched} of them",
            model.services.len()
        ));
    }
    done
}

#[test]
fn a_file_has_the_effect_that_keepalived_gives_it() {
    let Some(k) = Keepalived::new() else { return };
    let mut files: Vec<PathBuf> = Vec::new();
    let own = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/keepalived");
    let folders = [
        Some(own.into()),
        Some(concat!(env!("CARGO_MANIFEST_DIR"), "/../examples").into()),
        std::env::var_os("LB_CORPUS"),
    ];
    for folder in folders.into_iter().flatten() {
        let list = std::fs::read_dir(&folder)
            .expect("a folder")
            .map(|e| e.expect("an entry").path());
        files.extend(list.filter(|p| p.extension().is_some_and(|e| e == "conf")));
    }
    files.sort();
    let (mut instances, mut services, mut left_out, mut refused, mut wrong) = (0, 0, 0, 0, 0);
    for path in &files {
        let mut diff = Vec::new();
        let done = compare(&k, path, &mut diff);
        instances += done.instances;
        services += done.services;
        left_out += done.left_out;
        if let Some(why) = done.refused {
            refused += 1;
            println!(
                "{}: keepalived runs it, lbd does not: {why}",
                path.display()
            );
        }
        wrong += usize::from(!diff.is_empty());
        for d in diff {
            println!("{}: {d}", path.display());
        }
    }
    println!(
        "{} files: {instances} instances and {services} services with the same values, {left_out} left out as not supported yet, {refused} files refused that keepalived would run",
        files.len()
    );
    assert!(instances > 0 && services > 0, "nothing was compared");
    assert_eq!(wrong, 0, "files with another effect");
}

#[test]
fn the_keyword_table_has_the_words_that_keepalived_knows() {
    let Some(k) = Keepalived::new() else { return };
    // Not in Debian's build, though in the manual.
    let not_built = [
        (Block::Global, "vrrp_ipsets"),
        (Block::FileCheck, "dynamic"),
        // Of later versions.
        (Block::Instance, "v3_checksum_as_v2"),
    ];
    let mut wrong = Vec::new();
    // It takes words in a block that it does not know for the server's.
    let known = Block::ALL.iter().filter(|b| **b != Block::DrPathCheck);
    for block in known {
        let (before, after) = around(*block);
        for word in block.keywords() {
            let args = vec!["1"; word.min].join(" ");
            let braces = if word.body == Body::None { "" } else { " {\n}" };
            let file = k.dir.path().join("word.conf");
            std::fs::write(
                &file,
                format!("{before}{} {args}{braces}\n{after}", word.name),
            )
            .expect("written");
            let out = Command::new("unshare")
                .arg("--net")
                .arg("keepalived")
                .arg("-t")
                .arg("-f")
                .arg(&file)
                .output()
                .expect("keepalived");
            let unknown = String::from_utf8_lossy(&out.stderr)
                .contains(&format!("Unknown keyword '{}'", word.name));
            let ours = matches!(word.status, Status::Own | Status::Removed(_))
                || matches!(
                    (block, word.name),
                    (Block::Global, "lvs_id") | (Block::TcpCheck, "nb_get_retry")
                )
                || not_built.contains(&(*block, word.name));
            if unknown != ours {
                wrong.push(format!(
                    "{} in {}: keepalived {}",
                    word.name,
                    block.name(),
                    if unknown {
                        "does not know it"
                    } else {
                        "knows it"
                    }
                ));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// What must stand around a statement of a block.
fn around(block: Block) -> (String, String) {
    let outer: &[&str] = match block {
        Block::Top => &[],
        Block::Global => &["global_defs"],
        Block::TrackGroup => &["track_group a"],
        Block::SyncGroup => &["vrrp_sync_group a"],
        Block::GarpGroup => &["garp_group"],
        Block::Instance => &["vrrp_instance a"],
        Block::Authentication => &["vrrp_instance a", "authentication"],
        Block::Script => &["vrrp_script a"],
        Block::TrackFile => &["track_file a"],
        Block::TrackProcess => &["vrrp_track_process a"],
        Block::Bfd => &["bfd_instance a"],
        Block::Ssl => &["SSL"],
        Block::VirtualServer | Block::Timeouts => &["virtual_server 192.0.2.1 80"],
        Block::RealServer => &["virtual_server 192.0.2.1 80", "real_server 192.0.2.2 80"],
        Block::Url => &[
            "virtual_server 192.0.2.1 80",
            "real_server 192.0.2.2 80",
            "HTTP_GET",
            "url",
        ],
        Block::SmtpHost => &[
            "virtual_server 192.0.2.1 80",
            "real_server 192.0.2.2 80",
            "SMTP_CHECK",
            "host",
        ],
        Block::TcpCheck
        | Block::HttpGet
        | Block::SslGet
        | Block::SmtpCheck
        | Block::DnsCheck
        | Block::MiscCheck
        | Block::BfdCheck
        | Block::PingCheck
        | Block::UdpCheck
        | Block::FileCheck
        | Block::DrPathCheck => &["virtual_server 192.0.2.1 80", "real_server 192.0.2.2 80"],
    };
    let mut before: String = outer.iter().map(|o| format!("{o} {{\n")).collect();
    let mut after = "}\n".repeat(outer.len());
    if outer.len() == 2 && block != Block::Authentication && block != Block::RealServer {
        before.push_str(&format!("{} {{\n", block.name()));
        after.push_str("}\n");
    }
    (before, after)
}

/// docs/differences.md: what a block of lbd's own does to keepalived, and the guard against it.
#[test]
fn lbds_own_words_are_guarded_by_an_id() {
    let Some(k) = Keepalived::new() else { return };
    let text = |id: &str| {
        format!(
            "virtual_server 192.0.2.1 80 {{\n lb_algo rr\n lb_kind DR\n protocol TCP\n{id} sloppy\n{id} timeouts {{\n{id} established 3600\n{id} }}\n real_server 192.0.2.2 80 {{\n }}\n}}\n"
        )
    };
    let said = |id: &str| {
        let file = k.dir.path().join("own.conf");
        std::fs::write(&file, text(id)).expect("written");
        k.run(&file, &BTreeSet::new(), &["-t", "-i", "other"], "\u{0}")
    };
    assert_eq!(said("@lb1"), Vec::<String>::new());
    let lost = "has no real servers";
    assert!(said("").iter().any(|l| l.contains(lost)), "{:?}", said(""));
    let options = Options {
        config_id: Some("lb1".to_owned()),
        ..Options::default()
    };
    let files = MemoryFiles::one("own.conf", &text("@lb1"));
    let l = config::load("own.conf", &files, &options);
    let s = &l.model.expect("a model").services[0];
    assert!(s.sloppy && s.timeouts.established == Some(3600) && s.real_servers.len() == 1);
}

#[test]
fn what_is_written_for_keepalived_is_read_by_it_without_a_word() {
    let Some(k) = Keepalived::new() else { return };
    for (name, text) in [
        ("http-rr", include_str!("../../examples/http-rr.conf")),
        ("dual-stack", include_str!("../../examples/dual-stack.conf")),
    ] {
        let l = config::load(name, &MemoryFiles::one(name, text), &Options::default());
        let file = k.dir.path().join("written.conf");
        std::fs::write(&file, config::to_keepalived(&l.model.expect("a model"))).expect("written");
        let ifs = BTreeSet::from(["eth0".to_owned()]);
        let out = k.run(&file, &ifs, &["-t"], "\u{0}");
        assert_eq!(out, Vec::<String>::new(), "{name}");
    }
}
