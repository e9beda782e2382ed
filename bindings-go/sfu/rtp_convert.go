package sfu

import (
	"encoding/json"
	"fmt"

	"libsfu.example/go/internal/fbs"
)

// Between this package's dictionaries and the schema's. Numbers and texts are checked by the engine, which names the
// field; what the schema cannot even say is refused here.

func at(field string, index int) string { return fmt.Sprintf("%s[%d]", field, index) }

func kindTo(kind MediaKind, field string) (fbs.MediaKind, error) {
	if value, ok := fbs.EnumValuesMediaKind[string(kind)]; ok {
		return value, nil
	}
	return 0, invalid(field, "%q is no kind of media; give audio or video", string(kind))
}

func kindFrom(kind fbs.MediaKind) MediaKind { return MediaKind(kind.String()) }

func parametersTo(parameters Parameters, field string) ([]*fbs.ParameterT, error) {
	if len(parameters) == 0 {
		return nil, nil
	}
	out := make([]*fbs.ParameterT, 0, len(parameters))
	for name, value := range parameters {
		one := &fbs.ParameterT{Name: name}
		number := func(n float64) { one.Number = &n }
		switch value := value.(type) {
		case nil:
		case string:
			one.Text = value
		case bool:
			if value {
				number(1)
			} else {
				number(0)
			}
		case float64:
			number(value)
		case int:
			number(float64(value))
		case int64:
			number(float64(value))
		case uint32:
			number(float64(value))
		case uint8:
			number(float64(value))
		case json.Number:
			parsed, err := value.Float64()
			if err != nil {
				return nil, invalid(field+"."+name, "%q is no number", value.String())
			}
			number(parsed)
		default:
			return nil, invalid(field+"."+name, "a %T; give a number or a string", value)
		}
		out = append(out, one)
	}
	return out, nil
}

func parametersFrom(parameters []*fbs.ParameterT) Parameters {
	out := make(Parameters, len(parameters))
	for _, one := range parameters {
		if one.Number != nil {
			out[one.Name] = *one.Number
		} else {
			out[one.Name] = one.Text
		}
	}
	return out
}

func feedbackTo(feedback []RTCPFeedback) []*fbs.RtcpFeedbackT {
	out := make([]*fbs.RtcpFeedbackT, len(feedback))
	for at, one := range feedback {
		out[at] = &fbs.RtcpFeedbackT{Type: one.Type, Parameter: one.Parameter}
	}
	return out
}

func feedbackFrom(feedback []*fbs.RtcpFeedbackT) []RTCPFeedback {
	out := make([]RTCPFeedback, len(feedback))
	for at, one := range feedback {
		out[at] = RTCPFeedback{Type: one.Type, Parameter: one.Parameter}
	}
	return out
}

func channelsTo(channels uint8) *uint8 {
	if channels == 0 {
		return nil
	}
	return &channels
}

func channelsFrom(channels *uint8) uint8 {
	if channels == nil {
		return 0
	}
	return *channels
}

func codecsTo(codecs []RTPCodecCapability, field string) ([]*fbs.RtpCodecCapabilityT, error) {
	out := make([]*fbs.RtpCodecCapabilityT, len(codecs))
	for index, codec := range codecs {
		here := at(field, index)
		kind, err := kindTo(codec.Kind, here+".kind")
		if err != nil {
			return nil, err
		}
		parameters, err := parametersTo(codec.Parameters, here+".parameters")
		if err != nil {
			return nil, err
		}
		out[index] = &fbs.RtpCodecCapabilityT{
			Kind: kind, MimeType: codec.MimeType, PreferredPayloadType: codec.PreferredPayloadType,
			ClockRate: codec.ClockRate, Channels: channelsTo(codec.Channels), Parameters: parameters,
			RtcpFeedback: feedbackTo(codec.RTCPFeedback),
		}
	}
	return out, nil
}

func capabilitiesTo(capabilities RTPCapabilities, field string) (*fbs.RtpCapabilitiesT, error) {
	codecs, err := codecsTo(capabilities.Codecs, field+".codecs")
	if err != nil {
		return nil, err
	}
	extensions := make([]*fbs.RtpHeaderExtensionT, len(capabilities.HeaderExtensions))
	for index, extension := range capabilities.HeaderExtensions {
		here := at(field+".header_extensions", index)
		kind, err := kindTo(extension.Kind, here+".kind")
		if err != nil {
			return nil, err
		}
		direction := fbs.ExtensionDirectionsendrecv
		if extension.Direction != "" {
			value, ok := fbs.EnumValuesExtensionDirection[string(extension.Direction)]
			if !ok {
				return nil, invalid(here+".direction", "%q is no direction", string(extension.Direction))
			}
			direction = value
		}
		extensions[index] = &fbs.RtpHeaderExtensionT{
			Kind: kind, Uri: extension.URI, PreferredId: extension.PreferredID,
			PreferredEncrypt: extension.PreferredEncrypt, Direction: direction,
		}
	}
	return &fbs.RtpCapabilitiesT{Codecs: codecs, HeaderExtensions: extensions}, nil
}

func capabilitiesFrom(capabilities *fbs.RtpCapabilitiesT) RTPCapabilities {
	out := RTPCapabilities{Codecs: []RTPCodecCapability{}, HeaderExtensions: []RTPHeaderExtension{}}
	if capabilities == nil {
		return out
	}
	for _, codec := range capabilities.Codecs {
		out.Codecs = append(out.Codecs, RTPCodecCapability{
			Kind: kindFrom(codec.Kind), MimeType: codec.MimeType, PreferredPayloadType: codec.PreferredPayloadType,
			ClockRate: codec.ClockRate, Channels: channelsFrom(codec.Channels),
			Parameters: parametersFrom(codec.Parameters), RTCPFeedback: feedbackFrom(codec.RtcpFeedback),
		})
	}
	for _, extension := range capabilities.HeaderExtensions {
		out.HeaderExtensions = append(out.HeaderExtensions, RTPHeaderExtension{
			Kind: kindFrom(extension.Kind), URI: extension.Uri, PreferredID: extension.PreferredId,
			PreferredEncrypt: extension.PreferredEncrypt, Direction: Direction(extension.Direction.String()),
		})
	}
	return out
}

func rtpTo(parameters RTPParameters, field string) (*fbs.RtpParametersT, error) {
	out := &fbs.RtpParametersT{Mid: parameters.MID, Msid: parameters.MSID}
	for index, codec := range parameters.Codecs {
		converted, err := parametersTo(codec.Parameters, at(field+".codecs", index)+".parameters")
		if err != nil {
			return nil, err
		}
		out.Codecs = append(out.Codecs, &fbs.RtpCodecParametersT{
			MimeType: codec.MimeType, PayloadType: codec.PayloadType, ClockRate: codec.ClockRate,
			Channels: channelsTo(codec.Channels), Parameters: converted, RtcpFeedback: feedbackTo(codec.RTCPFeedback),
		})
	}
	for index, extension := range parameters.HeaderExtensions {
		converted, err := parametersTo(extension.Parameters, at(field+".header_extensions", index)+".parameters")
		if err != nil {
			return nil, err
		}
		out.HeaderExtensions = append(out.HeaderExtensions, &fbs.RtpHeaderExtensionParametersT{
			Uri: extension.URI, Id: extension.ID, Encrypt: extension.Encrypt, Parameters: converted,
		})
	}
	for _, encoding := range parameters.Encodings {
		one := &fbs.RtpEncodingParametersT{
			Ssrc: encoding.SSRC, Rid: encoding.RID, CodecPayloadType: encoding.CodecPayloadType, Dtx: encoding.DTX,
			ScalabilityMode: encoding.ScalabilityMode, MaxBitrate: encoding.MaxBitrate,
		}
		if encoding.RTX != nil {
			one.Rtx = &fbs.RtpRtxParametersT{Ssrc: encoding.RTX.SSRC}
		}
		if encoding.FEC != nil {
			one.Fec = &fbs.RtpFecParametersT{Ssrc: encoding.FEC.SSRC, Mechanism: encoding.FEC.Mechanism}
		}
		out.Encodings = append(out.Encodings, one)
	}
	out.Rtcp = &fbs.RtcpParametersT{ReducedSize: true}
	if parameters.RTCP != nil {
		out.Rtcp = &fbs.RtcpParametersT{Cname: parameters.RTCP.CNAME, ReducedSize: !parameters.RTCP.NoReducedSize}
	}
	return out, nil
}

func rtpFrom(parameters *fbs.RtpParametersT) RTPParameters {
	out := RTPParameters{
		Codecs: []RTPCodecParameters{}, HeaderExtensions: []RTPHeaderExtensionParameters{},
		Encodings: []RTPEncodingParameters{},
	}
	if parameters == nil {
		return out
	}
	out.MID, out.MSID = parameters.Mid, parameters.Msid
	for _, codec := range parameters.Codecs {
		out.Codecs = append(out.Codecs, RTPCodecParameters{
			MimeType: codec.MimeType, PayloadType: codec.PayloadType, ClockRate: codec.ClockRate,
			Channels: channelsFrom(codec.Channels), Parameters: parametersFrom(codec.Parameters),
			RTCPFeedback: feedbackFrom(codec.RtcpFeedback),
		})
	}
	for _, extension := range parameters.HeaderExtensions {
		out.HeaderExtensions = append(out.HeaderExtensions, RTPHeaderExtensionParameters{
			URI: extension.Uri, ID: extension.Id, Encrypt: extension.Encrypt,
			Parameters: parametersFrom(extension.Parameters),
		})
	}
	for _, encoding := range parameters.Encodings {
		one := RTPEncodingParameters{
			SSRC: encoding.Ssrc, RID: encoding.Rid, CodecPayloadType: encoding.CodecPayloadType, DTX: encoding.Dtx,
			ScalabilityMode: encoding.ScalabilityMode, MaxBitrate: encoding.MaxBitrate,
		}
		if encoding.Rtx != nil {
			one.RTX = &RTPRTXParameters{SSRC: encoding.Rtx.Ssrc}
		}
		if encoding.Fec != nil {
			one.FEC = &RTPFECParameters{SSRC: encoding.Fec.Ssrc, Mechanism: encoding.Fec.Mechanism}
		}
		out.Encodings = append(out.Encodings, one)
	}
	if parameters.Rtcp != nil {
		out.RTCP = &RTCPParameters{CNAME: parameters.Rtcp.Cname, NoReducedSize: !parameters.Rtcp.ReducedSize}
	}
	return out
}

func layersTo(layers *Layers) *fbs.LayersT {
	if layers == nil {
		return nil
	}
	return &fbs.LayersT{Spatial: layers.Spatial, Temporal: layers.Temporal}
}

func layersFrom(layers *fbs.LayersT) *Layers {
	if layers == nil {
		return nil
	}
	return &Layers{Spatial: layers.Spatial, Temporal: layers.Temporal}
}
