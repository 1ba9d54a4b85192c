//! An XDP program that passes everything.
//!
//! veth sends what XDP transmits only when the other end of the pair has a program as well, so the
//! switch's end of a director's cable gets this one.

use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd};

use anyhow::{Context as _, Result};

/// The attached program; dropping it detaches.
#[derive(Debug)]
pub struct PassProgram {
    _link: OwnedFd,
}

/// `struct bpf_insn`.
#[repr(C)]
struct Insn {
    code: u8,
    regs: u8,
    off: i16,
    imm: i32,
}

/// The head of `union bpf_attr` for `BPF_PROG_LOAD`.
#[repr(C)]
#[derive(Default)]
struct ProgLoad {
    prog_type: u32,
    insn_cnt: u32,
    insns: u64,
    license: u64,
    log_level: u32,
    log_size: u32,
    log_buf: u64,
    kern_version: u32,
    prog_flags: u32,
    prog_name: [u8; 16],
}

/// The head of `union bpf_attr` for `BPF_LINK_CREATE`.
#[repr(C)]
struct LinkCreate {
    prog_fd: u32,
    target_ifindex: u32,
    attach_type: u32,
    flags: u32,
}

const BPF_PROG_LOAD: libc::c_long = 5;
const BPF_LINK_CREATE: libc::c_long = 28;
const BPF_PROG_TYPE_XDP: u32 = 6;
const BPF_XDP: u32 = 37;
const XDP_FLAGS_DRV_MODE: u32 = 1 << 2;
const XDP_PASS: i32 = 2;

impl PassProgram {
    /// Attaches it to a link of the namespace in which the calling thread is.
    ///
    /// # Errors
    /// Those of bpf(2).
    pub fn attach(ifindex: u32) -> Result<Self> {
        let insns = [
            Insn {
                code: 0xb7,
                regs: 0,
                off: 0,
                imm: XDP_PASS,
            }, // r0 = XDP_PASS
            Insn {
                code: 0x95,
                regs: 0,
                off: 0,
                imm: 0,
            }, // exit
        ];
        let mut load = ProgLoad {
            prog_type: BPF_PROG_TYPE_XDP,
            insn_cnt: 2,
            insns: insns.as_ptr() as u64,
            license: c"GPL".as_ptr() as u64,
            ..ProgLoad::default()
        };
        load.prog_name[..8].copy_from_slice(b"lab_pass");
        // SAFETY: the attribute is of the layout and size that the kernel expects for this command,
        // and what it points to outlives the call.
        let program =
            unsafe { bpf(BPF_PROG_LOAD, &load) }.context("load the passing XDP program")?;
        let create = LinkCreate {
            prog_fd: program.as_raw_fd().cast_unsigned(),
            target_ifindex: ifindex,
            attach_type: BPF_XDP,
            flags: XDP_FLAGS_DRV_MODE,
        };
        // SAFETY: as above.
        let link =
            unsafe { bpf(BPF_LINK_CREATE, &create) }.context("attach the passing XDP program")?;
        Ok(PassProgram { _link: link })
    }
}

/// bpf(2) for the commands that return a descriptor.
///
/// # Safety
/// `attr` must be what `command` takes.
unsafe fn bpf<A>(command: libc::c_long, attr: &A) -> std::io::Result<OwnedFd> {
    // SAFETY: the caller vouches for the attribute.
    let fd = unsafe {
        libc::syscall(
            libc::SYS_bpf,
            command,
            std::ptr::from_ref(attr),
            size_of::<A>(),
        )
    };
    match i32::try_from(fd) {
        // SAFETY: the kernel has just made this descriptor for us.
        Ok(fd) if fd >= 0 => Ok(unsafe { OwnedFd::from_raw_fd(fd) }),
        _ => Err(std::io::Error::last_os_error()),
    }
}
