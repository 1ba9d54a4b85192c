//! VRRP: packet codec, election, timers, sync groups, who holds the virtual addresses.
//!
//! Pure: [`Router`] is given [`Event`]s and the time, and gives back [`Action`]s and the time at
//! which it wants to be asked again. It holds every instance of the host, since sync groups bind
//! them together and an address may move from one to another.
//!
//! RFC 3768 (version 2), RFC 5798 and RFC 9568 (version 3), with keepalived's extensions
//! (`nopreempt`, sync groups, `garp_*`) and four rules of our own, so that a client always has a
//! living MAC for the virtual address:
//!
//! - who stops hands over first: priority 0 goes out, the address stays until the successor was
//!   heard ([`Hold::Offered`]);
//! - a master that yields sends one last advert, which makes the winner (this one and keepalived
//!   alike) send its gratuitous ARPs again, and lets go only after the winner has been heard again
//!   ([`Hold::Lingering`]);
//! - a master repeats its gratuitous ARPs at a low rate right behind an advert, which is when a
//!   rival that yields silently does so;
//! - a restarted daemon keeps the addresses that it finds ([`Hold::Kept`]) and stays master when
//!   no peer can have taken over.

mod by_hand;
mod claim;
mod config;
mod debounce;
mod election;
mod event;
mod follow;
mod forwarding;
mod garp;
mod hold;
mod instance;
mod net;
mod numbers;
mod pace;
pub mod packet;
pub mod presence;
mod report;
mod rival;
mod router;
#[cfg(test)]
mod sim;
mod status;
mod track;
mod transport;
mod vmac;

pub use by_hand::Command;
pub use config::{Policy, Resume};
pub use event::{
    Action, Address, Applied, Event, Followed, InstanceId, LinkState, Notice, Reason, State,
    Transition, mac_text,
};
pub use forwarding::Forwarding;
pub use numbers::Limit;
pub use report::{Order, Report};
pub use router::Router;
pub use status::{Hold, InstanceStatus, RouterStatus};
pub use transport::Listen;
