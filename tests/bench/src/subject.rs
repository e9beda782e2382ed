//! What is measured: something that takes one publisher's sealed packets and sends them to all viewers.

use std::net::UdpSocket;
use std::time::Duration;

/// Running totals.
#[derive(Debug, Clone, Copy, Default)]
pub struct Totals {
    /// CPU time of the thread that forwards.
    pub cpu: Duration,
    /// Datagrams received.
    pub datagrams_in: u64,
    /// Datagrams sent.
    pub datagrams_out: u64,
    /// Messages in which they were sent.
    pub messages_out: u64,
}

/// A forwarder with its viewers connected.
pub trait Subject {
    /// What tables call it.
    fn name(&self) -> &'static str;
    /// Seals a packet of the publisher, in the order in which it will be sent.
    fn seal(&mut self, packet: &[u8]) -> Vec<u8>;
    /// The publisher's socket, connected to the forwarder.
    fn socket(&self) -> &UdpSocket;
    /// Totals until now.
    fn totals(&self) -> Totals;
    /// The viewers.
    fn viewers(&mut self) -> &mut crate::viewers::Viewers;
    /// Ends it.
    fn close(self: Box<Self>);
}
