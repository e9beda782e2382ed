//! One protocol machine per module: bytes, commands and `now` go in, datagrams, events and a next
//! deadline come out. Nothing here opens a socket, reads a clock, spawns or locks.

pub mod active_speaker;
pub mod audio_level;
pub mod crypto;
pub mod framing;
pub mod fuzz;
pub mod history;
pub mod ice;
pub mod keyframe;
pub mod keys;
pub mod layers;
pub mod nack;
pub mod receive_stream;
pub mod remb_limit;
pub mod resend;
pub mod rewrite;
pub mod rtcp_schedule;
pub mod score;
pub mod send_stream;
pub mod source_clock;
pub mod srtp;
pub mod transport_cc;

#[cfg(test)]
mod testing;
