package sfu

import (
	"context"
	"math"
	"time"

	"libsfu.example/go/internal/fbs"
)

// Transport is what WebRTC, plain, pipe and direct transports have in common.
type Transport interface {
	ID() ID
	Done() <-chan struct{}
	Close(ctx context.Context) error
	Produce(ctx context.Context, options ProducerOptions) (*Producer, error)
	Consume(ctx context.Context, options ConsumerOptions) (*Consumer, error)
	SetMaxIncomingBitrate(ctx context.Context, bitrate uint32) error
	Stats(ctx context.Context) (*Stats, error)
}

var (
	_ Transport = (*WebRTCTransport)(nil)
	_ Transport = (*PlainTransport)(nil)
	_ Transport = (*PipeTransport)(nil)
	_ Transport = (*DirectTransport)(nil)
)

// transport is embedded by all transports.
type transport struct{ *object }

// SetMaxIncomingBitrate changes what the peer is told to stay below, bit/s; 0 is no bound.
func (t transport) SetMaxIncomingBitrate(ctx context.Context, bitrate uint32) error {
	return t.core.do(ctx, "SetMaxIncomingBitrate", t.id, fbs.RequestBodySetMaxIncomingBitrate,
		&fbs.SetMaxIncomingBitrateT{Bitrate: bitrate})
}

// OnStreamLimit sets a handler that is told when the peer has brought more SSRCs that were not signalled than the limit
// that are kept; it is told once.
func (t transport) OnStreamLimit(handler func(limit int)) {
	on(t.object, handler == nil, func(reached StreamLimitReached) { handler(reached.Limit) })
}

// milliseconds of a duration, within what the schema holds. Parts are rounded up: 0 often means off.
func milliseconds(duration time.Duration) uint32 {
	whole := duration.Milliseconds()
	if duration > time.Duration(whole)*time.Millisecond {
		whole++
	}
	return uint32(min(max(whole, 0), math.MaxUint32))
}

// WebRTCTransport is a peer's ICE, DTLS and SRTP.
type WebRTCTransport struct {
	transport
	ice        ICEParameters
	candidates []ICECandidate
	dtls       DTLSParameters
}

// WebRTCTransportOptions of a new WebRTC transport: either Server or ListenInfos.
type WebRTCTransportOptions struct {
	// Server whose ports it shares. One that is on a single shard has the transport there too.
	Server *WebRTCServer
	// ListenInfos give it ports of its own.
	ListenInfos []ListenInfo
	// ICEConsentTimeout: without a valid check of the peer for so long it is disconnected; 0 is 30 s, a negative one
	// switches the check off, a minute is the most.
	ICEConsentTimeout time.Duration
	// MaxIncomingBitrate that the peer is told, bit/s; 0 is no bound.
	MaxIncomingBitrate uint32
	// Shard to place it on, whichever the router is on; nil: the engine chooses.
	Shard *uint8
	// DisableUDP and DisableTCP leave the candidates of a protocol out; at least one has to stay.
	DisableUDP, DisableTCP bool
	// PreferUDP and PreferTCP order the candidates; without either, UDP comes first.
	PreferUDP, PreferTCP bool
}

// CreateWebRTCTransport makes a transport for a WebRTC peer.
func (r *Router) CreateWebRTCTransport(ctx context.Context, options WebRTCTransportOptions) (*WebRTCTransport, error) {
	infos, err := listensTo(options.ListenInfos, "listen_infos")
	if err != nil {
		return nil, named("CreateWebRTCTransport", err)
	}
	body := &fbs.CreateWebRtcTransportT{
		ListenInfos: infos, IceConsentTimeoutMs: 30_000, MaxIncomingBitrate: options.MaxIncomingBitrate,
		Shard:     options.Shard,
		EnableUdp: !options.DisableUDP, EnableTcp: !options.DisableTCP,
		PreferUdp: options.PreferUDP, PreferTcp: options.PreferTCP,
	}
	if options.Server != nil {
		body.WebrtcServer = uint64(options.Server.id)
	}
	if options.ICEConsentTimeout != 0 {
		body.IceConsentTimeoutMs = milliseconds(options.ICEConsentTimeout)
	}
	made := &WebRTCTransport{transport: transport{newObject(r.core)}}
	reply, err := create[*fbs.WebRtcTransportCreatedT](ctx, r.core, "CreateWebRTCTransport", r.id,
		fbs.RequestBodyCreateWebRtcTransport, body, made.object)
	if err != nil {
		return nil, err
	}
	made.ice, made.dtls = iceFrom(reply.IceParameters), dtlsFrom(reply.DtlsParameters)
	made.candidates = candidatesFrom(reply.IceCandidates)
	watch(made, made.object, "WebRTCTransport")
	return made, nil
}

// ICEParameters as they were when the transport was made; RestartICE tells new ones.
func (t *WebRTCTransport) ICEParameters() ICEParameters { return t.ice }

// ICECandidates of our side.
func (t *WebRTCTransport) ICECandidates() []ICECandidate { return t.candidates }

// DTLSParameters of our side.
func (t *WebRTCTransport) DTLSParameters() DTLSParameters { return t.dtls }

// Connect gives the peer's DTLS parameters, once; it tells the role that our side took.
func (t *WebRTCTransport) Connect(ctx context.Context, remote DTLSParameters) (DTLSRole, error) {
	converted, err := dtlsTo(remote, "dtls_parameters")
	if err != nil {
		return "", named("Connect", err)
	}
	reply, err := call[*fbs.ConnectedT](ctx, t.core, "Connect", t.id, fbs.RequestBodyConnectWebRtcTransport,
		&fbs.ConnectWebRtcTransportT{DtlsParameters: converted})
	if err != nil {
		return "", err
	}
	return DTLSRole(reply.LocalRole.String()), nil
}

// RestartICE makes new credentials. Media goes on by the old path until the peer checks with the new ones.
func (t *WebRTCTransport) RestartICE(ctx context.Context) (ICEParameters, error) {
	reply, err := call[*fbs.IceRestartedT](ctx, t.core, "RestartICE", t.id, fbs.RequestBodyRestartIce,
		&fbs.RestartIceT{})
	if err != nil {
		return ICEParameters{}, err
	}
	return iceFrom(reply.IceParameters), nil
}

// OnICEStateChange sets a handler of the ICE state; nil takes it away.
func (t *WebRTCTransport) OnICEStateChange(handler func(ICEState)) {
	on(t.object, handler == nil, func(changed ICEStateChanged) { handler(changed.State) })
}

// OnSelectedTupleChange sets a handler of the pair of addresses that media takes; nil takes it away.
func (t *WebRTCTransport) OnSelectedTupleChange(handler func(TransportTuple)) {
	on(t.object, handler == nil, func(changed ICESelectedTupleChanged) { handler(changed.Tuple) })
}

// OnDTLSStateChange sets a handler of the DTLS state; `reason` is that of a failure. nil takes it away.
func (t *WebRTCTransport) OnDTLSStateChange(handler func(state DTLSState, reason string)) {
	on(t.object, handler == nil, func(changed DTLSStateChanged) { handler(changed.State, changed.Reason) })
}
