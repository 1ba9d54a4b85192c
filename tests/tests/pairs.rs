//! Pairs of configuration files, run as they are: who is master, how the requests are spread, who
//! takes over and who takes back.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use lb_tests::clock::wait_for;
use lb_tests::director::Kind;
use lb_tests::events::Event;
use lb_tests::lab::Lab;
use lb_tests::load;
use lb_tests::pair::Pair;
use lb_tests::prober::let_answers_in;
use lb_userspace::model::Protocol;
use std::time::Duration;

const OWN: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/configs");
const EXAMPLES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../examples");

/// A directory with further pairs: every `X.master.conf` with `X.backup.conf` and `X.a.conf` with
/// `X.b.conf`, and every `X.service.conf`, which is included beside the first of those pairs.
const MORE: &str = "LB_PAIRS";

fn pair(dir: &Path, name: &str) -> Result<Pair> {
    let files = [["master", "backup"], ["a", "b"]]
        .map(|roles| roles.map(|role| dir.join(format!("{name}.{role}.conf"))));
    let files = files
        .iter()
        .find(|f| f[0].is_file())
        .with_context(|| format!("no pair {name}"))?;
    Pair::read([&files[0], &files[1]], [Kind::Lbd; 2])
}

/// The whole life of a pair. Requests by each scheduler must be spread as it says, on both
/// directors.
fn runs(pair: &Pair) -> Result<()> {
    let mut lab = Lab::new(&pair.spec)?;
    let probers = pair
        .routers
        .iter()
        .map(|r| lab.ping(r.vip, Duration::from_millis(5)))
        .collect::<Result<Vec<_>>>()?;
    lab.start_directors()?;
    let limit = pair.election() + Duration::from_secs(15);
    let at_home = |lab: &Lab| -> Result<()> {
        for (router, prober) in pair.routers.iter().zip(&probers) {
            lab.settle(
                router.owner,
                Some(router.vrid),
                router.advert,
                prober,
                limit,
            )?;
            assert!(lab.directors[router.owner].has_address(router.vip)?);
            // Who yields keeps the address a moment longer, so that there is no gap.
            let other = &lab.directors[1 - router.owner];
            wait_for(
                "the other director to let go",
                Duration::from_secs(5),
                || (!other.has_address(router.vip).ok()?).then_some(()),
            )?;
        }
        Ok(())
    };
    at_home(&lab)?;
    spread(pair, &lab)?;

    let dead = pair.routers[0].owner;
    let other = lab.directors[1 - dead].host.mac;
    let at = lab.strike(Event::PowerLoss, dead)?;
    for (router, prober) in pair.routers.iter().zip(&probers) {
        let back = prober
            .wait_answer(&lab.recorder, Some(other), 10, at, limit)
            .with_context(|| lab.logs())?;
        let_answers_in()?;
        let outage = prober.outage(&lab.recorder, at, back);
        println!("{}: {} ms", router.vip, outage.longest.as_millis());
        if router.owner != dead {
            assert_eq!(outage.lost, 0, "{}: {outage:?}", router.vip);
        }
    }
    spread(pair, &lab)?;

    lab.recover(Event::PowerLoss, dead)?;
    at_home(&lab)?;
    drop(probers);
    lab.finish()
}

fn spread(pair: &Pair, lab: &Lab) -> Result<()> {
    lab.wait_services(Duration::from_secs(15))?;
    for service in &pair.services {
        let ns = &lab.client.ns;
        let once = Duration::from_secs(2);
        let report = match service.protocol {
            Protocol::Tcp => load::requests(ns, service.to, 300, once),
            Protocol::Udp => load::datagrams(ns, service.to, 300, once),
            Protocol::Sctp => continue,
        };
        let shown = service.check(&report).with_context(|| lab.logs())?;
        println!(
            "{:?} {} {:?}: {shown}",
            service.protocol, service.to, service.scheduler
        );
    }
    Ok(())
}

#[test]
fn three_real_servers_get_exactly_the_same_by_rr() -> Result<()> {
    runs(&pair(Path::new(EXAMPLES), "http-rr")?)
}

#[test]
fn weights_of_one_to_three_are_kept_within_one_connection() -> Result<()> {
    runs(&pair(Path::new(OWN), "weighted")?)
}

#[test]
fn persistence_keeps_a_client_with_its_server() -> Result<()> {
    runs(&pair(Path::new(OWN), "persistent")?)
}

#[test]
fn udp_is_balanced_beside_tcp_on_the_same_port() -> Result<()> {
    runs(&pair(Path::new(OWN), "turn")?)
}

#[test]
fn each_director_is_master_of_one_address_and_of_both_when_the_other_is_dead() -> Result<()> {
    runs(&pair(Path::new(OWN), "active-active")?)
}

#[test]
fn a_service_in_an_included_file_runs_beside_another() -> Result<()> {
    runs(&pair(Path::new(OWN), "web-and-db")?)
}

/// With `LB_PAIRS` set to a directory: all that is in it.
#[test]
fn pairs_from_elsewhere_run_as_they_are() -> Result<()> {
    let Some(dir) = std::env::var_os(MORE).map(PathBuf::from) else {
        println!("{MORE} is not set: nothing to run");
        return Ok(());
    };
    let mut names: Vec<String> = std::fs::read_dir(&dir)
        .with_context(|| dir.display().to_string())?
        .filter_map(|e| {
            let name = e.ok()?.file_name().into_string().ok()?;
            let name = name
                .strip_suffix(".master.conf")
                .or_else(|| name.strip_suffix(".a.conf"))?;
            Some(name.to_owned())
        })
        .collect();
    names.sort();
    assert!(!names.is_empty(), "no pairs in {}", dir.display());
    for name in &names {
        println!("--- {name}");
        runs(&pair(&dir, name)?).with_context(|| name.clone())?;
    }
    for service in services(&dir)? {
        println!("--- {service} beside {}", EXAMPLES);
        runs(&beside_the_example(&dir, &service)?).with_context(|| service.clone())?;
    }
    Ok(())
}

/// The names of the service files of a directory.
fn services(dir: &Path) -> Result<Vec<String>> {
    let names = std::fs::read_dir(dir)?.filter_map(|e| e.ok()?.file_name().into_string().ok());
    Ok(names.filter(|n| n.ends_with(".service.conf")).collect())
}

/// The example pair with a service file included and its addresses owned by the instance.
fn beside_the_example(dir: &Path, service: &str) -> Result<Pair> {
    let text = std::fs::read_to_string(dir.join(service))?;
    let vips: Vec<_> = text
        .lines()
        .filter_map(|l| {
            l.trim()
                .strip_prefix("virtual_server ")?
                .split_whitespace()
                .next()
        })
        .collect();
    let files = tempfile::tempdir()?;
    std::fs::write(files.path().join(service), &text)?;
    let paths = ["master", "backup"].map(|role| files.path().join(format!("{role}.conf")));
    for (path, role) in paths.iter().zip(["master", "backup"]) {
        let example =
            std::fs::read_to_string(Path::new(EXAMPLES).join(format!("http-rr.{role}.conf")))?;
        let block = "virtual_ipaddress {\n";
        let with_vips = example.replace(block, &format!("{block}    {}\n", vips.join("\n    ")));
        std::fs::write(path, format!("{with_vips}\ninclude {service}\n"))?;
    }
    Pair::read([&paths[0], &paths[1]], [Kind::Lbd; 2])
}
