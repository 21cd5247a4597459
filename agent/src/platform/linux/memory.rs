//! How the allocator of the C library behaves. Others are left as they are.

/// Lets all threads allocate from one pool, and what is freed at its end go back to
/// the system early. By default each thread gets a pool of its own, which a daemon
/// of few small threads pays for and never needs. To be called before any thread.
#[cfg(target_env = "gnu")]
pub fn spare_memory() {
    use nix::libc::{M_ARENA_MAX, M_MMAP_THRESHOLD, M_TRIM_THRESHOLD, mallopt};
    #[expect(unsafe_code, reason = "the only way to say so to the allocator")]
    // SAFETY: sets numbers of the allocator, which takes its own lock.
    unsafe {
        mallopt(M_ARENA_MAX, 1);
        mallopt(M_MMAP_THRESHOLD, 64 * 1024);
        mallopt(M_TRIM_THRESHOLD, 64 * 1024);
    }
}

/// Gives back what is free in the middle of the pool, after work that took much.
#[cfg(target_env = "gnu")]
pub fn return_memory() {
    #[expect(unsafe_code, reason = "the only way to ask the allocator for it")]
    // SAFETY: the allocator takes its own lock.
    unsafe {
        nix::libc::malloc_trim(0);
    }
}

/// The allocator has one pool.
#[cfg(not(target_env = "gnu"))]
pub fn spare_memory() {}

/// The allocator does so by itself.
#[cfg(not(target_env = "gnu"))]
pub fn return_memory() {}
