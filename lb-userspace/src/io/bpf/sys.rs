//! The few bpf(2) calls that aya does not offer as they are needed here: links with their plain
//! error numbers and their interface, and test runs from any thread.

use std::ffi::CString;
use std::io;
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

// Commands and constants of include/uapi/linux/bpf.h.
const BPF_OBJ_PIN: libc::c_long = 6;
const BPF_OBJ_GET: libc::c_long = 7;
const BPF_PROG_TEST_RUN: libc::c_long = 10;
const BPF_OBJ_GET_INFO_BY_FD: libc::c_long = 15;
const BPF_MAP_LOOKUP_BATCH: libc::c_long = 24;
const BPF_LINK_CREATE: libc::c_long = 28;
const BPF_LINK_UPDATE: libc::c_long = 29;
const BPF_LINK_DETACH: libc::c_long = 34;
const BPF_XDP: u32 = 37;

/// `XDP_FLAGS_SKB_MODE` of include/uapi/linux/if_link.h: generic.
pub(super) const XDP_GENERIC: u32 = 1 << 1;
/// `XDP_FLAGS_DRV_MODE`: native.
pub(super) const XDP_NATIVE: u32 = 1 << 2;

/// The largest `union bpf_attr` of any kernel that is out; the kernel wants what it does not know
/// to be zero.
#[repr(C, align(8))]
struct Attr([u8; 160]);

impl Attr {
    fn new() -> Attr {
        Attr([0; 160])
    }

    fn u32(mut self, offset: usize, value: u32) -> Attr {
        self.0[offset..offset + 4].copy_from_slice(&value.to_ne_bytes());
        self
    }

    fn fd(self, offset: usize, fd: BorrowedFd<'_>) -> Attr {
        self.u32(offset, fd.as_raw_fd() as u32)
    }

    fn ptr(mut self, offset: usize, ptr: *const u8) -> Attr {
        self.0[offset..offset + 8].copy_from_slice(&(ptr as u64).to_ne_bytes());
        self
    }

    fn get_u32(&self, offset: usize) -> u32 {
        let mut bytes = [0; 4];
        bytes.copy_from_slice(&self.0[offset..offset + 4]);
        u32::from_ne_bytes(bytes)
    }
}

/// Calls bpf(2).
///
/// # Safety
/// Pointers in `attr` must be valid for what `command` does with them.
unsafe fn bpf(command: libc::c_long, attr: &mut Attr) -> io::Result<i32> {
    loop {
        // SAFETY: the attribute lives through the call and its size is given; the rest is the caller's.
        let ret =
            unsafe { libc::syscall(libc::SYS_bpf, command, attr.0.as_mut_ptr(), attr.0.len()) };
        if ret >= 0 {
            return Ok(ret as i32);
        }
        let error = io::Error::last_os_error();
        // A test run is interrupted by a signal, a load may be asked to be tried again.
        if !matches!(
            error.kind(),
            io::ErrorKind::Interrupted | io::ErrorKind::WouldBlock
        ) {
            return Err(error);
        }
    }
}

/// Calls bpf(2) with a command that returns a file descriptor.
///
/// # Safety
/// As [`bpf`].
unsafe fn bpf_fd(command: libc::c_long, attr: &mut Attr) -> io::Result<OwnedFd> {
    // SAFETY: the caller's.
    let fd = unsafe { bpf(command, attr)? };
    // SAFETY: these commands return a new descriptor that nobody else owns.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

fn c_path(path: &Path) -> io::Result<CString> {
    CString::new(path.as_os_str().as_bytes()).map_err(io::Error::from)
}

/// Pins a program, map or link.
pub(super) fn pin(fd: BorrowedFd<'_>, path: &Path) -> io::Result<()> {
    let path = c_path(path)?;
    let mut attr = Attr::new().ptr(0, path.as_ptr().cast()).fd(8, fd);
    // SAFETY: the path lives through the call.
    unsafe { bpf(BPF_OBJ_PIN, &mut attr) }.map(drop)
}

/// Opens what is pinned.
pub(super) fn open_pin(path: &Path) -> io::Result<OwnedFd> {
    let path = c_path(path)?;
    let mut attr = Attr::new().ptr(0, path.as_ptr().cast());
    // SAFETY: the path lives through the call.
    unsafe { bpf_fd(BPF_OBJ_GET, &mut attr) }
}

/// Attaches an XDP program to an interface.
pub(super) fn link_create(
    program: BorrowedFd<'_>,
    ifindex: u32,
    flags: u32,
) -> io::Result<OwnedFd> {
    let mut attr = Attr::new()
        .fd(0, program)
        .u32(4, ifindex)
        .u32(8, BPF_XDP)
        .u32(12, flags);
    // SAFETY: no pointers.
    unsafe { bpf_fd(BPF_LINK_CREATE, &mut attr) }
}

/// Puts another program into a link, atomically.
pub(super) fn link_update(link: BorrowedFd<'_>, program: BorrowedFd<'_>) -> io::Result<()> {
    let mut attr = Attr::new().fd(0, link).fd(4, program);
    // SAFETY: no pointers.
    unsafe { bpf(BPF_LINK_UPDATE, &mut attr) }.map(drop)
}

/// Takes the program of a link off, for all who hold the link. It is off on return.
pub(super) fn link_detach(link: BorrowedFd<'_>) -> io::Result<()> {
    let mut attr = Attr::new().fd(0, link);
    // SAFETY: no pointers.
    unsafe { bpf(BPF_LINK_DETACH, &mut attr) }.map(drop)
}

/// The interface of an XDP link; 0 when it was detached by force or the interface is gone.
pub(super) fn link_ifindex(link: BorrowedFd<'_>) -> io::Result<u32> {
    // struct bpf_link_info: type, id, prog_id, padding, then the union that begins with ifindex.
    let mut info = Attr::new();
    let mut attr = Attr::new()
        .fd(0, link)
        .u32(4, info.0.len() as u32)
        .ptr(8, info.0.as_mut_ptr());
    // SAFETY: the kernel writes at most the length given into the buffer, which lives through the call.
    unsafe { bpf(BPF_OBJ_GET_INFO_BY_FD, &mut attr) }?;
    Ok(info.get_u32(16))
}

/// The id of a program.
pub(super) fn program_id(program: BorrowedFd<'_>) -> io::Result<u32> {
    // struct bpf_prog_info: type, id, ...
    let mut info = Attr::new();
    let mut attr = Attr::new()
        .fd(0, program)
        .u32(4, info.0.len() as u32)
        .ptr(8, info.0.as_mut_ptr());
    // SAFETY: the kernel writes at most the length given into the buffer, which lives through the call.
    unsafe { bpf(BPF_OBJ_GET_INFO_BY_FD, &mut attr) }?;
    Ok(info.get_u32(4))
}

/// Reads elements of an array from `first` on, as many as fill `values`, whose length is a multiple of
/// an element's words: of a per-CPU array one element after the other, of each its words on one CPU
/// after the other. There must be so many.
pub(super) fn lookup_batch(
    map: BorrowedFd<'_>,
    first: u32,
    element_words: usize,
    values: &mut [u64],
) -> io::Result<()> {
    let count = values.len() / element_words;
    let mut keys = vec![0u32; count];
    // The kernel begins behind this one, and says here how far it came.
    let before = first.wrapping_sub(1);
    let mut last = 0u32;
    let begin = if first == 0 {
        std::ptr::null()
    } else {
        (&raw const before).cast()
    };
    let mut attr = Attr::new()
        .ptr(0, begin)
        .ptr(8, (&raw mut last).cast())
        .ptr(16, keys.as_mut_ptr().cast())
        .ptr(24, values.as_mut_ptr().cast())
        .u32(32, count as u32)
        .fd(36, map);
    // SAFETY: the kernel writes `count` keys and values, for which the buffers have room; all of them
    // live through the call.
    unsafe { bpf(BPF_MAP_LOOKUP_BATCH, &mut attr) }.map(drop)
}

/// What a test run gave.
#[derive(Clone, Debug)]
pub struct TestRun {
    /// What the program returned in the last repetition.
    pub verdict: u32,
    /// The frame as the program left it.
    pub frame: Vec<u8>,
}

/// `BPF_PROG_TEST_RUN` of an XDP program on a frame. The frame is not restored between repetitions.
///
/// # Errors
/// What bpf(2) says.
pub fn test_run(program: impl AsFd, frame: &[u8], repeat: u32) -> io::Result<TestRun> {
    let mut out = vec![0u8; frame.len() + 256];
    let mut attr = Attr::new()
        .fd(0, program.as_fd())
        .u32(8, frame.len() as u32)
        .u32(12, out.len() as u32)
        .ptr(16, frame.as_ptr())
        .ptr(24, out.as_mut_ptr())
        .u32(32, repeat);
    // SAFETY: both buffers live through the call and their sizes are given.
    unsafe { bpf(BPF_PROG_TEST_RUN, &mut attr) }?;
    out.truncate(attr.get_u32(12) as usize);
    Ok(TestRun {
        verdict: attr.get_u32(4),
        frame: out,
    })
}
