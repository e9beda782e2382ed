package main

import (
	"crypto/tls"
	"flag"
	"fmt"
	"log/slog"
	"net"
	"os"
	"slices"
	"strings"
	"time"

	"libsfu.example/go/sfu"
)

// config is what flags and the environment say. Each flag may also be given as an environment variable: --rtc-ip as
// SFU_RTC_IP. Lists are parted by commas, or the flag is given several times.
type config struct {
	listen, rtcIP, announced, origins []string
	whipTokens, whepTokens            []string
	profiles, rtcProtocols            []string
	rtcPort                           int
	shards                            int
	unpinned                          bool
	tlsCert, tlsKey                   string
	maxRooms, maxPeers                int
	maxIncomingBitrate                uint
	metricsRooms                      int
	drain                             time.Duration
	page                              string
	log, logFormat                    string
	level                             slog.Level
}

// list is a flag that may be given several times. What is given replaces the default.
type list struct {
	values *[]string
	given  bool
}

func (l *list) String() string {
	if l.values == nil {
		return ""
	}
	return strings.Join(*l.values, ",")
}

func (l *list) Set(text string) error {
	if !l.given {
		*l.values, l.given = nil, true
	}
	for _, one := range strings.Split(text, ",") {
		if one = strings.TrimSpace(one); one != "" {
			*l.values = append(*l.values, one)
		}
	}
	return nil
}

// readConfig takes the words of the command line after the program's name.
func readConfig(words []string, environment func(string) (string, bool)) (*config, error) {
	c := &config{listen: []string{"127.0.0.1:3000"}, rtcIP: []string{"127.0.0.1"}, rtcProtocols: []string{"udp", "tcp"}}
	flags := flag.NewFlagSet("go-signaling", flag.ContinueOnError)
	flags.SetOutput(os.Stderr)
	lists := map[string]struct {
		values *[]string
		help   string
	}{
		"listen":            {&c.listen, "`address` of the web page and of signalling; port 0 takes any free port"},
		"rtc-ip":            {&c.rtcIP, "`IP` address for media"},
		"rtc-protocol":      {&c.rtcProtocols, "`protocol` for media: udp, tcp or both; TCP is for browsers whose network lets no UDP through"},
		"announced-address": {&c.announced, "what browsers are told instead of the --rtc-ip at the same place"},
		"origin":            {&c.origins, "further web `origin` that may signal; * is any"},
		"srtp-profile":      {&c.profiles, "SRTP `profile` in order of preference; all when absent"},
		"whip-token":        {&c.whipTokens, "bearer `token` that publishing by WHIP needs; without one everybody may"},
		"whep-token":        {&c.whepTokens, "bearer `token` that watching by WHEP needs; without one everybody may"},
	}
	for name, one := range lists {
		flags.Var(&list{values: one.values}, name, one.help)
	}
	drain := flags.Int("drain-timeout", 3, "how long open rooms may go on after SIGTERM, in `seconds`")
	flags.IntVar(&c.rtcPort, "rtc-port", 40000, "`port` for media, of UDP and of TCP")
	flags.IntVar(&c.shards, "shards", 0, "`number` of shards; 0 is one for each core")
	flags.BoolVar(&c.unpinned, "unpinned", false, "leave the shards unpinned (for containers with CPU quotas)")
	flags.StringVar(&c.tlsCert, "tls-cert", "", "certificate chain (PEM `file`) to serve the page over https")
	flags.StringVar(&c.tlsKey, "tls-key", "", "private key (PEM `file`) of --tls-cert")
	flags.IntVar(&c.maxRooms, "max-rooms", 1000, "most rooms at a time")
	flags.IntVar(&c.maxPeers, "max-peers", 100, "most peers in a room")
	flags.UintVar(&c.maxIncomingBitrate, "max-incoming-bitrate", 1_500_000, "what each publisher is told to send at most, `bit/s`; 0 is no bound")
	flags.IntVar(&c.metricsRooms, "metrics-rooms", 0, "rooms that /metrics names, those with the most peers")
	flags.StringVar(&c.page, "page", "", "`folder` of the page's bundle; searched beside the program when absent")
	flags.StringVar(&c.log, "log", "info", "what to log: error, warn, info or debug")
	flags.StringVar(&c.logFormat, "log-format", "text", "text or json")
	// The environment first, so that flags win.
	var wrong error
	flags.VisitAll(func(one *flag.Flag) {
		name := "SFU_" + strings.ToUpper(strings.ReplaceAll(one.Name, "-", "_"))
		if value, given := environment(name); given && wrong == nil {
			if err := one.Value.Set(value); err != nil {
				wrong = fmt.Errorf("%s: %w", name, err)
			}
			if values, isList := one.Value.(*list); isList {
				values.given = false
			}
		}
	})
	if wrong != nil {
		return nil, wrong
	}
	if err := flags.Parse(words); err != nil {
		return nil, err
	}
	if flags.NArg() > 0 {
		return nil, fmt.Errorf("%q is no flag; --help lists them", flags.Arg(0))
	}
	c.drain = time.Duration(*drain) * time.Second
	return c, c.check()
}

func (c *config) check() error {
	// Filters of single parts are the other service's; the first word is the level of all.
	word, _, _ := strings.Cut(c.log, ",")
	if err := c.level.UnmarshalText([]byte(word)); err != nil {
		return fmt.Errorf("--log: %q; give error, warn, info or debug", word)
	}
	if c.logFormat != "text" && c.logFormat != "json" {
		return fmt.Errorf("--log-format: %q; give text or json", c.logFormat)
	}
	if (c.tlsCert == "") != (c.tlsKey == "") {
		return fmt.Errorf("--tls-cert and --tls-key: give both or neither")
	}
	if len(c.announced) > len(c.rtcIP) {
		return fmt.Errorf("--announced-address: more of them than of --rtc-ip")
	}
	for _, ip := range c.rtcIP {
		if net.ParseIP(ip) == nil {
			return fmt.Errorf("--rtc-ip: %q is no address", ip)
		}
	}
	if len(c.rtcIP) == 0 || len(c.rtcProtocols) == 0 {
		return fmt.Errorf("--rtc-ip and --rtc-protocol: give at least one")
	}
	for _, protocol := range c.rtcProtocols {
		if protocol != string(sfu.UDP) && protocol != string(sfu.TCP) {
			return fmt.Errorf("--rtc-protocol: %q; give udp or tcp", protocol)
		}
	}
	if c.rtcPort < 0 || c.rtcPort > 65535 {
		return fmt.Errorf("--rtc-port: %d; give 0 to 65535", c.rtcPort)
	}
	if c.maxRooms < 1 || c.maxPeers < 1 || c.drain < 0 || c.metricsRooms < 0 || c.metricsRooms > 200 {
		return fmt.Errorf("--max-rooms and --max-peers are at least 1, --drain-timeout at least 0, --metrics-rooms 0 to 200")
	}
	if c.maxIncomingBitrate > 1<<32-1 {
		return fmt.Errorf("--max-incoming-bitrate: %d is more than 2^32-1", c.maxIncomingBitrate)
	}
	return nil
}

func (c *config) engine() sfu.Options {
	options := sfu.Options{Shards: c.shards, Unpinned: c.unpinned}
	for _, profile := range c.profiles {
		options.SRTPProfiles = append(options.SRTPProfiles, sfu.SRTPProfile(profile))
	}
	return options
}

// identity is the certificate of the page; nil: it is served without TLS.
func (c *config) identity() (*tls.Config, error) {
	if c.tlsCert == "" {
		return nil, nil
	}
	pair, err := tls.LoadX509KeyPair(c.tlsCert, c.tlsKey)
	if err != nil {
		return nil, fmt.Errorf("--tls-cert and --tls-key: %w", err)
	}
	// WebSockets need HTTP/1.1.
	return &tls.Config{Certificates: []tls.Certificate{pair}, NextProtos: []string{"http/1.1"}, MinVersion: tls.VersionTLS12}, nil
}

// media is where the WebRTC server listens. TCP takes the same port.
func (c *config) media() []sfu.ListenInfo {
	var infos []sfu.ListenInfo
	for _, protocol := range []sfu.Protocol{sfu.UDP, sfu.TCP} {
		if !slices.Contains(c.rtcProtocols, string(protocol)) {
			continue
		}
		for at := range c.rtcIP {
			info := c.address(at)
			info.Protocol, info.Port = protocol, uint16(c.rtcPort)
			infos = append(infos, info)
		}
	}
	return infos
}

// address for media, and what peers are told instead.
func (c *config) address(at int) sfu.ListenInfo {
	ip := c.rtcIP[at]
	info := sfu.ListenInfo{IP: ip, IPv6Only: strings.Contains(ip, ":")}
	if at < len(c.announced) {
		info.AnnouncedAddress = c.announced[at]
	}
	return info
}

// plain is where plain transports listen: the first address for media, free ports.
func (c *config) plain() sfu.ListenInfo { return c.address(0) }

// logger writes structured lines to standard error.
func (c *config) logger() *slog.Logger {
	options := &slog.HandlerOptions{Level: c.level}
	if c.logFormat == "json" {
		return slog.New(slog.NewJSONHandler(os.Stderr, options))
	}
	return slog.New(slog.NewTextHandler(os.Stderr, options))
}
