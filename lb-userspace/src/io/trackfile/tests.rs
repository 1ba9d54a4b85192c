use super::*;
use crate::model::{Check, FileCheck, Protocol, RealServer, Service, ServiceKey};
use std::time::{Duration, Instant};

/// A service whose server follows all of these but `nobody's`.
fn model(dir: &Path, names: &[&str]) -> Model {
    let file = |name: &&str| TrackFile {
        name: (*name).to_owned(),
        path: dir.join(name).display().to_string(),
        init: None,
    };
    let addr = "192.0.2.1".parse().unwrap();
    let key = ServiceKey {
        addr,
        port: 80,
        protocol: Protocol::Tcp,
    };
    let check = |name: &&str| {
        let check = FileCheck {
            file: (*name).to_owned(),
            weight: 1,
            reverse: false,
        };
        Check::new(CheckKind::File(check), addr, 0)
    };
    let followed = names.iter().filter(|n| **n != "nobody's");
    let mut server = RealServer::new(addr, 80, 1);
    server.checks = followed.map(check).collect();
    let mut service = Service::new(key);
    service.real_servers.push(server);
    Model {
        track_files: names.iter().map(file).collect(),
        services: vec![service],
        ..Model::default()
    }
}

/// The next value; a test that waits this long has failed.
fn next(values: &mut mpsc::Receiver<Value>) -> Value {
    let end = Instant::now() + Duration::from_secs(20);
    loop {
        match values.try_recv() {
            Ok(value) => return value,
            Err(_) if Instant::now() < end => std::thread::yield_now(),
            Err(e) => panic!("{e}"),
        }
    }
}

#[test]
fn a_file_is_read_at_the_start_and_whenever_it_changes() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("f");
    let other = dir.path().join("other");
    std::fs::write(&path, "7\n").unwrap();
    let (mut files, mut values) = Files::new();
    files.configure(&model(dir.path(), &["f", "nobody's"]), true);
    let is = |n| ("f".to_owned(), n);
    assert_eq!(next(&mut values), is(7));
    std::fs::write(&path, "-3").unwrap();
    // Cut off and written: 0 may be seen between.
    let value = next(&mut values);
    if value == is(0) {
        assert_eq!(next(&mut values), is(-3));
    } else {
        assert_eq!(value, is(-3));
    }
    std::fs::write(&other, "9").unwrap();
    std::fs::rename(&other, &path).unwrap();
    assert_eq!(next(&mut values), is(9));
    std::fs::remove_file(&path).unwrap();
    assert_eq!(next(&mut values), is(0));
    std::os::unix::fs::symlink(&other, &path).unwrap();
    std::fs::write(&other, "4").unwrap();
    assert_eq!(next(&mut values), is(4));
    // A reload tells everything again; what is no value leaves the one before.
    files.configure(&model(dir.path(), &["f"]), false);
    assert_eq!(next(&mut values), is(4));
    std::fs::write(dir.path().join("new"), "99999999999").unwrap();
    std::fs::rename(dir.path().join("new"), &other).unwrap();
    std::fs::write(dir.path().join("new"), "6").unwrap();
    std::fs::rename(dir.path().join("new"), &other).unwrap();
    assert_eq!(next(&mut values), is(6));
}

#[test]
fn a_directory_may_come_later() {
    let dir = tempfile::tempdir().unwrap();
    let below = dir.path().join("below");
    let (mut files, mut values) = Files::new();
    files.configure(&model(&below, &["f"]), true);
    assert_eq!(next(&mut values), ("f".to_owned(), 0));
    std::fs::create_dir(&below).unwrap();
    std::fs::write(below.join("f"), "5").unwrap();
    assert_eq!(next(&mut values), ("f".to_owned(), 5));
}

#[test]
fn a_file_is_made_when_asked_for_and_overwritten_only_at_the_start() {
    let dir = tempfile::tempdir().unwrap();
    let text = |name: &str| std::fs::read_to_string(dir.path().join(name)).unwrap();
    let mut model = model(dir.path(), &["made", "kept", "over", "nobody's"]);
    let inits = [(3, false), (4, false), (5, true), (6, false)];
    for (file, (value, overwrite)) in model.track_files.iter_mut().zip(inits) {
        file.init = Some(InitFile { value, overwrite });
    }
    for name in ["kept", "over"] {
        std::fs::write(dir.path().join(name), "1").unwrap();
    }
    let (mut files, _values) = Files::new();
    files.configure(&model, true);
    let texts = ["made", "kept", "over", "nobody's"].map(text);
    assert_eq!(texts, ["3\n", "1", "5\n", "6\n"]);
    std::fs::write(dir.path().join("over"), "1").unwrap();
    files.configure(&model, false);
    assert_eq!(text("over"), "1");
}
