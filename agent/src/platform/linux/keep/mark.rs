//! The mark that a keeper takes with its order: until then it is nobody's.

use crate::platform::linux::process::MARK;
use std::ffi::{CStr, CString};

/// Puts the mark of a command where others look for it: in the environment that this
/// process was started with, over a value that has the length of every id.
pub(super) fn bear(command: &str) {
    #[expect(unsafe_code, reason = "what others see of an environment is its first memory")]
    // SAFETY: the process has one thread, and nobody holds on to the value: it is as long
    // as what takes its place, and the text that the kernel put there can be written to.
    unsafe {
        let name = CString::new(MARK).unwrap_or_default();
        let value = nix::libc::getenv(name.as_ptr());
        if !value.is_null() && CStr::from_ptr(value).count_bytes() == command.len() {
            value.copy_from_nonoverlapping(command.as_ptr().cast(), command.len());
        }
    }
}
