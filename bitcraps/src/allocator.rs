//! What the allocator can do beyond what the standard library has a name for.
//!
//! Memory that a thread frees is kept for that thread; what it lets go of, any thread may have; and what nobody has is given
//! back to the system. The last takes as long as there is memory to unmap, and the allocator leaves it to whichever thread
//! frees something a second later: in a node to the tick, as often as not. So one thread does it there, the monitor's.
#![expect(unsafe_code, reason = "mimalloc's collect and its options are C functions, and no safe crate offers them")]

use std::ffi::{c_int, c_long};

use operate::reading::Memory;

/// The option that says after how many milliseconds whoever frees memory gives back what is free: `mi_option_purge_delay`, of
/// which the bindings have no name.
const PURGE_DELAY: c_int = 15;
/// Sixty times as long as the monitor takes to come by. Where it does not, memory is given back as without it.
const PURGE_DELAY_MS: c_long = 60_000;

/// How a node's threads let go of memory.
pub const MEMORY: Memory = Memory { trim, give_back };

/// Leaves it to the monitor to give memory back to the system; to be called before a node has threads.
pub fn leave_to_monitor() {
    // SAFETY: it takes no pointer, the option is one of the library's, and no other thread reads it meanwhile.
    unsafe { libmimalloc_sys::mi_option_set(PURGE_DELAY, PURGE_DELAY_MS) }
}

/// Has the system give memory in small pages from now on; to be called before a node has threads.
///
/// The allocator asks for huge ones, where the system gives them to whoever asks. Each then is in memory as a whole for the few
/// rows that lie in it: half as much memory again for 1,000 players, for 1 to 3% of the processor
/// (docs/measurements.md, "Huge pages").
pub fn take_small_pages() {
    // A system that refuses it, or has no huge pages, is as it was.
    #[cfg(target_os = "linux")]
    let _ = rustix::thread::disable_transparent_huge_pages(true);
}

/// Lets go of what is kept for the thread that calls it. The system is not asked for anything.
fn trim() {
    // SAFETY: it takes no pointer, and any thread may call it at any time.
    unsafe { libmimalloc_sys::mi_collect(false) }
}

/// Gives back to the system what no thread has.
fn give_back() {
    // SAFETY: as above.
    unsafe { libmimalloc_sys::mi_collect(true) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_option_is_the_one_that_is_meant() {
        // SAFETY: it takes no pointer, and the option is one of the library's.
        let delay_ms = || unsafe { libmimalloc_sys::mi_option_get(PURGE_DELAY) };
        assert_eq!(delay_ms(), 1_000, "the library's own delay: another version has other options, or another delay");
        leave_to_monitor();
        assert_eq!(delay_ms(), PURGE_DELAY_MS);
    }
}
