//! One protocol machine per module: bytes, commands and `now` go in, datagrams, events and a next
//! deadline come out. Nothing here opens a socket, reads a clock, spawns or locks.

pub mod crypto;
pub mod fuzz;
pub mod ice;
pub mod keys;
pub mod srtp;
