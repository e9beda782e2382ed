package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"libsfu.example/go/sfu"
)

// statistics are the engine's counters as the JSON that clients of the protocol read: the transport first, then streams.
func statistics(ctx context.Context, p *peer, method string, d data) (any, error) {
	var one interface {
		Stats(context.Context) (*sfu.Stats, error)
	}
	var err error
	profile := ""
	switch method {
	case "getTransportStats":
		var transport *transportEntry
		transport, err = p.transportOf(d)
		if err == nil && transport.webrtc() != nil {
			dump, err := transport.webrtc().Dump(ctx)
			if err != nil {
				return nil, err
			}
			profile = registeredName(dump.SRTPProfile)
		}
		one = transport
	case "getProducerStats":
		one, err = p.producerOf(d)
	default:
		one, err = p.consumerOf(d)
	}
	if err != nil {
		return nil, err
	}
	stats, err := one.Stats(ctx)
	if err != nil {
		return nil, err
	}
	rows := []object{}
	if stats.Transport != nil {
		rows = append(rows, transportRow(stats, profile))
	}
	for at := range stats.Streams {
		rows = append(rows, streamRow(stats.At, &stats.Streams[at]))
	}
	return rows, nil
}

// registeredName is a profile's in IANA's registry, where the engine gives OpenSSL's.
func registeredName(profile string) string {
	name := strings.TrimPrefix(profile, "SRTP_")
	return strings.Replace(name, "AES128_CM_SHA1_", "AES_CM_128_HMAC_SHA1_", 1)
}

func transportRow(stats *sfu.Stats, profile string) object {
	t := stats.Transport
	row := object{
		"type": "webrtc-transport", "transportId": stats.Target, "timestamp": stats.At.UnixMilli(),
		"iceState": t.ICEState, "dtlsState": t.DTLSState, "srtpProfile": profile, "iceSelectedTuple": nil,
		"bytesReceived": t.BytesReceived, "bytesSent": t.BytesSent,
		"packetsReceived": t.PacketsReceived, "packetsSent": t.PacketsSent,
		"recvBitrate": t.ReceiveBitrate, "sendBitrate": t.SendBitrate,
		"rtpBytesReceived": t.RTPBytesReceived, "rtpBytesSent": t.RTPBytesSent,
		"rtxBytesReceived": t.RTXBytesReceived, "rtxBytesSent": t.RTXBytesSent,
		"rtpRecvBitrate": t.RTPReceiveBitrate, "rtpSendBitrate": t.RTPSendBitrate,
		"rtxRecvBitrate": t.RTXReceiveBitrate, "rtxSendBitrate": t.RTXSendBitrate,
		"rtpPacketLossReceived": t.RTPLossReceived, "rtpPacketLossSent": t.RTPLossSent,
		"maxIncomingBitrate": t.MaxIncomingBitrate, "drops": stats.Drops,
	}
	if tuple := t.SelectedTuple; tuple != nil {
		row["iceSelectedTuple"] = object{
			"protocol": tuple.Protocol, "localAddress": tuple.LocalAddress, "localPort": tuple.LocalPort,
			"remoteIp": tuple.RemoteAddress, "remotePort": tuple.RemotePort,
		}
	}
	return row
}

func streamRow(at time.Time, s *sfu.StreamStats) object {
	row := object{
		"type": "outbound-rtp", "timestamp": at.UnixMilli(), "ssrc": s.SSRC, "rtxSsrc": s.RTXSSRC, "rid": nil,
		"kind": s.Kind, "mimeType": s.MimeType, "packetCount": s.Packets, "byteCount": s.Bytes, "bitrate": s.Bitrate,
		"packetsLost": s.PacketsLost, "fractionLost": s.FractionLost, "jitter": s.Jitter,
		"packetsDiscarded": s.PacketsDiscarded, "packetsRetransmitted": s.PacketsRetransmitted,
		"packetsRepaired": s.PacketsRepaired, "nackCount": s.NACKCount, "nackPacketCount": s.NACKPacketCount,
		"pliCount": s.PLICount, "firCount": s.FIRCount, "keyFrameCount": s.KeyFrameCount, "roundTripTime": nil,
		"score": s.Score,
	}
	if s.Inbound {
		row["type"] = "inbound-rtp"
	}
	if s.RID != "" {
		row["rid"] = s.RID
	}
	if s.RoundTripTime != nil {
		row["roundTripTime"] = float64(s.RoundTripTime.Microseconds()) / 1000
	}
	layers := object{}
	for _, layer := range s.BitrateByLayer {
		layers[fmt.Sprintf("%d.%d", layer.Spatial, layer.Temporal)] = layer.Bitrate
	}
	row["bitrateByLayer"] = layers
	return row
}
