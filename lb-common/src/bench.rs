//! What the benchmark's driver program and its user side share.

/// Length of an IPv4 frame.
pub const FRAME_LEN: usize = 64;
/// Length of an IPv6 frame: the same TCP or UDP behind a header that is 20 bytes longer.
pub const FRAME_LEN_V6: usize = FRAME_LEN + 20;

/// Name of the driver's object in the map `DRIVER`, and of its programs.
pub mod name {
    /// Array of one [`Driver`](super::Driver), mapped.
    pub const DRIVER: &str = "DRIVER";
    /// Program array of one: the program under test.
    pub const TARGET: &str = "TARGET";
    /// The driver.
    pub const PROGRAM: &str = "driver";
    /// Does nothing.
    pub const NOTHING: &str = "floor_nothing";
    /// Swaps the MACs and sends.
    pub const SWAP: &str = "floor_swap";
    /// Makes room for an outer IPv4 header in front of the frame: what the driver and the kernel pay
    /// for any tunnel.
    pub const ROOM: &str = "floor_room";
    /// Service and backend lookup only.
    pub const LOOKUP: &str = "floor_lookup";
}

/// The driver's orders.
#[repr(C, align(64))]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(
    feature = "user",
    derive(
        zerocopy::IntoBytes,
        zerocopy::FromBytes,
        zerocopy::Immutable,
        zerocopy::KnownLayout
    )
)]
pub struct Driver {
    /// The template, [`FRAME_LEN`] or [`FRAME_LEN_V6`] bytes, by what its EtherType says.
    pub frame: [u8; 88],
    /// Counts the frames.
    pub next: u64,
    /// `next & mask` is the flow: number of flows (a power of two) minus one; all ones: every frame
    /// is a new flow.
    pub mask: u64,
    /// What `next` is multiplied with before the mask: 1 takes the flows in turn, another odd number
    /// in an order in which neighbours do not follow each other.
    pub stride: u64,
    /// Frames that did not reach the program under test.
    pub lost: u64,
    /// Reserved.
    pub reserved: u64,
}
