//! Memory that the agent gives back while it rests.
//!
//! Between two collections the agent needs next to nothing, yet two things would
//! stay: free pieces of the heap, and every part of the program that ran at some
//! time (the kernel maps sixteen pages around each one that is touched). The program
//! is mapped from its file, so what is let go costs a minor fault when it is needed
//! again and no reading, for the file stays in the system's cache as long as there is
//! room.

use nix::libc;
use std::{
    ffi::c_void,
    sync::atomic::{AtomicU64, Ordering},
};

/// Between two rests, in milliseconds: what works is left alone.
const EVERY_MS: u64 = 5000;
/// Free heap beyond which the C library gives it back by itself.
#[cfg(target_env = "gnu")]
const TRIM_ABOVE: i32 = 64 * 1024;

/// Makes all threads share one heap. Each would get its own, of which the kernel
/// keeps what was touched once. To be called before there is a second thread.
#[cfg(target_env = "gnu")]
#[expect(unsafe_code, reason = "the C library's settings have no safe face")]
pub fn share_heap() {
    // SAFETY: both only set a number of the allocator, which takes its own lock.
    unsafe {
        libc::mallopt(libc::M_ARENA_MAX, 1);
        libc::mallopt(libc::M_TRIM_THRESHOLD, TRIM_ABOVE);
    }
}

/// Other C libraries have one heap anyway.
#[cfg(not(target_env = "gnu"))]
pub fn share_heap() {}

/// Gives back what is not needed until the next collection, at most every five
/// seconds; `uptime_ms` is the uptime.
pub fn rest(uptime_ms: u64) {
    static RESTED_MS: AtomicU64 = AtomicU64::new(0);
    let rested_ms = RESTED_MS.load(Ordering::Relaxed);
    if uptime_ms < rested_ms.saturating_add(EVERY_MS) {
        return;
    }
    RESTED_MS.store(uptime_ms, Ordering::Relaxed);
    trim_heap();
    for (start, length) in read_only_parts() {
        let_go(start, length);
    }
}

#[cfg(target_env = "gnu")]
#[expect(unsafe_code, reason = "the C library offers it with no safe face")]
fn trim_heap() {
    // SAFETY: it returns free pages to the system under the allocator's own locks.
    unsafe {
        libc::malloc_trim(0);
    }
}

#[cfg(not(target_env = "gnu"))]
fn trim_heap() {}

/// Unmaps pages of [`read_only_parts`] until they are touched.
#[expect(unsafe_code, reason = "no safe call unmaps a part of the program itself")]
fn let_go(start: usize, length: usize) {
    let start = std::ptr::with_exposed_provenance_mut::<c_void>(start);
    // SAFETY: the pages are of a part that nothing can write to, so they are as in
    // the file, from which the kernel maps them again at the next touch.
    let answer = unsafe { libc::madvise(start, length, libc::MADV_DONTNEED) };
    if answer != 0 {
        let error = std::io::Error::last_os_error();
        tracing::debug!(%error, "the program stays mapped");
    }
}

/// Whole pages of the program's own parts that are mapped from its file without the
/// right to write, start and length. What is made read-only after the start, with
/// addresses filled in, is not among them.
#[expect(unsafe_code, reason = "the linker's own list has no safe face")]
fn read_only_parts() -> Vec<(usize, usize)> {
    let mut found: Vec<(usize, usize)> = Vec::with_capacity(4);
    // SAFETY: the callback has the type that is asked for, and the data outlives the
    // call, which keeps nothing.
    unsafe {
        libc::dl_iterate_phdr(Some(first_object), (&raw mut found).cast());
    }
    found
}

/// Looks at the first object, which is the program, and at no other.
#[expect(unsafe_code, reason = "called by the linker with its own structure")]
unsafe extern "C" fn first_object(
    info: *mut libc::dl_phdr_info,
    _size: libc::size_t,
    found: *mut c_void,
) -> libc::c_int {
    // SAFETY: the linker gives a valid structure whose headers stay as long as the
    // program runs, and the data that `read_only_parts` passed.
    let (info, found, headers) = unsafe {
        let info = &*info;
        let headers = std::slice::from_raw_parts(info.dlpi_phdr, info.dlpi_phnum.into());
        (info, &mut *found.cast::<Vec<(usize, usize)>>(), headers)
    };
    let page = page_size();
    for header in headers {
        let writable = header.p_flags & libc::PF_W != 0;
        if header.p_type != libc::PT_LOAD || writable || header.p_filesz != header.p_memsz {
            continue;
        }
        let (Ok(at), Ok(size)) =
            (usize::try_from(header.p_vaddr), usize::try_from(header.p_filesz))
        else {
            continue;
        };
        let Ok(base) = usize::try_from(info.dlpi_addr) else { continue };
        let start = base.saturating_add(at).next_multiple_of(page);
        let end = base.saturating_add(at).saturating_add(size) / page * page;
        if end > start {
            found.push((start, end - start));
        }
    }
    1
}

fn page_size() -> usize {
    let size = nix::unistd::sysconf(nix::unistd::SysconfVar::PAGE_SIZE).ok().flatten();
    size.and_then(|size| usize::try_from(size).ok()).unwrap_or(4096)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use std::fs;

    /// What of this program's code is mapped, in kilobytes.
    fn mapped() -> usize {
        let own = fs::read_link("/proc/self/exe").unwrap();
        let text = fs::read_to_string("/proc/self/smaps").unwrap();
        let (mut inside, mut sum) = (false, 0);
        for line in text.lines() {
            let mut fields = line.split_ascii_whitespace();
            match fields.next().unwrap_or_default() {
                "Rss:" if inside => sum += fields.next().unwrap().parse::<usize>().unwrap(),
                // A mapping's own line: its addresses, its rights, …, its file.
                first if first.contains('-') && !first.ends_with(':') => {
                    let rights = fields.next().unwrap_or_default();
                    inside = !rights.contains('w') && line.ends_with(own.to_str().unwrap());
                }
                _ => {}
            }
        }
        sum
    }

    #[test]
    fn a_rest_lets_go_of_the_program_and_it_goes_on_working() {
        let parts = read_only_parts();
        assert!(!parts.is_empty(), "a program has code");
        let before = mapped();
        rest(EVERY_MS);
        let after = mapped();
        assert!(after < before, "{after} kB of {before} kB stayed");
        // What was let go runs as before, and a rest in the midst of work is none.
        rest(EVERY_MS + 1);
        assert_eq!(read_only_parts(), parts);
    }
}
