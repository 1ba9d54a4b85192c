//! Why a packet was not accepted, and how often.

use serde::{Deserialize, Serialize};

macro_rules! rejects {
    ($($(#[$doc:meta])* $variant:ident = $name:literal;)*) => {
        /// Why a packet was not accepted (RFC 5880, 6.8.6). Each has a counter with a stable name.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(rename_all = "snake_case")]
        pub enum Reject { $($(#[$doc])* $variant,)* }

        impl Reject {
            /// All of them, in the order of their counters.
            pub const ALL: &'static [Reject] = &[$(Reject::$variant,)*];

            /// The counter's name: stable, snake_case.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Reject::$variant => $name,)* }
            }
        }
    };
}

rejects! {
    /// Shorter than a control packet, or its length field is less than one or more than there is.
    Length = "length";
    /// Not version 1.
    Version = "version";
    /// The detection multiplier is 0.
    DetectMult = "detect_mult";
    /// The multipoint bit is set.
    Multipoint = "multipoint";
    /// Its sender's discriminator is 0.
    MyDiscriminator = "my_discriminator";
    /// The receiver's discriminator is 0, but the state is neither Down nor AdminDown.
    YourDiscriminator = "your_discriminator";
    /// Poll and Final at once.
    PollFinal = "poll_final";
    /// No session has this discriminator; or it is 0 and nobody is configured as its sender.
    UnknownSession = "unknown_session";
    /// It has made more hops than `max_hops`.
    Ttl = "ttl";
    /// It is authenticated, which no session is.
    Authentication = "authentication";
}

/// One counter for each [`Reject`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters([u64; Reject::ALL.len()]);

impl Counters {
    /// Counts one.
    pub const fn count(&mut self, reject: Reject) {
        self.0[reject as usize] += 1;
    }

    /// How many.
    #[must_use]
    pub const fn get(&self, reject: Reject) -> u64 {
        self.0[reject as usize]
    }

    /// All of them, those that are 0 included.
    pub fn iter(&self) -> impl Iterator<Item = (Reject, u64)> + '_ {
        Reject::ALL.iter().copied().zip(self.0)
    }
}
