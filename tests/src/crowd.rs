//! Many connections that are held open and used now and then.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use futures::{StreamExt as _, stream};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::load::{Failure, Tally, ask, connect};
use crate::namespace::Namespace;

/// How many are opened at the same time.
const AT_ONCE: usize = 256;

/// A connection and the server that answered its first request.
type Member = (TcpStream, String);

/// Open connections of one client.
#[derive(Debug, Default)]
pub struct Crowd {
    members: Vec<Member>,
}

/// What using every connection once gave.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Used {
    /// Connections that were answered, by the server that has answered from the first.
    pub kept: Tally,
    /// Connections that were not, by their server and why.
    pub lost: BTreeMap<(String, Failure), u64>,
    /// Connections that another server answered: from, to.
    pub strayed: BTreeMap<(String, String), u64>,
}

impl Crowd {
    /// Opens `n` connections, from each of the client's addresses in turn, and has each answered
    /// once.
    ///
    /// # Errors
    /// When one cannot be opened, or is not answered within `limit`.
    pub fn open(
        ns: &Namespace,
        from: &[Ipv4Addr],
        to: SocketAddrV4,
        n: usize,
        limit: Duration,
    ) -> Result<Self> {
        ensure!(!from.is_empty(), "no address to connect from");
        let from: Vec<_> = from.iter().copied().cycle().take(n).collect();
        let opened: Vec<_> = ns.block_on(
            stream::iter(from)
                .map(move |from| async move {
                    timeout(limit, open(from, to))
                        .await
                        .unwrap_or(Err(Failure::Timeout))
                })
                .buffer_unordered(AT_ONCE)
                .collect(),
        );
        let mut members = Vec::with_capacity(n);
        let mut failures: BTreeMap<Failure, u64> = BTreeMap::new();
        for result in opened {
            match result {
                Ok(member) => members.push(member),
                Err(failure) => *failures.entry(failure).or_default() += 1,
            }
        }
        ensure!(failures.is_empty(), "{n} connections to {to}: {failures:?}");
        Ok(Crowd { members })
    }

    /// How many each server has.
    #[must_use]
    pub fn tally(&self) -> Tally {
        let mut tally = Tally::new();
        for (_, server) in &self.members {
            *tally.entry(server.clone()).or_default() += 1;
        }
        tally
    }

    /// Sends a request on every connection and waits for the answer, but not longer than `limit`.
    /// Connections that are lost are closed and no longer belong to the crowd.
    pub fn exercise(&mut self, ns: &Namespace, limit: Duration) -> Used {
        let members = std::mem::take(&mut self.members);
        // All at once: those that are silent wait together.
        let all = members.len().max(1);
        let results: Vec<_> = ns.block_on(
            stream::iter(members)
                .map(move |(mut stream, server)| async move {
                    let answer = timeout(limit, ask(&mut stream, false))
                        .await
                        .unwrap_or(Err(Failure::Timeout));
                    (stream, server, answer)
                })
                .buffer_unordered(all)
                .collect(),
        );
        let mut used = Used::default();
        for (stream, server, answer) in results {
            match answer {
                Ok(name) if name == server => {
                    *used.kept.entry(name).or_default() += 1;
                    self.members.push((stream, server));
                }
                Ok(name) => *used.strayed.entry((server, name)).or_default() += 1,
                Err(failure) => *used.lost.entry((server, failure)).or_default() += 1,
            }
        }
        used
    }
}

async fn open(from: Ipv4Addr, to: SocketAddrV4) -> Result<Member, Failure> {
    let mut stream = connect(Some(from), to.into()).await?;
    let server = ask(&mut stream, false).await?;
    Ok((stream, server))
}

/// Makes sure that this process may have `n` descriptors at once. Processes that it starts may too.
///
/// # Errors
/// When it may not, and may not change that.
pub fn allow_descriptors(n: u64) -> Result<()> {
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    if soft < n {
        setrlimit(Resource::RLIMIT_NOFILE, n, hard.max(n))
            .with_context(|| format!("{n} descriptors (the limit is {hard})"))?;
    }
    Ok(())
}
