//! RTCP packets, one file per type: a view or a plain value, `parse`, `write`.
//!
//! Parsing takes one packet of a compound, header included, as [`Packets`] cuts it. Writing returns
//! the packet's length, always a multiple of four. Limits: see [`compound::MAX_PACKETS`],
//! [`transport_cc::MAX_STATUS_COUNT`] and [`congestion::MAX_REPORTS`]; lists inside a packet are as long as its bytes allow.

mod bye;
pub mod compound;
pub mod congestion;
mod fir;
mod header;
mod nack;
mod pli;
mod receiver_report;
mod remb;
mod report_block;
mod sdes;
mod sender_report;
pub mod transport_cc;
mod wanted;
mod xr;

pub use bye::Bye;
pub use compound::{Packets, RtcpPacket};
pub use congestion::{ArrivalOffset, CongestionFeedback, PacketReport, StreamFeedback};
pub use fir::{Fir, FirEntry};
pub use header::{RtcpHeader, packet_type};
pub use nack::Nack;
pub use pli::Pli;
pub use receiver_report::ReceiverReport;
pub use remb::Remb;
pub use report_block::{ReportBlock, ReportBlocks};
pub use sdes::{Sdes, SdesChunk, SdesItems, sdes_item};
pub use sender_report::SenderReport;
pub use transport_cc::{Arrivals, TransportCc, TransportCcHeader};
pub use wanted::{WantedStream, WantedStreams};
pub use xr::{DlrrBlock, Xr};
