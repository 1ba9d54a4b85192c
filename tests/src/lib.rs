//! A network in namespaces for trying a pair of directors: a switch, a client, two directors and
//! their real servers, with everything that is needed to load them, to break them and to see from
//! outside what happened.
//!
//! Nothing here looks into a daemon: who is master is who answers, and an outage is what the
//! client did not get. So the same harness measures `lbd` and keepalived.
//!
//! The namespaces have no name and no mount: they are held by file descriptors of this process and
//! vanish with it, however it ends. What could be left behind (files under the temporary directory
//! and pins in bpffs) carries the process in its name, see [`scratch`].

pub mod backend;
pub mod bench;
pub mod clock;
pub mod conf;
pub mod crowd;
pub mod dataplane;
pub mod director;
pub mod events;
pub mod flood;
pub mod frame;
pub mod lab;
pub mod load;
pub mod matrix;
pub mod measure;
pub mod namespace;
pub mod outage;
pub mod pair;
pub mod pass_program;
pub mod prober;
pub mod random;
pub mod recorder;
pub mod scan;
pub mod scratch;
pub mod screen;
pub mod six;
pub mod story;
pub mod switch;
pub mod tap;
pub mod tape;
pub mod topology;
pub mod transfer;
