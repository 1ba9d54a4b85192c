//! `track_file`, `track_interface`, `track_service` and `FILE_CHECK`: what they become, and what is
//! wrong with them.

#[path = "loading/texts.rs"]
mod loading;

use lb_userspace::config::Severity;
use lb_userspace::model::{
    CheckKind, FileCheck, InitFile, Model, ParamMatch, Protocol, ServiceKey, ServiceTrack, Track,
    TrackProcess,
};

use loading::{load, model};

const FILES: &str = "track_file plain {\n file /run/plain\n}\n\
                     vrrp_track_file full {\n file \"/run/a b\"\n weight -3 reverse\n init_file 7 overwrite\n}\n\
                     track_file huge {\n file /run/huge\n weight 2147483647\n init_file\n}\n";

fn instance(lines: &str) -> String {
    format!(
        "vrrp_instance V {{\n interface eth0\n virtual_router_id 1\n priority 100\n \
         virtual_ipaddress {{\n 10.0.0.1\n }}\n{lines}\n}}\n"
    )
}

fn service(lines: &str, check: &str) -> String {
    format!(
        "virtual_server 10.0.0.1 80 {{\n lb_kind DR\n lb_algo rr\n protocol TCP\n{lines}\n \
         real_server 10.0.0.2 80 {{\n weight 5\n{check}\n }}\n}}\n"
    )
}

fn track(name: &str, weight: i16, reverse: bool) -> Track {
    Track {
        name: name.to_owned(),
        weight,
        reverse,
    }
}

#[test]
fn tracked_files_inherit_what_their_lines_do_not_say() {
    let text = format!(
        "{FILES}{}",
        instance("track_file {\n plain\n full\n huge\n}")
    );
    let m = model_with_notes(&text);
    let [plain, full, huge] = m.track_files.as_slice() else {
        panic!("{m:?}");
    };
    assert_eq!((plain.path.as_str(), plain.init), ("/run/plain", None));
    let init = |value, overwrite| Some(InitFile { value, overwrite });
    assert_eq!((full.path.as_str(), full.init), ("/run/a b", init(7, true)));
    assert_eq!(huge.init, init(0, false));
    assert_eq!(
        m.instances[0].tracks.files,
        [
            track("plain", 1, false),
            track("full", -3, true),
            track("huge", 254, false)
        ]
    );
    let lines = "track_file {\n plain weight 0\n full weight -254 noreverse\n}";
    let m = model_with_notes(&format!("{FILES}{}", instance(lines)));
    assert_eq!(
        m.instances[0].tracks.files,
        [track("plain", 0, false), track("full", -254, false)]
    );
}

/// The old name is noted.
fn model_with_notes(text: &str) -> Model {
    let l = load(text);
    assert_eq!(l.count(Severity::Error), 0, "{}", l.render(false));
    assert_eq!(l.count(Severity::Warning), 0, "{}", l.render(false));
    l.model.expect("a model")
}

#[test]
fn interfaces_have_weights_and_groups_have_tracks() {
    let m = model(&instance(
        "track_interface {\n eth1\n eth2 weight -20\n eth3 weight 5 reverse\n eth0 weight 9\n}",
    ));
    assert_eq!(
        m.instances[0].tracks.interfaces,
        [
            track("eth1", 0, false),
            track("eth2", -20, false),
            track("eth3", 5, true),
            track("eth0", 9, false)
        ]
    );
    let group = "vrrp_sync_group G {\n group {\n V\n }\n track_interface {\n eth1\n eth2 weight 3\n }\n \
                 track_file {\n plain weight 2\n }\n track_service {\n 10.0.0.1 80\n }\n \
                 sync_group_tracking_weight\n}\n";
    let text = [FILES, &instance(""), group, &service("", "")].concat();
    let tracks = &model_with_notes(&text).sync_groups[0].tracks;
    assert_eq!(
        tracks.interfaces,
        [track("eth1", 0, false), track("eth2", 3, false)]
    );
    assert_eq!(tracks.files, [track("plain", 2, false)]);
    assert_eq!(tracks.services.len(), 1);
}

#[test]
fn a_service_is_tracked_by_its_address() {
    let lines = "track_service {\n 10.0.0.1 80 tcp weight -20\n}";
    let key = ServiceKey {
        addr: "10.0.0.1".parse().expect("an address"),
        port: 80,
        protocol: Protocol::Tcp,
    };
    let want = |weight, reverse| {
        [ServiceTrack {
            key,
            weight,
            reverse,
        }]
    };
    let m = model(&[instance(lines), service("", "")].concat());
    assert_eq!(m.instances[0].tracks.services, want(-20, false));
    let lines = "track_service {\n 10.0.0.1 80\n}";
    let m = model(&[service("", ""), instance(lines)].concat());
    assert_eq!(m.instances[0].tracks.services, want(0, false));
}

#[test]
fn a_file_check_has_the_weight_of_its_file_or_its_own() {
    for (lines, weight, reverse) in [
        ("track_file plain", 1, false),
        ("track_file full", -3, true),
        ("track_file huge", 2_147_483_647, false),
        ("track_file full\n weight 0", 0, true),
        ("track_file full\n weight 9 noreverse", 9, false),
    ] {
        let check = format!("FILE_CHECK {{\n{lines}\n}}");
        let m = model_with_notes(&[FILES, &service("alpha", &check)].concat());
        let check = &m.services[0].real_servers[0].checks[0];
        let file = lines
            .split_ascii_whitespace()
            .nth(1)
            .expect("a name")
            .to_owned();
        let want = CheckKind::File(FileCheck {
            file,
            weight,
            reverse,
        });
        assert_eq!((&check.kind, check.alpha), (&want, false));
    }
}

#[test]
fn what_is_wrong_with_tracks_is_named() {
    let (error, warning) = (Severity::Error, Severity::Warning);
    let tracked = |lines: &str| [FILES, &instance(lines)].concat();
    let group = "vrrp_sync_group G {\n group {\n V\n }\n}\n";
    let served = |lines: &str, track: &str| {
        [
            instance(&format!("track_service {{\n{track}\n}}")),
            service(lines, ""),
        ]
        .concat()
    };
    for (text, severity, words) in [
        (
            tracked("track_file {\n none\n}"),
            error,
            "no `track_file none`",
        ),
        (
            tracked("track_file {\n plain weight 255\n}"),
            error,
            "-254 to 254",
        ),
        (tracked("track_file {\n plain 5\n}"), warning, "`weight`"),
        (
            tracked("track_file {\n plain\n plain\n}"),
            warning,
            "tracked already",
        ),
        (
            tracked("track_interface {\n eth1 weight 300\n}"),
            error,
            "-253 to 253",
        ),
        (
            tracked("track_interface {\n eth0\n}"),
            Severity::Note,
            "changes nothing",
        ),
        (
            [FILES, &instance("track_file {\n plain\n}"), group].concat(),
            warning,
            "it is not tracked",
        ),
        (
            [
                instance("track_interface {\n eth1 weight 3\n}").as_str(),
                group,
            ]
            .concat(),
            warning,
            "it is not tracked",
        ),
        (
            "track_file f {\n weight 3\n}\n".to_owned(),
            error,
            "has no `file`",
        ),
        ([FILES, FILES].concat(), error, "defined twice"),
        (
            "track_file f {\n file /f\n init_file many\n}\n".to_owned(),
            warning,
            "init_file",
        ),
        (
            served("", "10.0.0.1 81"),
            error,
            "no service `TCP 10.0.0.1:81`",
        ),
        (
            served("", "10.0.0.1 80 udp"),
            error,
            "no service `UDP 10.0.0.1:80`",
        ),
        (served("", "10.0.0.1"), error, "address and port"),
        (
            served("", "10.0.0.1 80\n 10.0.0.1 80 tcp"),
            error,
            "tracked already",
        ),
        (served("ha_suspend", "10.0.0.1 80"), error, "ha_suspend"),
        (
            service("", "FILE_CHECK {\n weight 3\n}"),
            error,
            "no `track_file`",
        ),
        (
            service("", "FILE_CHECK {\n track_file none\n}"),
            error,
            "no `track_file none`",
        ),
    ] {
        let l = load(&text);
        let said = l.render(false);
        assert!(l.count(severity) >= 1, "{said}");
        assert!(said.contains(words), "{words}: {said}");
    }
}

#[test]
fn processes_are_tracked_by_what_is_said_of_them() {
    let text = "vrrp_track_process web {\n process \"/a b/c\" -f \"x y\"\n param_match initial\n weight -30\n \
                quorum 2\n quorum_max 5\n delay 0.5\n fork_delay 2\n full_command\n}\n\
                vrrp_track_process none {\n process bad\n quorum_max 0\n}\n\
                vrrp_track_process params {\n process p -q\n}\n";
    let text = [
        text,
        &instance("track_process {\n web\n none weight 0 reverse\n}"),
    ]
    .concat();
    let m = model(&text);
    let [web, none, params] = m.track_processes.as_slice() else {
        panic!("{m:?}");
    };
    let ms = std::time::Duration::from_millis;
    let want = TrackProcess {
        name: "web".to_owned(),
        command: ["/a b/c", "-f", "x y"].map(str::to_owned).into(),
        params: Some(ParamMatch::Initial),
        full_command: true,
        quorum: 2,
        quorum_max: Some(5),
        fork_delay: ms(2000),
        terminate_delay: ms(500),
    };
    assert_eq!(*web, want);
    assert_eq!(
        (none.quorum, none.quorum_max, none.params),
        (0, Some(0), None)
    );
    assert_eq!((params.quorum, params.params), (1, Some(ParamMatch::Exact)));
    assert_eq!(
        m.instances[0].tracks.processes,
        [track("web", -30, false), track("none", 0, true)]
    );
    for (lines, words) in [
        ("weight 3", "has no `process`"),
        ("process p\n quorum 3\n quorum_max 2", "below `quorum`"),
        ("process p\n weight 255", "-254 to 254"),
    ] {
        let l = load(&format!("vrrp_track_process p {{\n{lines}\n}}\n"));
        let said = l.render(false);
        assert!(
            l.count(Severity::Error) >= 1 && said.contains(words),
            "{words}: {said}"
        );
    }
}
