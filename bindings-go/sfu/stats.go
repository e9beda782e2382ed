package sfu

import (
	"context"
	"time"

	"libsfu.example/go/internal/fbs"
)

// StreamStats are the counters of one RTP stream. Bitrates are in bit/s over the last second.
type StreamStats struct {
	SSRC    uint32
	RTXSSRC *uint32
	FECSSRC *uint32
	RID     string
	// Inbound: from a producer's peer; else to a consumer's.
	Inbound  bool
	Kind     MediaKind
	MimeType string
	Packets  uint64
	Bytes    uint64
	Bitrate  uint32
	// PacketsLost may be negative: what came twice is subtracted (RFC 3550).
	PacketsLost int64
	// FractionLost in 1/256.
	FractionLost uint8
	// Jitter in milliseconds.
	Jitter               uint32
	PacketsDiscarded     uint64
	RTXPacketsDiscarded  uint64
	PacketsRetransmitted uint64
	PacketsRepaired      uint64
	NACKCount            uint64
	NACKPacketCount      uint64
	PLICount             uint64
	FIRCount             uint64
	KeyFrameCount        uint64
	// FECPackets and FECBytes: of the FlexFEC stream, and ULPFEC in the stream itself.
	FECPackets, FECBytes uint64
	// RoundTripTime; nil while it is not known.
	RoundTripTime *time.Duration
	// Score from 0 (nothing arrives) to 10.
	Score uint8
	// BitrateByLayer of a receive stream with layers, the lowest first: what each takes without those below it.
	BitrateByLayer []LayerBitrate
}

// LayerBitrate is what one layer takes, bit/s.
type LayerBitrate struct {
	Spatial, Temporal uint8
	Bitrate           uint32
}

// TransportStats are the counters of a transport. Bitrates are in bit/s over the last second.
type TransportStats struct {
	BytesReceived, BytesSent       uint64
	PacketsReceived, PacketsSent   uint64
	ReceiveBitrate, SendBitrate    uint32
	RTPBytesReceived, RTPBytesSent uint64
	RTXBytesReceived, RTXBytesSent uint64
	RTPReceiveBitrate              uint32
	RTPSendBitrate                 uint32
	RTXReceiveBitrate              uint32
	RTXSendBitrate                 uint32
	ICEState                       ICEState
	DTLSState                      DTLSState
	SelectedTuple                  *TransportTuple
	RTPLossReceived, RTPLossSent   *float32
	MaxIncomingBitrate             uint32
}

// ShardStats are a shard's part in the counters of the engine.
type ShardStats struct {
	Index    int
	Drops    map[string]uint64
	Counters map[string]uint64
}

// Stats is what was asked for and what is below it.
type Stats struct {
	Target ID
	// At is when the shard was asked.
	At time.Time
	// Transport, if the object is one.
	Transport *TransportStats
	// Streams; none in a summary.
	Streams []StreamStats
	// Drops are refusals of network input by reason, those that happened.
	Drops map[string]uint64
	// Counters of other names: of engine, shards and routers.
	Counters map[string]uint64
	// Shards, if the object is the engine.
	Shards []ShardStats
}

func (c *core) stats(ctx context.Context, op string, target ID, summary bool) (*Stats, error) {
	report, err := call[*fbs.StatsReportT](ctx, c, op, target, fbs.RequestBodyGetStats, &fbs.GetStatsT{Summary: summary})
	if err != nil {
		return nil, err
	}
	out := &Stats{
		Target: ID(report.Target), At: time.UnixMilli(int64(report.TimestampMs)), Drops: counters(report.Drops),
		Counters: counters(report.Counters), Transport: transportStatsFrom(report.Transport),
	}
	for _, stream := range report.Streams {
		out.Streams = append(out.Streams, streamStatsFrom(stream))
	}
	for _, shard := range report.Shards {
		out.Shards = append(out.Shards, ShardStats{
			Index: int(shard.Index), Drops: counters(shard.Drops), Counters: counters(shard.Counters),
		})
	}
	return out, nil
}

// Stats of the object and what is below it.
func (o *object) Stats(ctx context.Context) (*Stats, error) {
	return o.core.stats(ctx, "Stats", o.id, false)
}

// Summary is Stats without the streams: cheap, however many there are.
func (o *object) Summary(ctx context.Context) (*Stats, error) {
	return o.core.stats(ctx, "Summary", o.id, true)
}

// Stats of the engine, with each shard's.
func (e *Engine) Stats(ctx context.Context) (*Stats, error) { return e.stats(ctx, "Stats", 0, false) }

// Summary is Stats without the streams: cheap, however many there are.
func (e *Engine) Summary(ctx context.Context) (*Stats, error) {
	return e.stats(ctx, "Summary", 0, true)
}

func counters(list []*fbs.CounterT) map[string]uint64 {
	out := make(map[string]uint64, len(list))
	for _, one := range list {
		out[one.Name] = one.Value
	}
	return out
}

func streamStatsFrom(s *fbs.RtpStreamStatsT) StreamStats {
	out := StreamStats{
		SSRC: s.Ssrc, RTXSSRC: s.RtxSsrc, RID: s.Rid, Inbound: s.Inbound, Kind: kindFrom(s.Kind), MimeType: s.MimeType,
		Packets: s.Packets, Bytes: s.Bytes, Bitrate: s.Bitrate, PacketsLost: s.PacketsLost, FractionLost: s.FractionLost,
		Jitter: s.Jitter, PacketsDiscarded: s.PacketsDiscarded,
		RTXPacketsDiscarded: s.RtxPacketsDiscarded, PacketsRetransmitted: s.PacketsRetransmitted,
		PacketsRepaired: s.PacketsRepaired, NACKCount: s.NackCount, NACKPacketCount: s.NackPacketCount,
		PLICount: s.PliCount, FIRCount: s.FirCount, KeyFrameCount: s.KeyFrameCount, Score: s.Score,
		FECSSRC: s.FecSsrc, FECPackets: s.FecPackets, FECBytes: s.FecBytes,
	}
	if s.RoundTripTimeMs != nil {
		out.RoundTripTime = Ptr(time.Duration(float64(*s.RoundTripTimeMs) * float64(time.Millisecond)))
	}
	for _, layer := range s.BitrateByLayer {
		out.BitrateByLayer = append(out.BitrateByLayer,
			LayerBitrate{Spatial: layer.Spatial, Temporal: layer.Temporal, Bitrate: layer.Bitrate})
	}
	return out
}

func transportStatsFrom(t *fbs.TransportStatsT) *TransportStats {
	if t == nil {
		return nil
	}
	return &TransportStats{
		BytesReceived: t.BytesReceived, BytesSent: t.BytesSent, PacketsReceived: t.PacketsReceived,
		PacketsSent: t.PacketsSent, ReceiveBitrate: t.ReceiveBitrate, SendBitrate: t.SendBitrate,
		RTPBytesReceived: t.RtpBytesReceived, RTPBytesSent: t.RtpBytesSent, RTXBytesReceived: t.RtxBytesReceived,
		RTXBytesSent: t.RtxBytesSent, RTPReceiveBitrate: t.RtpReceiveBitrate, RTPSendBitrate: t.RtpSendBitrate,
		RTXReceiveBitrate: t.RtxReceiveBitrate, RTXSendBitrate: t.RtxSendBitrate,
		ICEState: ICEState(stateName(t.IceState.String())), DTLSState: DTLSState(stateName(t.DtlsState.String())),
		SelectedTuple: tupleFrom(t.SelectedTuple), RTPLossReceived: t.RtpLossReceived, RTPLossSent: t.RtpLossSent,
		MaxIncomingBitrate: t.MaxIncomingBitrate,
	}
}
