//! Mails say the same as keepalived's, word by word.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::{Context as _, Result};
use lb_tests::clock::wait_for;
use lb_tests::conf::PairConf;
use lb_tests::director::Kind;
use lb_tests::events::Event;
use lb_tests::lab::{Lab, Spec};

const LIMIT: Duration = Duration::from_secs(30);
const VIP: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 100);
const PORT: u16 = 2525;

/// The mails that came: what was said to the server, without dates and the name of the program.
type Mails = Arc<Mutex<Vec<Vec<String>>>>;

/// Takes one mail, as a server would.
fn take(stream: TcpStream, mails: &Mails) -> std::io::Result<()> {
    let mut to = stream.try_clone()?;
    let mut data = false;
    let mut mail = Vec::new();
    to.write_all(b"220 sink\r\n")?;
    for line in BufReader::new(stream).lines() {
        let line = line?.trim_end_matches('\r').to_owned();
        let answer = match line.as_str() {
            "." => "250 taken\r\n",
            _ if data => "",
            "DATA" => "354 go on\r\n",
            "QUIT" => "221 bye\r\n",
            _ => "250 well\r\n",
        };
        let skipped = line.starts_with("Date: ") || line.starts_with("X-Mailer: ");
        data = line == "DATA" || data && line != ".";
        if !skipped {
            mail.push(line.clone());
        }
        to.write_all(answer.as_bytes())?;
        if line == "QUIT" {
            break;
        }
    }
    mails.lock().expect("the mails").push(mail);
    Ok(())
}

fn conf() -> String {
    format!(
        "global_defs {{\n  router_id LB7\n  notification_email {{\n    a@example.com\n    b@example.com\n  }}\n  \
         notification_email_from lb@example.com\n  smtp_server 127.0.0.1 {PORT}\n  \
         smtp_helo_name lb7.example.com\n  smtp_connect_timeout 5\n  smtp_alert_vrrp\n}}\n\
         vrrp_sync_group G {{\n  group {{\n    V\n  }}\n}}\n\
         vrrp_instance V {{\n  state BACKUP\n  interface eth0\n  virtual_router_id 9\n  priority 100\n  \
         version 3\n  advert_int 0.1\n  virtual_ipaddress {{\n    {VIP}\n  }}\n}}\n"
    )
}

/// One director becomes master, loses its link, and is master again.
fn story(kind: Kind) -> Result<Vec<Vec<String>>> {
    let mut pair = PairConf::http(3, Duration::from_millis(100));
    pair.services.clear();
    pair.vips = vec![VIP];
    let mut spec = Spec::pair(&pair, [kind; 2]);
    spec.confs = [conf(), conf()];
    let mut lab = Lab::new(&spec)?;
    let ns = &lab.directors[0].host.ns;
    ns.link_up("lo")?;
    let listener = ns.call(|| TcpListener::bind((Ipv4Addr::LOCALHOST, PORT)))?;
    let mails = Mails::default();
    let taken = Arc::clone(&mails);
    // Ends with the process.
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let taken = Arc::clone(&taken);
            std::thread::spawn(move || take(stream, &taken));
        }
    });
    let wait = |lab: &Lab, count: usize, subject: &str| {
        wait_for("the mails", LIMIT, || {
            let mails = mails.lock().expect("the mails");
            let has = |m: &&Vec<String>| m.iter().any(|l| l.ends_with(subject));
            (mails.iter().filter(has).count() == count).then_some(())
        })
        .with_context(|| format!("{count} {subject}: {:?}\n{}", mails.lock(), lab.logs()))
    };
    lab.directors[0].start()?;
    // Of the instance and of the group.
    wait(&lab, 2, "Entering MASTER state")?;
    lab.strike(Event::LinkDownLocal, 0)?;
    wait(&lab, 2, "Entering FAULT state")?;
    lab.recover(Event::LinkDownLocal, 0)?;
    wait(&lab, 4, "Entering MASTER state")?;
    let mut mails = mails.lock().expect("the mails").clone();
    lab.finish()?;
    // keepalived sends them side by side.
    mails.sort();
    Ok(mails)
}

#[test]
fn mails_say_the_same_as_under_keepalived() -> Result<()> {
    let theirs = story(Kind::Keepalived)?;
    let ours = story(Kind::Lbd)?;
    println!("{theirs:#?}");
    assert_eq!(ours, theirs);
    assert_eq!(ours.len(), 10);
    Ok(())
}
