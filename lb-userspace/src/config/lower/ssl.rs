//! `SSL`, and lbd's own `verify_certificate`.

use super::{Lower, Walked};
use crate::config::diag::{Code, Diagnostic, Severity};
use crate::config::keywords::Block;
use crate::config::tree::Node;
use crate::model::Trust;

impl Lower {
    /// The files of all checks by TLS.
    pub(super) fn ssl(&mut self, acted: &[(&'static str, &Node)]) {
        for (_, node) in acted.iter().filter(|(k, _)| *k == "SSL") {
            let walked = self.walk(node.children(), Block::Ssl);
            self.places.ssl = Some(node.whole());
            let mut path = |name| {
                let n = self.last(&walked, name)?;
                Some((n, n.args().first()?.text.clone()))
            };
            let (ca, certificate, key) = (path("ca"), path("certificate"), path("key"));
            let (present, absent) = match (&certificate, &key) {
                (Some((n, _)), None) => (Some(*n), "key"),
                (None, Some((n, _))) => (Some(*n), "certificate"),
                (Some(_), Some(_)) | (None, None) => (None, ""),
            };
            if let Some(n) = present {
                let message = format!("`{}` without `{absent}`", n.keyword());
                self.push(
                    Diagnostic::new(Code::Incomplete, Severity::Error, message)
                        .at(n.whole(), "neither is of use without the other")
                        .help(format!("add `{absent}`; both may be in one file")),
                );
            }
            let text = |found: Option<(&Node, String)>| found.map(|(_, text)| text);
            self.trust = Trust {
                verify: self.trust.verify,
                ca: text(ca),
                certificate: text(certificate),
                key: text(key),
            };
        }
    }

    /// What a check shows and wants to be shown.
    pub(super) fn trust(&mut self, walked: &Walked<'_>, tls: bool) -> Trust {
        let own = self.last(walked, "verify_certificate");
        let verify = match own {
            Some(n) => self.switch(n).unwrap_or(self.trust.verify),
            None => self.trust.verify,
        };
        if !tls {
            if let Some(n) = own.filter(|_| verify) {
                self.no_handshake(n);
            }
            return Trust::default();
        }
        let all = self.trust.clone();
        Trust {
            verify,
            ca: all.ca.filter(|_| verify),
            ..all
        }
    }

    /// A word of TLS has no effect in `HTTP_GET`.
    pub(super) fn no_handshake(&mut self, n: &Node) {
        let message = format!("`{}` has no effect in HTTP_GET", n.keyword());
        self.push(
            Diagnostic::new(Code::NoEffect, Severity::Warning, message)
                .at(n.whole(), "there is no TLS handshake")
                .help("SSL_GET has one"),
        );
    }
}
