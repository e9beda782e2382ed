package sfu

import (
	"context"

	"libsfu.example/go/internal/fbs"
)

// Router is a room: its transports hear each other. It lives on one shard.
type Router struct {
	*object
	capabilities RTPCapabilities
}

// RouterOptions of a new router.
type RouterOptions struct {
	// MediaCodecs that the room speaks. RTX and RED are made by themselves.
	MediaCodecs []RTPCodecCapability
	// Shard to place it on; nil: the least loaded.
	Shard *uint8
}

// CreateRouter makes a router.
func (e *Engine) CreateRouter(ctx context.Context, options RouterOptions) (*Router, error) {
	codecs, err := codecsTo(options.MediaCodecs, "media_codecs")
	if err != nil {
		return nil, named("CreateRouter", err)
	}
	router := &Router{object: newObject(e.core)}
	reply, err := create[*fbs.CreatedT](ctx, e.core, "CreateRouter", 0, fbs.RequestBodyCreateRouter,
		&fbs.CreateRouterT{MediaCodecs: codecs, Shard: options.Shard}, router.object)
	if err != nil {
		return nil, err
	}
	router.capabilities = capabilitiesFrom(reply.RtpCapabilities)
	watch(router, router.object, "Router")
	return router, nil
}

// RTPCapabilities is what clients load, as it was when the router was made.
func (r *Router) RTPCapabilities() RTPCapabilities { return r.capabilities }

// Capabilities is what clients load now; it differs after UpdateMediaCodecs.
func (r *Router) Capabilities(ctx context.Context) (RTPCapabilities, error) {
	reply, err := call[*fbs.RouterCapabilitiesT](ctx, r.core, "Capabilities", r.id,
		fbs.RequestBodyGetRouterCapabilities, &fbs.GetRouterCapabilitiesT{})
	if err != nil {
		return RTPCapabilities{}, err
	}
	return capabilitiesFrom(reply.RtpCapabilities), nil
}

// UpdateMediaCodecs gives the router other codecs for what is produced from now on; codecs that stay keep their payload
// types. It tells what clients are to load.
func (r *Router) UpdateMediaCodecs(ctx context.Context, codecs []RTPCodecCapability) (RTPCapabilities, error) {
	converted, err := codecsTo(codecs, "media_codecs")
	if err != nil {
		return RTPCapabilities{}, named("UpdateMediaCodecs", err)
	}
	reply, err := call[*fbs.RouterCapabilitiesT](ctx, r.core, "UpdateMediaCodecs", r.id,
		fbs.RequestBodyUpdateMediaCodecs, &fbs.UpdateMediaCodecsT{MediaCodecs: converted})
	if err != nil {
		return RTPCapabilities{}, err
	}
	return capabilitiesFrom(reply.RtpCapabilities), nil
}

// CanConsume tells whether Consume would find a codec.
func (r *Router) CanConsume(ctx context.Context, producer ID, capabilities RTPCapabilities) (bool, error) {
	converted, err := capabilitiesTo(capabilities, "rtp_capabilities")
	if err != nil {
		return false, named("CanConsume", err)
	}
	reply, err := call[*fbs.CanConsumeResultT](ctx, r.core, "CanConsume", r.id, fbs.RequestBodyCanConsume,
		&fbs.CanConsumeT{Producer: uint64(producer), RtpCapabilities: converted})
	if err != nil {
		return false, err
	}
	return reply.CanConsume, nil
}

// WebRTCServer holds ports that WebRTC transports share: those of all shards, or of one if it was made on one. All shards take
// the one UDP port; TCP has the next port for each further shard.
type WebRTCServer struct{ *object }

// WebRTCServerOptions of a new WebRTC server.
type WebRTCServerOptions struct {
	ListenInfos []ListenInfo
	// Shard to place it on; nil: all of them, so that routers of any shard may use it.
	Shard *uint8
}

// CreateWebRTCServer makes a WebRTC server.
func (e *Engine) CreateWebRTCServer(ctx context.Context, options WebRTCServerOptions) (*WebRTCServer, error) {
	infos, err := listensTo(options.ListenInfos, "listen_infos")
	if err != nil {
		return nil, named("CreateWebRTCServer", err)
	}
	server := &WebRTCServer{newObject(e.core)}
	_, err = create[*fbs.CreatedT](ctx, e.core, "CreateWebRTCServer", 0, fbs.RequestBodyCreateWebRtcServer,
		&fbs.CreateWebRtcServerT{ListenInfos: infos, Shard: options.Shard}, server.object)
	if err != nil {
		return nil, err
	}
	watch(server, server.object, "WebRTCServer")
	return server, nil
}
