package main

import (
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"net/url"
	"os"
	"path"
	"path/filepath"
	"strings"

	"github.com/coder/websocket"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"libsfu.example/go/sfu"
)

// subprotocol is the protocol's name in the WebSocket handshake.
const subprotocol = "protoo"

// maxScrapes of /metrics at a time; each asks every shard.
const maxScrapes = 2

// asset is a file of the page.
type asset struct {
	bytes           []byte
	mediaType, etag string
}

// web is the page, the health check, and the door to signalling, which shares the page's address.
type web struct {
	*service
	page         map[string]asset
	broadcasters *broadcasters
	streams      *streams
}

// pageFolder is where the bundle is: as told, beside the program, or in the tree that the program was built from.
func pageFolder(told string) (string, error) {
	if told != "" {
		return told, nil
	}
	candidates := []string{"examples/sfu-cli/page/dist", "../sfu-cli/page/dist", "/usr/share/go-signaling/page"}
	if program, err := os.Executable(); err == nil {
		candidates = append([]string{filepath.Join(filepath.Dir(program), "page")}, candidates...)
	}
	for _, folder := range candidates {
		if _, err := os.Stat(filepath.Join(folder, "index.html")); err == nil {
			return folder, nil
		}
	}
	return "", fmt.Errorf("--page: the page's bundle is not in %s; give its folder", strings.Join(candidates, ", "))
}

// readPage reads the bundle: it is small, and what is served is what was there at the start.
func readPage(folder string) (map[string]asset, error) {
	page := map[string]asset{}
	root := os.DirFS(folder)
	err := fs.WalkDir(root, ".", func(name string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		bytes, err := fs.ReadFile(root, name)
		if err != nil {
			return err
		}
		page[name] = asset{bytes, mediaType(name), fmt.Sprintf("\"%x\"", sha256.Sum256(bytes))}
		return nil
	})
	if err == nil && page["index.html"].bytes == nil {
		err = fmt.Errorf("no index.html in %s", folder)
	}
	if err != nil {
		return nil, fmt.Errorf("--page: %w", err)
	}
	return page, nil
}

func mediaType(name string) string {
	switch path.Ext(name) {
	case ".html":
		return "text/html; charset=utf-8"
	case ".js":
		return "text/javascript; charset=utf-8"
	case ".css":
		return "text/css; charset=utf-8"
	case ".svg":
		return "image/svg+xml"
	}
	return "application/octet-stream"
}

// routes are all of the service.
func (w *web) routes() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", w.root)
	mux.HandleFunc("GET /health", w.health)
	gather := promhttp.HandlerFor(w.metrics.registry, promhttp.HandlerOpts{
		EnableOpenMetrics: true, MaxRequestsInFlight: maxScrapes,
	})
	mux.Handle("GET /metrics", gather)
	mux.HandleFunc("/{path...}", w.asset)
	w.broadcasters.routes(mux)
	w.streams.routes(mux)
	return mux
}

func (w *web) health(answer http.ResponseWriter, _ *http.Request) {
	rooms, peers := w.census()
	writeJSON(answer, http.StatusOK, object{
		"status": "ok", "version": sfu.Version(), "shards": w.shards, "rooms": rooms, "peers": peers,
	})
	w.metrics.served("/health", http.StatusOK)
}

func writeJSON(answer http.ResponseWriter, code int, value any) {
	answer.Header().Set("Content-Type", "application/json")
	answer.WriteHeader(code)
	// Who asked may have gone.
	_ = json.NewEncoder(answer).Encode(value)
}

func (w *web) asset(answer http.ResponseWriter, request *http.Request) {
	if request.Method != http.MethodGet && request.Method != http.MethodHead {
		http.Error(answer, "method not allowed", http.StatusMethodNotAllowed)
		return
	}
	w.file(answer, request, request.PathValue("path"))
}

func (w *web) file(answer http.ResponseWriter, request *http.Request, name string) {
	one, known := w.page[name]
	if !known {
		w.metrics.served("page", http.StatusNotFound)
		http.Error(answer, "not found", http.StatusNotFound)
		return
	}
	header := answer.Header()
	header.Set("Content-Type", one.mediaType)
	// Asked for anew each time: the answer is short when nothing has changed.
	header.Set("Cache-Control", "no-cache")
	header.Set("ETag", one.etag)
	header.Set("X-Content-Type-Options", "nosniff")
	header.Set("Referrer-Policy", "no-referrer")
	header.Set("Content-Security-Policy", "default-src 'self'; connect-src 'self' ws: wss:; img-src 'self' data:; "+
		"media-src 'self' blob: mediastream:; style-src 'self' 'unsafe-inline'; frame-ancestors 'none'; base-uri 'none'; "+
		"form-action 'none'")
	if request.Header.Get("If-None-Match") == one.etag {
		w.metrics.served("page", http.StatusNotModified)
		answer.WriteHeader(http.StatusNotModified)
		return
	}
	w.metrics.served("page", http.StatusOK)
	_, _ = answer.Write(one.bytes)
}

// root is the page, or a WebSocket of signalling.
func (w *web) root(answer http.ResponseWriter, request *http.Request) {
	if !strings.EqualFold(request.Header.Get("Upgrade"), "websocket") {
		w.file(answer, request, "index.html")
		return
	}
	if !w.originAllowed(request) {
		w.log.Info("a connection of another origin was refused", "origin", request.Header.Get("Origin"))
		http.Error(answer, "Origin: not allowed to signal here; see --origin", http.StatusForbidden)
		return
	}
	if !offersSubprotocol(request) {
		http.Error(answer, "Sec-WebSocket-Protocol: expected "+subprotocol, http.StatusBadRequest)
		return
	}
	hello, err := readHello(request.URL.Query())
	if err != nil {
		http.Error(answer, asRefusal(err).reason, http.StatusBadRequest)
		return
	}
	socket, err := websocket.Accept(answer, request, &websocket.AcceptOptions{
		Subprotocols: []string{subprotocol},
		// Looked at above.
		InsecureSkipVerify: true,
	})
	if err != nil {
		// The library has answered.
		w.log.Debug("no WebSocket", "error", err)
		return
	}
	w.attend(socket, hello)
}

func offersSubprotocol(request *http.Request) bool {
	for _, line := range request.Header.Values("Sec-WebSocket-Protocol") {
		for _, name := range strings.Split(line, ",") {
			if strings.TrimSpace(name) == subprotocol {
				return true
			}
		}
	}
	return false
}

// originAllowed: a browser tells where the script comes from. The page's own host may signal, and whom the operator named.
// Clients that are no browsers send no origin; the check is not against them.
func (s *service) originAllowed(request *http.Request) bool {
	origin := request.Header.Get("Origin")
	if origin == "" {
		return true
	}
	for _, name := range s.config.origins {
		if name == "*" || strings.EqualFold(strings.TrimSuffix(name, "/"), origin) {
			return true
		}
	}
	parsed, err := url.Parse(origin)
	return err == nil && parsed.Host != "" && strings.EqualFold(parsed.Host, request.Host)
}

// jsonBody reads an object, or refuses.
func jsonBody(answer http.ResponseWriter, request *http.Request) (data, error) {
	var read data
	err := json.NewDecoder(http.MaxBytesReader(answer, request.Body, maxFrame)).Decode(&read)
	var long *http.MaxBytesError
	switch {
	case errors.As(err, &long):
		return nil, refuse(413, "the body is longer than %d bytes", maxFrame)
	case err != nil:
		return nil, refuse(400, "the body is no JSON object: %s", err)
	}
	return read, nil
}
