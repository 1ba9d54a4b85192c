//! Macvlans, and settings of interfaces that netlink can change without `/proc/sys`.

use rtnetlink::packet_core::{DefaultNla, NLM_F_ACK, NLM_F_CREATE, NLM_F_EXCL};
use rtnetlink::packet_route::RouteNetlinkMessage;
use rtnetlink::packet_route::link::{
    InfoData, InfoKind, InfoMacVlan, LinkAttribute, LinkFlags, LinkInfo, LinkMessage, MacVlanMode,
};

use super::{Control, NetlinkError};

// include/uapi/linux/{if_link,ip}.h.
const IFLA_AF_SPEC: u16 = 26;
const IFLA_INET_CONF: u16 = 1;
const IFLA_INET6_ADDR_GEN_MODE: u16 = 8;
const IN6_ADDR_GEN_MODE_NONE: u8 = 1;
const NLA_F_NESTED: u16 = 1 << 15;

/// A setting of `net.ipv4.conf`, by the kernel's number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Setting(u16);

impl Setting {
    /// `rp_filter`.
    pub const RP_FILTER: Setting = Setting(8);
    /// `arp_filter`.
    pub const ARP_FILTER: Setting = Setting(13);
    /// `arp_announce`.
    pub const ARP_ANNOUNCE: Setting = Setting(18);
    /// `arp_ignore`.
    pub const ARP_IGNORE: Setting = Setting(19);
    /// `promote_secondaries`.
    pub const PROMOTE_SECONDARIES: Setting = Setting(20);
    /// `accept_local`.
    pub const ACCEPT_LOCAL: Setting = Setting(23);
}

impl Control {
    /// Adds a macvlan in private mode, down, with an alias by which it is known again.
    ///
    /// # Errors
    /// When the kernel refuses: there is such a name, or it has no macvlan.
    pub fn add_macvlan(
        &mut self,
        name: &str,
        base: u32,
        mac: [u8; 6],
        alias: &str,
    ) -> Result<(), NetlinkError> {
        let mut message = LinkMessage::default();
        message.attributes = vec![
            LinkAttribute::IfName(name.to_owned()),
            LinkAttribute::Link(base),
            LinkAttribute::Address(mac.to_vec()),
            LinkAttribute::IfAlias(alias.to_owned()),
            LinkAttribute::LinkInfo(vec![
                LinkInfo::Kind(InfoKind::MacVlan),
                LinkInfo::Data(InfoData::MacVlan(vec![InfoMacVlan::Mode(
                    MacVlanMode::Private,
                )])),
            ]),
        ];
        let flags = NLM_F_ACK | NLM_F_CREATE | NLM_F_EXCL;
        self.request(RouteNetlinkMessage::NewLink(message), flags, |_| {})
            .map_err(|e| e.named(|| format!("add macvlan {name}")))
    }

    /// Removes an interface that was made by [`Control::add_macvlan`].
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn del_link(&mut self, index: u32) -> Result<(), NetlinkError> {
        let mut message = LinkMessage::default();
        message.header.index = index;
        self.request(RouteNetlinkMessage::DelLink(message), NLM_F_ACK, |_| {})
            .map_err(|e| e.named(|| format!("remove interface {index}")))
    }

    /// Changes settings of `net.ipv4.conf` of an interface.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn set_ipv4(
        &mut self,
        index: u32,
        settings: &[(Setting, u32)],
    ) -> Result<(), NetlinkError> {
        let values = settings
            .iter()
            .flat_map(|(setting, value)| attribute(setting.0, &value.to_ne_bytes()))
            .collect::<Vec<u8>>();
        let conf = attribute(IFLA_INET_CONF | NLA_F_NESTED, &values);
        self.set_family(index, libc::AF_INET as u16, &conf)
    }

    /// Has the kernel make no link-local address on an interface by itself.
    ///
    /// # Errors
    /// When the kernel refuses, or has no IPv6.
    pub fn without_link_local(&mut self, index: u32) -> Result<(), NetlinkError> {
        let mode = attribute(IFLA_INET6_ADDR_GEN_MODE, &[IN6_ADDR_GEN_MODE_NONE]);
        self.set_family(index, libc::AF_INET6 as u16, &mode)
    }

    fn set_family(&mut self, index: u32, family: u16, value: &[u8]) -> Result<(), NetlinkError> {
        let of_family = attribute(family | NLA_F_NESTED, value);
        let mut message = LinkMessage::default();
        message.header.index = index;
        let spec = DefaultNla::new(IFLA_AF_SPEC | NLA_F_NESTED, of_family);
        message.attributes.push(LinkAttribute::Other(spec));
        self.request(RouteNetlinkMessage::SetLink(message), NLM_F_ACK, |_| {})
            .map_err(|e| e.named(|| format!("settings of interface {index}")))
    }

    /// Sets an interface up.
    ///
    /// # Errors
    /// When the kernel refuses: for a macvlan, when another one on the same interface has its MAC.
    pub fn set_up(&mut self, index: u32) -> Result<(), NetlinkError> {
        let mut message = LinkMessage::default();
        message.header.index = index;
        message.header.flags = LinkFlags::Up;
        message.header.change_mask = LinkFlags::Up;
        self.request(RouteNetlinkMessage::SetLink(message), NLM_F_ACK, |_| {})
            .map_err(|e| e.named(|| format!("set interface {index} up")))
    }
}

/// One attribute: length, type, value, and zeroes up to a multiple of four.
fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
    let length = 4 + value.len();
    let mut bytes = Vec::with_capacity(length.next_multiple_of(4));
    bytes.extend((length as u16).to_ne_bytes());
    bytes.extend(kind.to_ne_bytes());
    bytes.extend(value);
    bytes.resize(length.next_multiple_of(4), 0);
    bytes
}

#[cfg(test)]
mod tests {
    use super::attribute;

    #[test]
    fn an_attribute_is_filled_up_to_a_word() {
        let word = 5u16.to_ne_bytes();
        let kind = 8u16.to_ne_bytes();
        assert_eq!(
            attribute(8, &[1]),
            [word[0], word[1], kind[0], kind[1], 1, 0, 0, 0]
        );
        assert_eq!(attribute(8, &[1, 2, 3, 4]).len(), 8);
    }
}
