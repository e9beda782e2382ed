//! What to do about an error of a send, the same for both back ends. No error closes a socket.

/// What to do with a message that the kernel refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Nothing was wrong with the message: send it again, now.
    Again,
    /// The error belonged to an earlier datagram: send it again, once.
    AgainOnce,
    /// The socket's buffer is full: a short wait may help.
    Wait,
    /// A run cannot go as one message: send its datagrams singly, and remember the route or not.
    Singly {
        /// Later runs will be refused alike.
        remember: bool,
    },
    /// This message is lost; others may pass.
    Drop,
}

/// Judges `errno` of a message of `count` datagrams.
pub(super) fn judge(errno: i32, count: u16) -> Verdict {
    match errno {
        libc::EINTR => Verdict::Again,
        libc::EAGAIN | libc::ENOBUFS | libc::ENOMEM => Verdict::Wait,
        // The device or the route cannot segment: no checksum offload (EIO), segment above the
        // path's MTU (EINVAL, EMSGSIZE). The first two hold for every run on the route.
        libc::EIO | libc::EINVAL | libc::EOPNOTSUPP | libc::ENOPROTOOPT if count > 1 => {
            Verdict::Singly { remember: true }
        }
        libc::EMSGSIZE if count > 1 => Verdict::Singly { remember: false },
        libc::ECONNREFUSED => Verdict::AgainOnce,
        _ => Verdict::Drop,
    }
}

/// System calls that tests let fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Call {
    /// A message of so many datagrams goes out.
    Send(u16),
    /// A receive completes.
    Receive,
}

/// Failing system calls, for tests; costs nothing elsewhere.
#[derive(Default)]
pub(crate) struct Faults {
    #[cfg(test)]
    pub(super) hook: Option<Box<dyn FnMut(Call) -> Option<i32>>>,
}

impl Faults {
    /// The errno with which this call is to fail.
    #[cfg(test)]
    pub(super) fn inject(&mut self, call: Call) -> Option<i32> {
        self.hook.as_mut().and_then(|hook| hook(call))
    }

    /// The errno with which this call is to fail.
    #[cfg(not(test))]
    #[expect(clippy::unused_self, reason = "the signature of the tests' build")]
    pub(super) fn inject(&mut self, _call: Call) -> Option<i32> {
        None
    }
}
