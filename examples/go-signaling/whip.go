package main

import (
	"context"
	"net/http"

	"libsfu.example/go/sfu"
)

// maxSections are taken up; the others are rejected.
const maxSections = 32

// whip takes a publisher's offer up: it becomes a peer with producers.
func (s *streams) whip(answer http.ResponseWriter, request *http.Request) error {
	room := request.PathValue("room")
	if err := checkText("room", room, maxID); err != nil {
		return err
	}
	offer, _, err := body(answer, request, sdpType)
	if err != nil {
		return err
	}
	name := "Broadcaster"
	if request.URL.Query().Has("displayName") {
		name = request.URL.Query().Get("displayName")
	}
	if err := checkText("displayName", name, maxName); err != nil {
		return err
	}
	agent := request.UserAgent()
	if agent == "" {
		agent = "WHIP"
	}
	device := object{"flag": "broadcaster", "name": firstRunes(agent, maxName), "version": ""}
	// Nobody reads what is sent to this peer, and it is undone as a whole even if the client hangs up.
	p, err := s.enter(s.ctx, hello{room: room, peer: "whip-" + randomText(4)}, newConnection())
	if err != nil {
		return err
	}
	go discard(p.connection)
	made, sdp, err := s.publishOffer(s.ctx, p, offer, &introduction{displayName: name, device: device})
	if err != nil {
		return s.refused(p, err)
	}
	s.start(made)
	return made.created(answer, sdp)
}

func firstRunes(text string, most int) string {
	runes := []rune(text)
	return string(runes[:min(len(runes), most)])
}

// discard reads what is told to a peer that has no connection.
func discard(c *connection) {
	for {
		select {
		case <-c.outgoing:
		case <-c.closing:
			return
		}
	}
}

func (s *streams) refused(p *peer, err error) error {
	s.log.Info("refused", "room", p.room.name, "peer", p.id, "error", err)
	p.connection.close(closeForGood, "refused")
	s.leave(p)
	return err
}

// nothing says why none of the sections can be used.
func nothing(description *sfu.SDP, otherwise string) error {
	for _, section := range description.Sections {
		if section.Problem != "" {
			otherwise = section.Problem
			break
		}
	}
	return &problem{status: http.StatusUnprocessableEntity, detail: otherwise}
}

// streamTransport is a transport for a peer, connected to what its description says. Silence is what ends these.
func (s *streams) streamTransport(ctx context.Context, p *peer, consuming bool) (*sfu.WebRTCTransport, error) {
	transport, err := s.makeTransport(ctx, p.room, -1, false)
	if err != nil {
		return nil, err
	}
	s.watchTransport(p, transport)
	// What a stream consumes is told by its description.
	if _, err := s.adopt(p, transport, consuming); err != nil {
		return nil, err
	}
	return transport, nil
}

func (s *streams) publishOffer(ctx context.Context, p *peer, offer string, who *introduction) (*resource, string, error) {
	description, err := p.room.router.ParseSDP(ctx, offer)
	if err != nil {
		return nil, "", err
	}
	var sending []sfu.SDPSection
	for _, section := range description.Sections {
		if section.RTPParameters != nil && len(sending) < maxSections {
			sending = append(sending, section)
		}
	}
	if len(sending) == 0 {
		return nil, "", nothing(description, "nothing is sent; offer a=sendonly")
	}
	transport, err := s.streamTransport(ctx, p, false)
	if err != nil {
		return nil, "", err
	}
	if _, err := transport.Connect(ctx, description.DTLSParameters); err != nil {
		return nil, "", err
	}
	var sections []sfu.SDPAnswerSection
	var producers []*sfu.Producer
	for _, section := range sending {
		producer, err := transport.Produce(ctx, sfu.ProducerOptions{
			Kind: sfu.MediaKind(section.Media), RTPParameters: *section.RTPParameters,
		})
		if err != nil {
			return nil, "", err
		}
		sections = append(sections, sfu.SDPAnswerSection{MID: section.MID, Producer: producer.ID()})
		producers = append(producers, producer)
	}
	answer, err := transport.CreateSDPAnswer(ctx, offer, sections, 1)
	if err != nil {
		return nil, "", err
	}
	// The others learn of the publisher as of any peer.
	if _, _, err := p.room.join(p, who); err != nil {
		return nil, "", err
	}
	s.log.Info("joined", "room", p.room.name, "peer", p.id, "name", who.displayName)
	s.present(p)
	for _, producer := range producers {
		// What clients tell a microphone from a camera by.
		source := "webcam"
		if producer.Kind() == sfu.Audio {
			source = "mic"
		}
		if err := s.publish(ctx, p, producer, object{"source": source}); err != nil {
			return nil, "", err
		}
	}
	return newResource("whip", p, transport, description.ICEParameters.UsernameFragment), answer, nil
}
