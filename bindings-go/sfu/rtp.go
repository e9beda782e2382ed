package sfu

import (
	"encoding/json"
)

// MediaKind is audio or video.
type MediaKind string

// The kinds of media.
const (
	Audio MediaKind = "audio"
	Video MediaKind = "video"
)

// Parameters are those of an fmtp line. A value is a number (float64 or int), a string, or a bool, which counts as 1 or
// 0; nil is a parameter without a value.
type Parameters map[string]any

// RTCPFeedback is one kind of RTCP feedback, such as "nack" with parameter "pli".
type RTCPFeedback struct {
	Type      string `json:"type"`
	Parameter string `json:"parameter"`
}

// RTPCodecCapability is a codec that a router or an endpoint is able to use.
type RTPCodecCapability struct {
	Kind MediaKind `json:"kind"`
	// MimeType such as "video/VP8".
	MimeType string `json:"mimeType"`
	// PreferredPayloadType is the one that the owner would like; absent: it does not matter.
	PreferredPayloadType *uint8 `json:"preferredPayloadType,omitempty"`
	// ClockRate is that of RTP, Hz.
	ClockRate uint32 `json:"clockRate"`
	// Channels of audio; 0 is not said, which counts as one.
	Channels     uint8          `json:"channels,omitempty"`
	Parameters   Parameters     `json:"parameters"`
	RTCPFeedback []RTCPFeedback `json:"rtcpFeedback"`
}

// Direction of a header extension or of media, as its owner sees it.
type Direction string

// The directions.
const (
	SendRecv Direction = "sendrecv"
	SendOnly Direction = "sendonly"
	RecvOnly Direction = "recvonly"
	Inactive Direction = "inactive"
)

// RTPHeaderExtension is a header extension that a router or an endpoint is able to use (RFC 8285).
type RTPHeaderExtension struct {
	Kind MediaKind `json:"kind"`
	URI  string    `json:"uri"`
	// PreferredID is the id that the owner would like.
	PreferredID      uint8     `json:"preferredId"`
	PreferredEncrypt bool      `json:"preferredEncrypt"`
	Direction        Direction `json:"direction,omitempty"`
}

// RTPCapabilities is what a router or an endpoint is able to use. Its JSON is what ORTC clients in browsers load and
// send.
type RTPCapabilities struct {
	Codecs           []RTPCodecCapability `json:"codecs"`
	HeaderExtensions []RTPHeaderExtension `json:"headerExtensions"`
}

// RTPCodecParameters is a codec in use.
type RTPCodecParameters struct {
	MimeType string `json:"mimeType"`
	// PayloadType on the wire, 0 to 127.
	PayloadType uint8 `json:"payloadType"`
	// ClockRate is that of RTP, Hz.
	ClockRate uint32 `json:"clockRate"`
	// Channels of audio; 0 is not said, which counts as one.
	Channels     uint8          `json:"channels,omitempty"`
	Parameters   Parameters     `json:"parameters"`
	RTCPFeedback []RTCPFeedback `json:"rtcpFeedback"`
}

// RTPHeaderExtensionParameters is a header extension in use.
type RTPHeaderExtensionParameters struct {
	URI string `json:"uri"`
	// ID on the wire.
	ID         uint8      `json:"id"`
	Encrypt    bool       `json:"encrypt"`
	Parameters Parameters `json:"parameters"`
}

// RTPRTXParameters is the RTX stream of an encoding (RFC 4588).
type RTPRTXParameters struct {
	SSRC uint32 `json:"ssrc"`
}

// RTPFECParameters is the stream that repairs an encoding (ORTC RTCRtpFecParameters).
type RTPFECParameters struct {
	SSRC *uint32 `json:"ssrc,omitempty"`
	// Mechanism is "flexfec": nothing else has a stream of its own.
	Mechanism string `json:"mechanism"`
}

// RTPEncodingParameters is one encoding; several are simulcast.
type RTPEncodingParameters struct {
	SSRC *uint32 `json:"ssrc,omitempty"`
	// RID (RFC 8851); empty: none.
	RID              string            `json:"rid,omitempty"`
	CodecPayloadType *uint8            `json:"codecPayloadType,omitempty"`
	RTX              *RTPRTXParameters `json:"rtx,omitempty"`
	DTX              bool              `json:"dtx,omitempty"`
	// ScalabilityMode of W3C WebRTC-SVC, such as "L3T3"; empty: not said.
	ScalabilityMode string `json:"scalabilityMode,omitempty"`
	// MaxBitrate in bit/s; absent: no bound.
	MaxBitrate *uint32 `json:"maxBitrate,omitempty"`
	// FEC is its FlexFEC stream.
	FEC *RTPFECParameters `json:"fec,omitempty"`
}

// RTCPParameters is the RTCP of a sender.
type RTCPParameters struct {
	// CNAME (RFC 3550, section 6.5.1); empty: one is made.
	CNAME string
	// NoReducedSize: RTCP of reduced size (RFC 5506), which is usual, is not used. In JSON it is `reducedSize`, and true
	// where nothing is said.
	NoReducedSize bool
}

// rtcpJSON is how clients write it.
type rtcpJSON struct {
	CNAME       string `json:"cname,omitempty"`
	ReducedSize bool   `json:"reducedSize"`
}

// MarshalJSON writes `cname` and `reducedSize`.
func (r RTCPParameters) MarshalJSON() ([]byte, error) {
	return json.Marshal(rtcpJSON{CNAME: r.CNAME, ReducedSize: !r.NoReducedSize})
}

// UnmarshalJSON takes reduced size for granted.
func (r *RTCPParameters) UnmarshalJSON(text []byte) error {
	read := rtcpJSON{ReducedSize: true}
	if err := json.Unmarshal(text, &read); err != nil {
		return err
	}
	*r = RTCPParameters{CNAME: read.CNAME, NoReducedSize: !read.ReducedSize}
	return nil
}

// RTPParameters is what a producer sends or a consumer receives.
type RTPParameters struct {
	// MID (RFC 8843); empty: none.
	MID              string                         `json:"mid,omitempty"`
	Codecs           []RTPCodecParameters           `json:"codecs"`
	HeaderExtensions []RTPHeaderExtensionParameters `json:"headerExtensions"`
	Encodings        []RTPEncodingParameters        `json:"encodings"`
	// RTCP; absent: reduced size, and a CNAME is made.
	RTCP *RTCPParameters `json:"rtcp,omitempty"`
	// MSID (RFC 8830); empty: none.
	MSID string `json:"msid,omitempty"`
}

// Layers of simulcast or SVC, up to and including these.
type Layers struct {
	// Spatial is the index of an encoding for simulcast, the spatial layer within the encoding for SVC.
	Spatial uint8 `json:"spatialLayer"`
	// Temporal layer; nil: all of them.
	Temporal *uint8 `json:"temporalLayer,omitempty"`
}

// Ptr is a pointer to a value, for the optional members of options.
func Ptr[T any](value T) *T { return &value }
