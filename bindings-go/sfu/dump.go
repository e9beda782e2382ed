package sfu

import (
	"context"
	"time"

	"libsfu.example/go/internal/fbs"
)

// Dumps tell what objects are made of: for operators and tests.

// EngineDump is that of an engine.
type EngineDump struct {
	Version string
	Shards  []ShardDump
}

// ShardDump is that of a shard.
type ShardDump struct {
	Index int
	// CPU that it is pinned to; negative: none.
	CPU           int
	Routers       []ID
	WebRTCServers []ID
	Sockets       int
}

// WebRTCServerDump is that of a WebRTC server.
type WebRTCServerDump struct {
	ID ID
	// LocalAddresses are those of UDP, TCPLocalAddresses those of TCP.
	LocalAddresses, TCPLocalAddresses []string
	Transports                        []ID
	// UsernameFragments of the transports that share the ports.
	UsernameFragments map[string]ID
}

// RouterDump is that of a router.
type RouterDump struct {
	ID                                          ID
	RTPCapabilities                             RTPCapabilities
	Transports, Producers, Consumers, Observers []ID
	// ConsumersOf producers, and ObserversOf them: those that have any.
	ConsumersOf, ObserversOf map[ID][]ID
}

// TransportDump is that of a transport of any kind.
type TransportDump struct {
	ID, Router           ID
	Producers, Consumers []ID
	Streams              TransportStreams
}

// WebRTCTransportDump is that of a WebRTC transport.
type WebRTCTransportDump struct {
	TransportDump
	// WebRTCServer that it uses; 0: none.
	WebRTCServer  ID
	ICEState      ICEState
	ICEParameters ICEParameters
	ICECandidates []ICECandidate
	SelectedTuple *TransportTuple
	Tuples        []TransportTuple
	DTLSState     DTLSState
	DTLSLocalRole DTLSRole
	// SRTPProfile in OpenSSL's words; empty before DTLS has connected.
	SRTPProfile string
}

// PlainTransportDump is that of a plain transport.
type PlainTransportDump struct {
	TransportDump
	RTCPMux, Comedia bool
	LocalAddresses   []string
	// Tuple and RTCPTuple; nil while the peer is not known.
	Tuple, RTCPTuple *TransportTuple
	SRTPProfile      string
}

// PipeTransportDump is that of a pipe transport.
type PipeTransportDump struct {
	TransportDump
	LocalAddress      string
	Tuple             *TransportTuple
	RTX, SRTP, Silent bool
	// OnlyWanted: encodings that nobody watches at the far end are not sent.
	OnlyWanted bool
}

// ProducerDump is that of a producer.
type ProducerDump struct {
	ID, Transport           ID
	Kind                    MediaKind
	Type                    StreamType
	Paused                  bool
	RTPParameters           RTPParameters
	ConsumableRTPParameters RTPParameters
	SSRCs                   []uint32
	Consumers               []ID
	Scores                  []EncodingScore
	// WantedLayers; nil: nobody watches.
	WantedLayers *Layers
	// Trace is what SetTrace chose.
	Trace []TraceKind
	// Observed by an observer.
	Observed bool
	// OpaquePayload: it is not looked into.
	OpaquePayload bool
}

// ConsumerDump is that of a consumer.
type ConsumerDump struct {
	ID, Transport, Producer ID
	Kind                    MediaKind
	Type                    StreamType
	Paused, ProducerPaused  bool
	RTPParameters           RTPParameters
	SSRC                    uint32
	RTXSSRC, FECSSRC        *uint32
	Priority                uint8
	// PreferredLayers; nil: all there are. TargetLayers and CurrentLayers; nil: nothing.
	PreferredLayers, TargetLayers, CurrentLayers *Layers
	// PendingProducer is the one that it switches to with the next key frame; 0: none.
	PendingProducer ID
	PayloadTypes    []PayloadTypes
	// HeaderExtensions as its peer calls those that it is sent.
	HeaderExtensions []HeaderExtensionID
	// HeaderExtensionsLeftOut since a packet had no room for them.
	HeaderExtensionsLeftOut uint64
	// Trace is what SetTrace chose.
	Trace []TraceKind
	// DecisionRows that KeepDecisions keeps.
	DecisionRows int
	// Lanes of a pipe consumer: its streams, one for each encoding of the producer, in order.
	Lanes []ConsumerLane
}

// ConsumerLane is one stream of a pipe consumer.
type ConsumerLane struct {
	SSRC    uint32
	RTXSSRC *uint32
	// FECSSRC of its FlexFEC; nil: none.
	FECSSRC *uint32
	// Wanted by the far router, and within the consumer's preferred layers.
	Wanted bool
	// CurrentLayers within the encoding that it sends; nil: nothing.
	CurrentLayers *Layers
}

// ObserverDump is that of an observer.
type ObserverDump struct {
	ID, Router ID
	// ActiveSpeaker, else it observes levels.
	ActiveSpeaker bool
	Paused        bool
	Interval      time.Duration
	// MaxEntries and Threshold of an audio level observer.
	MaxEntries int
	Threshold  int
	Producers  []ID
	// Dominant of an active speaker observer; 0 is nobody.
	Dominant ID
}

func dump[T any](ctx context.Context, c *core, target ID) (T, error) {
	return call[T](ctx, c, "Dump", target, fbs.RequestBodyGetDump, &fbs.GetDumpT{})
}

// Dump tells what the engine is made of.
func (e *Engine) Dump(ctx context.Context) (*EngineDump, error) {
	d, err := dump[*fbs.EngineDumpT](ctx, e.core, 0)
	if err != nil {
		return nil, err
	}
	out := &EngineDump{Version: d.Version}
	for _, shard := range d.Shards {
		out.Shards = append(out.Shards, ShardDump{
			Index: int(shard.Index), CPU: int(shard.Cpu), Routers: ids(shard.Routers),
			WebRTCServers: ids(shard.WebrtcServers), Sockets: int(shard.Sockets),
		})
	}
	return out, nil
}

// Dump tells what the server is made of.
func (s *WebRTCServer) Dump(ctx context.Context) (*WebRTCServerDump, error) {
	d, err := dump[*fbs.WebRtcServerDumpT](ctx, s.core, s.id)
	if err != nil {
		return nil, err
	}
	out := &WebRTCServerDump{
		ID: ID(d.Id), LocalAddresses: d.LocalAddresses, TCPLocalAddresses: d.TcpLocalAddresses,
		Transports: ids(d.Transports), UsernameFragments: make(map[string]ID, len(d.UsernameFragments)),
	}
	for _, one := range d.UsernameFragments {
		out.UsernameFragments[one.UsernameFragment] = ID(one.Transport)
	}
	return out, nil
}

// Dump tells what the router is made of.
func (r *Router) Dump(ctx context.Context) (*RouterDump, error) {
	d, err := dump[*fbs.RouterDumpT](ctx, r.core, r.id)
	if err != nil {
		return nil, err
	}
	return &RouterDump{
		ID: ID(d.Id), RTPCapabilities: capabilitiesFrom(d.RtpCapabilities), Transports: ids(d.Transports),
		Producers: ids(d.Producers), Consumers: ids(d.Consumers), Observers: ids(d.Observers),
		ConsumersOf: links(d.ConsumersOf), ObserversOf: links(d.ObserversOf),
	}, nil
}

func links(list []*fbs.ObjectLinksT) map[ID][]ID {
	out := make(map[ID][]ID, len(list))
	for _, one := range list {
		out[ID(one.Id)] = ids(one.Linked)
	}
	return out
}

func transportDump(id, router uint64, producers, consumers []uint64, streams *fbs.TransportStreamsT) TransportDump {
	return TransportDump{
		ID: ID(id), Router: ID(router), Producers: ids(producers), Consumers: ids(consumers), Streams: streamsFrom(streams),
	}
}

// Dump tells what the transport is made of.
func (t *WebRTCTransport) Dump(ctx context.Context) (*WebRTCTransportDump, error) {
	d, err := dump[*fbs.WebRtcTransportDumpT](ctx, t.core, t.id)
	if err != nil {
		return nil, err
	}
	return &WebRTCTransportDump{
		TransportDump: transportDump(d.Id, d.Router, d.Producers, d.Consumers, d.Streams),
		WebRTCServer:  ID(d.WebrtcServer),
		ICEState:      ICEState(stateName(d.IceState.String())), ICEParameters: iceFrom(d.IceParameters),
		ICECandidates: candidatesFrom(d.IceCandidates), SelectedTuple: tupleFrom(d.SelectedTuple),
		Tuples: tuplesFrom(d.Tuples), DTLSState: DTLSState(stateName(d.DtlsState.String())),
		DTLSLocalRole: DTLSRole(d.DtlsLocalRole.String()), SRTPProfile: d.SrtpProfile,
	}, nil
}

// Dump tells what the transport is made of.
func (t *PlainTransport) Dump(ctx context.Context) (*PlainTransportDump, error) {
	d, err := dump[*fbs.PlainTransportDumpT](ctx, t.core, t.id)
	if err != nil {
		return nil, err
	}
	return &PlainTransportDump{
		TransportDump: transportDump(d.Id, d.Router, d.Producers, d.Consumers, d.Streams),
		RTCPMux:       d.RtcpMux, Comedia: d.Comedia,
		LocalAddresses: d.LocalAddresses, Tuple: tupleFrom(d.Tuple), RTCPTuple: tupleFrom(d.RtcpTuple),
		SRTPProfile: d.SrtpProfile,
	}, nil
}

// Dump tells what the transport is made of.
func (t *PipeTransport) Dump(ctx context.Context) (*PipeTransportDump, error) {
	d, err := dump[*fbs.PipeTransportDumpT](ctx, t.core, t.id)
	if err != nil {
		return nil, err
	}
	return &PipeTransportDump{
		TransportDump: transportDump(d.Id, d.Router, d.Producers, d.Consumers, d.Streams),
		LocalAddress:  d.LocalAddress,
		Tuple:         tupleFrom(d.Tuple), RTX: d.Rtx, SRTP: d.Srtp, Silent: d.Silent, OnlyWanted: d.OnlyWanted,
	}, nil
}

// Dump tells what the transport is made of.
func (t *DirectTransport) Dump(ctx context.Context) (*TransportDump, error) {
	d, err := dump[*fbs.DirectTransportDumpT](ctx, t.core, t.id)
	if err != nil {
		return nil, err
	}
	out := transportDump(d.Id, d.Router, d.Producers, d.Consumers, d.Streams)
	return &out, nil
}

// Dump tells what the producer is made of.
func (p *Producer) Dump(ctx context.Context) (*ProducerDump, error) {
	d, err := dump[*fbs.ProducerDumpT](ctx, p.core, p.id)
	if err != nil {
		return nil, err
	}
	return &ProducerDump{
		ID: ID(d.Id), Transport: ID(d.Transport), Kind: kindFrom(d.Kind), Type: StreamType(d.Type.String()),
		Paused: d.Paused, RTPParameters: rtpFrom(d.RtpParameters),
		ConsumableRTPParameters: rtpFrom(d.ConsumableRtpParameters), SSRCs: d.Ssrcs, Consumers: ids(d.Consumers),
		Scores: scoresFrom(d.Scores), WantedLayers: layersFrom(d.WantedLayers),
		Trace: traceKindsFrom(d.Trace), Observed: d.Observed, OpaquePayload: d.OpaquePayload,
	}, nil
}

// Dump tells what the consumer is made of.
func (c *Consumer) Dump(ctx context.Context) (*ConsumerDump, error) {
	d, err := dump[*fbs.ConsumerDumpT](ctx, c.core, c.id)
	if err != nil {
		return nil, err
	}
	return &ConsumerDump{
		ID: ID(d.Id), Transport: ID(d.Transport), Producer: ID(d.Producer), Kind: kindFrom(d.Kind),
		Type: StreamType(d.Type.String()), Paused: d.Paused, ProducerPaused: d.ProducerPaused,
		RTPParameters: rtpFrom(d.RtpParameters), SSRC: d.Ssrc, RTXSSRC: d.RtxSsrc, FECSSRC: d.FecSsrc,
		Priority:        d.Priority,
		PreferredLayers: layersFrom(d.PreferredLayers), TargetLayers: layersFrom(d.TargetLayers),
		CurrentLayers: layersFrom(d.CurrentLayers), PendingProducer: ID(d.PendingProducer),
		PayloadTypes: payloadTypesFrom(d.PayloadTypes), HeaderExtensions: extensionIDsFrom(d.HeaderExtensions),
		HeaderExtensionsLeftOut: d.HeaderExtensionsLeftOut, Trace: traceKindsFrom(d.Trace),
		DecisionRows: int(d.DecisionRows), Lanes: lanesFrom(d.Lanes),
	}, nil
}

func lanesFrom(lanes []*fbs.ConsumerLaneT) []ConsumerLane {
	var out []ConsumerLane
	for _, one := range lanes {
		out = append(out, ConsumerLane{
			SSRC: one.Ssrc, RTXSSRC: one.RtxSsrc, FECSSRC: one.FecSsrc, Wanted: one.Wanted, CurrentLayers: layersFrom(one.CurrentLayers),
		})
	}
	return out
}

// Dump tells what the observer is made of.
func (o observer) Dump(ctx context.Context) (*ObserverDump, error) {
	d, err := dump[*fbs.ObserverDumpT](ctx, o.core, o.id)
	if err != nil {
		return nil, err
	}
	return &ObserverDump{
		ID: ID(d.Id), Router: ID(d.Router), ActiveSpeaker: d.Type == fbs.ObserverTypeactive_speaker, Paused: d.Paused,
		Interval: time.Duration(d.IntervalMs) * time.Millisecond, MaxEntries: int(d.MaxEntries),
		Threshold: int(d.Threshold), Producers: ids(d.Producers), Dominant: ID(d.Dominant),
	}, nil
}
