package sfu

import (
	"strings"

	"libsfu.example/go/internal/fbs"
)

// Protocol of a socket.
type Protocol string

// The protocols.
const (
	UDP Protocol = "udp"
	TCP Protocol = "tcp"
)

// PortRange is a range of ports, both ends included.
type PortRange struct {
	Min uint16 `json:"min"`
	Max uint16 `json:"max"`
}

// ListenInfo says where to listen.
type ListenInfo struct {
	// Protocol; empty is UDP.
	Protocol Protocol `json:"protocol,omitempty"`
	// IP address, IPv4 or IPv6.
	IP string `json:"ip"`
	// AnnouncedAddress is what peers are told instead of IP: an address or a host name. Empty: IP.
	AnnouncedAddress string `json:"announcedAddress,omitempty"`
	// ExposeInternalIP tells peers IP too.
	ExposeInternalIP bool `json:"exposeInternalIp,omitempty"`
	// Port; 0 takes any free port, or one of PortRange.
	Port      uint16     `json:"port,omitempty"`
	PortRange *PortRange `json:"portRange,omitempty"`
	IPv6Only  bool       `json:"ipv6Only,omitempty"`
	// SendBufferSize and RecvBufferSize of the socket in bytes; 0 leaves the system's.
	SendBufferSize uint32 `json:"sendBufferSize,omitempty"`
	RecvBufferSize uint32 `json:"recvBufferSize,omitempty"`
	// UDPReusePort lets other sockets that ask for the same have the port too (SO_REUSEPORT).
	UDPReusePort bool `json:"udpReusePort,omitempty"`
}

// ICEParameters are the ICE credentials of one side.
type ICEParameters struct {
	UsernameFragment string `json:"usernameFragment"`
	Password         string `json:"password"`
	ICELite          bool   `json:"iceLite"`
}

// ICECandidate is a host candidate of our side.
type ICECandidate struct {
	Foundation string `json:"foundation"`
	Priority   uint32 `json:"priority"`
	// IP is the same as Address, which older clients do not read.
	IP       string   `json:"ip"`
	Address  string   `json:"address"`
	Protocol Protocol `json:"protocol"`
	Port     uint16   `json:"port"`
	// Type is "host".
	Type string `json:"type"`
	// TCPType is "passive" for TCP, where the peer connects; empty for UDP.
	TCPType string `json:"tcpType,omitempty"`
}

// ICEState of a WebRTC transport.
type ICEState string

// The ICE states.
const (
	ICENew          ICEState = "new"
	ICEConnected    ICEState = "connected"
	ICECompleted    ICEState = "completed"
	ICEDisconnected ICEState = "disconnected"
)

// DTLSState of a WebRTC transport.
type DTLSState string

// The DTLS states.
const (
	DTLSNew        DTLSState = "new"
	DTLSConnecting DTLSState = "connecting"
	DTLSConnected  DTLSState = "connected"
	DTLSFailed     DTLSState = "failed"
	DTLSClosed     DTLSState = "closed"
)

// DTLSRole of one side. Auto in a remote description means that the remote side is the client.
type DTLSRole string

// The DTLS roles; empty is auto.
const (
	DTLSAuto   DTLSRole = "auto"
	DTLSClient DTLSRole = "client"
	DTLSServer DTLSRole = "server"
)

// DTLSFingerprint is the digest of a certificate (RFC 8122).
type DTLSFingerprint struct {
	// Algorithm: "sha-256", "sha-384" or "sha-512". Others are left out, as clients offer several.
	Algorithm string `json:"algorithm"`
	// Value in hexadecimal with colons.
	Value string `json:"value"`
}

// DTLSParameters are those of one side.
type DTLSParameters struct {
	Role         DTLSRole          `json:"role,omitempty"`
	Fingerprints []DTLSFingerprint `json:"fingerprints"`
}

// TransportTuple is a pair of addresses.
type TransportTuple struct {
	Protocol      Protocol `json:"protocol"`
	LocalAddress  string   `json:"localAddress"`
	LocalPort     uint16   `json:"localPort"`
	RemoteAddress string   `json:"remoteAddress"`
	RemotePort    uint16   `json:"remotePort"`
}

// SRTPProfile is a protection profile by its registered name.
type SRTPProfile string

// The profiles.
const (
	AEADAES256GCM       SRTPProfile = "AEAD_AES_256_GCM"
	AEADAES128GCM       SRTPProfile = "AEAD_AES_128_GCM"
	AESCM128HMACSHA1_80 SRTPProfile = "AES_CM_128_HMAC_SHA1_80"
	AESCM128HMACSHA1_32 SRTPProfile = "AES_CM_128_HMAC_SHA1_32"
)

var profiles = map[SRTPProfile]fbs.SrtpProfile{
	AEADAES256GCM:       fbs.SrtpProfileaead_aes_256_gcm,
	AEADAES128GCM:       fbs.SrtpProfileaead_aes_128_gcm,
	AESCM128HMACSHA1_80: fbs.SrtpProfileaes128_cm_hmac_sha1_80,
	AESCM128HMACSHA1_32: fbs.SrtpProfileaes128_cm_hmac_sha1_32,
}

// SRTPParameters is a key for SRTP without DTLS (RFC 4568).
type SRTPParameters struct {
	CryptoSuite SRTPProfile `json:"cryptoSuite"`
	// KeyBase64 is key and salt, as `inline:` has them in SDP.
	KeyBase64 string `json:"keyBase64"`
}

// String leaves the key out, so that it does not end up in a log.
func (s SRTPParameters) String() string { return "SRTPParameters(" + string(s.CryptoSuite) + ")" }

// GoString leaves the key out too.
func (s SRTPParameters) GoString() string { return s.String() }

func profileTo(profile SRTPProfile, field string) (fbs.SrtpProfile, error) {
	if value, ok := profiles[profile]; ok {
		return value, nil
	}
	return 0, invalid(field, "%q is no profile; give %s, %s, %s or %s", string(profile),
		AEADAES256GCM, AEADAES128GCM, AESCM128HMACSHA1_80, AESCM128HMACSHA1_32)
}

func srtpTo(parameters *SRTPParameters, field string) (*fbs.SrtpParametersT, error) {
	if parameters == nil {
		return nil, nil
	}
	suite, err := profileTo(parameters.CryptoSuite, field+".crypto_suite")
	if err != nil {
		return nil, err
	}
	return &fbs.SrtpParametersT{CryptoSuite: suite, KeyBase64: parameters.KeyBase64}, nil
}

func srtpFrom(parameters *fbs.SrtpParametersT) *SRTPParameters {
	if parameters == nil {
		return nil
	}
	out := &SRTPParameters{KeyBase64: parameters.KeyBase64}
	for name, value := range profiles {
		if value == parameters.CryptoSuite {
			out.CryptoSuite = name
		}
	}
	return out
}

func listenTo(info ListenInfo, field string) (*fbs.ListenInfoT, error) {
	protocol := fbs.Protocoludp
	if info.Protocol != "" {
		value, ok := fbs.EnumValuesProtocol[string(info.Protocol)]
		if !ok {
			return nil, invalid(field+".protocol", "%q is no protocol; give udp or tcp", string(info.Protocol))
		}
		protocol = value
	}
	out := &fbs.ListenInfoT{
		Protocol: protocol, Ip: info.IP, AnnouncedAddress: info.AnnouncedAddress,
		ExposeInternalIp: info.ExposeInternalIP, Port: info.Port, Ipv6Only: info.IPv6Only,
		SendBufferSize: info.SendBufferSize, RecvBufferSize: info.RecvBufferSize, UdpReusePort: info.UDPReusePort,
	}
	if info.PortRange != nil {
		out.PortRange = &fbs.PortRangeT{Min: info.PortRange.Min, Max: info.PortRange.Max}
	}
	return out, nil
}

// listenOnce is listenTo where one is needed; the engine says so when none was given.
func listenOnce(info ListenInfo) (*fbs.ListenInfoT, error) {
	if info == (ListenInfo{}) {
		return nil, nil
	}
	return listenTo(info, "listen_info")
}

func listensTo(infos []ListenInfo, field string) ([]*fbs.ListenInfoT, error) {
	var out []*fbs.ListenInfoT
	for index, info := range infos {
		one, err := listenTo(info, at(field, index))
		if err != nil {
			return nil, err
		}
		out = append(out, one)
	}
	return out, nil
}

func iceFrom(parameters *fbs.IceParametersT) ICEParameters {
	if parameters == nil {
		return ICEParameters{}
	}
	return ICEParameters{
		UsernameFragment: parameters.UsernameFragment, Password: parameters.Password, ICELite: parameters.IceLite,
	}
}

func candidatesFrom(candidates []*fbs.IceCandidateT) []ICECandidate {
	out := make([]ICECandidate, len(candidates))
	for at, one := range candidates {
		out[at] = ICECandidate{
			Foundation: one.Foundation, Priority: one.Priority, IP: one.Address, Address: one.Address,
			Protocol: Protocol(one.Protocol.String()), Port: one.Port, Type: one.Type.String(),
		}
		if one.TcpType != nil {
			out[at].TCPType = one.TcpType.String()
		}
	}
	return out
}

func dtlsTo(parameters DTLSParameters, field string) (*fbs.DtlsParametersT, error) {
	role := fbs.DtlsRoleauto
	if parameters.Role != "" {
		value, ok := fbs.EnumValuesDtlsRole[string(parameters.Role)]
		if !ok {
			return nil, invalid(field+".role", "%q is no role; give auto, client or server", string(parameters.Role))
		}
		role = value
	}
	out := &fbs.DtlsParametersT{Role: role}
	for _, one := range parameters.Fingerprints {
		algorithm := strings.Replace(strings.ToLower(one.Algorithm), "-", "", 1)
		if value, ok := fbs.EnumValuesFingerprintAlgorithm[algorithm]; ok {
			out.Fingerprints = append(out.Fingerprints, &fbs.DtlsFingerprintT{Algorithm: value, Value: one.Value})
		}
	}
	if len(out.Fingerprints) == 0 && len(parameters.Fingerprints) > 0 {
		return nil, invalid(field+".fingerprints",
			"none of the algorithms is usable; give sha-256, sha-384 or sha-512")
	}
	return out, nil
}

func dtlsFrom(parameters *fbs.DtlsParametersT) DTLSParameters {
	out := DTLSParameters{Role: DTLSAuto, Fingerprints: []DTLSFingerprint{}}
	if parameters == nil {
		return out
	}
	out.Role = DTLSRole(parameters.Role.String())
	for _, one := range parameters.Fingerprints {
		// sha256 is sha-256 everywhere but in the schema, where a name holds no dash.
		algorithm := strings.Replace(one.Algorithm.String(), "sha", "sha-", 1)
		out.Fingerprints = append(out.Fingerprints, DTLSFingerprint{Algorithm: algorithm, Value: one.Value})
	}
	return out
}

func tupleFrom(tuple *fbs.TransportTupleT) *TransportTuple {
	if tuple == nil {
		return nil
	}
	return &TransportTuple{
		Protocol: Protocol(tuple.Protocol.String()), LocalAddress: tuple.LocalAddress, LocalPort: tuple.LocalPort,
		RemoteAddress: tuple.RemoteAddress, RemotePort: tuple.RemotePort,
	}
}

func tuplesFrom(tuples []*fbs.TransportTupleT) []TransportTuple {
	out := make([]TransportTuple, len(tuples))
	for at, one := range tuples {
		out[at] = *tupleFrom(one)
	}
	return out
}

// `new` is a keyword in some of the schema's languages, so that the schema spells it `new_`.
func stateName(name string) string { return strings.TrimSuffix(name, "_") }
