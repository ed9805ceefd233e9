//! What the allocator can do beyond what the standard library has a name for.
#![expect(unsafe_code, reason = "mimalloc's collect is a C function, and no safe crate offers it")]

/// Gives back to the system what the allocator keeps for the thread that calls it, and what nobody has any more.
pub fn trim() {
    // SAFETY: it takes no pointer, and any thread may call it at any time.
    unsafe { libmimalloc_sys::mi_collect(true) }
}
