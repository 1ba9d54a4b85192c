//! Waiting for a descriptor to become readable, or to have an error.

use std::io;
use std::os::fd::AsRawFd;

use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// Registers an owned descriptor with the runtime, for reading.
///
/// # Errors
/// When the runtime's epoll instance does not take it.
pub(super) fn readable<T: AsRawFd + OwnsFd>(inner: T) -> io::Result<AsyncFd<T>> {
    watched(inner, Interest::READABLE)
}

/// As [`readable`], for whatever is of interest.
///
/// # Errors
/// When the runtime's epoll instance does not take it.
pub(super) fn watched<T: AsRawFd + OwnsFd>(inner: T, interest: Interest) -> io::Result<AsyncFd<T>> {
    // SAFETY: `OwnsFd` promises that the descriptor is open, always the same and closed only when
    // `inner` is dropped, which is after it was deregistered.
    unsafe { AsyncFd::register_with_interest(inner, interest) }.map_err(Into::into)
}

/// A type that owns one descriptor for its whole life.
pub(super) trait OwnsFd {}

impl OwnsFd for socket2::Socket {}
