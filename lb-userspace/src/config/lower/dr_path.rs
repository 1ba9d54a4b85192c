//! lbd's own `check_dr_path` and `DR_PATH_CHECK`.

use super::checks::Above;
use super::{Lower, Walked};
use crate::config::diag::{Code, Diagnostic, Severity};
use crate::config::keywords::Block;
use crate::config::tree::Node;
use crate::model::{Check, CheckKind, ForwardMethod};

impl Lower {
    /// `check_dr_path` of a service or a real server; by default `above`.
    pub(super) fn check_dr_path(&mut self, walked: &Walked<'_>, above: bool) -> bool {
        match self.last(walked, "check_dr_path") {
            Some(n) => self.switch(n).unwrap_or(above),
            None => above,
        }
    }

    /// The `DR_PATH_CHECK` of a real server, if it has one (`on`: because of `check_dr_path`); `method`
    /// is none when the server is refused anyway.
    pub(super) fn dr_path(
        &mut self,
        server: &Walked<'_>,
        above: &Above<'_>,
        on: bool,
        method: Option<ForwardMethod>,
    ) -> Option<Check> {
        let block = self.last(server, "DR_PATH_CHECK");
        let tunnel = matches!(method, Some(ForwardMethod::Tun(_)));
        if let Some(n) = block.or_else(|| self.last(server, "check_dr_path").filter(|_| on))
            && tunnel
        {
            self.behind_a_tunnel(n);
            return None;
        }
        let walked = match block {
            Some(n) => self.walk(n.children(), Block::DrPathCheck),
            None if on && !tunnel => Walked::default(),
            None => return None,
        };
        let timing = self.timing(&walked, above.timing, true);
        let check = Check::new(CheckKind::DrPath, above.addr, above.port);
        let mut check = self.target(&walked, check);
        check.alpha = above.alpha;
        check.log_all_failures = self.log_all_failures;
        self.pace(&walked, &timing, &mut check);
        Some(check)
    }

    fn behind_a_tunnel(&mut self, n: &Node) {
        self.push(
            Diagnostic::new(
                Code::Conflict,
                Severity::Error,
                "the path of direct routing cannot be checked behind a tunnel",
            )
            .at(n.whole(), "this server is reached by a tunnel")
            .help("remove it, or write `check_dr_path off` here")
            .help("where it is inherited, it holds for the servers of direct routing alone"),
        );
    }
}
