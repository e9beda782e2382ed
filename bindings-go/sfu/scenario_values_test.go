package sfu

import (
	"fmt"
	"reflect"
	"strings"

	"libsfu.example/go/internal/fbs"
)

// The values of scenarios: replies and events as maps by the schema's names in lowerCamelCase, and how they are matched.

// lowerCamel is a name of the schema as scenarios have it.
func lowerCamel(name string) string {
	parts := strings.Split(name, "_")
	for at := 1; at < len(parts); at++ {
		if parts[at] != "" {
			parts[at] = strings.ToUpper(parts[at][:1]) + parts[at][1:]
		}
	}
	return strings.Join(parts, "")
}

// plain is a value of the schema's generated code as maps, lists, numbers and words; what is absent is left out.
func plain(value reflect.Value) any {
	switch one := value.Interface().(type) {
	case fbs.FingerprintAlgorithm:
		return strings.Replace(one.String(), "sha", "sha-", 1)
	case fbs.SrtpProfile:
		for name, profile := range profiles {
			if profile == one {
				return string(name)
			}
		}
	case []*fbs.ParameterT:
		out := map[string]any{}
		for name, parameter := range parametersFrom(one) {
			out[name] = parameter
		}
		return out
	case fmt.Stringer:
		// Optional values are pointers, which may be nil.
		if value.Kind() != reflect.Pointer {
			return strings.TrimSuffix(one.String(), "_")
		}
	}
	switch value.Kind() {
	case reflect.Pointer:
		if value.IsNil() {
			return nil
		}
		return plain(value.Elem())
	case reflect.Struct:
		out := map[string]any{}
		for at := 0; at < value.NumField(); at++ {
			one := plain(value.Field(at))
			if one != nil && one != "" {
				out[lowerCamel(value.Type().Field(at).Tag.Get("json"))] = one
			}
		}
		return out
	case reflect.Slice:
		out := make([]any, value.Len())
		for at := range out {
			out[at] = plain(value.Index(at))
		}
		return out
	case reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		return float64(value.Int())
	case reflect.Uint64:
		return ID(value.Uint())
	case reflect.Uint8, reflect.Uint16, reflect.Uint32:
		return float64(value.Uint())
	case reflect.Float32, reflect.Float64:
		return value.Float()
	}
	return value.Interface()
}

// plainEvent maps an event's Go type back to the schema's name and fields.
func plainEvent(event Event) (string, map[string]any) {
	layers := func(layers *Layers) any {
		if layers == nil {
			return nil
		}
		out := map[string]any{"spatial": float64(layers.Spatial)}
		if layers.Temporal != nil {
			out["temporal"] = float64(*layers.Temporal)
		}
		return out
	}
	tuple := func(tuple TransportTuple) any {
		return map[string]any{
			"protocol": string(tuple.Protocol), "localAddress": tuple.LocalAddress, "localPort": float64(tuple.LocalPort),
			"remoteAddress": tuple.RemoteAddress, "remotePort": float64(tuple.RemotePort),
		}
	}
	fields := map[string]any{}
	switch e := event.(type) {
	case ObjectClosed:
		fields["reason"], fields["text"] = string(e.Reason), e.Text
	case ICEStateChanged:
		fields["state"] = string(e.State)
	case ICESelectedTupleChanged:
		fields["tuple"] = tuple(e.Tuple)
	case DTLSStateChanged:
		fields["state"], fields["reason"] = string(e.State), e.Reason
	case LayersChanged:
		fields["layers"] = layers(e.Layers)
	case WantedLayers:
		fields["layers"] = layers(e.Layers)
	case ProducerScore:
		scores := []any{}
		for _, one := range e.Scores {
			scores = append(scores, map[string]any{
				"encoding": float64(one.Encoding), "ssrc": float64(one.SSRC), "rid": one.RID, "score": float64(one.Score),
			})
		}
		fields["scores"] = scores
	case ConsumerScore:
		scores := []any{}
		for _, one := range e.ProducerScores {
			scores = append(scores, float64(one))
		}
		fields["score"], fields["producerScore"], fields["producerScores"] = float64(e.Score), float64(e.ProducerScore), scores
	case VideoOrientationChanged:
		fields["camera"], fields["flip"], fields["rotation"] = e.Camera, e.Flip, float64(e.Rotation)
	case AudioVolumes:
		volumes := []any{}
		for _, one := range e.Volumes {
			volumes = append(volumes, map[string]any{"producer": one.Producer, "volume": float64(one.Volume)})
		}
		fields["volumes"] = volumes
	case DominantSpeakerChanged:
		fields["producer"] = e.Producer
	case Trace:
		fields = plainTrace(e)
	case TransportTupleChanged:
		fields["tuple"], fields["rtcp"] = tuple(e.Tuple), e.RTCP
	case PipeSilenceChanged:
		fields["silent"] = e.Silent
	case StreamLimitReached:
		fields["limit"] = float64(e.Limit)
	case TapClosed:
		fields["reason"], fields["packets"], fields["bytes"] = string(e.Reason), float64(e.Packets), float64(e.Bytes)
		fields["dropped"], fields["text"] = float64(e.Dropped), e.Text
	case EventsLost:
		fields["count"] = float64(e.Count)
	}
	for name, value := range fields {
		if value == nil || value == "" {
			delete(fields, name)
		}
	}
	return fbs.EventBody(event.kind()).String(), fields
}

func plainTrace(e Trace) map[string]any {
	fields := map[string]any{
		"kind": string(e.Kind), "direction": "in", "ssrc": float64(e.SSRC), "packets": float64(e.Packets),
		"atUnixNs": float64(e.At.UnixNano()),
	}
	if e.Out {
		fields["direction"] = "out"
	}
	if rtp := e.RTP; rtp != nil {
		fields["rtp"] = map[string]any{
			"payloadType": float64(rtp.PayloadType), "sequence": float64(rtp.SequenceNumber), "marker": rtp.Marker,
			"timestamp": float64(rtp.Timestamp), "keyFrame": rtp.KeyFrame, "rtx": rtp.RTX, "bytes": float64(rtp.Bytes),
		}
	}
	return fields
}

// number is the value as a number, where it is one.
func number(value any) (float64, bool) {
	switch n := value.(type) {
	case float64:
		return n, true
	case ID:
		return float64(n), true
	}
	return 0, false
}

// match says what is wrong, or nothing. Refs are resolved already.
func match(path string, wanted, found any) string {
	if object, is := wanted.(map[string]any); is {
		if len(object) == 1 {
			for name, value := range object {
				if strings.HasPrefix(name, "$") {
					return matcher(path, name, value, found)
				}
			}
		}
		fields, is := found.(map[string]any)
		if !is {
			return fmt.Sprintf("%s is %v", path, found)
		}
		for name, value := range object {
			if wrong := match(path+"."+name, value, fields[name]); wrong != "" {
				return wrong
			}
		}
		return ""
	}
	if list, is := wanted.([]any); is {
		items, _ := found.([]any)
		if len(items) != len(list) {
			return fmt.Sprintf("%s has %d items: %v", path, len(items), found)
		}
		for at := range list {
			if wrong := match(fmt.Sprintf("%s[%d]", path, at), list[at], items[at]); wrong != "" {
				return wrong
			}
		}
		return ""
	}
	// What is absent has its default.
	if found == nil && (wanted == nil || wanted == false || wanted == "" || wanted == 0.0) {
		return ""
	}
	if id, is := wanted.(ID); is {
		if found == id {
			return ""
		}
	} else if a, is := number(wanted); is {
		if b, is := number(found); is && a == b {
			return ""
		}
	} else if reflect.DeepEqual(wanted, found) {
		return ""
	}
	return fmt.Sprintf("%s is %v, wanted %v", path, found, wanted)
}

func matcher(path, name string, value, found any) string {
	n, _ := number(found)
	limit, _ := number(value)
	list, _ := found.([]any)
	good := false
	switch name {
	case "$any":
		good = found != nil
	case "$absent":
		good = found == nil
	case "$min":
		good = n >= limit || list != nil && float64(len(list)) >= limit
	case "$max":
		good = n <= limit
	case "$count":
		good = float64(len(list)) == limit
	case "$contains":
		text, _ := found.(string)
		wanted, _ := value.(string)
		good = strings.Contains(text, wanted)
	case "$has":
		for _, item := range list {
			good = good || match(path, value, item) == ""
		}
	case "$sameItems":
		wanted, _ := value.([]any)
		good = len(wanted) == len(list)
		for _, one := range wanted {
			has := false
			for _, item := range list {
				has = has || match(path, one, item) == ""
			}
			good = good && has
		}
	}
	if good {
		return ""
	}
	return fmt.Sprintf("%s is %v, wanted {%s: %v}", path, found, name, value)
}
