//! Pseudo-terminals: the agent holds the master side, a shell the other.

use crate::platform::Account;
use nix::{
    errno::Errno,
    fcntl::{FcntlArg, OFlag, fcntl},
    pty::{Winsize, openpty},
    unistd::{Uid, fchown, read, ttyname, write},
};
use std::{io, os::fd::OwnedFd, path::PathBuf, process::Stdio};
use tokio::io::unix::AsyncFd;

/// The master side of a terminal.
#[derive(Debug)]
pub struct Pty {
    master: AsyncFd<OwnedFd>,
}

/// Opens a terminal of the given size. Returns the master, the path of the other
/// side and three handles on it for a child's standard streams. The other side is
/// handed to `owner`, who could not open it by its name otherwise.
///
/// # Errors
/// What the system answers.
pub fn open_pty(
    cols: u16,
    rows: u16,
    owner: Option<&Account>,
) -> io::Result<(Pty, PathBuf, [Stdio; 3])> {
    let size = Winsize { ws_row: rows.max(1), ws_col: cols.max(1), ws_xpixel: 0, ws_ypixel: 0 };
    let pair = openpty(Some(&size), None)?;
    let flags = OFlag::from_bits_retain(fcntl(&pair.master, FcntlArg::F_GETFL)?);
    fcntl(&pair.master, FcntlArg::F_SETFL(flags | OFlag::O_NONBLOCK))?;
    // Children must not inherit the master, or a shell's end would go unnoticed.
    fcntl(&pair.master, FcntlArg::F_SETFD(nix::fcntl::FdFlag::FD_CLOEXEC))?;
    fcntl(&pair.slave, FcntlArg::F_SETFD(nix::fcntl::FdFlag::FD_CLOEXEC))?;
    let path = ttyname(&pair.slave)?;
    if let Some(account) = owner {
        fchown(&pair.slave, Some(Uid::from_raw(account.id.uid)), None)?;
    }
    let stdio = [
        Stdio::from(pair.slave.try_clone()?),
        Stdio::from(pair.slave.try_clone()?),
        Stdio::from(pair.slave),
    ];
    #[expect(deprecated, reason = "sound for an OwnedFd; the successor needs unsafe code")]
    let master = AsyncFd::new(pair.master)?;
    Ok((Pty { master }, path, stdio))
}

impl Pty {
    /// Reads what the terminal shows; 0 when nobody holds the other side.
    /// Cancel-safe.
    ///
    /// # Errors
    /// What the system answers.
    pub async fn read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            let mut ready = self.master.readable().await?;
            match ready.try_io(|fd| Ok(read(fd.get_ref(), buffer)?)) {
                // The system says so when the last process of the session ended.
                Ok(Err(e)) if e.raw_os_error() == Some(Errno::EIO as i32) => return Ok(0),
                Ok(result) => return result,
                Err(_would_block) => {}
            }
        }
    }

    /// Types into the terminal; returns how many bytes it took. Cancel-safe.
    ///
    /// # Errors
    /// What the system answers.
    pub async fn write(&self, bytes: &[u8]) -> io::Result<usize> {
        loop {
            let mut ready = self.master.writable().await?;
            match ready.try_io(|fd| Ok(write(fd.get_ref(), bytes)?)) {
                Ok(result) => return result,
                Err(_would_block) => {}
            }
        }
    }

    /// Tells the programs of the terminal its size.
    ///
    /// # Errors
    /// What the system answers.
    pub fn resize(&self, cols: u16, rows: u16) -> io::Result<()> {
        let size = rustix::termios::Winsize {
            ws_row: rows.max(1),
            ws_col: cols.max(1),
            ws_xpixel: 0,
            ws_ypixel: 0,
        };
        Ok(rustix::termios::tcsetwinsize(self.master.get_ref(), size)?)
    }
}
