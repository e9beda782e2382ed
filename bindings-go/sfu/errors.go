package sfu

import (
	"fmt"
	"strings"

	"libsfu.example/go/internal/capi"
)

// Code says what kind of error it is. Each is an error itself, so that it can be asked for:
//
//	if errors.Is(err, sfu.ErrNotFound) { ... }
//
// The numbers are those of the statuses in libsfu.h and are never changed.
type Code uint32

// What a call can be answered with.
const (
	// ErrMalformed: the bytes are no message that can be taken. It is not expected from this package.
	ErrMalformed Code = 1
	// ErrInvalidArgument: a value is out of its range; Error.Field names it.
	ErrInvalidArgument Code = 2
	// ErrNotFound: there is no such object; it may have been closed.
	ErrNotFound Code = 3
	// ErrInvalidState: not possible in this state, such as connecting twice.
	ErrInvalidState Code = 4
	// ErrAlreadyExists: something of that name is there.
	ErrAlreadyExists Code = 5
	// ErrUnsupported: well-formed, but outside of what libsfu does.
	ErrUnsupported Code = 6
	// ErrBusy: a queue is full; try again after a moment.
	ErrBusy Code = 7
	// ErrResourceExhausted: a limit of the configuration or of the machine is reached.
	ErrResourceExhausted Code = 8
	// ErrAddressUnavailable: an address or port cannot be had.
	ErrAddressUnavailable Code = 9
	// ErrClosed: the engine was shut down.
	ErrClosed Code = 10
	// ErrInternal: a bug in libsfu.
	ErrInternal Code = 11
)

// What New and Preflight can fail with besides.
const (
	// ErrABIMismatch: the program was compiled with a header that the library does not serve.
	ErrABIMismatch Code = 101
	// ErrForked: the process was forked by one that has engines.
	ErrForked Code = 104
	// ErrPanic: a bug in libsfu, caught at its boundary.
	ErrPanic Code = 105
	// ErrTooManyEngines: the process has as many engines as it can.
	ErrTooManyEngines Code = 106
	// ErrStartOptions: an option is out of its range.
	ErrStartOptions Code = 201
	// ErrKernelTooOld: the kernel is too old.
	ErrKernelTooOld Code = 202
	// ErrIOUringUnavailable: io_uring is denied by a sysctl, by seccomp, or lacks an operation.
	ErrIOUringUnavailable Code = 203
	// ErrMemlockTooLow: not enough memory may be locked.
	ErrMemlockTooLow Code = 204
	// ErrFileLimitTooLow: not enough files may be opened.
	ErrFileLimitTooLow Code = 205
	// ErrCPUUnavailable: a shard cannot have the core that was asked for.
	ErrCPUUnavailable Code = 206
	// ErrStartAddress: an address or port cannot be had.
	ErrStartAddress Code = 207
	// ErrNoEntropy: the kernel gives no randomness.
	ErrNoEntropy Code = 208
	// ErrCertificate: the certificate or key cannot be used.
	ErrCertificate Code = 209
	// ErrStartResource: a resource ran out while starting.
	ErrStartResource Code = 210
	// ErrStartInternal: a bug in libsfu.
	ErrStartInternal Code = 211
)

// Error is the library's sentence for the code.
func (c Code) Error() string { return "sfu: " + capi.StatusText(capi.Status(c)) }

// Error is a call that was refused. Two questions are usual:
//
//	errors.Is(err, sfu.ErrBusy)
//
//	var refused *sfu.Error
//	if errors.As(err, &refused) { log.Print(refused.Field) }
type Error struct {
	// Op is the call, such as "CreateRouter".
	Op string
	// Code says what kind of error it is.
	Code Code
	// Field names the value that is wrong, in the words of the schema, such as "rtp_parameters.codecs[0].mime_type";
	// empty where no single one is.
	Field string
	// Message is one sentence with the value and the remedy.
	Message string
}

// Error is one line: the call, the field and the message.
func (e *Error) Error() string {
	var line strings.Builder
	line.WriteString("sfu: ")
	if e.Op != "" {
		line.WriteString(e.Op)
		line.WriteString(": ")
	}
	if e.Field != "" {
		line.WriteString(e.Field)
		line.WriteString(": ")
	}
	if e.Message == "" {
		line.WriteString(capi.StatusText(capi.Status(e.Code)))
	} else {
		line.WriteString(e.Message)
	}
	return line.String()
}

// Is makes errors.Is(err, sfu.ErrNotFound) and its like work.
func (e *Error) Is(target error) bool {
	code, ok := target.(Code)
	return ok && code == e.Code
}

// refused is the error of a status, with the line that came along.
func refused(op string, status capi.Status, why string) error {
	// The line begins with the code's name, which the Error has already.
	if name, rest, found := strings.Cut(why, ": "); found && !strings.ContainsAny(name, " ._") {
		why = rest
	}
	return &Error{Op: op, Code: Code(status), Message: why}
}

func invalid(field, format string, arguments ...any) error {
	return &Error{Code: ErrInvalidArgument, Field: field, Message: fmt.Sprintf(format, arguments...)}
}

// named gives an error of this package the name of the call.
func named(op string, err error) error {
	if refused, ok := err.(*Error); ok && refused.Op == "" {
		refused.Op = op
		return refused
	}
	return fmt.Errorf("sfu: %s: %w", op, err)
}

func unexpected(op, wanted string) error {
	return &Error{Op: op, Code: ErrInternal, Message: "another reply than " + wanted}
}
