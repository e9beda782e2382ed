package main

import (
	"context"
	"slices"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"libsfu.example/go/sfu"
)

// metrics is GET /metrics: what the engine, its shards, the rooms and the web side count. Names are those of the other
// service. Only as many rooms as the operator wants have series of their own, those with the most peers.
type metrics struct {
	registry    *prometheus.Registry
	signalling  *prometheus.CounterVec
	http        *prometheus.CounterVec
	connections prometheus.Gauge
}

// methods have a series of their own; the rest is "other", since a peer may send anything.
var methods = []string{
	"getRouterRtpCapabilities", "join", "createWebRtcTransport", "connectWebRtcTransport", "restartIce", "produce",
	"closeProducer", "pauseProducer", "resumeProducer", "pauseConsumer", "resumeConsumer", "requestConsumerKeyFrame",
	"setConsumerPreferredLayers", "setConsumerPriority", "switchConsumerProducer", "produceData", "changeDisplayName",
	"getTransportStats", "getProducerStats", "getConsumerStats", "getDataProducerStats",
}

func newMetrics() *metrics {
	m := &metrics{
		registry: prometheus.NewRegistry(),
		signalling: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "sfu_signalling_requests_total", Help: "Requests of peers by method and code",
		}, []string{"method", "code"}),
		http: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "sfu_http_requests_total", Help: "Answers over HTTP by route and status",
		}, []string{"method", "code"}),
		connections: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "sfu_signalling_connections", Help: "Peers that are connected",
		}),
	}
	m.registry.MustRegister(m.signalling, m.http, m.connections)
	return m
}

func (m *metrics) signalled(method string, code int) {
	if !slices.Contains(methods, method) {
		method = "other"
	}
	m.signalling.WithLabelValues(method, strconv.Itoa(code)).Inc()
}

func (m *metrics) served(route string, code int) {
	m.http.WithLabelValues(route, strconv.Itoa(code)).Inc()
}

func description(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc("sfu_"+name, help, labels, nil)
}

var (
	buildInfo = description("build_info", "Version of the library", "version")
	roomsOpen = description("rooms", "Open rooms")
	peersIn   = description("peers", "Peers in all rooms")
	objects   = description("shard_objects", "Objects on a shard", "shard", "kind")
	dropped   = description("shard_dropped_total", "Network input and packets refused, by reason", "shard", "reason")
	cpu       = description("shard_cpu_seconds_total", "CPU time of a shard's thread", "shard", "mode")
	mailbox   = description("shard_mailbox_requests", "Requests at a shard's mailbox", "shard", "state")
	ofRoom    = description("room_objects", "Peers and objects of a room", "room", "kind")
	rate      = description("room_bitrate_bits_per_second", "Datagrams of a room's transports over the last second", "room", "direction")
	traffic   = description("room_traffic_bytes_total", "Datagrams of a room's living transports", "room", "direction")
)

// shardCounters are told as they are, by the engine's name.
var shardCounters = map[string]*prometheus.Desc{
	"datagrams_received":          description("shard_datagrams_received_total", "Datagrams received", "shard"),
	"datagrams_sent":              description("shard_datagrams_sent_total", "Datagrams handed to the kernel", "shard"),
	"messages_sent":               description("shard_messages_sent_total", "Messages in which they were: a run of datagrams is one", "shard"),
	"send_failures":               description("shard_send_failures_total", "Datagrams that the kernel refused", "shard"),
	"thread_involuntary_switches": description("shard_involuntary_switches_total", "Times that a shard's thread was preempted", "shard"),
	"thread_major_faults":         description("shard_major_faults_total", "Page faults of a shard's thread that read from disk", "shard"),
}

// collector asks the engine when somebody scrapes.
type collector struct{ service *service }

// Describe leaves the series to Collect.
func (collector) Describe(chan<- *prometheus.Desc) {}

// Collect tells the series of this moment.
func (c collector) Collect(out chan<- prometheus.Metric) {
	s := c.service
	ctx, cancel := context.WithTimeout(s.ctx, 5*time.Second)
	defer cancel()
	gauge := func(what *prometheus.Desc, value float64, labels ...string) {
		out <- prometheus.MustNewConstMetric(what, prometheus.GaugeValue, value, labels...)
	}
	count := func(what *prometheus.Desc, value float64, labels ...string) {
		out <- prometheus.MustNewConstMetric(what, prometheus.CounterValue, value, labels...)
	}
	rooms, peers := s.census()
	gauge(buildInfo, 1, sfu.Version())
	gauge(roomsOpen, float64(rooms))
	gauge(peersIn, float64(peers))
	stats, err := s.engine.Stats(ctx)
	if err != nil {
		out <- prometheus.NewInvalidMetric(objects, err)
		return
	}
	for _, shard := range stats.Shards {
		number := strconv.Itoa(shard.Index)
		for _, kind := range []string{"routers", "webrtc_servers", "transports", "producers", "consumers", "observers"} {
			gauge(objects, float64(shard.Counters[kind]), number, kind)
		}
		for reason, drops := range shard.Drops {
			count(dropped, float64(drops), number, reason)
		}
		for _, mode := range []string{"user", "system"} {
			count(cpu, float64(shard.Counters["thread_cpu_"+mode+"_us"])/1e6, number, mode)
		}
		for _, state := range []string{"queued", "in_flight", "capacity"} {
			gauge(mailbox, float64(shard.Counters["mailbox_"+state]), number, state)
		}
		for name, what := range shardCounters {
			count(what, float64(shard.Counters[name]), number)
		}
	}
	for _, r := range s.busiest(s.config.metricsRooms) {
		summary, err := r.router.Summary(ctx)
		if err != nil {
			// It closed meanwhile.
			continue
		}
		gauge(ofRoom, float64(r.size()), r.name, "peers")
		for _, kind := range []string{"transports", "producers", "consumers"} {
			gauge(ofRoom, float64(summary.Counters[kind]), r.name, kind)
		}
		gauge(rate, float64(summary.Counters["receive_bitrate"]), r.name, "in")
		gauge(rate, float64(summary.Counters["send_bitrate"]), r.name, "out")
		count(traffic, float64(summary.Counters["bytes_received"]), r.name, "in")
		count(traffic, float64(summary.Counters["bytes_sent"]), r.name, "out")
	}
}

// busiest are the rooms with the most peers.
func (s *service) busiest(most int) []*room {
	if most == 0 {
		return nil
	}
	rooms := s.openRooms()
	slices.SortFunc(rooms, func(a, b *room) int { return b.size() - a.size() })
	return rooms[:min(most, len(rooms))]
}
