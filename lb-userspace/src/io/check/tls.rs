//! TLS 1.2 and 1.3. A server's certificate is not looked at, as keepalived does not, unless
//! `verify_certificate` asks for it: what is checked then is who signed it, when, and for which name.

use std::collections::BTreeMap;
use std::io;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::client::Resumption;
use tokio_rustls::rustls::client::danger::{
    HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier,
};
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::{self, PemObject as _};
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use tokio_rustls::rustls::{
    CertificateError, ClientConfig, DEFAULT_VERSIONS, DigitallySignedStruct, Error, RootCertStore,
    SignatureScheme,
};

use crate::io::files;
use crate::model::{Http, Trust};

/// Where systems keep the certificates that they trust, in one file.
const SYSTEM_ROOTS: [&str; 5] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
];
/// Settings that are kept ready; a configuration has few.
const MOST_KEPT: usize = 64;

/// Takes every certificate, and every signature with it: both are the server's own.
#[derive(Debug)]
struct Anybody;

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![
            SignatureScheme::ECDSA_NISTP256_SHA256,
            SignatureScheme::ECDSA_NISTP384_SHA384,
            SignatureScheme::ECDSA_NISTP521_SHA512,
            SignatureScheme::ED25519,
            SignatureScheme::ED448,
            SignatureScheme::RSA_PSS_SHA256,
            SignatureScheme::RSA_PSS_SHA384,
            SignatureScheme::RSA_PSS_SHA512,
            SignatureScheme::RSA_PKCS1_SHA256,
            SignatureScheme::RSA_PKCS1_SHA384,
            SignatureScheme::RSA_PKCS1_SHA512,
            SignatureScheme::ECDSA_SHA1_Legacy,
            SignatureScheme::RSA_PKCS1_SHA1,
        ]
    }
}

/// What a check shows and wants to be shown cannot be made of its files: which, and why.
pub(in crate::io) fn vet(trust: &Trust) -> Result<(), String> {
    make(trust, false).map(drop)
}

fn make(trust: &Trust, sni: bool) -> Result<ClientConfig, String> {
    let provider = Arc::new(ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(DEFAULT_VERSIONS)
        .map_err(|e| e.to_string())?;
    let builder = match trust.verify {
        true => builder.with_root_certificates(roots(trust.ca.as_deref())?),
        false => builder
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(Anybody)),
    };
    let mut config = match (&trust.certificate, &trust.key) {
        (Some(certificate), Some(key)) => {
            let chain = certificates(certificate)?;
            let pair = builder.with_client_auth_cert(chain, private(key)?);
            pair.map_err(|e| format!("`{certificate}` with `{key}`: {e}"))?
        }
        (Some(_), None) | (None, Some(_) | None) => builder.with_no_client_auth(),
    };
    config.enable_sni = sni;
    // Each check is a handshake of its own, as that of a new client.
    config.resumption = Resumption::disabled();
    Ok(config)
}

fn roots(ca: Option<&str>) -> Result<RootCertStore, String> {
    let mut store = RootCertStore::empty();
    let path = match ca {
        Some(path) => path,
        None => {
            let there = |p: &&&str| std::path::Path::new(**p).is_file();
            let found = SYSTEM_ROOTS.iter().find(there);
            found.ok_or("this system has no file of trusted certificates: `ca` names one")?
        }
    };
    let (good, _) = store.add_parsable_certificates(certificates(path)?);
    match good {
        0 => Err(format!("`{path}` has no certificate of an authority")),
        _ => Ok(store),
    }
}

fn certificates(path: &str) -> Result<Vec<CertificateDer<'static>>, String> {
    let all = CertificateDer::pem_file_iter(path).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    match all {
        Ok(all) if all.is_empty() => Err(format!("`{path}` has no certificate in PEM")),
        Ok(all) => Ok(all),
        Err(e) => Err(format!("`{path}`: {}", why(&e))),
    }
}

fn private(path: &str) -> Result<PrivateKeyDer<'static>, String> {
    let text = std::fs::read(path).map_err(|e| format!("`{path}`: {}", files::reason(&e)))?;
    let encrypted = String::from_utf8_lossy(&text)
        .lines()
        .any(|l| l.contains("ENCRYPTED"));
    if encrypted {
        return Err(format!(
            "`{path}` is encrypted; `openssl pkey -in {path} -out FILE` writes it without its password"
        ));
    }
    PrivateKeyDer::from_pem_slice(&text).map_err(|e| match e {
        pem::Error::NoItemsFound => format!("`{path}` has no private key in PEM"),
        e => format!("`{path}`: {}", why(&e)),
    })
}

fn why(e: &pem::Error) -> String {
    match e {
        pem::Error::Io(e) => files::reason(e),
        e => e.to_string(),
    }
}

/// What was made of a check's files, and when they were written.
type Kept = BTreeMap<(Trust, bool), (Vec<Option<SystemTime>>, Arc<ClientConfig>)>;

static KEPT: Mutex<Kept> = Mutex::new(BTreeMap::new());

/// The settings of a check; files that were written anew are read anew. While they cannot be read,
/// those that were read last hold.
fn settings(http: &Http) -> Result<Arc<ClientConfig>, String> {
    let trust = &http.trust;
    let paths = [&trust.ca, &trust.certificate, &trust.key];
    let written = paths.map(|p| std::fs::metadata(p.as_ref()?).ok()?.modified().ok());
    let key = (trust.clone(), http.sni);
    let mut kept = KEPT.lock().unwrap_or_else(PoisonError::into_inner);
    let old = kept.get(&key);
    if let Some((at, config)) = old
        && *at == written
    {
        return Ok(Arc::clone(config));
    }
    let old = old.map(|(_, config)| Arc::clone(config));
    let config = match (make(trust, http.sni), old) {
        (Ok(new), _) => Arc::new(new),
        (Err(_), Some(old)) => old,
        (Err(why), None) => return Err(why),
    };
    if kept.len() >= MOST_KEPT {
        kept.clear();
    }
    kept.insert(key, (written.to_vec(), Arc::clone(&config)));
    Ok(config)
}

/// Why there is no connection.
#[derive(Debug)]
pub(super) enum TlsError {
    /// The files cannot be used.
    Files(String),
    /// The handshake failed.
    Handshake(io::Error),
}

/// The TLS handshake. `name` is the server's, by default its address; a port behind it is none of
/// it. It is sent with `enable_sni`, when it is one of DNS.
pub(super) async fn connect(
    stream: TcpStream,
    http: &Http,
    addr: IpAddr,
    name: Option<&str>,
) -> Result<TlsStream<TcpStream>, TlsError> {
    let config = settings(http).map_err(TlsError::Files)?;
    let name = name.and_then(|name| {
        let host = name.rsplit_once(':').map_or(name, |(host, _)| host);
        ServerName::try_from(host.to_owned()).ok()
    });
    // The name of an address is not sent.
    let name = name.unwrap_or_else(|| ServerName::from(addr));
    TlsConnector::from(config)
        .connect(name, stream)
        .await
        .map_err(TlsError::Handshake)
}

/// What an error of TLS says; none: it is another one.
pub(super) fn words(e: &io::Error) -> Option<String> {
    let error = e.get_ref()?.downcast_ref::<Error>()?;
    let Error::InvalidCertificate(bad) = error else {
        return Some(error.to_string());
    };
    Some(match bad {
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
            "the certificate has expired".to_owned()
        }
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            "the certificate is not valid yet".to_owned()
        }
        CertificateError::UnknownIssuer => {
            "the certificate's issuer is not one of those that are trusted".to_owned()
        }
        CertificateError::BadSignature => {
            "the certificate's signature is not that of the issuer that it names".to_owned()
        }
        CertificateError::NotValidForName => "the certificate is for another name".to_owned(),
        CertificateError::NotValidForNameContext {
            expected,
            presented,
        } => {
            let names = match presented.as_slice() {
                [] => "for no name at all".to_owned(),
                names => format!("for {}", names.join(", ")),
            };
            format!(
                "the certificate is not for {} but {names}",
                expected.to_str()
            )
        }
        other => format!("the certificate is bad: {other:?}"),
    })
}
