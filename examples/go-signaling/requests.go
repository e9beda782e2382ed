package main

import (
	"context"
	"errors"
	"time"

	"libsfu.example/go/sfu"
)

const (
	// maxName is the most characters of a display name.
	maxName = 60
	// maxOpaque bytes of JSON may a peer have carried to others.
	maxOpaque = 4096
	// maxLayer is the highest number of a layer.
	maxLayer = 7
	// maxTransports of a peer. The page has two.
	maxTransports = 8
	// maxProducers of a peer. The page has three.
	maxProducers = 32
	// consent: without a valid ICE check for this long a peer is dropped.
	consent = 20 * time.Second
)

// handle does what a peer asks for. The answer is nil when it was given already.
func (s *service) handle(ctx context.Context, p *peer, request frame) (any, error) {
	done := func(err error) (any, error) { return object{}, err }
	d := request.data
	switch request.method {
	case "getRouterRtpCapabilities":
		return p.room.router.RTPCapabilities(), nil
	case "join":
		return nil, s.join(p, request.id, d)
	case "createWebRtcTransport":
		return s.createTransport(ctx, p, d)
	case "connectWebRtcTransport":
		return done(s.connect(ctx, p, d))
	case "restartIce":
		transport, err := p.webrtcOf(d)
		if err != nil {
			return nil, err
		}
		return transport.RestartICE(ctx)
	case "produce":
		return s.produce(ctx, p, d)
	case "closeProducer":
		return done(s.closeProducer(ctx, p, d))
	case "pauseProducer":
		return done(p.withProducer(d, func(one *producerEntry) error { return one.Pause(ctx) }))
	case "resumeProducer":
		return done(p.withProducer(d, func(one *producerEntry) error { return one.Resume(ctx) }))
	case "pauseConsumer":
		return done(s.setConsumerPaused(ctx, p, d, true))
	case "resumeConsumer":
		return done(s.setConsumerPaused(ctx, p, d, false))
	case "requestConsumerKeyFrame":
		return done(p.withConsumer(d, func(one *consumerEntry) error { return one.RequestKeyFrame(ctx) }))
	case "setConsumerPreferredLayers":
		return done(setPreferredLayers(ctx, p, d))
	case "setConsumerPriority":
		return done(setPriority(ctx, p, d))
	case "switchConsumerProducer":
		return switchProducer(ctx, p, d)
	case "changeDisplayName":
		return done(changeName(p, d))
	case "getTransportStats", "getProducerStats", "getConsumerStats":
		return statistics(ctx, p, request.method, d)
	case "produceData", "getDataProducerStats", "getDataConsumerStats", "applyNetworkThrottle", "resetNetworkThrottle":
		return nil, refuse(501, "%s: this build does not have that capability", request.method)
	}
	return nil, refuse(404, "method: %q is unknown", request.method)
}

// owned is an object of the peer's by a field of the request.
func owned[T any](p *peer, d data, field string, of func(*peer) map[sfu.ID]T) (T, error) {
	var none T
	text, err := d.text(field, 64)
	if err != nil {
		return none, err
	}
	id, err := sfu.ParseID(text)
	if err != nil {
		return none, unknown(field, text)
	}
	p.room.mu.Lock()
	defer p.room.mu.Unlock()
	one, has := of(p)[id]
	if !has {
		return none, unknown(field, text)
	}
	return one, nil
}

func (p *peer) transportOf(d data) (*transportEntry, error) {
	return owned(p, d, "transportId", func(p *peer) map[sfu.ID]*transportEntry { return p.transports })
}

func (p *peer) webrtcOf(d data) (*sfu.WebRTCTransport, error) {
	transport, err := p.transportOf(d)
	if err != nil {
		return nil, err
	}
	if webrtc := transport.webrtc(); webrtc != nil {
		return webrtc, nil
	}
	return nil, refuse(409, "transportId: it is no WebRTC transport")
}

func (p *peer) producerOf(d data) (*producerEntry, error) {
	return owned(p, d, "producerId", func(p *peer) map[sfu.ID]*producerEntry { return p.producers })
}

func (p *peer) consumerOf(d data) (*consumerEntry, error) {
	return owned(p, d, "consumerId", func(p *peer) map[sfu.ID]*consumerEntry { return p.consumers })
}

func (p *peer) withProducer(d data, do func(*producerEntry) error) error {
	one, err := p.producerOf(d)
	if err != nil {
		return err
	}
	return do(one)
}

func (p *peer) withConsumer(d data, do func(*consumerEntry) error) error {
	one, err := p.consumerOf(d)
	if err != nil {
		return err
	}
	return do(one)
}

func (s *service) join(p *peer, id uint32, d data) error {
	joined := &introduction{}
	var err error
	if joined.displayName, err = d.text("displayName", maxName); err != nil {
		return err
	}
	if joined.device, err = d.opaque("device", maxOpaque); err != nil {
		return err
	}
	if !d.absent("rtpCapabilities") {
		joined.capabilities = &sfu.RTPCapabilities{}
		if err := d.take("rtpCapabilities", joined.capabilities); err != nil {
			return err
		}
	}
	peers, offers, err := p.room.join(p, joined)
	if err != nil {
		return err
	}
	s.log.Info("joined", "room", p.room.name, "peer", p.id, "name", joined.displayName)
	// The answer goes out before anything that it must be known for.
	p.connection.respond(id, object{"peers": peers}, nil)
	p.connection.notify("mediasoup-version", object{"version": "libsfu " + sfu.Version()})
	s.present(p)
	s.offerAll(p, offers)
	return nil
}

// present tells the others of a new peer.
func (s *service) present(p *peer) {
	p.room.mu.Lock()
	defer p.room.mu.Unlock()
	if told := p.introduce(); told != nil {
		p.room.notifyOthers(p, "newPeer", told)
	}
}

func (s *service) createTransport(ctx context.Context, p *peer, d data) (any, error) {
	consuming, err := d.flag("consuming")
	if err != nil {
		return nil, err
	}
	if _, err := d.flag("producing"); err != nil {
		return nil, err
	}
	forceTCP, err := d.flag("forceTcp")
	if err != nil {
		return nil, err
	}
	p.room.mu.Lock()
	many := len(p.transports) >= maxTransports
	p.room.mu.Unlock()
	if many {
		return nil, refuse(503, "the peer has %d transports, the most", maxTransports)
	}
	transport, err := s.makeTransport(ctx, p.room, consent, forceTCP)
	if refused := (*sfu.Error)(nil); errors.As(err, &refused) && refused.Field == "enable_udp" {
		return nil, refuse(501, "forceTcp: this service takes media by UDP only (--rtc-protocol)")
	}
	if err != nil {
		return nil, err
	}
	s.watchTransport(p, transport)
	offers, err := s.adopt(p, transport, consuming)
	if err != nil {
		return nil, err
	}
	s.offerAll(p, offers)
	return describe(transport), nil
}

// adopt gives a peer a transport that was made for it, or closes it.
func (s *service) adopt(p *peer, transport sfu.Transport, consuming bool) ([]offer, error) {
	offers, err := p.room.addTransport(p, transport, consuming)
	if err != nil {
		s.closed(transport.Close(s.ctx), "transport", p.id)
	}
	return offers, err
}

// makeTransport makes a WebRTC transport in a room; a negative consent asks for none.
func (s *service) makeTransport(ctx context.Context, r *room, consent time.Duration, forceTCP bool) (*sfu.WebRTCTransport, error) {
	options := sfu.WebRTCTransportOptions{Server: s.server, ICEConsentTimeout: consent, DisableUDP: forceTCP}
	if consent > 0 {
		options.MaxIncomingBitrate = uint32(s.config.maxIncomingBitrate)
	}
	return r.router.CreateWebRTCTransport(ctx, options)
}

func describe(transport *sfu.WebRTCTransport) object {
	return object{
		"id": transport.ID(), "iceParameters": transport.ICEParameters(), "iceCandidates": transport.ICECandidates(),
		"dtlsParameters": transport.DTLSParameters(),
	}
}

func (s *service) connect(ctx context.Context, p *peer, d data) error {
	transport, err := p.webrtcOf(d)
	if err != nil {
		return err
	}
	var remote sfu.DTLSParameters
	if err := d.take("dtlsParameters", &remote); err != nil {
		return err
	}
	_, err = transport.Connect(ctx, remote)
	return err
}

func (s *service) produce(ctx context.Context, p *peer, d data) (any, error) {
	p.room.mu.Lock()
	joined, many := p.joined != nil, len(p.producers) >= maxProducers
	p.room.mu.Unlock()
	if !joined {
		return nil, refuse(409, "produce: join first")
	}
	if many {
		return nil, refuse(503, "the peer has %d producers, the most", maxProducers)
	}
	transport, err := p.transportOf(d)
	if err != nil {
		return nil, err
	}
	var options sfu.ProducerOptions
	if err := d.take("kind", &options.Kind); err != nil {
		return nil, err
	}
	if err := d.take("rtpParameters", &options.RTPParameters); err != nil {
		return nil, err
	}
	if options.OpaquePayload, err = d.flag("opaquePayload"); err != nil {
		return nil, err
	}
	appData, err := d.opaque("appData", maxOpaque)
	if err != nil {
		return nil, err
	}
	appData["peerId"] = p.id
	producer, err := transport.Produce(ctx, options)
	if err != nil {
		return nil, err
	}
	if err := s.publish(ctx, p, producer, appData); err != nil {
		return nil, err
	}
	return object{"id": producer.ID()}, nil
}

// publish makes a producer known: to the speakers' observer, and to who is to consume it. If the peer cannot have it, it is
// closed.
func (s *service) publish(ctx context.Context, p *peer, producer *sfu.Producer, appData object) error {
	s.watchProducer(p, producer)
	if producer.Kind() == sfu.Audio {
		s.closed(p.room.speakers.Observe(ctx, producer.ID()), "observing", p.id)
	} else {
		// Nobody watches yet; whoever does from now on is told of by the engine.
		p.connection.notify("producerWantedLayers", withLayers(object{"producerId": producer.ID()}, nil))
	}
	offered, subscribers, err := p.room.addProducer(p, producer, appData)
	if err != nil {
		s.closed(producer.Close(s.ctx), "producer", p.id)
		return err
	}
	for _, subscriber := range subscribers {
		s.offerAll(subscriber, []offer{offered})
	}
	return nil
}

func (s *service) closeProducer(ctx context.Context, p *peer, d data) error {
	producer, err := p.producerOf(d)
	if err != nil {
		return err
	}
	p.room.mu.Lock()
	delete(p.producers, producer.ID())
	p.room.mu.Unlock()
	return producer.Close(ctx)
}

func (s *service) setConsumerPaused(ctx context.Context, p *peer, d data, paused bool) error {
	consumer, err := p.consumerOf(d)
	if err != nil {
		return err
	}
	p.room.mu.Lock()
	consumer.paused = paused
	accepted := consumer.accepted
	p.room.mu.Unlock()
	switch {
	case !accepted:
		// Before it is accepted a consumer is paused; what is wished now takes effect then.
		return nil
	case paused:
		return consumer.Pause(ctx)
	}
	return consumer.Resume(ctx)
}

func setPreferredLayers(ctx context.Context, p *peer, d data) error {
	consumer, err := p.consumerOf(d)
	if err != nil {
		return err
	}
	spatial, err := d.number("spatialLayer", maxLayer)
	if err != nil {
		return err
	}
	temporal, err := d.number("temporalLayer", maxLayer)
	if err != nil {
		return err
	}
	if spatial == nil && temporal != nil {
		return wrongField("spatialLayer", "missing beside temporalLayer")
	}
	if spatial == nil {
		return consumer.SetPreferredLayers(ctx, nil)
	}
	return consumer.SetPreferredLayers(ctx, &sfu.Layers{Spatial: *spatial, Temporal: temporal})
}

func setPriority(ctx context.Context, p *peer, d data) error {
	consumer, err := p.consumerOf(d)
	if err != nil {
		return err
	}
	priority, err := d.number("priority", 255)
	if err != nil {
		return err
	}
	if priority == nil {
		return wrongField("priority", "missing")
	}
	return consumer.SetPriority(ctx, *priority)
}

// switchProducer is ours: a consumer of the peer follows another publisher of the room, without a new negotiation.
func switchProducer(ctx context.Context, p *peer, d data) (any, error) {
	consumer, err := p.consumerOf(d)
	if err != nil {
		return nil, err
	}
	text, err := d.text("producerId", 64)
	if err != nil {
		return nil, err
	}
	// Another room's producers are unknown here, whatever the engine knows.
	publisher, producer := p.room.publisherOf(text)
	if publisher == nil {
		return nil, unknown("producerId", text)
	}
	switched, err := consumer.SwitchProducer(ctx, producer.ID())
	if err != nil {
		return nil, err
	}
	return object{
		"peerId": publisher.id, "producerId": producer.ID(), "type": switched.Type,
		"rtpParameters": switched.RTPParameters,
	}, nil
}

// publisherOf finds who in the room has a producer.
func (r *room) publisherOf(text string) (*peer, *producerEntry) {
	id, err := sfu.ParseID(text)
	if err != nil {
		return nil, nil
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, p := range r.peers {
		if entry := p.producers[id]; entry != nil {
			return p, entry
		}
	}
	return nil, nil
}

func changeName(p *peer, d data) error {
	name, err := d.text("displayName", maxName)
	if err != nil {
		return err
	}
	p.room.mu.Lock()
	defer p.room.mu.Unlock()
	if p.joined == nil {
		return refuse(409, "changeDisplayName: join first")
	}
	old := p.joined.displayName
	p.joined.displayName = name
	p.room.notifyOthers(p, "peerDisplayNameChanged", object{"peerId": p.id, "displayName": name, "oldDisplayName": old})
	return nil
}
