//! What is particular to `HTTP_GET`, `SSL_GET` and `url`.

use super::Keyword;
use crate::model::{CheckKind, Http, HttpVersion, Service, StatusCodes, Trust, Url};

/// The keywords of a check, but for its URLs.
pub(super) fn http_get(http: &Http) -> Vec<Keyword> {
    let mut out = Vec::new();
    if http.version != HttpVersion::default() {
        out.push(("http_protocol", vec![http.version.name().to_owned()]));
    }
    if http.sni {
        out.push(("enable_sni", Vec::new()));
    }
    if http.trust.verify {
        out.push(("verify_certificate", Vec::new()));
    }
    if http.fast_recovery {
        out.push(("fast_recovery", Vec::new()));
    }
    out
}

/// The keywords of `SSL`, which hold for all checks.
pub(super) fn ssl(services: &[Service]) -> Vec<Keyword> {
    let servers = services.iter().flat_map(|s| &s.real_servers);
    let trusts = servers
        .flat_map(|r| &r.checks)
        .filter_map(|c| match &c.kind {
            CheckKind::Http(http) if http.tls => Some(&http.trust),
            _ => None,
        });
    let first = |of: fn(&Trust) -> Option<&String>| trusts.clone().find_map(of).cloned();
    let words = [
        ("ca", first(|t| t.ca.as_ref())),
        ("certificate", first(|t| t.certificate.as_ref())),
        ("key", first(|t| t.key.as_ref())),
    ];
    let set = words.into_iter().filter_map(|(k, v)| Some((k, vec![v?])));
    set.collect()
}

/// The keywords of a URL.
pub(super) fn url(url: &Url) -> Vec<Keyword> {
    let mut out = vec![("path", vec![url.path.clone()])];
    if let Some(host) = &url.host {
        out.push(("virtualhost", vec![host.clone()]));
    }
    if url.status != StatusCodes::default() {
        let text = url.status.to_string();
        let words = text.split(' ').map(str::to_owned);
        out.push(("status_code", words.collect()));
    }
    if let Some(digest) = &url.digest {
        out.push(("digest", vec![digest.to_string()]));
    }
    if let Some(regex) = &url.regex {
        let regex = regex.text();
        out.push(("regex", vec![regex.text.clone()]));
        if regex.no_match {
            out.push(("regex_no_match", Vec::new()));
        }
        if !regex.options.is_empty() {
            let names = regex.options.iter().map(|o| o.name().to_owned());
            out.push(("regex_options", names.collect()));
        }
        if regex.min_offset != 0 {
            out.push(("regex_min_offset", vec![regex.min_offset.to_string()]));
        }
        if let Some(most) = regex.max_offset {
            out.push(("regex_max_offset", vec![most.to_string()]));
        }
    }
    out
}
