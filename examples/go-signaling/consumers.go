package main

import (
	"context"
	"errors"

	"libsfu.example/go/sfu"
)

const (
	// maxConsumers of one peer.
	maxConsumers = 2000
	// consumersAtOnce are being made for one peer at one time.
	consumersAtOnce = 16
)

// offerAll gives a peer what others publish: each consumer is made paused, offered, and resumed once the peer has accepted
// it. They are made side by side, so that their offers arrive together and the peer can take them in one negotiation. It
// returns at once.
func (s *service) offerAll(p *peer, offers []offer) {
	if len(offers) == 0 {
		return
	}
	p.room.mu.Lock()
	watch := p.watch
	p.room.mu.Unlock()
	if watch != nil {
		wake(watch)
		return
	}
	go func() {
		places := make(chan struct{}, consumersAtOnce)
		for _, one := range offers {
			for range p.replicas + 1 {
				places <- struct{}{}
				go func() {
					consumer := s.makeConsumer(p, one)
					<-places
					if consumer != nil {
						s.introduceConsumer(p, one, consumer)
					}
				}()
			}
		}
	}()
}

// wake tells a watcher that something changed; once is enough.
func wake(watch chan struct{}) {
	select {
	case watch <- struct{}{}:
	default:
	}
}

func (s *service) makeConsumer(p *peer, one offer) *sfu.Consumer {
	p.room.mu.Lock()
	transport, joined, many := p.consumingTransport(), p.joined, len(p.consumers) >= maxConsumers
	p.room.mu.Unlock()
	if many {
		s.log.Warn("no further consumers", "peer", p.id, "most", maxConsumers)
		return nil
	}
	if transport == nil || joined == nil || joined.capabilities == nil {
		return nil
	}
	consumer, _ := s.consume(p, transport, one, sfu.ConsumerOptions{
		Producer: one.producer.ID(), RTPCapabilities: *joined.capabilities, Paused: true,
		// For audio too: a lost packet is worth one repetition. Silence needs no packets.
		EnableRTX: sfu.Ptr(true), IgnoreDTX: true,
	}, false)
	return consumer
}

// consume makes a consumer and gives it to the peer; nil when there can be none, which is logged.
func (s *service) consume(p *peer, transport sfu.Transport, one offer, options sfu.ConsumerOptions, accepted bool) (*sfu.Consumer, error) {
	consumer, err := transport.Consume(s.ctx, options)
	if err != nil {
		level := s.log.Info
		if errors.Is(err, sfu.ErrNotFound) || errors.Is(err, sfu.ErrClosed) {
			// The publisher or the subscriber may have left meanwhile. Otherwise they may have no codec in common.
			level = s.log.Debug
		}
		level("no consumer", "room", p.room.name, "peer", p.id, "of", one.publisher.id, "error", err)
		return nil, err
	}
	p.room.mu.Lock()
	registered := !p.left && one.publisher.producers[one.producer.ID()] != nil
	if registered {
		p.consumers[consumer.ID()] = &consumerEntry{Consumer: consumer, accepted: accepted, news: map[string]object{}}
	}
	p.room.mu.Unlock()
	if !registered {
		s.closed(consumer.Close(s.ctx), "consumer", p.id)
		return nil, hasLeft()
	}
	s.watchConsumer(p, consumer)
	return consumer, nil
}

func (s *service) watchConsumer(p *peer, consumer *sfu.Consumer) {
	id, r := consumer.ID(), p.room
	consumer.OnProducerPause(func(paused bool) {
		method := "consumerResumed"
		if paused {
			method = "consumerPaused"
		}
		r.tellConsumer(p, id, method, object{})
	})
	consumer.OnLayersChange(func(layers *sfu.Layers) {
		r.tellConsumer(p, id, "consumerLayersChanged", withLayers(object{}, layers))
	})
	consumer.OnScore(func(score sfu.ConsumerScore) {
		r.tellConsumer(p, id, "consumerScore", object{"score": score})
	})
	consumer.OnClose(func(sfu.CloseReason) {
		r.mu.Lock()
		known := p.consumers[id] != nil
		delete(p.consumers, id)
		watch := p.watch
		r.mu.Unlock()
		if watch != nil {
			wake(watch)
		}
		if known {
			p.connection.notify("consumerClosed", object{"consumerId": id})
		}
	})
}

// provideStart has the picture ready that the peer is going to begin with: the way to it takes longer to make than a key
// frame.
func (s *service) provideStart(p *peer, consumer *sfu.Consumer) {
	if consumer.Kind() != sfu.Video {
		return
	}
	if err := consumer.RequestKeyFrame(s.ctx); err != nil {
		s.log.Debug("no key frame", "peer", p.id, "consumer", consumer.ID(), "error", err)
	}
}

func (s *service) introduceConsumer(p *peer, one offer, consumer *sfu.Consumer) {
	go s.provideStart(p, consumer)
	err := p.connection.request(s.ctx, "newConsumer", object{
		"peerId": one.publisher.id, "producerId": one.producer.ID(), "id": consumer.ID(), "kind": consumer.Kind(),
		"rtpParameters": consumer.RTPParameters(), "type": consumer.Type(), "appData": one.appData,
		"producerPaused": consumer.ProducerPaused(),
	})
	if err == nil {
		if p.room.accept(p, consumer.ID()) {
			if err := consumer.Resume(s.ctx); err != nil {
				s.log.Debug("not resumed", "peer", p.id, "consumer", consumer.ID(), "error", err)
			}
		}
		return
	}
	p.room.mu.Lock()
	known := p.consumers[consumer.ID()] != nil
	delete(p.consumers, consumer.ID())
	p.room.mu.Unlock()
	if known && !errors.Is(err, context.Canceled) {
		s.log.Info("consumer refused", "room", p.room.name, "peer", p.id, "of", one.publisher.id, "error", err)
		s.closed(consumer.Close(s.ctx), "consumer", p.id)
	}
}
