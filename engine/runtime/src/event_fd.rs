//! An eventfd: one descriptor that is readable while somebody has something to say.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use crate::sys;

/// Non-blocking, close-on-exec.
#[derive(Debug)]
pub(crate) struct EventFd(OwnedFd);

impl EventFd {
    /// Makes one, not raised.
    pub(crate) fn new() -> std::io::Result<Self> {
        sys::eventfd().map(Self)
    }

    /// Makes it readable. A full counter is readable already, so no result is of interest.
    pub(crate) fn raise(&self) {
        sys::write_u64(self.0.as_fd(), 1);
    }

    /// Makes it unreadable; says whether it was readable.
    pub(crate) fn lower(&self) -> bool {
        sys::read_u64(self.0.as_fd()).is_some()
    }

    /// Waits until it is readable, or for `timeout`; `None` waits for ever.
    pub(crate) fn wait(&self, timeout: Option<Duration>) -> bool {
        sys::poll_in(self.0.as_fd(), timeout)
    }
}

impl AsFd for EventFd {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn row_114_raised_until_lowered_and_closed_on_exec() {
        let fd = EventFd::new().unwrap();
        assert!(!fd.wait(Some(Duration::ZERO)));
        fd.raise();
        fd.raise();
        assert!(fd.wait(None));
        assert!(fd.lower());
        assert!(!fd.lower());
        assert_eq!(sys::flags(fd.as_fd()), (true, true));
    }
}
