//! `SSL_GET` that looks at certificates, and shows its own.

use std::io::Write;
use std::path::Path;
use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, date_time_ymd};
use tokio_rustls::rustls::server::WebPkiClientVerifier;
use tokio_rustls::rustls::{
    RootCertStore, ServerConfig, ServerConnection, StreamOwned, crypto::ring,
};

use super::http::{failed, get, request, secure, server, url};
use super::*;
use crate::model::{Http, Trust, Url};

/// An authority, and where its certificate is.
struct Authority {
    issuer: Issuer<'static, KeyPair>,
    root: rcgen::Certificate,
}

impl Authority {
    fn new(name: &str) -> Authority {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let root = params.self_signed(&key).unwrap();
        let issuer = Issuer::new(params, key);
        Authority { issuer, root }
    }

    /// A certificate for `name`, valid in the years between.
    fn sign(&self, name: &str, years: (i32, i32)) -> (rcgen::Certificate, KeyPair) {
        let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        params.not_before = date_time_ymd(years.0, 1, 1);
        params.not_after = date_time_ymd(years.1, 1, 1);
        let key = KeyPair::generate().unwrap();
        (params.signed_by(&key, &self.issuer).unwrap(), key)
    }
}

const GOOD: (i32, i32) = (2000, 4000);

/// A server with a certificate, which wants one of an authority where there is one.
fn serve((cert, key): (rcgen::Certificate, KeyPair), wants: Option<&Authority>) -> SocketAddr {
    let provider = Arc::new(ring::default_provider());
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .unwrap();
    let builder = match wants {
        None => builder.with_no_client_auth(),
        Some(authority) => {
            let mut roots = RootCertStore::empty();
            roots.add(authority.root.der().clone()).unwrap();
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
            builder.with_client_cert_verifier(verifier.build().unwrap())
        }
    };
    let config = builder
        .with_single_cert(vec![cert.der().clone()], key.into())
        .unwrap();
    let config = Arc::new(config);
    server(move |stream| {
        let tls = ServerConnection::new(Arc::clone(&config)).unwrap();
        let mut stream = StreamOwned::new(tls, stream);
        if !request(&mut stream).is_empty() {
            let _ = stream.write_all(b"HTTP/1.0 200 OK\r\n\r\n");
            stream.conn.send_close_notify();
        }
        let _ = stream.flush();
    })
}

fn write(dir: &Path, name: &str, text: &str) -> Option<String> {
    let path = dir.join(name);
    std::fs::write(&path, text).unwrap();
    Some(path.to_str().unwrap().to_owned())
}

fn ask(to: SocketAddr, host: Option<&str>, trust: &Trust) -> Verdict {
    let named = Url {
        host: host.map(str::to_owned),
        ..url()
    };
    let mut check = secure(get(to, named));
    if let CheckKind::Http(http) = check.kind {
        check.kind = CheckKind::Http(Http {
            trust: trust.clone(),
            ..http
        });
    }
    one(check).0
}

#[test]
fn a_certificate_is_looked_at_when_asked_for() {
    let dir = tempfile::tempdir().unwrap();
    let (ours, other) = (Authority::new("ours"), Authority::new("other"));
    let trust = Trust {
        verify: true,
        ca: write(dir.path(), "ca.pem", &ours.root.pem()),
        ..Trust::default()
    };
    let name = "www.example.org";
    let bad = |why: &str| failed(&format!("TLS handshake: {why}"));
    for (signed, host, want) in [
        (ours.sign(name, GOOD), Some(name), Verdict::Ok),
        (
            ours.sign(name, GOOD),
            Some("www.example.org:8443"),
            Verdict::Ok,
        ),
        (ours.sign("*.example.org", GOOD), Some(name), Verdict::Ok),
        (ours.sign("127.0.0.1", GOOD), None, Verdict::Ok),
        (
            ours.sign(name, (2000, 2001)),
            Some(name),
            bad("the certificate has expired"),
        ),
        (
            ours.sign(name, (3999, 4000)),
            Some(name),
            bad("the certificate is not valid yet"),
        ),
        (
            other.sign(name, GOOD),
            Some(name),
            bad("the certificate's issuer is not one of those that are trusted"),
        ),
        (
            Authority::new("ours").sign(name, GOOD),
            Some(name),
            bad("the certificate's signature is not that of the issuer that it names"),
        ),
        (
            ours.sign(name, GOOD),
            Some("mail.example.org"),
            bad("the certificate is not for mail.example.org but for DnsName(\"www.example.org\")"),
        ),
        (
            ours.sign(name, GOOD),
            None,
            bad("the certificate is not for 127.0.0.1 but for DnsName(\"www.example.org\")"),
        ),
    ] {
        let to = serve(signed, None);
        assert_eq!(ask(to, host, &trust), want, "{host:?}");
        assert_eq!(
            ask(to, host, &Trust::default()),
            Verdict::Ok,
            "not asked for"
        );
    }
}

#[test]
fn the_systems_authorities_are_those_where_none_are_named() {
    let trust = Trust {
        verify: true,
        ..Trust::default()
    };
    let to = serve(Authority::new("ours").sign("www.example.org", GOOD), None);
    let verdict = ask(to, Some("www.example.org"), &trust);
    let known = super::super::tls::vet(&trust).is_ok();
    let untrusted = "TLS handshake: the certificate's issuer is not one of those that are trusted";
    match verdict {
        Verdict::Failed(Failure::Answer(why)) if known => assert_eq!(why, untrusted),
        // A system without any.
        Verdict::NotRun(_) if !known => {}
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_server_is_shown_the_certificate_that_it_wants() {
    let dir = tempfile::tempdir().unwrap();
    let (ours, other) = (Authority::new("ours"), Authority::new("other"));
    let to = serve(ours.sign("www.example.org", GOOD), Some(&ours));
    let with = |authority: &Authority, name: &str| {
        let (cert, key) = authority.sign("director", GOOD);
        Trust {
            certificate: write(dir.path(), &format!("{name}.crt"), &cert.pem()),
            key: write(dir.path(), &format!("{name}.key"), &key.serialize_pem()),
            ..Trust::default()
        }
    };
    assert_eq!(ask(to, None, &with(&ours, "ours")), Verdict::Ok);
    for trust in [Trust::default(), with(&other, "other")] {
        let verdict = ask(to, None, &trust);
        assert!(matches!(&verdict, Verdict::Failed(_)), "{verdict:?}");
    }
}

#[test]
fn files_that_cannot_be_used_are_named() {
    let dir = tempfile::tempdir().unwrap();
    let authority = Authority::new("ours");
    let (cert, key) = authority.sign("director", GOOD);
    let cert = write(dir.path(), "cert", &cert.pem());
    let key = write(dir.path(), "key", &key.serialize_pem());
    let other = write(
        dir.path(),
        "other",
        &KeyPair::generate().unwrap().serialize_pem(),
    );
    let empty = write(dir.path(), "empty", "");
    let locked = write(
        dir.path(),
        "locked",
        "-----BEGIN ENCRYPTED PRIVATE KEY-----\n",
    );
    let missing = Some(format!("{}/missing", dir.path().display()));
    let ca = |ca: &Option<String>| Trust {
        verify: true,
        ca: ca.clone(),
        ..Trust::default()
    };
    let pair = |certificate: &Option<String>, key: &Option<String>| Trust {
        certificate: certificate.clone(),
        key: key.clone(),
        ..Trust::default()
    };
    for (trust, want) in [
        (ca(&missing), "/missing`: no such file"),
        (ca(&empty), "/empty` has no certificate in PEM"),
        (ca(&key), "/key` has no certificate in PEM"),
        (pair(&missing, &key), "/missing`: no such file"),
        (pair(&cert, &empty), "/empty` has no private key in PEM"),
        (pair(&cert, &locked), "writes it without its password"),
        (pair(&cert, &other), "KeyMismatch"),
    ] {
        let why = super::super::tls::vet(&trust).unwrap_err();
        assert!(why.contains(want), "{want}: {why}");
    }
    assert_eq!(super::super::tls::vet(&pair(&cert, &key)), Ok(()));
}

#[test]
fn a_file_that_is_written_anew_is_read_anew_and_one_that_is_gone_is_remembered() {
    let dir = tempfile::tempdir().unwrap();
    let (old, new) = (Authority::new("ours"), Authority::new("other"));
    let trust = Trust {
        verify: true,
        ca: write(dir.path(), "ca.pem", &old.root.pem()),
        ..Trust::default()
    };
    let name = Some("www.example.org");
    let to = serve(new.sign("www.example.org", GOOD), None);
    assert!(matches!(ask(to, name, &trust), Verdict::Failed(_)));
    let path = dir.path().join("ca.pem");
    let before = std::fs::metadata(&path).unwrap().modified().unwrap();
    write(dir.path(), "ca.pem", &new.root.pem());
    let file = std::fs::File::options().append(true).open(&path).unwrap();
    file.set_modified(before + Duration::from_secs(1)).unwrap();
    assert_eq!(ask(to, name, &trust), Verdict::Ok);
    std::fs::remove_file(path).unwrap();
    assert_eq!(ask(to, name, &trust), Verdict::Ok);
}
