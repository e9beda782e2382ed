package main

import (
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"slices"
	"strings"
	"sync"
	"unicode/utf8"
)

// WHIP (RFC 9725) and WHEP (draft-ietf-wish-whep): publishing into a room and watching it by HTTP and session descriptions
// alone. What cannot be done is a problem (RFC 9457) that says what was wrong and what to do.
//
// Left out: Link headers (the service needs no STUN or TURN server), events and layer choice of WHEP.

const (
	// maxBody bytes of a request. The largest offers of browsers have a quarter of it.
	maxBody      = 256 * 1024
	sdpType      = "application/sdp"
	fragmentType = "application/trickle-ice-sdpfrag"
)

// problem is an answer that says what cannot be done.
type problem struct {
	status int
	detail string
	// retry after so many seconds; 0 is not said.
	retry int
}

func (p *problem) Error() string { return p.detail }

func asProblem(err error) *problem {
	var already *problem
	if errors.As(err, &already) {
		return already
	}
	refused := asRefusal(err)
	out := &problem{status: refused.code, detail: refused.reason}
	switch refused.code {
	case http.StatusNotImplemented:
		// What the service does not have: the client is to offer something else.
		out.status = http.StatusUnprocessableEntity
	case http.StatusServiceUnavailable:
		out.retry = 5
	}
	return out
}

func (p *problem) write(answer http.ResponseWriter) {
	if p.retry > 0 {
		answer.Header().Set("Retry-After", fmt.Sprint(p.retry))
	}
	answer.Header().Set("Content-Type", "application/problem+json")
	answer.WriteHeader(p.status)
	_ = json.NewEncoder(answer).Encode(object{"title": http.StatusText(p.status), "status": p.status, "detail": p.detail})
}

// streams are the resources of both protocols.
type streams struct {
	*service
	mu        sync.Mutex
	resources map[string]*resource
}

func newStreams(s *service) *streams { return &streams{service: s, resources: map[string]*resource{}} }

// handler answers a request, or fails with a problem.
type handler func(answer http.ResponseWriter, request *http.Request) error

func (s *streams) routes(mux *http.ServeMux) {
	for _, kind := range []string{"whip", "whep"} {
		open := s.whip
		if kind == "whep" {
			open = s.whep
		}
		guarded := func(pattern string, handlers map[string]handler) {
			mux.HandleFunc(pattern, func(answer http.ResponseWriter, request *http.Request) {
				s.guard(kind, handlers, answer, request)
			})
		}
		guarded("/"+kind+"/{room}", map[string]handler{"POST": open})
		guarded("/"+kind+"/{room}/{resource}", map[string]handler{
			"PATCH": func(answer http.ResponseWriter, request *http.Request) error {
				return s.patch(kind, answer, request)
			},
			"DELETE": func(answer http.ResponseWriter, request *http.Request) error {
				found, err := s.lookUp(kind, request)
				if err != nil {
					return err
				}
				found.end()
				answer.WriteHeader(http.StatusOK)
				return nil
			},
		})
	}
}

// guard looks at origin, preflight and token before anything else, and sets what browsers need.
func (s *streams) guard(kind string, handlers map[string]handler, answer http.ResponseWriter, request *http.Request) {
	header := answer.Header()
	for name, value := range map[string]string{
		"Accept-Post": sdpType, "Accept-Patch": fragmentType, "Cache-Control": "no-store",
		"Access-Control-Allow-Methods":  "OPTIONS, POST, PATCH, DELETE",
		"Access-Control-Allow-Headers":  "Authorization, Content-Type, If-Match",
		"Access-Control-Expose-Headers": "Location, ETag, Accept-Patch, Accept-Post",
		"Access-Control-Max-Age":        "600", "Vary": "Origin",
	} {
		header.Set(name, value)
	}
	if origin := request.Header.Get("Origin"); origin != "" {
		header.Set("Access-Control-Allow-Origin", origin)
	}
	err := s.admit(kind, request)
	handle := handlers[request.Method]
	switch {
	case err == nil && request.Method == http.MethodOptions:
		answer.WriteHeader(http.StatusNoContent)
	case err == nil && handle == nil:
		allowed := []string{"OPTIONS"}
		for method := range handlers {
			allowed = append(allowed, method)
		}
		slices.Sort(allowed)
		header.Set("Allow", strings.Join(allowed, ", "))
		err = &problem{status: http.StatusMethodNotAllowed, detail: request.Method +
			" is not for this address; POST to /whip/ROOM or /whep/ROOM, PATCH and DELETE what it makes"}
	case err == nil:
		err = handle(answer, request)
	}
	if err != nil {
		told := asProblem(err)
		if told.status == http.StatusUnauthorized {
			header.Set("WWW-Authenticate", "Bearer")
		}
		told.write(answer)
	}
}

func (s *streams) admit(kind string, request *http.Request) error {
	if !s.originAllowed(request) {
		return &problem{status: http.StatusForbidden, detail: "Origin: not allowed to stream here; see --origin"}
	}
	tokens := s.config.whipTokens
	if kind == "whep" {
		tokens = s.config.whepTokens
	}
	if len(tokens) == 0 || request.Method == http.MethodOptions {
		return nil
	}
	scheme, given, _ := strings.Cut(request.Header.Get("Authorization"), " ")
	digest := sha256.Sum256([]byte(strings.TrimSpace(given)))
	found := 0
	for _, token := range tokens {
		// Digests, so that comparing takes the same time for all of them.
		wanted := sha256.Sum256([]byte(token))
		found |= subtle.ConstantTimeCompare(digest[:], wanted[:])
	}
	if !strings.EqualFold(scheme, "bearer") || found == 0 {
		return &problem{status: http.StatusUnauthorized, detail: "Authorization: a bearer token of this service is needed"}
	}
	return nil
}

// body is the request's, as text of one of these types.
func body(answer http.ResponseWriter, request *http.Request, types ...string) (text, kind string, err error) {
	given, _, _ := mime.ParseMediaType(request.Header.Get("Content-Type"))
	if !slices.Contains(types, given) {
		detail := fmt.Sprintf("Content-Type: %q; give %s", given, strings.Join(types, " or "))
		return "", "", &problem{status: http.StatusUnsupportedMediaType, detail: detail}
	}
	bytes, err := io.ReadAll(http.MaxBytesReader(answer, request.Body, maxBody))
	var long *http.MaxBytesError
	switch {
	case errors.As(err, &long):
		return "", "", &problem{status: http.StatusRequestEntityTooLarge, detail: fmt.Sprintf("the body is longer than %d bytes", maxBody)}
	case err != nil:
		return "", "", &problem{status: http.StatusBadRequest, detail: err.Error()}
	case !utf8.Valid(bytes):
		return "", "", &problem{status: http.StatusBadRequest, detail: "the body is no UTF-8 text"}
	}
	return string(bytes), given, nil
}

func (s *streams) lookUp(kind string, request *http.Request) (*resource, error) {
	s.mu.Lock()
	found := s.resources[request.PathValue("resource")]
	s.mu.Unlock()
	if found == nil || found.kind != kind || found.peer.room.name != request.PathValue("room") {
		return nil, &problem{status: http.StatusNotFound, detail: "no such resource; it may have ended: POST a new offer"}
	}
	return found, nil
}

func (s *streams) patch(kind string, answer http.ResponseWriter, request *http.Request) error {
	found, err := s.lookUp(kind, request)
	if err != nil {
		return err
	}
	types := []string{fragmentType}
	if kind == "whep" {
		types = append(types, sdpType)
	}
	text, given, err := body(answer, request, types...)
	if err != nil {
		return err
	}
	if given == sdpType {
		if err := s.answered(found, text); err != nil {
			return err
		}
		answer.WriteHeader(http.StatusNoContent)
		return nil
	}
	return s.trickle(found, answer, request.Header.Get("If-Match"), request.Header.Values("If-Match") != nil, text)
}

// randomText is so many random bytes in hexadecimal.
func randomText(bytes int) string {
	random := make([]byte, bytes)
	if _, err := rand.Read(random); err != nil {
		// The kernel has no randomness: nothing can be served safely.
		panic(err)
	}
	return hex.EncodeToString(random)
}
