//! The streams of transports, and what producers and consumers are dumped with, as the schema has it.

use sfu_core::tap::TapFormat;
use sfu_core::trace::TraceMask;
use sfu_core::transport_streams::{ProducerLine, ReceivedSsrc, SentSsrc, TapDump, TransportStreams};
use sfu_wire::extension::ExtensionKind;
use sfu_wire::id::ObjectId;

use crate::schema as fb;

fn count(n: usize) -> u32 {
    u32::try_from(n).unwrap_or(u32::MAX)
}

/// A transport's streams.
pub(crate) fn transport_streams(streams: &TransportStreams) -> Option<Box<fb::TransportStreamsT>> {
    Some(Box::new(fb::TransportStreamsT {
        received: Some(streams.received.iter().map(received).collect()),
        lines: Some(streams.lines.iter().map(line).collect()),
        sent: Some(streams.sent.iter().map(sent).collect()),
        header_extensions: extensions(&streams.extensions),
        learned_ssrcs: count(streams.learned.0),
        learned_ssrcs_limit: count(streams.learned.1),
        decision_rows: count(streams.decision_rows),
        tap: streams.tap.as_ref().map(|dump| Box::new(tap(dump))),
    }))
}

fn received(r: &ReceivedSsrc) -> fb::ReceivedSsrcT {
    fb::ReceivedSsrcT {
        ssrc: r.ssrc,
        producer: r.producer.to_u64(),
        encoding: r.encoding,
        rtx: r.rtx,
        fec: r.fec,
        signalled: r.signalled,
    }
}

fn line(line: &ProducerLine) -> fb::ProducerLineT {
    let rid = |rid: &Option<sfu_wire::media::Rid>| rid.as_ref().map_or(String::new(), |rid| rid.as_str().to_owned());
    fb::ProducerLineT {
        producer: line.producer.to_u64(),
        mid: line.mid.as_ref().map(|mid| mid.as_str().to_owned()),
        rids: Some(line.rids.iter().map(rid).collect()),
        payload_types: payload_types(&line.payload_types),
    }
}

fn sent(s: &SentSsrc) -> fb::SentSsrcT {
    fb::SentSsrcT { ssrc: s.ssrc, consumer: s.consumer.to_u64(), rtx: s.rtx, fec: s.fec }
}

fn tap(tap: &TapDump) -> fb::TapDumpT {
    fb::TapDumpT {
        name: Some(tap.name.clone()),
        format: match tap.format {
            TapFormat::Pcapng => fb::TapFormat::pcapng,
            TapFormat::Rtpdump => fb::TapFormat::rtpdump,
        },
        max_bytes: tap.max_bytes,
        max_duration_ms: u32::try_from(tap.max_duration.as_millis()).unwrap_or(u32::MAX),
        headers_only: tap.headers_only,
        packets: tap.packets,
        bytes: tap.bytes,
        dropped: tap.dropped,
    }
}

/// Payload types, each with that of its RTX.
pub(super) fn payload_types(list: &[(u8, Option<u8>)]) -> Option<Vec<fb::PayloadTypeDumpT>> {
    let one = |(payload_type, rtx): &(u8, Option<u8>)| fb::PayloadTypeDumpT {
        payload_type: *payload_type,
        rtx_payload_type: *rtx,
    };
    Some(list.iter().map(one).collect())
}

/// Header extensions by name and number.
pub(super) fn extensions(list: &[(ExtensionKind, u8)]) -> Option<Vec<fb::HeaderExtensionIdT>> {
    let one = |(kind, id): &(ExtensionKind, u8)| fb::HeaderExtensionIdT { uri: kind.uri().to_owned(), id: *id };
    Some(list.iter().map(one).collect())
}

/// The kinds of a mask.
pub(super) fn trace_kinds(mask: TraceMask) -> Option<Vec<fb::TraceKind>> {
    let set = TraceMask::ALL.iter().enumerate().filter(|(_, (kind, _))| mask.has(*kind));
    Some(set.map(|(at, _)| fb::TraceKind(at as u8)).collect())
}

/// Username fragments and where they lead.
pub(super) fn username_fragments(list: &[(String, ObjectId)]) -> Option<Vec<fb::UsernameFragmentT>> {
    let one = |(text, transport): &(String, ObjectId)| fb::UsernameFragmentT {
        username_fragment: Some(text.clone()),
        transport: transport.to_u64(),
    };
    Some(list.iter().map(one).collect())
}
