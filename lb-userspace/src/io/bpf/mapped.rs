//! Array maps in memory: what `BPF_F_MMAPABLE` is for.

use std::io;
use std::os::fd::{AsRawFd as _, BorrowedFd};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU64, Ordering};

use lb_common::flow::shared::SharedFlow;

/// A mapped array of elements of `stride` words each. Every word is loaded and stored as one, since
/// the program does the same at the same time.
#[derive(Debug)]
pub(super) struct Mapped {
    words: NonNull<AtomicU64>,
    stride: usize,
    len: usize,
    bytes: usize,
}

// SAFETY: the memory is shared with the kernel anyway and only reached through atomics.
unsafe impl Send for Mapped {}
// SAFETY: as above.
unsafe impl Sync for Mapped {}

impl Mapped {
    /// Maps an array of `len` elements of `size` bytes (a multiple of eight).
    pub(super) fn new(map: BorrowedFd<'_>, size: usize, len: u32) -> io::Result<Mapped> {
        let len = len as usize;
        let bytes = size
            .checked_mul(len)
            .filter(|b| *b > 0 && size.is_multiple_of(8))
            .ok_or(io::ErrorKind::InvalidInput)?;
        // SAFETY: a new mapping, placed by the kernel; the descriptor is a map's.
        let ptr = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                bytes,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_SHARED,
                map.as_raw_fd(),
                0,
            )
        };
        if ptr == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let words = NonNull::new(ptr.cast()).ok_or(io::ErrorKind::OutOfMemory)?;
        Ok(Mapped {
            words,
            stride: size / 8,
            len,
            bytes,
        })
    }

    /// Elements.
    pub(super) fn len(&self) -> u32 {
        self.len as u32
    }

    /// One word of an element.
    ///
    /// # Panics
    /// When there is no such element or word: the caller's ids are checked against the same limits
    /// as the size of the map.
    pub(super) fn word(&self, element: u32, word: usize) -> &AtomicU64 {
        assert!(
            (element as usize) < self.len && word < self.stride,
            "element {element} word {word}"
        );
        // SAFETY: within the mapping, which lives as long as `self`; aligned, since a mapping starts
        // on a page and a stride is whole words.
        unsafe {
            self.words
                .add(element as usize * self.stride + word)
                .as_ref()
        }
    }

    /// Loads a word.
    pub(super) fn load(&self, element: u32, word: usize) -> u64 {
        self.word(element, word).load(Ordering::Acquire)
    }

    /// Stores a word; what was stored before is seen before it.
    pub(super) fn store(&self, element: u32, word: usize, value: u64) {
        self.word(element, word).store(value, Ordering::Release);
    }

    /// Loads an element of `N` words.
    pub(super) fn get<const N: usize>(&self, element: u32) -> [u64; N] {
        std::array::from_fn(|word| self.load(element, word))
    }

    /// The array as ways of flow buckets.
    pub(super) fn flows(&self) -> &[SharedFlow] {
        // SAFETY: two atomic words make one `SharedFlow` (both `repr(C)`), and the mapping lives as
        // long as `self`.
        unsafe {
            std::slice::from_raw_parts(
                self.words.as_ptr().cast(),
                self.bytes / size_of::<SharedFlow>(),
            )
        }
    }
}

impl Drop for Mapped {
    fn drop(&mut self) {
        // SAFETY: made by mmap with this length, and nothing borrowed from it outlives `self`.
        unsafe { libc::munmap(self.words.as_ptr().cast(), self.bytes) };
    }
}
