package sfu

import (
	"context"

	"libsfu.example/go/internal/fbs"
)

// SDP is what a peer's description says, in the words that Produce, Consume and Connect take.
type SDP struct {
	ICEParameters ICEParameters
	// DTLSParameters: the role is the one that the peer leaves for itself, auto where it leaves the choice to us.
	DTLSParameters DTLSParameters
	Sections       []SDPSection
	// Candidates in the description. They are not used: the engine is an ICE-lite agent.
	Candidates int
}

// SDPSection is a media section of a peer's description.
type SDPSection struct {
	// MID: "0" for an only section without one, empty for one without among several, which can only be rejected.
	MID string
	// Media is "audio", "video", "application", or another.
	Media string
	// Direction as the peer sees it.
	Direction Direction
	// Problem says why the section can only be rejected; empty: it can be used.
	Problem string
	// RTPParameters are what the peer sends; nil if it does not.
	RTPParameters *RTPParameters
	// RTPCapabilities are what the peer is able to receive; nil if it does not.
	RTPCapabilities *RTPCapabilities
	// SCTPPort and MaxMessageSize (bytes) of a data section.
	SCTPPort       *uint16
	MaxMessageSize *uint64
}

// ParseSDP reads a peer's offer or answer of at most 256 KiB (RFC 8866), cut to what the router knows. Of several codecs of
// a section that sends, the first of preferredCodecs (MIME types) is taken, else the first of the section.
func (r *Router) ParseSDP(ctx context.Context, sdp string, preferredCodecs ...string) (*SDP, error) {
	reply, err := call[*fbs.SdpParsedT](ctx, r.core, "ParseSDP", r.id, fbs.RequestBodyParseSdp,
		&fbs.ParseSdpT{Sdp: sdp, PreferredCodecs: preferredCodecs})
	if err != nil {
		return nil, err
	}
	out := &SDP{
		ICEParameters: iceFrom(reply.IceParameters), DTLSParameters: dtlsFrom(reply.DtlsParameters),
		Candidates: int(reply.Candidates),
	}
	for _, section := range reply.Sections {
		one := SDPSection{
			MID: section.Mid, Media: section.Media, Direction: Direction(section.Direction.String()),
			Problem: section.Problem, SCTPPort: section.SctpPort, MaxMessageSize: section.MaxMessageSize,
		}
		if section.RtpParameters != nil {
			one.RTPParameters = Ptr(rtpFrom(section.RtpParameters))
		}
		if section.RtpCapabilities != nil {
			one.RTPCapabilities = Ptr(capabilitiesFrom(section.RtpCapabilities))
		}
		out.Sections = append(out.Sections, one)
	}
	return out, nil
}

// SDPAnswerSection is what a section of an offer became, by its MID. At least one of the others must be given.
type SDPAnswerSection struct {
	MID string
	// Producer is what the peer sends in it; 0: nothing.
	Producer ID
	// Consumer is what the peer receives in it, made with this MID and PeerNumbering; 0: nothing.
	Consumer ID
	// Open: a consumer with this MID may come later. All codecs and extensions that the peer receives are agreed on.
	Open bool
}

// CreateSDPAnswer is the answer to a peer's offer; sections that are not named are rejected. `version` is one more for each
// description of the transport, from 1 on.
func (t *WebRTCTransport) CreateSDPAnswer(ctx context.Context, offer string, sections []SDPAnswerSection, version uint32) (string, error) {
	body := &fbs.CreateSdpAnswerT{Offer: offer, SessionVersion: version}
	for _, one := range sections {
		body.Sections = append(body.Sections, &fbs.SdpAnswerSectionT{
			Mid: one.MID, Producer: uint64(one.Producer), Consumer: uint64(one.Consumer), Open: one.Open,
		})
	}
	return t.sdpText(ctx, "CreateSDPAnswer", fbs.RequestBodyCreateSdpAnswer, body)
}

// CreateSDPOffer is an offer of some of the transport's consumers.
func (t *WebRTCTransport) CreateSDPOffer(ctx context.Context, consumers []ID, version uint32) (string, error) {
	body := &fbs.CreateSdpOfferT{SessionVersion: version}
	for _, id := range consumers {
		body.Consumers = append(body.Consumers, uint64(id))
	}
	return t.sdpText(ctx, "CreateSDPOffer", fbs.RequestBodyCreateSdpOffer, body)
}

// CreateSDPFragment is a fragment with the transport's credentials and candidates: what answers an ICE restart of WHIP and
// WHEP (RFC 9725). `mid` may be empty.
func (t *WebRTCTransport) CreateSDPFragment(ctx context.Context, mid string) (string, error) {
	return t.sdpText(ctx, "CreateSDPFragment", fbs.RequestBodyCreateSdpFragment, &fbs.CreateSdpFragmentT{Mid: mid})
}

func (t *WebRTCTransport) sdpText(ctx context.Context, op string, kind fbs.RequestBody, body any) (string, error) {
	reply, err := call[*fbs.SdpTextT](ctx, t.core, op, t.id, kind, body)
	if err != nil {
		return "", err
	}
	return reply.Sdp, nil
}

// SDPFragment is what a trickle-ICE fragment says (RFC 8840).
type SDPFragment struct {
	// ICEParameters; nil: it has only candidates.
	ICEParameters   *ICEParameters
	MID             string
	Candidates      int
	EndOfCandidates bool
}

// ParseSDPFragment reads a trickle-ICE fragment.
func (e *Engine) ParseSDPFragment(ctx context.Context, fragment string) (*SDPFragment, error) {
	reply, err := call[*fbs.SdpFragmentParsedT](ctx, e.core, "ParseSDPFragment", 0, fbs.RequestBodyParseSdpFragment,
		&fbs.ParseSdpFragmentT{Fragment: fragment})
	if err != nil {
		return nil, err
	}
	out := &SDPFragment{MID: reply.Mid, Candidates: int(reply.Candidates), EndOfCandidates: reply.EndOfCandidates}
	if reply.IceParameters != nil {
		out.ICEParameters = Ptr(iceFrom(reply.IceParameters))
	}
	return out, nil
}
