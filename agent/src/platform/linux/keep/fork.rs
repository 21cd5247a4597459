//! A second process of this program, from its first moment in a control group.
//!
//! To move a running process into a group costs the kernel a grace period (5 to
//! 20 ms, measured) and would leave a moment in which it forks outside of it; to
//! be made there costs nothing.

use nix::{libc, unistd::Pid};
use std::{
    io,
    os::fd::{AsRawFd, BorrowedFd},
};

/// Which of the two this is.
pub(super) enum Side {
    /// The one that was there before, and the other's id.
    Parent(Pid),
    /// The one that was made.
    Child,
}

/// `struct clone_args` of the kernel, as of Linux 5.7.
#[repr(C)]
#[derive(Default)]
struct CloneArgs {
    flags: u64,
    pidfd: u64,
    child_tid: u64,
    parent_tid: u64,
    exit_signal: u64,
    stack: u64,
    stack_size: u64,
    tls: u64,
    set_tid: u64,
    set_tid_size: u64,
    cgroup: u64,
}

const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;

/// Doubles this process, which must have one thread only: the keeper's.
///
/// # Errors
/// What the system answers.
pub(super) fn fork_into(group: Option<BorrowedFd<'_>>) -> io::Result<Side> {
    if let Some(group) = group
        && let Ok(side) = clone_into(group)
    {
        return Ok(side);
    }
    #[expect(
        unsafe_code,
        reason = "the keeper has one thread, so no lock can be held by another in the child"
    )]
    // SAFETY: as above; the child only prepares itself and executes a program.
    let side = unsafe { nix::unistd::fork() }?;
    Ok(match side {
        nix::unistd::ForkResult::Parent { child } => Side::Parent(child),
        nix::unistd::ForkResult::Child => Side::Child,
    })
}

fn clone_into(group: BorrowedFd<'_>) -> io::Result<Side> {
    let args = CloneArgs {
        flags: CLONE_INTO_CGROUP,
        exit_signal: u64::try_from(libc::SIGCHLD).unwrap_or_default(),
        cgroup: u64::try_from(group.as_raw_fd()).map_err(|_| io::ErrorKind::InvalidInput)?,
        ..CloneArgs::default()
    };
    #[expect(
        unsafe_code,
        reason = "no library offers this call; without CLONE_VM it is a fork, and the keeper has \
                  one thread"
    )]
    // SAFETY: the structure is the kernel's and lives through the call; the child
    // has memory of its own and no other thread's locks.
    let pid = unsafe { libc::syscall(libc::SYS_clone3, &raw const args, size_of::<CloneArgs>()) };
    match i32::try_from(pid) {
        Ok(0) => Ok(Side::Child),
        Ok(pid) if pid > 0 => Ok(Side::Parent(Pid::from_raw(pid))),
        _ => Err(io::Error::last_os_error()),
    }
}
