package sfu

import (
	"context"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	flatbuffers "github.com/google/flatbuffers/go"

	"libsfu.example/go/internal/capi"
	"libsfu.example/go/internal/fbs"
)

// Whether this package says and tells all that the schema holds. A table that is full is changed in one place at a time: what
// the program then sees must differ, or the field does not reach it. What the program asks for is made twice, with other
// values everywhere: a field of the request that does not differ cannot be set.

// stand is an engine's place without an engine: it keeps the request and gives the reply that it was handed.
type stand struct {
	core    *core
	request any
	reply   any
}

func newStand(reply any) *stand {
	s := &stand{core: newCore(16), reply: reply}
	s.core.send = s.send
	return s
}

func (s *stand) send(bytes []byte) (capi.Status, string) {
	request := fbs.GetSizePrefixedRootAsMessage(bytes, 0).UnPack().Content.Value.(*fbs.RequestT)
	s.request = request.Body.Value
	reply := &fbs.ReplyT{Id: request.Id, Body: &fbs.ReplyBodyT{Type: fbs.EnumValuesReplyBody[tableName(s.reply)], Value: s.reply}}
	s.core.deliver(message(flatbuffers.NewBuilder(1024), fbs.ContentReply, reply))
	return capi.OK, ""
}

// tableName of the schema.
func tableName(table any) string {
	return strings.TrimSuffix(reflect.TypeOf(table).Elem().Name(), "T")
}

// exchange is a method of this package, the reply that it gets, and what the program sees of it.
type exchange struct {
	name  string
	reply any
	call  func(ctx context.Context, s *stand, seed int) (any, error)
}

var (
	parameterType = reflect.TypeOf(fbs.ParameterT{})
	stringerType  = reflect.TypeOf((*fmt.Stringer)(nil)).Elem()
)

// fill puts a value into every field of a table. Lists get one element, parameters a text and a number.
func fill(value reflect.Value, count *int) {
	*count++
	switch value.Kind() {
	case reflect.Pointer:
		value.Set(reflect.New(value.Type().Elem()))
		fill(value.Elem(), count)
	case reflect.Struct:
		for at := 0; at < value.NumField(); at++ {
			fill(value.Field(at), count)
		}
	case reflect.Slice:
		value.Set(reflect.MakeSlice(value.Type(), 1, 2))
		fill(value.Index(0), count)
		if element := value.Index(0); element.Kind() == reflect.Pointer && element.Type().Elem() == parameterType {
			text := element.Interface().(*fbs.ParameterT)
			text.Number = nil
			number := float64(*count)
			value.Set(reflect.Append(value, reflect.ValueOf(&fbs.ParameterT{Name: text.Name + "-number", Number: &number})))
		}
	case reflect.String:
		value.SetString(fmt.Sprintf("text-%d", *count))
	case reflect.Bool:
		value.SetBool(true)
	case reflect.Float32, reflect.Float64:
		value.SetFloat(float64(*count))
	default:
		number := int64(*count%100 + 1)
		if value.Type().Implements(stringerType) {
			number = 0
		}
		if value.CanUint() {
			value.SetUint(uint64(number))
		} else {
			value.SetInt(number)
		}
	}
}

// change does something to the place of that number in a full table, and tells which it was; empty: there are no more. Each
// field is a place, and so is the absence of one that is optional.
func change(value reflect.Value, path string, place *int) string {
	here := func() bool { *place--; return *place == -1 }
	switch value.Kind() {
	case reflect.Pointer:
		if value.IsNil() {
			return ""
		}
		if value.Type().Elem().Kind() != reflect.Struct && here() {
			value.SetZero()
			return path + " absent"
		}
		return change(value.Elem(), path, place)
	case reflect.Struct:
		for at := 0; at < value.NumField(); at++ {
			if value.Type() == parameterType && value.Field(at).Kind() == reflect.String && value.Field(at).Len() == 0 {
				continue
			}
			if found := change(value.Field(at), path+"."+value.Type().Field(at).Name, place); found != "" {
				return found
			}
		}
		return ""
	case reflect.Slice:
		if here() {
			value.SetZero()
			return path + " empty"
		}
		for at := 0; at < value.Len(); at++ {
			if found := change(value.Index(at), path+"[]", place); found != "" {
				return found
			}
		}
		return ""
	}
	if !here() {
		return ""
	}
	switch {
	case value.Kind() == reflect.String:
		value.SetString(value.String() + "-other")
	case value.Kind() == reflect.Bool:
		value.SetBool(!value.Bool())
	case value.CanFloat():
		value.SetFloat(value.Float() + 1)
	case value.CanUint():
		value.SetUint(value.Uint() + 1)
	default:
		value.SetInt(value.Int() + 1)
	}
	return path
}

// full is a table with all of its fields, and the change of that number; -1: none.
func full(table any, place int) (any, string) {
	made, count := reflect.New(reflect.TypeOf(table).Elem()), 0
	fill(made.Elem(), &count)
	changed := ""
	if place >= 0 {
		changed = change(made.Elem(), tableName(table), &place)
	}
	return made.Interface(), changed
}

// differs changes each place of a table, and fails for those that nobody sees. Places in `silent` are not seen, for the
// reason that stands there.
func differs(t *testing.T, table any, silent map[string]string, see func(any) any) {
	t.Helper()
	base, _ := full(table, -1)
	usual := see(base)
	for place := 0; ; place++ {
		other, path := full(table, place)
		if path == "" {
			return
		}
		_, exempt := silent[path]
		switch same := reflect.DeepEqual(usual, see(other)); {
		case same && !exempt:
			t.Errorf("%s: the program sees nothing of it", path)
		case !same && exempt:
			t.Errorf("%s: on the list of what is not told, but the program sees it", path)
		}
	}
}

// values that a type or a field of this package takes, where not any will do.
var values = map[reflect.Type][2]any{
	reflect.TypeOf(Audio):            {Audio, Video},
	reflect.TypeOf(UDP):              {UDP, TCP},
	reflect.TypeOf(SendRecv):         {SendOnly, RecvOnly},
	reflect.TypeOf(DTLSClient):       {DTLSClient, DTLSServer},
	reflect.TypeOf(RouterNumbering):  {RouterNumbering, PeerNumbering},
	reflect.TypeOf(AEADAES256GCM):    {AEADAES256GCM, AEADAES128GCM},
	reflect.TypeOf(PCAPNG):           {PCAPNG, RTPDump},
	reflect.TypeOf(IOURing):          {IOURing, MMsg},
	reflect.TypeOf(time.Duration(0)): {time.Second, 2 * time.Second},
	reflect.TypeOf(Parameters{}):     {Parameters{"a": "x", "b": 1}, Parameters{"c": "y", "d": 2}},
}

// options is a value of this package's with all of its fields, others for each of the seeds 0 and 1.
func options[T any](seed int) T {
	var out T
	fillOptions(reflect.ValueOf(&out).Elem(), "", seed)
	return out
}

func fillOptions(value reflect.Value, field string, seed int) {
	if pair, ok := values[value.Type()]; ok {
		value.Set(reflect.ValueOf(pair[seed]))
		return
	}
	switch value.Kind() {
	case reflect.Pointer:
		value.Set(reflect.New(value.Type().Elem()))
		if server, ok := value.Interface().(*WebRTCServer); ok {
			server.object = &object{id: ID(100 + seed)}
			return
		}
		fillOptions(value.Elem(), field, seed)
	case reflect.Struct:
		for at := 0; at < value.NumField(); at++ {
			fillOptions(value.Field(at), value.Type().Field(at).Name, seed)
		}
	case reflect.Slice:
		value.Set(reflect.MakeSlice(value.Type(), 1, 1))
		fillOptions(value.Index(0), field, seed)
	case reflect.String:
		if field == "Algorithm" {
			value.SetString([]string{"sha-256", "sha-512"}[seed])
		} else {
			value.SetString(fmt.Sprintf("text-%d", seed))
		}
	case reflect.Bool:
		value.SetBool(seed == 1)
	default:
		if value.CanUint() {
			value.SetUint(uint64(10 + seed))
		} else {
			value.SetInt(int64(10 + seed))
		}
	}
}

// equals lists the fields in which two tables do not differ.
func equals(one, other reflect.Value, path string) []string {
	switch one.Kind() {
	case reflect.Pointer:
		if one.IsNil() || other.IsNil() {
			return []string{path}
		}
		return equals(one.Elem(), other.Elem(), path)
	case reflect.Struct:
		var out []string
		for at := 0; at < one.NumField(); at++ {
			out = append(out, equals(one.Field(at), other.Field(at), path+"."+one.Type().Field(at).Name)...)
		}
		return out
	case reflect.Slice:
		if one.Len() == 0 || other.Len() == 0 {
			return []string{path}
		}
		if one.Index(0).Type() == reflect.PointerTo(parameterType) {
			if reflect.DeepEqual(parametersFrom(one.Interface().([]*fbs.ParameterT)), parametersFrom(other.Interface().([]*fbs.ParameterT))) {
				return []string{path}
			}
			return nil
		}
		return equals(one.Index(0), other.Index(0), path+"[]")
	}
	if reflect.DeepEqual(one.Interface(), other.Interface()) {
		return []string{path}
	}
	return nil
}

// silentReplies are the fields of replies that this package does not tell.
var silentReplies = map[string]map[string]string{
	"CreateWebRTCServer":          withoutCapabilities,
	"CreateDirectTransport":       withoutCapabilities,
	"CreateAudioLevelObserver":    withoutCapabilities,
	"CreateActiveSpeakerObserver": withoutCapabilities,
	"Consumer.Decisions":          {"Decisions.Capacity": "what KeepDecisions was told; the dump has it"},
}

// withoutCapabilities: only routers have them.
var withoutCapabilities = func() map[string]string {
	silent := map[string]string{}
	for place := 0; ; place++ {
		_, path := full(&fbs.CreatedT{}, place)
		if path == "" {
			return silent
		}
		if strings.HasPrefix(path, "Created.RtpCapabilities") {
			silent[path] = "only routers have them"
		}
	}
}()

// fixedRequests are fields of requests that the program does not set by themselves.
var fixedRequests = map[string]string{
	"CreatePlainTransport.EnableSrtp": "it follows from the suite",
}

func TestEveryFieldOfEveryReplyReachesTheProgram(t *testing.T) {
	covered := map[string]bool{"Done": true, "ShardDump": true} // Done has no fields; shards are part of an EngineDump.
	for _, one := range exchanges {
		if one.reply == nil {
			continue
		}
		covered[tableName(one.reply)] = true
		t.Run(one.name, func(t *testing.T) {
			differs(t, one.reply, silentReplies[one.name], func(reply any) any {
				seen, err := one.call(bounded(t), newStand(reply), 0)
				check(t, err)
				return seen
			})
		})
	}
	for name, tag := range fbs.EnumValuesReplyBody {
		if tag != fbs.ReplyBodyNONE && !covered[name] {
			t.Errorf("%s: no method gets it", name)
		}
	}
}

func TestEveryFieldOfEveryRequestCanBeSet(t *testing.T) {
	covered := map[string]bool{}
	for _, one := range exchanges {
		t.Run(one.name, func(t *testing.T) {
			ask := func(seed int) any {
				reply := one.reply
				if reply == nil {
					reply = &fbs.DoneT{}
				}
				filled, _ := full(reply, -1)
				s := newStand(filled)
				_, err := one.call(bounded(t), s, seed)
				check(t, err)
				return s.request
			}
			first, second := ask(0), ask(1)
			covered[tableName(first)] = true
			for _, path := range equals(reflect.ValueOf(first), reflect.ValueOf(second), tableName(first)) {
				if _, fixed := fixedRequests[path]; !fixed {
					t.Errorf("%s cannot be set", path)
				}
			}
		})
	}
	for name, tag := range fbs.EnumValuesRequestBody {
		if tag != fbs.RequestBodyNONE && !covered[name] {
			t.Errorf("%s: no method sends it", name)
		}
	}
	first, second := options[Options](0), options[Options](1)
	one, other := must[*fbs.EngineOptionsT](t)(first.toSchema()), must[*fbs.EngineOptionsT](t)(second.toSchema())
	for _, path := range equals(reflect.ValueOf(one), reflect.ValueOf(other), "EngineOptions") {
		t.Errorf("%s cannot be set", path)
	}
}

func TestEveryFieldOfEveryEventReachesTheProgram(t *testing.T) {
	covered := map[string]bool{}
	for _, event := range []any{
		&fbs.ObjectClosedT{}, &fbs.IceStateChangedT{}, &fbs.IceSelectedTupleChangedT{}, &fbs.DtlsStateChangedT{},
		&fbs.ProducerPausedT{}, &fbs.ProducerResumedT{}, &fbs.EventsLostT{}, &fbs.LayersChangedT{},
		&fbs.ProducerScoreT{}, &fbs.ConsumerScoreT{}, &fbs.WantedLayersT{}, &fbs.VideoOrientationChangedT{},
		&fbs.AudioVolumesT{}, &fbs.AudioSilenceT{}, &fbs.DominantSpeakerChangedT{}, &fbs.TraceEventT{},
		&fbs.TransportTupleChangedT{}, &fbs.PipeSilenceChangedT{}, &fbs.EngineDrainedT{}, &fbs.StreamLimitReachedT{},
		&fbs.TapClosedT{},
	} {
		name := tableName(event)
		covered[name] = true
		see := func(source uint64) func(any) any {
			return func(body any) any {
				return eventFrom(&fbs.EventT{
					Source: source, Body: &fbs.EventBodyT{Type: fbs.EnumValuesEventBody[name], Value: body},
				})
			}
		}
		differs(t, event, nil, see(7))
		typed, _ := see(7)(event).(Event)
		if typed == nil {
			t.Errorf("%s: not told", name)
		} else if source := typed.Source(); source != 7 && source != 0 || fbs.EventBody(typed.kind()) != fbs.EnumValuesEventBody[name] {
			t.Errorf("%s: told as %T of %s", name, typed, source)
		}
	}
	for name, tag := range fbs.EnumValuesEventBody {
		if tag != fbs.EventBodyNONE && !covered[name] {
			t.Errorf("%s: not among those of this test", name)
		}
	}
}
