package sfu

import (
	"time"

	"libsfu.example/go/internal/fbs"
)

// eventFrom is the typed event; nil for one that this package does not know.
func eventFrom(event *fbs.EventT) Event {
	if event.Body == nil {
		return nil
	}
	source := ID(event.Source)
	switch e := event.Body.Value.(type) {
	case *fbs.ObjectClosedT:
		return ObjectClosed{Object: source, Reason: CloseReason(e.Reason.String()), Text: e.Text}
	case *fbs.IceStateChangedT:
		return ICEStateChanged{Transport: source, State: ICEState(stateName(e.State.String()))}
	case *fbs.IceSelectedTupleChangedT:
		changed := ICESelectedTupleChanged{Transport: source}
		if tuple := tupleFrom(e.Tuple); tuple != nil {
			changed.Tuple = *tuple
		}
		return changed
	case *fbs.DtlsStateChangedT:
		return DTLSStateChanged{Transport: source, State: DTLSState(stateName(e.State.String())), Reason: e.Reason}
	case *fbs.ProducerPausedT:
		return ProducerPaused{Consumer: source}
	case *fbs.ProducerResumedT:
		return ProducerResumed{Consumer: source}
	case *fbs.LayersChangedT:
		return LayersChanged{Consumer: source, Layers: layersFrom(e.Layers)}
	case *fbs.ProducerScoreT:
		return ProducerScore{Producer: source, Scores: scoresFrom(e.Scores)}
	case *fbs.ConsumerScoreT:
		scores := make([]int, len(e.ProducerScores))
		for at, score := range e.ProducerScores {
			scores[at] = int(score)
		}
		return ConsumerScore{Consumer: source, Score: e.Score, ProducerScore: e.ProducerScore, ProducerScores: scores}
	case *fbs.WantedLayersT:
		return WantedLayers{Producer: source, Layers: layersFrom(e.Layers)}
	case *fbs.VideoOrientationChangedT:
		return VideoOrientationChanged{Producer: source, Camera: e.Camera, Flip: e.Flip, Rotation: int(e.Rotation)}
	case *fbs.AudioVolumesT:
		volumes := make([]Volume, len(e.Volumes))
		for at, one := range e.Volumes {
			volumes[at] = Volume{Producer: ID(one.Producer), Volume: int(one.Volume)}
		}
		return AudioVolumes{Observer: source, Volumes: volumes}
	case *fbs.AudioSilenceT:
		return AudioSilence{Observer: source}
	case *fbs.DominantSpeakerChangedT:
		return DominantSpeakerChanged{Observer: source, Producer: ID(e.Producer)}
	case *fbs.TraceEventT:
		return traceFrom(source, e)
	}
	return transportEventFrom(source, event.Body.Value)
}

func transportEventFrom(source ID, body any) Event {
	switch e := body.(type) {
	case *fbs.TransportTupleChangedT:
		changed := TransportTupleChanged{Transport: source, RTCP: e.Rtcp}
		if tuple := tupleFrom(e.Tuple); tuple != nil {
			changed.Tuple = *tuple
		}
		return changed
	case *fbs.PipeSilenceChangedT:
		return PipeSilenceChanged{Transport: source, Silent: e.Silent}
	case *fbs.StreamLimitReachedT:
		return StreamLimitReached{Transport: source, Limit: int(e.Limit)}
	case *fbs.TapClosedT:
		return TapClosed{
			Transport: source, Reason: TapEnd(e.Reason.String()), Packets: e.Packets, Bytes: e.Bytes,
			Dropped: e.Dropped, Text: e.Text,
		}
	case *fbs.EngineDrainedT:
		return EngineDrained{}
	case *fbs.EventsLostT:
		return EventsLost{Count: e.Count}
	}
	return nil
}

func scoresFrom(scores []*fbs.EncodingScoreT) []EncodingScore {
	out := make([]EncodingScore, len(scores))
	for at, one := range scores {
		out[at] = EncodingScore{Encoding: one.Encoding, SSRC: one.Ssrc, RID: one.Rid, Score: one.Score}
	}
	return out
}

func traceFrom(source ID, e *fbs.TraceEventT) Trace {
	trace := Trace{
		Object: source, At: time.Unix(0, int64(e.AtUnixNs)), Kind: TraceKind(e.Kind.String()),
		Out: e.Direction == fbs.TraceDirectionout, SSRC: e.Ssrc, Packets: int(e.Packets),
	}
	if rtp := e.Rtp; rtp != nil {
		trace.RTP = &TracedRTP{
			PayloadType: rtp.PayloadType, SequenceNumber: rtp.Sequence, Timestamp: rtp.Timestamp, Marker: rtp.Marker,
			KeyFrame: rtp.KeyFrame, RTX: rtp.Rtx, Bytes: int(rtp.Bytes),
		}
	}
	if report := e.Report; report != nil {
		trace.Report = &TracedReport{
			NTP: report.Ntp, RTPTimestamp: report.RtpTimestamp, PacketCount: report.PacketCount,
			OctetCount: report.OctetCount,
		}
	}
	return trace
}
