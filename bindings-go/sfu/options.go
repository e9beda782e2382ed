package sfu

import (
	"fmt"

	flatbuffers "github.com/google/flatbuffers/go"

	"libsfu.example/go/internal/capi"
	"libsfu.example/go/internal/fbs"
)

// IOBackend is how sockets are read and written.
type IOBackend string

// The back ends; empty is the library's choice.
const (
	IOURing IOBackend = "io_uring"
	MMsg    IOBackend = "mmsg"
)

// Options of an engine. The zero value takes all defaults.
type Options struct {
	// Shards is their number; 0 is one for each core that the process may use.
	Shards int
	// CPUs to pin the shards to, in order; empty: the first ones that the process may use.
	CPUs []int
	// Unpinned leaves the shards unpinned, for containers with CPU quotas.
	Unpinned bool
	// CertificatePEM and PrivateKeyPEM, both or neither; empty: a self-signed P-256 certificate is made.
	CertificatePEM string
	PrivateKeyPEM  string
	// SRTPProfiles in order of preference; empty: all.
	SRTPProfiles []SRTPProfile
	// CommandQueue is how many requests each shard may have in flight before ErrBusy; 0 is 4096.
	CommandQueue int
	// EventQueue is how many events are held for this program, in the library and once more in this package; 0 is
	// 65536. What comes beyond it is coalesced or dropped: see the package's documentation.
	EventQueue int
	// IOBackend; empty is the library's choice.
	IOBackend IOBackend
	// TapDirectory is where StartTap may write files; empty: it is refused.
	TapDirectory string
}

const (
	defaultCommandQueue = 4096
	defaultEventQueue   = 65536
)

func (o *Options) eventQueue() int {
	if o.EventQueue == 0 {
		return defaultEventQueue
	}
	return o.EventQueue
}

func within(field string, value, most int) (uint64, error) {
	if value < 0 || value > most {
		return 0, invalid(field, "%d; give 0 to %d", value, most)
	}
	return uint64(value), nil
}

func (o *Options) toSchema() (*fbs.EngineOptionsT, error) {
	shards, err := within("shards", o.Shards, 1<<16-1)
	if err != nil {
		return nil, err
	}
	out := &fbs.EngineOptionsT{
		Shards: uint16(shards), Unpinned: o.Unpinned, CertificatePem: o.CertificatePEM, PrivateKeyPem: o.PrivateKeyPEM,
		CommandQueue: defaultCommandQueue, EventQueue: defaultEventQueue, TapDirectory: o.TapDirectory,
	}
	for index, cpu := range o.CPUs {
		number, err := within(at("cpus", index), cpu, 1<<16-1)
		if err != nil {
			return nil, err
		}
		out.Cpus = append(out.Cpus, uint16(number))
	}
	for index, profile := range o.SRTPProfiles {
		value, err := profileTo(profile, at("srtp_profiles", index))
		if err != nil {
			return nil, err
		}
		out.SrtpProfiles = append(out.SrtpProfiles, value)
	}
	if o.CommandQueue != 0 {
		number, err := within("command_queue", o.CommandQueue, 1<<31-1)
		if err != nil {
			return nil, err
		}
		out.CommandQueue = uint32(number)
	}
	if o.EventQueue != 0 {
		number, err := within("event_queue", o.EventQueue, 1<<31-1)
		if err != nil {
			return nil, err
		}
		out.EventQueue = uint32(number)
	}
	if o.IOBackend != "" {
		value, ok := fbs.EnumValuesIoBackend[string(o.IOBackend)]
		if !ok {
			return nil, invalid("io_backend", "%q; give %s or %s", string(o.IOBackend), IOURing, MMsg)
		}
		out.IoBackend = value
	}
	return out, nil
}

func (o *Options) message() ([]byte, error) {
	options, err := o.toSchema()
	if err != nil {
		return nil, err
	}
	return message(flatbuffers.NewBuilder(256), fbs.ContentEngineOptions, options), nil
}

// message is one size-prefixed Message. The bytes are the builder's.
func message(builder *flatbuffers.Builder, kind fbs.Content, value any) []byte {
	content := &fbs.MessageT{Content: &fbs.ContentT{Type: kind, Value: value}}
	builder.FinishSizePrefixedWithFileIdentifier(content.Pack(builder), []byte("LSFU"))
	return builder.FinishedBytes()
}

// Preflight tells whether an engine could start on this machine with these options, and a report with one line for each
// check: its state, name, value and remedy. The error is that of the first check that fails; the report comes with it.
func Preflight(options Options) (report string, err error) {
	bytes, err := options.message()
	if err != nil {
		return "", named("Preflight", err)
	}
	status, report := capi.Preflight(capi.HeaderABIVersion, bytes)
	if status != capi.OK {
		return report, &Error{Op: "Preflight", Code: Code(status)}
	}
	return report, nil
}

// Version is the library's version, such as "0.1.0".
func Version() string { return capi.Version() }

// compatible tells whether the library that was found at run time serves this program.
func compatible(abi, schema uint32) error {
	if abi < capi.HeaderABIVersion || schema < capi.HeaderSchemaVersion {
		text := fmt.Sprintf("the library has ABI %d and schema %d, this program needs %d and %d; install a newer libsfu",
			abi, schema, capi.HeaderABIVersion, capi.HeaderSchemaVersion)
		return &Error{Op: "New", Code: ErrABIMismatch, Message: text}
	}
	return nil
}
