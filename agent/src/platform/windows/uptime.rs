//! How long the computer has been up.

use windows_sys::Win32::System::SystemInformation::GetTickCount64;

/// Milliseconds since the computer started, sleep included. Nobody can set it.
#[must_use]
#[expect(unsafe_code, reason = "the system's call has no safe face")]
pub fn uptime_ms() -> u64 {
    // SAFETY: it takes nothing and only returns a number.
    unsafe { GetTickCount64() }
}
