//! How many connections each backend has.

/// A flow of `backend` came (`from` is `None`), went (`to` is `None`) or changed its state.
///
/// Called once for each flow that really did, after its way in the table says so.
#[inline(always)]
pub(crate) fn moved(_backend: u16, _from: Option<u8>, _to: Option<u8>) {}
