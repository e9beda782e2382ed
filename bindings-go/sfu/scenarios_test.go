package sfu

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"libsfu.example/go/internal/capi"
	"libsfu.example/go/internal/fbs"
)

// patience of any wait.
const patience = 10 * time.Second

// TestScenarios runs the conformance set of all languages, by the calls that Go programs use.
func TestScenarios(t *testing.T) {
	const folder = "../../tests/scenarios"
	files, err := filepath.Glob(folder + "/*.json")
	if err != nil {
		t.Fatal(err)
	}
	if len(files) == 0 {
		t.Fatal("no scenarios in ", folder)
	}
	for _, file := range files {
		name := strings.TrimSuffix(filepath.Base(file), ".json")
		if name == "exempt" {
			continue
		}
		t.Run(name, func(t *testing.T) {
			var scenario struct {
				Engines map[string]map[string]any
				Ignore  []string
				Steps   []map[string]any
			}
			text := must[[]byte](t)(os.ReadFile(file))
			check(t, json.Unmarshal(text, &scenario))
			run := &scenarioRun{t: t, ignore: scenario.Ignore, engines: map[string]*scenarioEngine{},
				bound: map[string]binding{}, pending: map[string][]chan string{}, sockets: map[string]*net.UDPConn{},
				packets: map[ID][][]byte{}}
			run.changed = sync.NewCond(&run.mu)
			defer run.end()
			if scenario.Engines == nil {
				scenario.Engines = map[string]map[string]any{"main": {"shards": 1.0, "unpinned": true}}
			}
			for name, options := range scenario.Engines {
				check(t, run.start(name, options))
			}
			for at, step := range scenario.Steps {
				if wrong := run.step(step); wrong != "" {
					text, _ := json.Marshal(step)
					t.Fatalf("step %d: %s\n%.600s", at+1, wrong, text)
				}
			}
			if wrong := run.unread(); wrong != "" {
				t.Fatal(wrong)
			}
		})
	}
}

// binding is what a name stands for.
type binding struct {
	id     ID
	reply  any
	object any
}

type scenarioEngine struct {
	*Engine
	// events that nobody has looked at, in their order.
	events []Event
	last   *fbs.ReplyBodyT
}

// marked is no event of the schema: it tells that the handler has heard all before it.
type marked struct{ seen chan struct{} }

func (marked) Source() ID { return 0 }
func (marked) kind() kind { return 254 }

type scenarioRun struct {
	t       *testing.T
	ignore  []string
	engines map[string]*scenarioEngine
	bound   map[string]binding
	pending map[string][]chan string
	sockets map[string]*net.UDPConn

	mu      sync.Mutex
	changed *sync.Cond
	packets map[ID][][]byte
}

func (r *scenarioRun) start(name string, options map[string]any) error {
	if folder, given := options["tapDirectory"]; given {
		options["tapDirectory"] = strings.ReplaceAll(folder.(string), "${tmp}", r.t.TempDir())
	}
	var read Options
	if err := arguments(options).rest(&read); err != nil {
		return err
	}
	made, err := New(read)
	if err != nil {
		return err
	}
	engine := &scenarioEngine{Engine: made}
	made.observe = func(_ fbs.RequestBody, reply *fbs.ReplyBodyT) {
		r.mu.Lock()
		engine.last = reply
		r.mu.Unlock()
	}
	made.OnEvent(func(event Event) {
		if mark, is := event.(marked); is {
			close(mark.seen)
			return
		}
		r.mu.Lock()
		engine.events = append(engine.events, event)
		r.changed.Broadcast()
		r.mu.Unlock()
	})
	r.engines[name] = engine
	return nil
}

func (r *scenarioRun) end() {
	for _, engine := range r.engines {
		if err := engine.Close(); err != nil {
			r.t.Error(err)
		}
	}
	for _, socket := range r.sockets {
		_ = socket.Close()
	}
}

// wait until `look` gives true; false when the time is over.
func (r *scenarioRun) wait(look func() bool) bool {
	late := time.AfterFunc(patience, func() {
		r.mu.Lock()
		r.changed.Broadcast()
		r.mu.Unlock()
	})
	defer late.Stop()
	deadline := time.Now().Add(patience)
	r.mu.Lock()
	defer r.mu.Unlock()
	for !look() {
		if !time.Now().Before(deadline) {
			return false
		}
		r.changed.Wait()
	}
	return true
}

// unread says which event nobody has looked at.
func (r *scenarioRun) unread() string {
	for name, engine := range r.engines {
		mark := marked{make(chan struct{})}
		engine.queue.push(nil, mark)
		select {
		case <-mark.seen:
		case <-engine.Done():
		case <-time.After(patience):
			return "the handlers are stuck"
		}
		r.mu.Lock()
		for _, event := range engine.events {
			if kind, fields := plainEvent(event); !slices.Contains(r.ignore, kind) {
				r.mu.Unlock()
				return fmt.Sprintf("an unread %s of %s in engine %s: %v", kind, event.Source(), name, fields)
			}
		}
		r.mu.Unlock()
	}
	return ""
}

// resolve replaces references by what they stand for.
func (r *scenarioRun) resolve(value any) any {
	switch one := value.(type) {
	case string:
		if strings.HasPrefix(one, "$") {
			return r.reference(one[1:])
		}
	case []any:
		out := make([]any, len(one))
		for at := range one {
			out[at] = r.resolve(one[at])
		}
		return out
	case map[string]any:
		if list, is := one["$merge"].([]any); is {
			out := map[string]any{}
			for _, item := range list {
				for name, member := range r.resolve(item).(map[string]any) {
					out[name] = member
				}
			}
			return out
		}
		if list, is := one["$repeat"].([]any); is {
			return strings.Repeat(list[0].(string), int(list[1].(float64)))
		}
		out := map[string]any{}
		for name, member := range one {
			out[name] = r.resolve(member)
		}
		return out
	}
	return value
}

func (r *scenarioRun) reference(path string) any {
	parts := strings.Split(path, ".")
	if parts[0] == "socket" {
		return float64(r.socket(parts[1]).LocalAddr().(*net.UDPAddr).Port)
	}
	bound, known := r.bound[parts[0]]
	if !known {
		r.t.Fatalf("$%s stands for nothing", path)
	}
	if len(parts) == 1 {
		return bound.id
	}
	value := bound.reply
	for _, part := range parts[1:] {
		switch one := value.(type) {
		case map[string]any:
			value = one[part]
		case []any:
			at, err := strconv.Atoi(part)
			if err != nil || at >= len(one) {
				r.t.Fatalf("$%s: no item %s", path, part)
			}
			value = one[at]
		default:
			r.t.Fatalf("$%s: nothing at %s", path, part)
		}
	}
	return value
}

func (r *scenarioRun) socket(name string) *net.UDPConn {
	if r.sockets[name] == nil {
		r.sockets[name] = must[*net.UDPConn](r.t)(net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)}))
	}
	return r.sockets[name]
}

func (r *scenarioRun) step(step map[string]any) string {
	name, _ := step["engine"].(string)
	if name == "" {
		name = "main"
	}
	engine := r.engines[name]
	for word, value := range step {
		switch word {
		case "call":
			return r.call(engine, step)
		case "await":
			return r.await(value.(string), step)
		case "event":
			return r.event(engine, step)
		case "events":
			return r.events(engine, value.([]any), step["anyOrder"] == true)
		case "send":
			return r.send(value, step)
		case "receive":
			return r.receive(value, step)
		case "datagram":
			return r.datagram(value.(map[string]any), step)
		case "start":
			return r.startStep(value.(string), step)
		case "shutdown", "free":
			if err := r.engines[value.(string)].Close(); err != nil {
				return err.Error()
			}
			return ""
		case "raw":
			return r.raw(engine, value.(string), step)
		}
	}
	return "this runner does not know the step"
}

func (r *scenarioRun) raw(engine *scenarioEngine, text string, step map[string]any) string {
	bytes, err := hex.DecodeString(text)
	if err != nil {
		return err.Error()
	}
	status, why := capi.Submit(engine.handle, bytes)
	if status == capi.OK {
		return "it was taken"
	}
	return wrongCode(refused("", status, why), step["error"].(map[string]any))
}

func (r *scenarioRun) startStep(name string, step map[string]any) string {
	options, _ := step["options"].(map[string]any)
	err := r.start(name, options)
	wanted, fails := step["error"].(map[string]any)
	switch {
	case !fails && err == nil:
		return ""
	case !fails || err == nil:
		return fmt.Sprintf("starting: %v", err)
	}
	numbers := map[string]Code{
		"SFU_START_INVALID_OPTIONS": ErrStartOptions, "SFU_START_CPU_UNAVAILABLE": ErrCPUUnavailable,
		"SFU_START_CERTIFICATE": ErrCertificate, "SFU_START_RESOURCE": ErrStartResource,
	}
	code, known := numbers[wanted["status"].(string)]
	if !known || !errors.Is(err, code) || !strings.Contains(err.Error(), wanted["text"].(string)) {
		return fmt.Sprintf("starting: %v", err)
	}
	return ""
}

// codeWord is the schema's word for the code of an error; ok for none.
func codeWord(err error) string {
	if err == nil {
		return "ok"
	}
	var refused *Error
	if !errors.As(err, &refused) {
		return err.Error()
	}
	return fbs.Code(refused.Code).String()
}

func wrongCode(err error, wanted map[string]any) string {
	var refused *Error
	if !errors.As(err, &refused) {
		return fmt.Sprintf("answered %v, wanted %v", err, wanted)
	}
	field, asked := wanted["field"]
	if codeWord(err) != wanted["code"] || asked && refused.Field != field || refused.Message == "" && refused.Code != ErrClosed || strings.Contains(err.Error(), "\n") {
		return fmt.Sprintf("refused as %s at %q: %q, wanted %v", codeWord(err), refused.Field, refused.Message, wanted)
	}
	return ""
}

func (r *scenarioRun) call(engine *scenarioEngine, step map[string]any) string {
	name := step["call"].(string)
	times := 1
	if n, given := step["times"].(float64); given {
		times = int(n)
	}
	var on any
	target := ID(0)
	switch named := step["on"].(type) {
	case string:
		bound := r.bound[strings.TrimPrefix(named, "$")]
		on, target = bound.object, bound.id
	case float64:
		target = ID(named)
	}
	do := func() (any, error, error) {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		given, _ := step["args"].(map[string]any)
		args, _ := r.resolve(given).(map[string]any)
		if args == nil {
			args = map[string]any{}
		}
		if step["untyped"] == true {
			return nil, untyped(ctx, engine.core, name, target, args), nil
		}
		return scenarioCall(ctx, engine.Engine, name, on, arguments(args))
	}
	if later, waits := step["later"].(string); waits {
		for range times {
			answer := make(chan string, 1)
			r.pending[later] = append(r.pending[later], answer)
			go func() {
				_, err, wrong := do()
				if wrong != nil {
					err = wrong
				}
				answer <- codeWord(err)
			}()
		}
		return ""
	}
	for range times {
		object, err, wrong := do()
		if wrong != nil {
			return wrong.Error()
		}
		if wanted, fails := step["error"].(map[string]any); fails {
			if wrong := wrongCode(err, wanted); wrong != "" {
				return wrong
			}
			continue
		}
		if err != nil {
			return err.Error()
		}
		if wrong := r.answered(engine, object, step); wrong != "" {
			return wrong
		}
	}
	return ""
}

// answered looks at a reply, binds it, and listens to what was made.
func (r *scenarioRun) answered(engine *scenarioEngine, object any, step map[string]any) string {
	r.mu.Lock()
	last := engine.last
	r.mu.Unlock()
	wanted, told := step["reply"].(string)
	if !told {
		wanted = "Done"
	}
	if last.Type.String() != wanted {
		return fmt.Sprintf("answered by %s, wanted %s", last.Type, wanted)
	}
	reply := plain(reflect.ValueOf(last.Value))
	if name, binds := step["as"].(string); binds {
		bound := binding{reply: reply, object: object}
		if base, is := baseOf(object); is {
			bound.id = base.id
		}
		r.bound[name] = bound
	}
	if base, is := baseOf(object); is {
		keep := func(packet []byte) {
			r.mu.Lock()
			defer r.mu.Unlock()
			r.packets[base.id] = append(r.packets[base.id], append([]byte(nil), packet...))
			r.changed.Broadcast()
		}
		switch one := object.(type) {
		case *Consumer:
			one.OnRTP(keep)
		case *DirectTransport:
			one.OnRTCP(keep)
		}
	}
	if expected, given := step["expect"]; given {
		return match("reply", r.resolve(expected), reply)
	}
	return ""
}

// untyped sends a command that no object of this package would, with its fields by the schema's names.
func untyped(ctx context.Context, c *core, name string, target ID, args map[string]any) error {
	body := fbs.EnumValuesRequestBody[name]
	var value any
	switch body {
	case fbs.RequestBodyPause:
		value = &fbs.PauseT{}
	case fbs.RequestBodyCreateSdpOffer:
		value = &fbs.CreateSdpOfferT{SessionVersion: 1}
	case fbs.RequestBodyCreateRouter:
		var options RouterOptions
		if err := arguments(args).rest(&options); err != nil {
			return err
		}
		codecs, err := codecsTo(options.MediaCodecs, "media_codecs")
		if err != nil {
			return err
		}
		value = &fbs.CreateRouterT{MediaCodecs: codecs, Shard: options.Shard}
	case fbs.RequestBodyProduce:
		var options ProducerOptions
		if err := arguments(args).rest(&options); err != nil {
			return err
		}
		_, err := transport{&object{core: c, id: target}}.Produce(ctx, options)
		return err
	default:
		return fmt.Errorf("this runner has no untyped %s", name)
	}
	_, err := c.request(ctx, name, target, body, value, nil)
	return err
}

func (r *scenarioRun) await(name string, step map[string]any) string {
	for _, answer := range r.pending[name] {
		select {
		case code := <-answer:
			if codes, many := step["answers"].([]any); many {
				if !slices.Contains(codes, any(code)) {
					return fmt.Sprintf("answered %s, wanted one of %v", code, codes)
				}
			} else if wanted, fails := step["error"].(map[string]any); fails && wanted["code"] != code || !fails && code != "ok" {
				return "answered " + code
			}
		case <-time.After(patience):
			return "a call is not answered"
		}
	}
	delete(r.pending, name)
	return ""
}

// next is where the next event is that counts; it waits for it.
func (r *scenarioRun) next(engine *scenarioEngine, source ID, asked string) (at int, found bool) {
	found = r.wait(func() bool {
		for at = range engine.events {
			event := engine.events[at]
			if event.Source() != source {
				continue
			}
			if kind, _ := plainEvent(event); kind == asked || !slices.Contains(r.ignore, kind) {
				return true
			}
		}
		return false
	})
	return at, found
}

func (r *scenarioRun) event(engine *scenarioEngine, step map[string]any) string {
	_, wrong := r.takeEvent(engine, step)
	return wrong
}

func (r *scenarioRun) takeEvent(engine *scenarioEngine, step map[string]any) (int, string) {
	source := ID(0)
	if from, given := step["from"].(string); given {
		source = r.bound[strings.TrimPrefix(from, "$")].id
	}
	wanted := step["event"].(string)
	at, found := r.next(engine, source, wanted)
	if !found {
		return 0, fmt.Sprintf("no %s of %s came", wanted, source)
	}
	r.mu.Lock()
	event := engine.events[at]
	engine.events = slices.Delete(engine.events, at, at+1)
	r.mu.Unlock()
	kind, fields := plainEvent(event)
	if kind != wanted {
		return 0, fmt.Sprintf("%s of %s came, wanted %s", kind, source, wanted)
	}
	if expected, given := step["expect"]; given {
		return at, match(kind, r.resolve(expected), fields)
	}
	return at, ""
}

func (r *scenarioRun) events(engine *scenarioEngine, list []any, anyOrder bool) string {
	before := 0
	for _, one := range list {
		at, wrong := r.takeEvent(engine, one.(map[string]any))
		if wrong != "" {
			return wrong
		}
		// What was taken before stands no longer in front of it.
		if at < before && !anyOrder {
			return fmt.Sprintf("%v came before the others", one)
		}
		before = at
	}
	return ""
}
