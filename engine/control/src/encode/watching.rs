//! What observers, traces and decision logs tell, as the schema has it.

use sfu_core::decision::{Decision, What};
use sfu_core::observer::{ObserverOptions, ProducerVolume};
use sfu_core::stats::ObserverDump;
use sfu_core::tap::TapEnd;
use sfu_core::trace::{Direction, RtpTrace, Trace, Traced};
use sfu_wire::id::ObjectId;
use sfu_wire::scalability::Layers;

use super::ids;
use crate::schema as fb;

/// Who is loud.
pub(super) fn volumes(volumes: &[ProducerVolume]) -> fb::EventBodyT {
    let one = |v: &ProducerVolume| fb::AudioVolumeT { producer: v.source.to_u64(), volume: v.dbov };
    let volumes = Some(volumes.iter().map(one).collect());
    fb::EventBodyT::AudioVolumes(Box::new(fb::AudioVolumesT { volumes }))
}

/// What passed a traced object.
pub(super) fn trace(trace: &Trace) -> fb::EventBodyT {
    let mut out = fb::TraceEventT {
        at_unix_ns: trace.at_unix_nanos,
        direction: match trace.direction {
            Direction::In => fb::TraceDirection::in_,
            Direction::Out => fb::TraceDirection::out,
        },
        ..fb::TraceEventT::default()
    };
    match trace.what {
        Traced::Rtp(packet) => {
            (out.kind, out.ssrc, out.rtp) = (fb::TraceKind::rtp, packet.ssrc, Some(Box::new(rtp(&packet))))
        }
        Traced::KeyFrame(packet) => {
            (out.kind, out.ssrc, out.rtp) = (fb::TraceKind::keyframe, packet.ssrc, Some(Box::new(rtp(&packet))))
        }
        Traced::Nack { ssrc, packets } => (out.kind, out.ssrc, out.packets) = (fb::TraceKind::nack, ssrc, packets),
        Traced::Pli { ssrc } => (out.kind, out.ssrc) = (fb::TraceKind::pli, ssrc),
        Traced::Fir { ssrc } => (out.kind, out.ssrc) = (fb::TraceKind::fir, ssrc),
        Traced::SenderReport(report) => {
            (out.kind, out.ssrc) = (fb::TraceKind::sr, report.ssrc);
            out.report = Some(Box::new(fb::TracedReportT {
                ntp: report.ntp.0,
                rtp_timestamp: report.rtp_timestamp,
                packet_count: report.packet_count,
                octet_count: report.octet_count,
            }));
        }
    }
    fb::EventBodyT::TraceEvent(Box::new(out))
}

fn rtp(packet: &RtpTrace) -> fb::TracedRtpT {
    fb::TracedRtpT {
        payload_type: packet.payload_type,
        sequence: packet.sequence,
        timestamp: packet.timestamp,
        marker: packet.marker,
        key_frame: packet.key_frame,
        rtx: packet.rtx,
        bytes: packet.bytes,
    }
}

/// How a tap ended: packets, bytes, dropped packets, and what went wrong.
pub(super) fn tap_closed(reason: TapEnd, [packets, bytes, dropped]: [u64; 3], text: String) -> fb::EventBodyT {
    let reason = match reason {
        TapEnd::Stopped => fb::TapEnd::stopped,
        TapEnd::SizeReached => fb::TapEnd::size_reached,
        TapEnd::TimeReached => fb::TapEnd::time_reached,
        TapEnd::TransportClosed => fb::TapEnd::transport_closed,
        TapEnd::Failed => fb::TapEnd::failed,
    };
    let text = (!text.is_empty()).then_some(text);
    fb::EventBodyT::TapClosed(Box::new(fb::TapClosedT { reason, packets, bytes, dropped, text }))
}

/// Why packets were dropped and layers chosen.
pub(crate) fn decisions(capacity: usize, rows: &[(u64, Decision)]) -> fb::ReplyBodyT {
    let rows = Some(rows.iter().map(|(at, row)| decision(*at, row)).collect());
    let capacity = u32::try_from(capacity).unwrap_or(u32::MAX);
    fb::ReplyBodyT::Decisions(Box::new(fb::DecisionsT { capacity, rows }))
}

fn decision(at_unix_ns: u64, row: &Decision) -> fb::DecisionT {
    let mut out = fb::DecisionT { at_unix_ns, object: row.object.to_u64(), ..fb::DecisionT::default() };
    match row.what {
        What::Drop { reason, ssrc, sequence, count } => {
            out.drop_reason = Some(reason.name().to_owned());
            (out.ssrc, out.sequence, out.count) = (ssrc, sequence, count);
        }
        What::Layers(choice) => {
            let pair = |l: Layers| Box::new(fb::LayersT { spatial: l.spatial, temporal: Some(l.temporal) });
            out.layers = Some(Box::new(fb::LayerChoiceT {
                cause: choice.cause.name().to_owned(),
                preferred: choice.preferred.map(pair),
                target: choice.target.map(pair),
                current: choice.current.map(pair),
                score: choice.score,
                bitrate: choice.bitrate,
            }));
        }
    }
    out
}

/// An observer's state.
pub(crate) fn observer_dump(dump: &ObserverDump) -> fb::ObserverDumpT {
    let mut out = fb::ObserverDumpT {
        id: dump.id.to_u64(),
        router: dump.router.to_u64(),
        paused: dump.paused,
        producers: ids(&dump.producers),
        dominant: dump.dominant.map_or(0, ObjectId::to_u64),
        ..fb::ObserverDumpT::default()
    };
    let interval = match dump.options {
        ObserverOptions::AudioLevel { max_entries, threshold, interval } => {
            (out.type_, out.max_entries, out.threshold) = (fb::ObserverType::audio_level, max_entries, threshold);
            interval
        }
        ObserverOptions::ActiveSpeaker { interval } => {
            out.type_ = fb::ObserverType::active_speaker;
            interval
        }
    };
    out.interval_ms = u32::try_from(interval.as_millis()).unwrap_or(u32::MAX);
    out
}

/// Objects and what is linked to each.
pub(super) fn links(links: &[(ObjectId, Vec<ObjectId>)]) -> Option<Vec<fb::ObjectLinksT>> {
    let one = |(id, linked): &(ObjectId, Vec<ObjectId>)| fb::ObjectLinksT { id: id.to_u64(), linked: ids(linked) };
    Some(links.iter().map(one).collect())
}
