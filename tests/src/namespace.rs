//! A network namespace and the thread that lives in it.

use std::future::Future;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow};
use futures::TryStreamExt as _;
use nix::sched::CloneFlags;
use rtnetlink::packet_route::address::{AddressAttribute, AddressFlags, AddressMessage, CacheInfo};
use rtnetlink::packet_route::link::{LinkAttribute, LinkMessage, State, Stats64};
use rtnetlink::packet_route::neighbour::{NeighbourAddress, NeighbourAttribute};
use rtnetlink::packet_route::route::{RouteScope, RouteType};
use rtnetlink::{LinkUnspec, RouteMessageBuilder};
use tokio::sync::oneshot;

use crate::clock::wait_for;

const NODAD: AddressAttribute = AddressAttribute::Flags(AddressFlags::Nodad);

/// An Ethernet address.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, serde::Serialize)]
pub struct Mac(pub [u8; 6]);

impl std::fmt::Display for Mac {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

impl std::fmt::Debug for Mac {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{self}")
    }
}

/// A namespace of its own with `lo` up. It has no name: `nsenter --net=/proc/PID/fd/N` (see
/// [`Namespace::path`]) is the way in from a shell.
///
/// A thread inside runs a runtime; sockets made in its tasks and processes started there belong to
/// the namespace. The namespace is gone when this value and the processes in it are.
#[derive(Debug)]
pub struct Namespace {
    name: String,
    fd: Arc<OwnedFd>,
    runtime: tokio::runtime::Handle,
    netlink: rtnetlink::Handle,
    quit: Option<oneshot::Sender<()>>,
    worker: Option<thread::JoinHandle<()>>,
}

type Started = (Arc<OwnedFd>, tokio::runtime::Handle, rtnetlink::Handle);

impl Namespace {
    /// Makes one.
    ///
    /// # Errors
    /// When this process may not (it must be root).
    pub fn new(name: &str) -> Result<Self> {
        let (started, start) = mpsc::channel();
        let (quit, quitting) = oneshot::channel();
        let worker = thread::Builder::new()
            .name(name.to_owned())
            .spawn(move || live(&started, quitting))?;
        let (fd, runtime, netlink) = start
            .recv()
            .context("namespace thread")?
            .with_context(|| format!("namespace {name} (are you root?)"))?;
        let ns = Namespace {
            name: name.to_owned(),
            fd,
            runtime,
            netlink,
            quit: Some(quit),
            worker: Some(worker),
        };
        ns.link_up("lo")?;
        for sysctl in [
            "net/ipv6/conf/all/disable_ipv6",
            "net/ipv6/conf/default/disable_ipv6",
        ] {
            ns.sysctl(sysctl, "1")?;
        }
        Ok(ns)
    }

    /// Its name, for people.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The path by which `nsenter --net=` enters it.
    #[must_use]
    pub fn path(&self) -> String {
        use std::os::fd::AsRawFd as _;
        format!("/proc/{}/fd/{}", std::process::id(), self.fd.as_raw_fd())
    }

    /// Its descriptor.
    #[must_use]
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }

    /// The runtime inside.
    #[must_use]
    pub fn runtime(&self) -> &tokio::runtime::Handle {
        &self.runtime
    }

    /// Runs `f` inside and waits for it.
    ///
    /// # Panics
    /// When `f` does.
    pub fn call<T: Send + 'static>(&self, f: impl FnOnce() -> T + Send + 'static) -> T {
        self.block_on(async move { f() })
    }

    /// Runs a future inside and waits for it. Not to be called from within a runtime.
    ///
    /// # Panics
    /// When the future does.
    pub fn block_on<T: Send + 'static>(
        &self,
        future: impl Future<Output = T> + Send + 'static,
    ) -> T {
        let (send, recv) = mpsc::channel();
        self.runtime.spawn(async move {
            let _ = send.send(future.await);
        });
        recv.recv()
            .unwrap_or_else(|_| panic!("a task in namespace {} panicked", self.name))
    }

    /// Starts a future inside.
    pub fn spawn<T: Send + 'static>(
        &self,
        future: impl Future<Output = T> + Send + 'static,
    ) -> tokio::task::JoinHandle<T> {
        self.runtime.spawn(future)
    }

    /// Starts a thread of its own inside, for what must not wait for others.
    ///
    /// # Errors
    /// When there is no thread to be had. Inside the thread: nothing but what `f` returns.
    pub fn thread<T: Send + 'static>(
        &self,
        name: &str,
        f: impl FnOnce() -> Result<T> + Send + 'static,
    ) -> Result<thread::JoinHandle<Result<T>>> {
        let fd = Arc::clone(&self.fd);
        Ok(thread::Builder::new()
            .name(format!("{}-{name}", self.name))
            .spawn(move || {
                nix::sched::setns(&*fd, CloneFlags::CLONE_NEWNET).context("setns")?;
                f()
            })?)
    }

    /// Writes a sysctl, by its path below `/proc/sys`.
    ///
    /// # Errors
    /// Those of the file.
    pub fn sysctl(&self, path: &str, value: &str) -> Result<()> {
        let (file, text) = (format!("/proc/sys/{path}"), value.to_owned());
        let what = format!("{file} = {value} in {}", self.name);
        // /proc/sys/net shows the namespace of the thread that opens it.
        self.call(move || std::fs::write(file, text)).context(what)
    }

    /// Runs one netlink conversation.
    ///
    /// # Errors
    /// The conversation's, with what was tried.
    pub fn netlink<T: Send + 'static, F>(
        &self,
        what: impl std::fmt::Display,
        talk: impl FnOnce(rtnetlink::Handle) -> F,
    ) -> Result<T>
    where
        F: Future<Output = Result<T, rtnetlink::Error>> + Send + 'static,
    {
        self.block_on(talk(self.netlink.clone()))
            .with_context(|| format!("{what} in {}", self.name))
    }

    /// The index of a link.
    ///
    /// # Errors
    /// When there is none of that name.
    pub fn index(&self, link: &str) -> Result<u32> {
        Ok(self.link(link)?.header.index)
    }

    /// A link as the kernel describes it.
    ///
    /// # Errors
    /// When there is none of that name.
    pub fn link(&self, link: &str) -> Result<LinkMessage> {
        let name = link.to_owned();
        self.netlink(format!("link {link}"), |h| async move {
            h.link().get().match_name(name).execute().try_next().await
        })?
        .ok_or_else(|| anyhow!("no link {link} in {}", self.name))
    }

    /// Packets (received, sent) of a link.
    ///
    /// # Errors
    /// When there is none of that name.
    pub fn packets(&self, link: &str) -> Result<(u64, u64)> {
        let stats = self
            .link(link)?
            .attributes
            .into_iter()
            .find_map(|a| match a {
                LinkAttribute::Stats64(Stats64 {
                    rx_packets,
                    tx_packets,
                    ..
                }) => Some((rx_packets, tx_packets)),
                _ => None,
            });
        stats.ok_or_else(|| anyhow!("link {link} has no counters"))
    }

    /// `ip link set LINK up`.
    ///
    /// # Errors
    /// Those of netlink.
    pub fn link_up(&self, link: &str) -> Result<()> {
        let message = LinkUnspec::new_with_name(link).up().build();
        self.netlink(format!("set {link} up"), |h| async move {
            h.link().set(message).execute().await
        })
    }

    /// Waits until frames pass a link whose two ends were set up. The kernel looks at a new carrier
    /// in a work item of its own, which a busy machine may run much later: until then the link's
    /// queue and the bridge that it is a port of drop what they get, without a word.
    ///
    /// # Errors
    /// Those of netlink, and when it takes more than ten seconds.
    pub fn wait_until_up(&self, link: &str) -> Result<()> {
        let what = format!("the carrier of {link} in {}", self.name);
        wait_for(&what, Duration::from_secs(10), || {
            let up = self.link(link).map(|l| {
                let up = LinkAttribute::OperState(State::Up);
                l.attributes.contains(&up).then_some(())
            });
            up.transpose()
        })?
    }

    /// `ip link set LINK down`.
    ///
    /// # Errors
    /// Those of netlink.
    pub fn link_down(&self, link: &str) -> Result<()> {
        let message = LinkUnspec::new_with_name(link).down().build();
        self.netlink(format!("set {link} down"), |h| async move {
            h.link().set(message).execute().await
        })
    }

    /// `ip address add ADDR/LEN dev LINK nodad`: it can be bound at once. (Without the word an IPv6
    /// address is tentative until a worker of the kernel has had its turn, even where there is no
    /// detection of duplicates.)
    ///
    /// # Errors
    /// Those of netlink.
    pub fn add_address(&self, link: &str, addr: impl Into<IpAddr>, len: u8) -> Result<()> {
        let (index, addr) = (self.index(link)?, addr.into());
        self.netlink(format!("add {addr}/{len} to {link}"), |h| async move {
            let mut request = h.address().add(index, addr, len);
            request.message_mut().attributes.push(NODAD);
            request.execute().await
        })
    }

    /// `ip address add ADDR/128 dev LINK nodad preferred_lft 0`: the host is reached at it and takes
    /// others to speak from, though this one has the longest prefix.
    ///
    /// # Errors
    /// Those of netlink.
    pub fn add_virtual_address(&self, link: &str, addr: Ipv6Addr) -> Result<()> {
        let index = self.index(link)?;
        let mut lifetime = CacheInfo::default();
        lifetime.ifa_valid = u32::MAX;
        self.netlink(format!("add {addr} to {link}"), |h| async move {
            let mut request = h.address().add(index, addr.into(), 128);
            let attributes = &mut request.message_mut().attributes;
            attributes.extend([NODAD, AddressAttribute::CacheInfo(lifetime)]);
            request.execute().await
        })
    }

    /// Lets a link have IPv6 addresses, which it then has at once.
    ///
    /// # Errors
    /// Those of the files.
    pub fn allow_ipv6(&self, link: &str) -> Result<()> {
        for (key, value) in [
            ("accept_dad", "0"),
            ("dad_transmits", "0"),
            ("disable_ipv6", "0"),
        ] {
            self.sysctl(&format!("net/ipv6/conf/{link}/{key}"), value)?;
        }
        Ok(())
    }

    /// `ip link set LINK mtu MTU`.
    ///
    /// # Errors
    /// Those of netlink.
    pub fn set_mtu(&self, link: &str, mtu: u32) -> Result<()> {
        let message = LinkUnspec::new_with_name(link).mtu(mtu).build();
        self.netlink(format!("set {link} mtu {mtu}"), |h| async move {
            h.link().set(message).execute().await
        })
    }

    /// `ip route add default via GATEWAY`.
    ///
    /// # Errors
    /// Those of netlink.
    pub fn default_route(&self, gateway: impl Into<IpAddr>) -> Result<()> {
        let gateway = gateway.into();
        let message = match gateway {
            IpAddr::V4(via) => RouteMessageBuilder::<Ipv4Addr>::new().gateway(via).build(),
            IpAddr::V6(via) => RouteMessageBuilder::<Ipv6Addr>::new().gateway(via).build(),
        };
        self.netlink(format!("default route via {gateway}"), |h| async move {
            h.route().add(message).execute().await
        })
    }

    /// `ip route add TO/LEN via GATEWAY`.
    ///
    /// # Errors
    /// Those of netlink.
    pub fn route(&self, to: Ipv4Addr, len: u8, gateway: Ipv4Addr) -> Result<()> {
        let message = RouteMessageBuilder::<Ipv4Addr>::new()
            .destination_prefix(to, len)
            .gateway(gateway)
            .build();
        self.netlink(
            format!("route to {to}/{len} via {gateway}"),
            |h| async move { h.route().add(message).execute().await },
        )
    }

    /// The names of all links.
    ///
    /// # Errors
    /// Those of netlink.
    pub fn links(&self) -> Result<Vec<String>> {
        let all: Vec<_> = self.netlink("links", |h| async move {
            h.link().get().execute().try_collect().await
        })?;
        let name = |a: &LinkAttribute| match a {
            LinkAttribute::IfName(name) => Some(name.clone()),
            _ => None,
        };
        let names = all
            .iter()
            .filter_map(|m| m.attributes.iter().find_map(name));
        Ok(names.collect())
    }

    /// `ip link del LINK`.
    ///
    /// # Errors
    /// Those of netlink.
    pub fn delete_link(&self, link: &str) -> Result<()> {
        let index = self.index(link)?;
        self.netlink(format!("delete {link}"), |h| async move {
            h.link().del(index).execute().await
        })
    }

    /// Reads a sysctl, `path` below `/proc/sys`.
    ///
    /// # Errors
    /// When there is no such one.
    pub fn read_sysctl(&self, path: &str) -> Result<String> {
        let file = format!("/proc/sys/{path}");
        let what = format!("{file} in {}", self.name);
        let text = self
            .call(move || std::fs::read_to_string(file))
            .context(what)?;
        Ok(text.trim().to_owned())
    }

    /// `ip route add local TO/LEN dev lo`: the host has all addresses of a network.
    ///
    /// # Errors
    /// Those of netlink.
    pub fn local_route(&self, to: Ipv4Addr, len: u8) -> Result<()> {
        let message = RouteMessageBuilder::<Ipv4Addr>::new()
            .destination_prefix(to, len)
            .kind(RouteType::Local)
            .scope(RouteScope::Host)
            .table_id(libc::RT_TABLE_LOCAL.into())
            .output_interface(self.index("lo")?)
            .build();
        self.netlink(format!("local {to}/{len}"), |h| async move {
            h.route().add(message).execute().await
        })
    }

    fn address_messages(&self, link: &str) -> Result<Vec<AddressMessage>> {
        let index = self.index(link)?;
        self.netlink(format!("addresses of {link}"), |h| async move {
            h.address()
                .get()
                .set_link_index_filter(index)
                .execute()
                .try_collect()
                .await
        })
    }

    /// The IPv4 addresses of a link with their prefix lengths.
    ///
    /// # Errors
    /// Those of netlink.
    pub fn addresses(&self, link: &str) -> Result<Vec<(Ipv4Addr, u8)>> {
        let all = self.address_messages(link)?;
        let v4 = |m: &AddressMessage| match own_address(m)? {
            IpAddr::V4(addr) => Some((addr, m.header.prefix_len)),
            IpAddr::V6(_) => None,
        };
        Ok(all.iter().filter_map(v4).collect())
    }

    /// The IPv6 addresses of a link with their prefix lengths.
    ///
    /// # Errors
    /// Those of netlink.
    pub fn v6_addresses(&self, link: &str) -> Result<Vec<(Ipv6Addr, u8)>> {
        let all = self.address_messages(link)?;
        let v6 = |m: &AddressMessage| match own_address(m)? {
            IpAddr::V4(_) => None,
            IpAddr::V6(addr) => Some((addr, m.header.prefix_len)),
        };
        Ok(all.iter().filter_map(v6).collect())
    }

    /// `ip address del ADDR dev LINK`, whatever its prefix length.
    ///
    /// # Errors
    /// When it is not there, and those of netlink.
    pub fn delete_address(&self, link: &str, addr: impl Into<IpAddr>) -> Result<()> {
        let addr = addr.into();
        let message = self
            .address_messages(link)?
            .into_iter()
            .find(|m| own_address(m) == Some(addr))
            .ok_or_else(|| anyhow!("{addr} is not on {link} in {}", self.name))?;
        self.netlink(format!("delete {addr} from {link}"), |h| async move {
            h.address().del(message).execute().await
        })
    }

    /// Takes an address out of the neighbour table, if it is there.
    ///
    /// # Errors
    /// Those of netlink.
    pub fn forget_neighbour(&self, addr: impl Into<IpAddr>) -> Result<()> {
        let addr = addr.into();
        let all: Vec<_> = self.netlink("neighbours", |h| async move {
            h.neighbours().get().execute().try_collect().await
        })?;
        let wanted = destination(addr);
        for message in all.into_iter().filter(|m| m.attributes.contains(&wanted)) {
            self.netlink(format!("forget {addr}"), |h| async move {
                h.neighbours().del(message).execute().await
            })?;
        }
        Ok(())
    }

    /// What the neighbour table says about an address.
    ///
    /// # Errors
    /// Those of netlink.
    pub fn neighbour(&self, addr: impl Into<IpAddr>) -> Result<Option<Mac>> {
        let addr = destination(addr.into());
        let all: Vec<_> = self.netlink("neighbours", |h| async move {
            h.neighbours().get().execute().try_collect().await
        })?;
        Ok(all
            .iter()
            .filter(|m| m.attributes.contains(&addr))
            .find_map(|m| {
                m.attributes.iter().find_map(|a| match a {
                    NeighbourAttribute::LinkLayerAddress(mac) => {
                        mac.as_slice().try_into().ok().map(Mac)
                    }
                    _ => None,
                })
            }))
    }
}

fn destination(addr: IpAddr) -> NeighbourAttribute {
    NeighbourAttribute::Destination(match addr {
        IpAddr::V4(v4) => NeighbourAddress::Inet(v4),
        IpAddr::V6(v6) => NeighbourAddress::Inet6(v6),
    })
}

/// IPv6 addresses have no `IFA_LOCAL`.
fn own_address(message: &AddressMessage) -> Option<IpAddr> {
    let local = message.attributes.iter().find_map(|a| match a {
        AddressAttribute::Local(addr) => Some(*addr),
        _ => None,
    });
    local.or_else(|| {
        message.attributes.iter().find_map(|a| match a {
            AddressAttribute::Address(addr) => Some(*addr),
            _ => None,
        })
    })
}

impl Drop for Namespace {
    fn drop(&mut self) {
        drop(self.quit.take());
        if let Some(worker) = self.worker.take()
            && worker.join().is_err()
        {
            eprintln!("lab: the thread of namespace {} panicked", self.name);
        }
    }
}

/// The thread's life.
fn live(started: &mpsc::Sender<Result<Started>>, quitting: oneshot::Receiver<()>) {
    let enter = || -> Result<(tokio::runtime::Runtime, Arc<OwnedFd>)> {
        nix::sched::unshare(CloneFlags::CLONE_NEWNET).context("unshare")?;
        let fd = std::fs::File::open("/proc/thread-self/ns/net").context("open the namespace")?;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        Ok((runtime, Arc::new(fd.into())))
    };
    let (runtime, fd) = match enter() {
        Ok(ready) => ready,
        Err(e) => {
            let _ = started.send(Err(e));
            return;
        }
    };
    runtime.block_on(async {
        let (connection, netlink, _) = match rtnetlink::new_connection() {
            Ok(parts) => parts,
            Err(e) => {
                let _ = started.send(Err(e.into()));
                return;
            }
        };
        tokio::spawn(connection);
        if started
            .send(Ok((fd, tokio::runtime::Handle::current(), netlink)))
            .is_ok()
        {
            let _ = quitting.await;
        }
    });
}
