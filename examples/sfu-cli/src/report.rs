//! The engine's counters as the JSON that clients of the protocol read: a list, the transport first, then its streams.

use serde_json::{Map, Value, json};
use sfu_control::client::Id;
use sfu_control::schema as fb;

use crate::protoo::Refusal;
use crate::room::id_text;
use crate::service::{Service, refusal};

/// Counters of one object.
pub(crate) async fn of(service: &Service, object: Id) -> Result<Value, Refusal> {
    let report = service.client.stats(object).await.map_err(refusal)?;
    let profile = match report.transport {
        Some(_) => match service.client.dump(object).await.map_err(refusal)? {
            fb::ReplyBodyT::WebRtcTransportDump(dump) => registered_name(&dump.srtp_profile.unwrap_or_default()),
            _ => String::new(),
        },
        None => String::new(),
    };
    Ok(rows(object, &report, &profile))
}

/// A profile's name in IANA's registry, where the engine gives OpenSSL's.
fn registered_name(profile: &str) -> String {
    match profile {
        "SRTP_AES128_CM_SHA1_80" => "AES_CM_128_HMAC_SHA1_80",
        "SRTP_AES128_CM_SHA1_32" => "AES_CM_128_HMAC_SHA1_32",
        other => other.strip_prefix("SRTP_").unwrap_or(other),
    }
    .to_owned()
}

fn rows(object: Id, report: &fb::StatsReportT, profile: &str) -> Value {
    let mut rows = Vec::new();
    if let Some(transport) = &report.transport {
        rows.push(transport_row(object, report, transport, profile));
    }
    rows.extend(report.streams.iter().flatten().map(|stream| stream_row(report.timestamp_ms, stream)));
    Value::Array(rows)
}

fn transport_row(object: Id, report: &fb::StatsReportT, transport: &fb::TransportStatsT, profile: &str) -> Value {
    let drops: Map<String, Value> =
        report.drops.iter().flatten().map(|counter| (counter.name.clone(), json!(counter.value))).collect();
    json!({
        "type": "webrtc-transport",
        "transportId": id_text(object),
        "timestamp": report.timestamp_ms,
        "iceState": state_name(transport.ice_state.variant_name()),
        "dtlsState": state_name(transport.dtls_state.variant_name()),
        "srtpProfile": profile,
        "iceSelectedTuple": transport.selected_tuple.as_deref().map(|tuple| json!({
            "protocol": tuple.protocol.variant_name(),
            "localAddress": tuple.local_address,
            "localPort": tuple.local_port,
            "remoteIp": tuple.remote_address,
            "remotePort": tuple.remote_port,
        })),
        "bytesReceived": transport.bytes_received,
        "bytesSent": transport.bytes_sent,
        "packetsReceived": transport.packets_received,
        "packetsSent": transport.packets_sent,
        "recvBitrate": transport.receive_bitrate,
        "sendBitrate": transport.send_bitrate,
        "rtpBytesReceived": transport.rtp_bytes_received,
        "rtpBytesSent": transport.rtp_bytes_sent,
        "rtxBytesReceived": transport.rtx_bytes_received,
        "rtxBytesSent": transport.rtx_bytes_sent,
        "rtpRecvBitrate": transport.rtp_receive_bitrate,
        "rtpSendBitrate": transport.rtp_send_bitrate,
        "rtxRecvBitrate": transport.rtx_receive_bitrate,
        "rtxSendBitrate": transport.rtx_send_bitrate,
        "rtpPacketLossReceived": transport.rtp_loss_received,
        "rtpPacketLossSent": transport.rtp_loss_sent,
        "maxIncomingBitrate": transport.max_incoming_bitrate,
        "drops": drops,
    })
}

/// `new` is a keyword in some of the schema's languages, so the schema spells it `new_`.
fn state_name(name: Option<&str>) -> &str {
    name.unwrap_or("unknown").trim_end_matches('_')
}

fn stream_row(timestamp: u64, stream: &fb::RtpStreamStatsT) -> Value {
    let layers = stream.bitrate_by_layer.iter().flatten();
    let layers = layers.map(|layer| (format!("{}.{}", layer.spatial, layer.temporal), Value::from(layer.bitrate)));
    json!({
        "type": if stream.inbound { "inbound-rtp" } else { "outbound-rtp" },
        "timestamp": timestamp,
        "ssrc": stream.ssrc,
        "rtxSsrc": stream.rtx_ssrc,
        "rid": stream.rid,
        "kind": stream.kind.variant_name(),
        "mimeType": stream.mime_type,
        "packetCount": stream.packets,
        "byteCount": stream.bytes,
        "bitrate": stream.bitrate,
        "packetsLost": stream.packets_lost,
        "fractionLost": stream.fraction_lost,
        "jitter": stream.jitter,
        "packetsDiscarded": stream.packets_discarded,
        "packetsRetransmitted": stream.packets_retransmitted,
        "packetsRepaired": stream.packets_repaired,
        "nackCount": stream.nack_count,
        "nackPacketCount": stream.nack_packet_count,
        "pliCount": stream.pli_count,
        "firCount": stream.fir_count,
        "keyFrameCount": stream.key_frame_count,
        "roundTripTime": stream.round_trip_time_ms,
        "score": stream.score,
        "bitrateByLayer": layers.collect::<serde_json::Map<_, _>>(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_transport_comes_first_and_states_have_their_usual_names() {
        let mut transport = fb::TransportStatsT::default();
        transport.bytes_sent = 9;
        let mut stream = fb::RtpStreamStatsT::default();
        (stream.inbound, stream.packets) = (true, 3);
        let mut layer = fb::LayerBitrateT::default();
        (layer.spatial, layer.temporal, layer.bitrate) = (1, 2, 64_000);
        stream.bitrate_by_layer = Some(vec![layer]);
        let mut report = fb::StatsReportT::default();
        report.timestamp_ms = 5;
        report.transport = Some(Box::new(transport));
        report.streams = Some(vec![stream]);
        let rows = rows(0x0300_0000_0000_0001, &report, "AEAD_AES_256_GCM");
        assert_eq!(rows[0]["iceState"], "new");
        assert_eq!(rows[0]["bytesSent"], 9);
        assert_eq!(rows[0]["transportId"], "0300000000000001");
        assert_eq!(rows[1]["type"], "inbound-rtp");
        assert_eq!(rows[1]["packetCount"], 3);
        assert_eq!(rows[1]["bitrateByLayer"], json!({ "1.2": 64_000 }));
    }

    #[test]
    fn profiles_have_their_registered_names() {
        assert_eq!(registered_name("SRTP_AEAD_AES_256_GCM"), "AEAD_AES_256_GCM");
        assert_eq!(registered_name("SRTP_AES128_CM_SHA1_80"), "AES_CM_128_HMAC_SHA1_80");
        assert_eq!(registered_name(""), "");
    }
}
