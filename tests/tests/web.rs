//! Real servers that come and go by what they answer to HTTP_GET.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result};
use lb_tests::clock::wait_for;
use lb_tests::conf::PairConf;
use lb_tests::director::Kind;
use lb_tests::lab::{Lab, Real, Spec};
use lb_tests::load;
use lb_userspace::model::Protocol;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

const LIMIT: Duration = Duration::from_secs(20);
const FAST: Duration = Duration::from_millis(50);
/// Where a real server says how it is.
const HEALTH: u16 = 8081;

/// A server that answers each request with the status that it is told, until the lab ends.
fn say(real: &Real, status: Arc<AtomicU16>) -> Result<()> {
    let any = SocketAddr::from(([0, 0, 0, 0], HEALTH));
    let listener = real.host.ns.block_on(TcpListener::bind(any))?;
    real.host.ns.spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut request = Vec::new();
            while !request.ends_with(b"\r\n\r\n") {
                if !matches!(stream.read_buf(&mut request).await, Ok(1..)) {
                    break;
                }
            }
            let status = status.load(Ordering::Relaxed);
            let answer = format!("HTTP/1.0 {status} as told\r\n\r\nup\n");
            let _ = stream.write_all(answer.as_bytes()).await;
        }
    });
    Ok(())
}

#[test]
fn a_status_takes_a_real_server_out_and_brings_it_back() -> Result<()> {
    let conf = PairConf::http(3, FAST);
    let mut spec = Spec::pair(&conf, [Kind::Lbd; 2]);
    let check = format!(
        "HTTP_GET {{\n      connect_port {HEALTH}\n      url {{\n        path /health\n        \
         digest 67839e1bba5029447aa47d2e4b280b37\n        regex ^up$\n      }}\n"
    );
    for text in &mut spec.confs {
        *text = text.replace("TCP_CHECK {\n", &check);
    }
    let mut lab = Lab::new(&spec)?;
    let status: Vec<_> = lab
        .reals
        .iter()
        .map(|_| Arc::new(AtomicU16::new(200)))
        .collect();
    for (real, status) in lab.reals.iter().zip(&status) {
        say(real, Arc::clone(status))?;
    }
    let ping = lab.ping(lab.vip(), Duration::from_millis(5))?;
    lab.start_directors()?;
    lab.settle(0, None, FAST, &ping, LIMIT)?;
    lab.wait_services(LIMIT)?;
    let to = lab.service(Protocol::Tcp)?;
    let ask = |lab: &Lab, n| load::requests(&lab.client.ns, to, n, Duration::from_millis(500));
    let all = ask(&lab, 30);
    assert_eq!((all.failed(), all.tally.len()), (0, 3), "{all:?}");
    for bad in [503, 404] {
        status[1].store(bad, Ordering::Relaxed);
        let without = |r: &load::Report| r.failed() == 0 && !r.tally.contains_key("rs2");
        wait_for("rs2 to leave", LIMIT, || {
            without(&ask(&lab, 6)).then_some(())
        })
        .with_context(|| lab.logs())?;
        let rest = ask(&lab, 100);
        assert!(without(&rest), "{rest:?}");
        let log = lab.directors[0].log();
        let why = format!("HTTP_GET: GET /health: status {bad}, not 200-299");
        assert!(log.contains(&why), "{log}");
        status[1].store(200, Ordering::Relaxed);
        wait_for("rs2 to return", LIMIT, || {
            let r = ask(&lab, 6);
            (r.failed() == 0 && r.tally.len() == 3).then_some(())
        })
        .with_context(|| lab.logs())?;
    }
    drop(ping);
    lab.finish()
}
