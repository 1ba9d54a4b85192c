//! Version 2 in IPsec AH. (That every pairing agrees, the matrix shows.)

use std::time::Duration;

use anyhow::Result;
use lb_tests::conf::PairConf;
use lb_tests::director::Kind;
use lb_tests::lab::{Lab, Spec};

const LIMIT: Duration = Duration::from_secs(30);
const ADVERT: Duration = Duration::from_secs(1);
fn spec(kinds: [Kind; 2]) -> Spec {
    let mut spec = Spec::pair(&PairConf::http(2, ADVERT), kinds);
    for text in &mut spec.confs {
        *text = text.replace("auth_type PASS", "auth_type AH");
    }
    spec
}

#[test]
fn another_password_is_counted_and_elects_nobody() -> Result<()> {
    let mut spec = spec([Kind::Lbd; 2]);
    spec.confs[1] = spec.confs[1].replace("auth_pass 1111", "auth_pass 1112");
    let mut lab = Lab::new(&spec)?;
    lab.start_directors()?;
    for director in &lab.directors {
        director.wait_status("what is not authentic to be counted", LIMIT, |status| {
            let discarded = &status.vrrp.first()?.discarded;
            discarded
                .iter()
                .find(|d| d.reason == "auth_data" && d.count > 2)?;
            Some(())
        })?;
    }
    lab.finish()
}
