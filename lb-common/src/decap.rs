//! The maps of the program that takes tunnels off on a real server, and its counters.

/// Names of the maps and of the program, as the object file has them.
pub mod name {
    /// Hash: [`key_v4`](super::key_v4) or an IPv6 address to [`Address`](super::Address).
    pub const ADDRESSES: &str = "DECAP_ADDRS";
    /// Per-CPU array of `u64` by [`Count`](super::Count).
    pub const COUNTS: &str = "DECAP_COUNTS";
    /// Array of one [`Settings`](super::Settings).
    pub const SETTINGS: &str = "DECAP_SETTINGS";
    /// Every map.
    pub const ALL: [&str; 3] = [ADDRESSES, COUNTS, SETTINGS];
    /// The XDP program.
    pub const PROGRAM: &str = "decap";
}

/// Addresses that may be known at a time.
pub const MAX_ADDRESSES: u32 = 4096;

/// An address of this host, as a key: IPv4 as in an IPv4-mapped IPv6 address (network byte order).
#[inline(always)]
#[must_use]
pub const fn key_v4(addr_be: u32) -> [u32; 4] {
    [0, 0, 0xffffu32.to_be(), addr_be]
}

/// What is known of an address.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(
    feature = "user",
    derive(
        zerocopy::IntoBytes,
        zerocopy::FromBytes,
        zerocopy::Immutable,
        zerocopy::KnownLayout
    )
)]
pub struct Address {
    /// [`LOCAL`] and the like.
    pub flags: u32,
    /// UDP destination port of GUE, network byte order.
    pub port: u16,
    /// Reserved.
    pub reserved: u16,
}

/// Tunnels may end at this address.
pub const LOCAL: u32 = 1;
/// A virtual address whose packets come in IP.
pub const VIP_IPIP: u32 = 2;
/// A virtual address whose packets come in GUE.
pub const VIP_GUE: u32 = 4;
/// A virtual address whose packets come in GRE.
pub const VIP_GRE: u32 = 8;

/// What the program has besides.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(
    feature = "user",
    derive(
        zerocopy::IntoBytes,
        zerocopy::FromBytes,
        zerocopy::Immutable,
        zerocopy::KnownLayout
    )
)]
pub struct Settings {
    /// Always 0. (The program reads it where the verifier must not know a value.)
    pub zero: u64,
}

macro_rules! counts {
    ($($(#[doc = $help:literal])+ $variant:ident $name:literal,)+) => {
        /// What is counted; all other frames are passed and not counted.
        #[repr(u8)]
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Count {
            $($(#[doc = $help])+ $variant,)+
        }

        impl Count {
            /// All of them, in the order of their numbers.
            pub const ALL: &'static [Count] = &[$(Count::$variant,)+];

            /// Its name in output: snake_case, never changed.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self {
                    $(Count::$variant => $name,)+
                }
            }

            /// One line for people.
            #[must_use]
            pub fn help(self) -> &'static str {
                match self {
                    $(Count::$variant => concat!($($help,)+).trim_ascii_start(),)+
                }
            }
        }
    };
}

counts! {
    /// taken out of an IP packet
    Ipip "ipip",
    /// taken out of GUE
    Gue "gue",
    /// taken out of GRE
    Gre "gre",
    /// passed: a tunnel with a packet for a virtual address, but not to an address of this interface
    NotLocal "not_local",
    /// passed: a fragment of a tunnel packet (the way from the director is too narrow)
    Fragment "fragment",
    /// passed: a tunnel header with fields that no director sends, or a packet that is cut off
    Unknown "unknown",
    /// dropped: the tunnel's checksum is wrong
    Checksum "bad_checksum",
    /// dropped: marked "congestion experienced" on the way, and its sender does not know of that
    Ecn "ecn",
}

/// Elements of the map of counters: room for those of later versions.
pub const COUNT_SLOTS: u32 = 16;
const _: () = assert!(Count::ALL.len() <= COUNT_SLOTS as usize);
