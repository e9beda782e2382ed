package sfu

import (
	"context"

	"libsfu.example/go/internal/fbs"
)

// PlainTransport carries RTP and RTCP without ICE and DTLS: for ffmpeg, GStreamer, recorders.
type PlainTransport struct {
	transport
	local PlainAddress
}

// PlainAddress is where a plain transport is sent to.
type PlainAddress struct {
	// IP address or host name for RTP, and for RTCP unless it has its own port.
	IP   string `json:"ip"`
	Port uint16 `json:"port"`
	// RTCPIP and RTCPPort, without RTCP mux; else empty and 0.
	RTCPIP   string `json:"rtcpIp,omitempty"`
	RTCPPort uint16 `json:"rtcpPort,omitempty"`
	// SRTPParameters are our key, with SRTP.
	SRTPParameters *SRTPParameters `json:"srtpParameters,omitempty"`
}

// PlainTransportOptions of a new plain transport.
type PlainTransportOptions struct {
	ListenInfo ListenInfo
	// RTCPListenInfo, without RTCP mux: where RTCP is taken; nil: any free port at the address of ListenInfo.
	RTCPListenInfo *ListenInfo
	// NoRTCPMux gives RTCP a port of its own.
	NoRTCPMux bool
	// Comedia: the peer's first packet tells where it is, once; Connect then gives no address.
	Comedia bool
	// SRTPCryptoSuite of our key; empty: no SRTP.
	SRTPCryptoSuite SRTPProfile
	// MaxIncomingBitrate that the peer is told, bit/s; 0 is no bound.
	MaxIncomingBitrate uint32
	// Shard to place it on, whichever the router is on; nil: the engine chooses.
	Shard *uint8
}

// CreatePlainTransport makes a plain transport.
func (r *Router) CreatePlainTransport(ctx context.Context, options PlainTransportOptions) (*PlainTransport, error) {
	const op = "CreatePlainTransport"
	listen, err := listenOnce(options.ListenInfo)
	if err != nil {
		return nil, named(op, err)
	}
	body := &fbs.CreatePlainTransportT{
		ListenInfo: listen, RtcpMux: !options.NoRTCPMux, Comedia: options.Comedia,
		SrtpCryptoSuite: fbs.SrtpProfileaes128_cm_hmac_sha1_80, MaxIncomingBitrate: options.MaxIncomingBitrate,
		Shard: options.Shard,
	}
	if options.RTCPListenInfo != nil {
		if body.RtcpListenInfo, err = listenTo(*options.RTCPListenInfo, "rtcp_listen_info"); err != nil {
			return nil, named(op, err)
		}
	}
	if options.SRTPCryptoSuite != "" {
		body.EnableSrtp = true
		if body.SrtpCryptoSuite, err = profileTo(options.SRTPCryptoSuite, "srtp_crypto_suite"); err != nil {
			return nil, named(op, err)
		}
	}
	made := &PlainTransport{transport: transport{newObject(r.core)}}
	reply, err := create[*fbs.PlainTransportCreatedT](ctx, r.core, op, r.id, fbs.RequestBodyCreatePlainTransport, body,
		made.object)
	if err != nil {
		return nil, err
	}
	made.local = PlainAddress{
		IP: reply.Address, Port: reply.Port, RTCPIP: reply.RtcpAddress, SRTPParameters: srtpFrom(reply.SrtpParameters),
	}
	if reply.RtcpPort != nil {
		made.local.RTCPPort = *reply.RtcpPort
	}
	watch(made, made.object, "PlainTransport")
	return made, nil
}

// Local is where the transport is sent to, and our key.
func (t *PlainTransport) Local() PlainAddress { return t.local }

// PlainRemote is where the peer of a plain transport is.
type PlainRemote struct {
	// IP and Port; empty and nil with Comedia.
	IP   string  `json:"ip,omitempty"`
	Port *uint16 `json:"port,omitempty"`
	// RTCPPort, if RTCP has its own.
	RTCPPort *uint16 `json:"rtcpPort,omitempty"`
	// SRTPParameters are the peer's key, with SRTP.
	SRTPParameters *SRTPParameters `json:"srtpParameters,omitempty"`
}

// Connect tells where the peer is, and its key, once.
func (t *PlainTransport) Connect(ctx context.Context, remote PlainRemote) error {
	srtp, err := srtpTo(remote.SRTPParameters, "srtp_parameters")
	if err != nil {
		return named("Connect", err)
	}
	return t.core.do(ctx, "Connect", t.id, fbs.RequestBodyConnectPlainTransport, &fbs.ConnectPlainTransportT{
		Ip: remote.IP, Port: remote.Port, RtcpPort: remote.RTCPPort, SrtpParameters: srtp,
	})
}

// OnTupleChange sets a handler that is told the peer's address once it is learned (Comedia); `rtcp`: that of RTCP alone.
// nil takes it away.
func (t *PlainTransport) OnTupleChange(handler func(tuple TransportTuple, rtcp bool)) {
	on(t.object, handler == nil, func(changed TransportTupleChanged) { handler(changed.Tuple, changed.RTCP) })
}

// PipeTransport leads to a pipe transport of another router, in this engine or elsewhere.
type PipeTransport struct {
	transport
	local PlainAddress
}

// PipeTransportOptions of a new pipe transport.
type PipeTransportOptions struct {
	ListenInfo ListenInfo
	// EnableRTX repairs losses between the two ends.
	EnableRTX bool
	// EnableSRTP encrypts by AEAD_AES_256_GCM.
	EnableSRTP bool
	// Shard to place it on, whichever the router is on; nil: the engine chooses.
	Shard *uint8
	// OnlyWanted sends no encodings that nobody watches at the far end.
	OnlyWanted bool
}

// CreatePipeTransport makes a pipe transport.
func (r *Router) CreatePipeTransport(ctx context.Context, options PipeTransportOptions) (*PipeTransport, error) {
	listen, err := listenOnce(options.ListenInfo)
	if err != nil {
		return nil, named("CreatePipeTransport", err)
	}
	made := &PipeTransport{transport: transport{newObject(r.core)}}
	body := &fbs.CreatePipeTransportT{
		ListenInfo: listen, EnableRtx: options.EnableRTX, EnableSrtp: options.EnableSRTP,
		OnlyWanted: options.OnlyWanted, Shard: options.Shard,
	}
	reply, err := create[*fbs.PipeTransportCreatedT](ctx, r.core, "CreatePipeTransport", r.id,
		fbs.RequestBodyCreatePipeTransport, body, made.object)
	if err != nil {
		return nil, err
	}
	made.local = PlainAddress{IP: reply.Address, Port: reply.Port, SRTPParameters: srtpFrom(reply.SrtpParameters)}
	watch(made, made.object, "PipeTransport")
	return made, nil
}

// Local is where the other end sends to, and our key.
func (t *PipeTransport) Local() PlainAddress { return t.local }

// Connect tells where the other end is, and its key with SRTP, once.
func (t *PipeTransport) Connect(ctx context.Context, ip string, port uint16, key *SRTPParameters) error {
	srtp, err := srtpTo(key, "srtp_parameters")
	if err != nil {
		return named("Connect", err)
	}
	return t.core.do(ctx, "Connect", t.id, fbs.RequestBodyConnectPipeTransport,
		&fbs.ConnectPipeTransportT{Ip: ip, Port: port, SrtpParameters: srtp})
}

// OnSilence sets a handler that is told when the other end has been silent for ten seconds (true), or is heard again
// (false). nil takes it away.
func (t *PipeTransport) OnSilence(handler func(silent bool)) {
	on(t.object, handler == nil, func(changed PipeSilenceChanged) { handler(changed.Silent) })
}

// DirectTransport has this program as its peer: it gives packets with Producer.SendRTP and SendRTCP, and gets them with
// Consumer.OnRTP and OnRTCP, or all of an engine's by Engine.ReadMedia.
type DirectTransport struct{ transport }

// DirectTransportOptions of a new direct transport.
type DirectTransportOptions struct {
	// MaxIncomingBitrate in bit/s; 0 is no bound.
	MaxIncomingBitrate uint32
	// Shard to place it on, whichever the router is on; nil: the engine chooses.
	Shard *uint8
}

// CreateDirectTransport makes a direct transport.
func (r *Router) CreateDirectTransport(ctx context.Context, options DirectTransportOptions) (*DirectTransport, error) {
	made := &DirectTransport{transport{newObject(r.core)}}
	_, err := create[*fbs.CreatedT](ctx, r.core, "CreateDirectTransport", r.id, fbs.RequestBodyCreateDirectTransport,
		&fbs.CreateDirectTransportT{MaxIncomingBitrate: options.MaxIncomingBitrate, Shard: options.Shard}, made.object)
	if err != nil {
		return nil, err
	}
	watch(made, made.object, "DirectTransport")
	return made, nil
}
