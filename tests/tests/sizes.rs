//! How much there may be of everything: what holds with millions of connections, hundreds of real
//! servers of a service, tens of thousands of real servers in all.

#[path = "sizes/counters.rs"]
mod counters;
#[path = "sizes/counts.rs"]
mod counts;
#[path = "sizes/fixture.rs"]
mod fixture;
#[path = "sizes/flows.rs"]
mod flows;
#[path = "sizes/maglev.rs"]
mod maglev;
