package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"

	"libsfu.example/go/sfu"
)

// The protoo protocol: JSON frames of requests and responses over a WebSocket, both ways. A frame that is wrong is refused
// with the field named, and the connection goes on.

// maxFrame is the largest frame taken from a peer, in bytes. A browser's produce is below 10 KiB.
const maxFrame = 256 * 1024

// object is JSON that is read field by field, or written.
type object = map[string]any

// refusal is a refused request: the code follows HTTP, the reason names the field and what to do.
type refusal struct {
	code   int
	reason string
}

func (r *refusal) Error() string { return fmt.Sprintf("%s (%d)", r.reason, r.code) }

func refuse(code int, format string, arguments ...any) error {
	return &refusal{code, fmt.Sprintf(format, arguments...)}
}

func wrongField(field, format string, arguments ...any) error {
	return refuse(400, "%s: %s", field, fmt.Sprintf(format, arguments...))
}

func unknown(field, id string) error {
	return refuse(404, "%s: %q is not an object of this peer; it may have been closed", field, id)
}

// asRefusal puts any error, the engine's too, into the words of the protocol: codes follow HTTP, fields are camelCase.
func asRefusal(err error) *refusal {
	var already *refusal
	if errors.As(err, &already) {
		return already
	}
	var refused *sfu.Error
	if !errors.As(err, &refused) {
		return &refusal{500, err.Error()}
	}
	code := 500
	switch refused.Code {
	case sfu.ErrMalformed, sfu.ErrInvalidArgument:
		code = 400
	case sfu.ErrNotFound:
		code = 404
	case sfu.ErrInvalidState, sfu.ErrAlreadyExists:
		code = 409
	case sfu.ErrUnsupported:
		code = 501
	case sfu.ErrBusy, sfu.ErrResourceExhausted, sfu.ErrAddressUnavailable, sfu.ErrClosed:
		code = 503
	}
	reason := refused.Message
	if reason == "" {
		reason = refused.Code.Error()
	}
	if refused.Field != "" {
		reason = camelCase(refused.Field) + ": " + reason
	}
	return &refusal{code, reason}
}

func camelCase(field string) string {
	var out strings.Builder
	up := false
	for _, letter := range field {
		switch {
		case letter == '_':
			up = true
		case up:
			out.WriteRune(unicode.ToUpper(letter))
			up = false
		default:
			out.WriteRune(letter)
		}
	}
	return out.String()
}

// frame is what a peer said.
type frame struct {
	request, response bool
	id                uint32
	method            string
	// data of a request, or what a response holds.
	data data
	// refused by a response.
	refused *refusal
}

// badFrame is one that is none; hasID tells whether it can be answered.
type badFrame struct {
	hasID   bool
	id      uint32
	refusal error
}

// parseFrame reads one text frame.
func parseFrame(text []byte) (frame, *badFrame) {
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(text, &fields); err != nil || fields == nil {
		return frame{}, &badFrame{refusal: wrongField("frame", "expected a JSON object")}
	}
	value := func(name string) (out any) {
		// What is no JSON was refused above; what is absent is nil.
		_ = json.Unmarshal(fields[name], &out)
		return out
	}
	var id uint32
	hasID := fields["id"] != nil && json.Unmarshal(fields["id"], &id) == nil && string(fields["id"]) != "null"
	method, named := value("method").(string)
	named = named && len(method) <= 64
	switch {
	case value("request") == true:
		return parseRequest(fields["data"], hasID, id, named, method)
	case value("response") == true:
		if !hasID {
			return frame{}, &badFrame{refusal: wrongField("id", "expected an integer below 2^32")}
		}
		out := frame{response: true, id: id}
		if value("ok") != true {
			code, _ := value("errorCode").(float64)
			reason, _ := value("errorReason").(string)
			if code < 1 || code > 999 {
				code = 500
			}
			out.refused = &refusal{int(code), fmt.Sprintf("%.200s", reason)}
		}
		return out, nil
	case value("notification") == true && named:
		return frame{method: method}, nil
	case value("notification") == true:
		return frame{}, &badFrame{refusal: wrongField("method", "expected a string of at most 64 bytes")}
	}
	return frame{}, &badFrame{refusal: wrongField("frame", "one of request, response and notification must be true")}
}

func parseRequest(body json.RawMessage, hasID bool, id uint32, named bool, method string) (frame, *badFrame) {
	if !hasID {
		return frame{}, &badFrame{refusal: wrongField("id", "expected an integer below 2^32")}
	}
	if !named {
		return frame{}, &badFrame{true, id, wrongField("method", "expected a string of at most 64 bytes")}
	}
	out := frame{request: true, id: id, method: method}
	if len(body) > 0 && string(body) != "null" {
		if err := json.Unmarshal(body, &out.data); err != nil {
			return frame{}, &badFrame{true, id, wrongField("data", "expected an object")}
		}
	}
	return out, nil
}

// data is the body of a request, read field by field; each refusal names its field.
type data map[string]json.RawMessage

func (d data) absent(field string) bool {
	value, given := d[field]
	return !given || string(value) == "null"
}

// text of at most `most` characters, not empty, without control characters.
func (d data) text(field string, most int) (string, error) {
	var text *string
	if d.absent(field) || json.Unmarshal(d[field], &text) != nil {
		return "", wrongField(field, "missing; expected a string")
	}
	return *text, checkText(field, *text, most)
}

// flag is a truth value; absent and null are false.
func (d data) flag(field string) (bool, error) {
	var value bool
	if d.absent(field) {
		return false, nil
	}
	if json.Unmarshal(d[field], &value) != nil {
		return false, wrongField(field, "expected true or false")
	}
	return value, nil
}

// number is a whole one from 0 to `most`, or nil.
func (d data) number(field string, most uint8) (*uint8, error) {
	var value uint8
	if d.absent(field) {
		return nil, nil
	}
	if json.Unmarshal(d[field], &value) != nil || value > most {
		return nil, wrongField(field, "expected a whole number from 0 to %d", most)
	}
	return &value, nil
}

// take reads a structure or a word.
func (d data) take(field string, into any) error {
	value, given := d[field]
	if !given {
		return wrongField(field, "missing")
	}
	if err := json.Unmarshal(value, into); err != nil {
		return wrongField(field, "%s", err)
	}
	return nil
}

// opaque is an object that is carried and not read, of at most `most` bytes of JSON; absent is an empty one.
func (d data) opaque(field string, most int) (object, error) {
	out := object{}
	if d.absent(field) {
		return out, nil
	}
	if len(d[field]) > most {
		return nil, wrongField(field, "%d bytes of JSON; at most %d are carried", len(d[field]), most)
	}
	if json.Unmarshal(d[field], &out) != nil {
		return nil, wrongField(field, "expected an object")
	}
	return out, nil
}

// checkText is the rule for names and ids that people give.
func checkText(field, text string, most int) error {
	switch {
	case strings.TrimSpace(text) == "":
		return wrongField(field, "is empty")
	case utf8.RuneCountInString(text) > most:
		return wrongField(field, "longer than %d characters", most)
	case strings.ContainsFunc(text, unicode.IsControl):
		return wrongField(field, "has control characters")
	}
	return nil
}

func encode(value object) []byte {
	text, err := json.Marshal(value)
	if err != nil {
		// All of it is made here, of values that have JSON.
		panic(err)
	}
	return text
}

func requestFrame(id uint32, method string, data any) []byte {
	return encode(object{"request": true, "id": id, "method": method, "data": data})
}

func notificationFrame(method string, data any) []byte {
	return encode(object{"notification": true, "method": method, "data": data})
}

func responseFrame(id uint32, data any, err error) []byte {
	if err != nil {
		refused := asRefusal(err)
		return encode(object{
			"response": true, "id": id, "ok": false, "errorCode": refused.code, "errorReason": refused.reason,
		})
	}
	return encode(object{"response": true, "id": id, "ok": true, "data": data})
}
