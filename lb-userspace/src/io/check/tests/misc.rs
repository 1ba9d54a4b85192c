use super::*;
use crate::model::{MiscCheck, Script};

fn misc(command: &[&str], dynamic: bool, timeout: Duration) -> Check {
    let script = Script {
        command: command.iter().map(|w| (*w).to_owned()).collect(),
        user: Some(crate::model::User {
            name: "root".to_owned(),
            group: None,
        }),
    };
    Check {
        timeout,
        ..Check::new(
            CheckKind::Misc(MiscCheck { script, dynamic }),
            IpAddr::from(Ipv4Addr::LOCALHOST),
            0,
        )
    }
}

#[test]
fn a_script_says_by_its_exit_status_whether_the_server_is_good() {
    if !nix::unistd::geteuid().is_root() {
        return;
    }
    let sh = |text: &str, dynamic| misc(&["/bin/sh", "-c", text], dynamic, PATIENCE);
    let verdicts: Vec<Verdict> = run([
        sh("exit 0", false),
        sh("exit 9", false),
        sh("exit 9", true),
        misc(&["/no/such/thing"], true, PATIENCE),
    ])
    .into_iter()
    .map(|f| f.verdict)
    .collect();
    let [good, bad, weighs, none] = verdicts.as_slice() else {
        panic!("{verdicts:?}");
    };
    assert_eq!(
        (good, weighs),
        (
            &Verdict::Ok,
            &Verdict::Weighs(crate::health::Weighs::Exactly(7))
        )
    );
    assert_eq!(
        *bad,
        Verdict::Failed(Failure::Answer("exit status 9".to_owned()))
    );
    assert!(matches!(none, Verdict::Failed(_)), "{none:?}");
    let limit = Duration::from_millis(200);
    let (verdict, took) = one(misc(&["/bin/sleep", "60"], false, limit));
    assert_eq!(verdict, Verdict::Failed(Failure::NoAnswer));
    assert!(took >= limit && took < PATIENCE, "{took:?}");
}
