//! Compound packets (RFC 3550, section 6.1 and appendix A.2; reduced size, RFC 5506).

use super::header::{RtcpHeader, packet_type};
use super::{
    Bye, Fir, Nack, Pli, ReceiverReport, Remb, ReportBlocks, Sdes, SenderReport, TransportCc, Xr,
};
use crate::error::ParseError;

/// Most packets that a compound may have; real ones have about five.
pub const MAX_PACKETS: usize = 64;

/// One packet of a compound, borrowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RtcpPacket<'a> {
    /// PT 200.
    SenderReport(SenderReport, ReportBlocks<'a>),
    /// PT 201.
    ReceiverReport(ReceiverReport, ReportBlocks<'a>),
    /// PT 202.
    Sdes(Sdes<'a>),
    /// PT 203.
    Bye(Bye<'a>),
    /// PT 205, FMT 1.
    Nack(Nack<'a>),
    /// PT 206, FMT 1.
    Pli(Pli),
    /// PT 206, FMT 4.
    Fir(Fir<'a>),
    /// PT 206, FMT 15, identifier REMB.
    Remb(Remb<'a>),
    /// PT 205, FMT 15.
    TransportCc(TransportCc<'a>),
    /// PT 207.
    Xr(Xr<'a>),
    /// Anything else, APP included.
    Unknown {
        /// Packet type.
        pt: u8,
        /// RC, SC or FMT.
        fmt: u8,
    },
}

impl<'a> RtcpPacket<'a> {
    /// Reads one packet, header included.
    pub fn parse(packet: &'a [u8]) -> Result<Self, ParseError> {
        let header = RtcpHeader::parse(packet)?;
        let packet = packet.get(..header.len).unwrap_or(packet);
        Ok(match (header.packet_type, header.count) {
            (packet_type::SENDER_REPORT, _) => {
                let (report, blocks) = SenderReport::parse(packet)?;
                Self::SenderReport(report, blocks)
            }
            (packet_type::RECEIVER_REPORT, _) => {
                let (report, blocks) = ReceiverReport::parse(packet)?;
                Self::ReceiverReport(report, blocks)
            }
            (packet_type::SDES, _) => Self::Sdes(Sdes::parse(packet)?),
            (packet_type::BYE, _) => Self::Bye(Bye::parse(packet)?),
            (packet_type::TRANSPORT_FEEDBACK, Nack::FORMAT) => Self::Nack(Nack::parse(packet)?),
            (packet_type::TRANSPORT_FEEDBACK, TransportCc::FORMAT) => Self::TransportCc(TransportCc::parse(packet)?),
            (packet_type::PAYLOAD_FEEDBACK, Pli::FORMAT) => Self::Pli(Pli::parse(packet)?),
            (packet_type::PAYLOAD_FEEDBACK, Fir::FORMAT) => Self::Fir(Fir::parse(packet)?),
            (packet_type::PAYLOAD_FEEDBACK, Remb::FORMAT) if Remb::is_one(packet) => Self::Remb(Remb::parse(packet)?),
            (packet_type::EXTENDED_REPORT, _) => Self::Xr(Xr::parse(packet)?),
            (pt, fmt) => Self::Unknown { pt, fmt },
        })
    }
}

/// Iterator over the packets of a compound whose chain of lengths is sound. A packet whose inside is
/// broken is an error of its own and does not end the iteration.
#[derive(Debug, Clone)]
pub struct Packets<'a> {
    rest: &'a [u8],
    /// Where `rest` begins, for errors.
    at: usize,
}

impl<'a> Packets<'a> {
    /// Checks the compound: every version is 2, the lengths add up to `data`, only the last packet
    /// has padding, and the first one is a report unless reduced size was negotiated. Transport layer
    /// feedback may have padding anywhere, since libwebrtc aligns transport-cc with it.
    pub fn new(data: &'a [u8], reduced_size: bool) -> Result<Self, ParseError> {
        let first = RtcpHeader::parse(data)?;
        let is_report = matches!(first.packet_type, packet_type::SENDER_REPORT | packet_type::RECEIVER_REPORT);
        if !reduced_size && !is_report {
            return Err(ParseError::new("RTCP compound does not begin with a report", 1));
        }
        let mut at = 0;
        let mut count = 0;
        while at < data.len() {
            let header = data.get(at..).map(RtcpHeader::parse);
            let header = header.and_then(Result::ok).ok_or(ParseError::new("RTCP compound malformed", at))?;
            count += 1;
            if count > MAX_PACKETS {
                return Err(ParseError::new("too many packets in RTCP compound", at));
            }
            at += header.len;
            let may_pad = at == data.len() || header.packet_type == packet_type::TRANSPORT_FEEDBACK;
            if header.padding && !may_pad {
                return Err(ParseError::new("RTCP padding before the last packet", at));
            }
        }
        Ok(Self { rest: data, at: 0 })
    }
}

impl<'a> Iterator for Packets<'a> {
    type Item = Result<RtcpPacket<'a>, ParseError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let at = self.at;
        let Ok(header) = RtcpHeader::parse(self.rest) else {
            // `new` has walked the same chain.
            self.rest = &[];
            return None;
        };
        let (packet, rest) = self.rest.split_at_checked(header.len)?;
        self.rest = rest;
        self.at += header.len;
        Some(RtcpPacket::parse(packet).map_err(|error| ParseError::new(error.what, error.offset + at)))
    }
}
