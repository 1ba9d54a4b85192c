//! Why a frame was passed to the stack or dropped; each has a per-CPU counter and a name.
