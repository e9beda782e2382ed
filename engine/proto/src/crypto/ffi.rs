//! The few calls into OpenSSL that the `openssl` crate does not offer, each wrapped in a safe function.
//!
//! What it is: thin. It is told a session or a context, it tells success. It leaves out everything that
//! decides.
//!
//! OpenSSL measures retransmission time with the wall clock, and re-checks it at every read. Our time is
//! an argument. So OpenSSL's timer is set so far away that it never fires during a handshake, and when *our*
//! deadline comes, the function that its timer would call is called directly. That function is internal to
//! the library: the tree pins the version and links it statically, and the tests of lossy handshakes
//! fail if it should ever change its meaning. Sending the stored datagrams again instead would not do: a
//! peer that has seen them drops them as replays and never repeats its own last flight (RFC 6347, 4.2.4).

use std::ffi::{c_int, c_long, c_uint, c_void};
use std::ptr;

use foreign_types_shared::ForeignTypeRef;
use openssl::ssl::{SslContextBuilder, SslRef};
use openssl_sys::{SSL, SSL_CTX, SSL_CTX_ctrl, SSL_ctrl, X509_STORE_CTX};

/// `DTLS_CTRL_GET_TIMEOUT` of `openssl/ssl.h`.
const DTLS_CTRL_GET_TIMEOUT: c_int = 73;
/// `SSL_CTRL_SET_MTU` of `openssl/ssl.h`.
const SSL_CTRL_SET_MTU: c_int = 17;
/// `SSL_CTRL_SET_MAX_CERT_LIST` of `openssl/ssl.h`.
const SSL_CTRL_SET_MAX_CERT_LIST: c_int = 51;

type TimerCallback = unsafe extern "C" fn(*mut SSL, c_uint) -> c_uint;
type VerifyCallback = unsafe extern "C" fn(*mut X509_STORE_CTX, *mut c_void) -> c_int;

unsafe extern "C" {
    fn DTLS_set_timer_cb(ssl: *mut SSL, callback: Option<TimerCallback>);
    fn SSL_CTX_set_cert_verify_callback(context: *mut SSL_CTX, callback: Option<VerifyCallback>, argument: *mut c_void);
    fn dtls1_retransmit_buffered_messages(ssl: *mut SSL) -> c_int;
    fn SSL_free_buffers(ssl: *mut SSL) -> c_int;
}

/// The wall-clock timer of a flight, in microseconds: more than an hour, longer than any handshake lives.
unsafe extern "C" fn never(_ssl: *mut SSL, _previous: c_uint) -> c_uint {
    c_uint::MAX
}

/// Identity is the fingerprint; chains, names and dates say nothing about a WebRTC peer. Skipping the
/// chain also keeps hostile certificates away from the chain builder.
unsafe extern "C" fn any_chain(_store: *mut X509_STORE_CTX, _argument: *mut c_void) -> c_int {
    1
}

/// Takes retransmission out of the hands of the wall clock.
pub(super) fn stop_wall_clock(ssl: &SslRef) {
    // SAFETY: the pointer is that of a live session, the callback has the declared type and keeps nothing.
    unsafe { DTLS_set_timer_cb(ssl.as_ptr(), Some(never)) }
}

/// True while a sent flight waits for its answer.
pub(super) fn flight_outstanding(ssl: &SslRef) -> bool {
    let mut left = libc::timeval { tv_sec: 0, tv_usec: 0 };
    // SAFETY: the command writes one `timeval` through the pointer, which is valid for that.
    unsafe { SSL_ctrl(ssl.as_ptr(), DTLS_CTRL_GET_TIMEOUT, 0, ptr::from_mut(&mut left).cast()) == 1 }
}

/// Sends the outstanding flight again, with new record numbers. Only while [`flight_outstanding`].
pub(super) fn retransmit(ssl: &SslRef) -> bool {
    if !flight_outstanding(ssl) {
        return true;
    }
    // SAFETY: the pointer is that of a live DTLS session, whose connection state begins with the `SSL`; a
    // flight is outstanding, so the handshake's buffers exist; OpenSSL's own timer calls it in this state.
    unsafe { dtls1_retransmit_buffered_messages(ssl.as_ptr()) > 0 }
}

/// Gives back the record buffers, of which the one for reading has room for the longest record. The next record makes
/// them anew. What is not read to its end keeps its buffer.
pub(super) fn release_buffers(ssl: &SslRef) {
    // SAFETY: the pointer is that of a live session; the library refuses while a buffer is in use.
    unsafe { SSL_free_buffers(ssl.as_ptr()) };
}

/// From now on no datagram is longer, also of what is sent again.
pub(super) fn narrow(ssl: &SslRef, mtu: u16) {
    // SAFETY: the pointer is that of a live DTLS session and the command takes an integer only. It refuses what is below
    // the library's least, which leaves things as they are.
    unsafe {
        SSL_ctrl(ssl.as_ptr(), SSL_CTRL_SET_MTU, c_long::from(mtu), ptr::null_mut());
    }
}

/// Every certificate passes the chain check.
pub(super) fn accept_any_chain(context: &mut SslContextBuilder) {
    // SAFETY: the context is live, the callback has the declared type and ignores its null argument.
    unsafe { SSL_CTX_set_cert_verify_callback(context.as_ptr(), Some(any_chain), ptr::null_mut()) }
}

/// Bounds the peer's certificate message.
pub(super) fn limit_certificates(context: &mut SslContextBuilder, bytes: usize) {
    let bytes = c_long::try_from(bytes).unwrap_or(c_long::MAX);
    // SAFETY: the context is live and the command takes an integer only.
    unsafe {
        SSL_CTX_ctrl(context.as_ptr(), SSL_CTRL_SET_MAX_CERT_LIST, bytes, ptr::null_mut());
    }
}

/// Asks for a renegotiation: what a peer might do to us.
#[cfg(test)]
pub(super) fn renegotiate(ssl: &SslRef) -> bool {
    unsafe extern "C" {
        fn SSL_renegotiate(ssl: *mut SSL) -> c_int;
    }
    // SAFETY: the pointer is that of a live session.
    unsafe { SSL_renegotiate(ssl.as_ptr()) == 1 }
}
