// Command go-signaling is a conference service on libsfu's Go package: rooms, signalling by the protoo protocol over
// WebSocket, WHIP and WHEP, headless publishers over HTTP, and the web page that sfu-cli serves too.
//
//	go-signaling --listen 127.0.0.1:3000 --rtc-ip 0.0.0.0 --announced-address sfu.example.org
package main

import (
	"context"
	"crypto/tls"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
	"time"

	"libsfu.example/go/sfu"
)

// goodbye is how long peers may take to leave when the service stops.
const goodbye = 3 * time.Second

func main() {
	words := os.Args[1:]
	// As the other service has it.
	if len(words) > 0 && words[0] == "serve" {
		words = words[1:]
	}
	if len(words) > 0 && (words[0] == "doctor" || words[0] == "version") {
		os.Exit(aside(words[0], words[1:]))
	}
	config, err := readConfig(words, os.LookupEnv)
	if errors.Is(err, flag.ErrHelp) {
		return
	}
	if err == nil {
		err = serve(config)
	}
	if err != nil {
		fmt.Fprintf(os.Stderr, "go-signaling: %s\n", err)
		os.Exit(1)
	}
}

// aside is what the program does besides serving: it tells whether this machine is fit, or its version.
func aside(word string, words []string) int {
	if word == "version" {
		fmt.Println("libsfu", sfu.Version())
		return 0
	}
	config, err := readConfig(words, os.LookupEnv)
	if err != nil {
		fmt.Fprintf(os.Stderr, "go-signaling: %s\n", err)
		return 1
	}
	report, err := sfu.Preflight(config.engine())
	fmt.Print(report)
	if err == nil {
		err = tryPorts(config)
	}
	if err != nil {
		fmt.Printf("FAIL %s\n", err)
		return 1
	}
	return 0
}

// tryPorts takes and leaves the ports for media: one of UDP and one of TCP.
func tryPorts(config *config) error {
	for _, info := range config.media() {
		address := net.JoinHostPort(info.IP, strconv.Itoa(int(info.Port)))
		if err := tryPort(string(info.Protocol), address); err != nil {
			return fmt.Errorf("media port %s (%s): %w; stop what uses it or choose another by --rtc-port",
				address, info.Protocol, err)
		}
	}
	return nil
}

func tryPort(protocol, address string) error {
	var socket io.Closer
	var err error
	if protocol == string(sfu.TCP) {
		socket, err = net.Listen(protocol, address)
	} else {
		socket, err = net.ListenPacket(protocol, address)
	}
	if err != nil {
		return err
	}
	return socket.Close()
}

func serve(config *config) error {
	// From here on a signal stops the service in order, also while it starts.
	stopping, release := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer release()
	folder, err := pageFolder(config.page)
	if err != nil {
		return err
	}
	page, err := readPage(folder)
	if err != nil {
		return err
	}
	identity, err := config.identity()
	if err != nil {
		return err
	}
	// The web side comes first: a taken port is found before anything is started.
	listeners, err := bind(config.listen)
	if err != nil {
		return err
	}
	engine, err := sfu.New(config.engine())
	if err != nil {
		return err
	}
	defer engine.Close()
	working, end := context.WithCancel(context.Background())
	defer end()
	s := &service{
		engine: engine, config: config, log: config.logger(), metrics: newMetrics(), ctx: working,
		rooms: map[string]*room{}, emptied: make(chan struct{}, 1),
	}
	engine.OnEventsLost(func(count uint64) { s.log.Warn("events were lost: the service is too slow", "count", count) })
	if err := s.startServer(stopping); err != nil {
		return err
	}
	s.metrics.registry.MustRegister(collector{s})
	w := &web{service: s, page: page, broadcasters: newBroadcasters(s), streams: newStreams(s)}
	server := webServer(w.routes(), identity)
	failed := make(chan error, len(listeners))
	for _, listener := range listeners {
		go func() {
			if identity != nil {
				failed <- server.ServeTLS(listener, "", "")
			} else {
				failed <- server.Serve(listener)
			}
		}()
	}
	s.banner(listeners)
	select {
	case err := <-failed:
		return err
	case <-stopping.Done():
	}
	release()
	s.stop(server)
	return nil
}

// stop is the way out: who is in a call may end it. A second signal ends all of it at once.
func (s *service) stop(server *http.Server) {
	again := make(chan os.Signal, 1)
	signal.Notify(again, os.Interrupt, syscall.SIGTERM)
	go func() {
		<-again
		os.Exit(130)
	}()
	s.log.Info("stopping; once more to stop at once")
	draining, end := context.WithTimeout(s.ctx, s.config.drain)
	s.drain(draining)
	end()
	leaving, end := context.WithTimeout(s.ctx, goodbye)
	defer end()
	s.closeAll(leaving)
	if err := server.Shutdown(leaving); err != nil {
		s.log.Warn("the web side did not end in time", "error", err)
	}
	if err := s.engine.Close(); err != nil {
		s.log.Error("the engine did not stop cleanly", "error", err)
	}
	s.log.Info("stopped")
}

// webServer bounds how long one request may take, so that slow ones do not collect. Hijacking lifts the bounds, for the
// WebSockets of signalling.
func webServer(routes http.Handler, identity *tls.Config) *http.Server {
	return &http.Server{
		Handler: routes, ReadHeaderTimeout: 10 * time.Second, ReadTimeout: 30 * time.Second,
		WriteTimeout: time.Minute, IdleTimeout: 2 * time.Minute, TLSConfig: identity,
	}
}

func bind(addresses []string) ([]net.Listener, error) {
	var out []net.Listener
	for _, address := range addresses {
		listener, err := net.Listen("tcp", address)
		if err != nil {
			return nil, fmt.Errorf("--listen: %s cannot be had: %w; stop what uses it or choose another address", address, err)
		}
		out = append(out, listener)
	}
	return out, nil
}

// startServer makes the WebRTC server that all calls share, whichever shard they are on.
func (s *service) startServer(ctx context.Context) error {
	dump, err := s.engine.Dump(ctx)
	if err != nil {
		return err
	}
	s.shards = len(dump.Shards)
	s.server, err = s.engine.CreateWebRTCServer(ctx, sfu.WebRTCServerOptions{ListenInfos: s.config.media()})
	if err != nil {
		return fmt.Errorf("media port %d: %w", s.config.rtcPort, err)
	}
	return nil
}

// banner tells where the service is. Whoever started it may have closed the pipe; the service goes on.
func (s *service) banner(listeners []net.Listener) {
	scheme := "http"
	if s.config.tlsCert != "" {
		scheme = "https"
	}
	fmt.Printf("go-signaling: a room service on libsfu %s\n", sfu.Version())
	for _, listener := range listeners {
		fmt.Printf("  open    %s://%s/\n", scheme, listener.Addr())
	}
	var media []string
	if dump, err := s.server.Dump(s.ctx); err == nil {
		for _, address := range dump.LocalAddresses {
			media = append(media, address+"/udp")
		}
		for _, address := range dump.TCPLocalAddresses {
			media = append(media, address+"/tcp")
		}
	}
	fmt.Printf("  media   %s (shards: %d)\n  stop    Ctrl-C\n", strings.Join(media, ", "), s.shards)
}
