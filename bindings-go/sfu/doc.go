// Package sfu drives libsfu, a WebRTC selective forwarding unit: browsers and other peers send their media once, and it is
// forwarded to everybody who watches.
//
//	engine ── shard (one per core)
//	            ├─ WebRTCServer ......... a UDP port that transports share
//	            └─ Router ............... a room: who is in it can hear each other
//	                 └─ WebRTCTransport . one peer's ICE, DTLS and SRTP
//	                      ├─ Producer ... media that the peer sends
//	                      └─ Consumer ... media that the peer receives: one producer's, rewritten for it
//
// Plain transports carry RTP without ICE and DTLS, pipe transports join routers, and a direct transport has this program
// as its peer. The dictionaries ([RTPCapabilities], [RTPParameters], [DTLSParameters] and so on) have the JSON of the ORTC
// clients in browsers, so that what a client sends can be unmarshalled, given to a method, and the answer marshalled.
//
// # Calls
//
// Each call takes a [context.Context] and waits for the engine's reply, which takes some tens of microseconds when it idles.
// When the context ends first, the call returns its error; the reply is dropped, and what it has made is closed. All
// methods may be called from any goroutine.
//
// Errors are an [*Error] with a [Code], the field that is wrong and one sentence with the remedy; errors.Is(err,
// [ErrNotFound]) and errors.As work. Objects are closed by Close, with all that belongs to them; what is used after it was
// closed gives [ErrNotFound], and a second Close is no error.
//
// # Events
//
// Events go to handlers: OnICEStateChange of a transport, OnScore of a producer, and so on, and all of them to
// [Engine.OnEvent]. The order is that of the engine. Handlers of an engine run one at a time, on a goroutine that no reply
// depends on: they may call whatever they like, also Close of their own object and of the engine. No handler runs inside
// of the call that has caused its event.
//
// A handler that is set late first hears the latest event of its kind that nobody has heard. Events wait in a queue of
// [Options].EventQueue places. When handlers are so slow that it is full, the latest state of each kind and object is kept
// and earlier ones are left out, so that no last state is ever lost; telemetry ([Trace]) is dropped, and [EventsLost] tells
// how much.
//
// Done of each object is closed when the object was closed by whomever, and [Engine.Close] closes it for all that is left.
//
// # Linking
//
// The package links with the shared library by pkg-config (libsfu.pc), or with the static one (libsfu-static.pc) under the build tag
// libsfu_static. Under libsfu_leaks, handles that were dropped without Close are told of by log/slog.
package sfu
