// Package capi is the one door to the C library: each function of libsfu.h as a Go function over bytes and numbers.
//
// It is told bytes and tells bytes and a [Status]. It keeps no pointer after a call, hands none with a Go pointer inside
// over, and takes no callback; so the garbage collector may move and free whatever was given. Nothing here blocks but
// [EngineNew], [Shutdown] and [Free].
package capi

/*
#include <stdint.h>
#include "libsfu.h"
*/
import "C"

import (
	"sync"
	"unsafe"
)

// Status is what every function of the C ABI returns; see libsfu.h.
type Status uint32

// Statuses that this module acts on; the others are only told.
const (
	OK             Status = C.SFU_OK
	NotFound       Status = C.SFU_NOT_FOUND
	Closed         Status = C.SFU_CLOSED
	BufferTooSmall Status = C.SFU_BUFFER_TOO_SMALL
	Timeout        Status = C.SFU_TIMEOUT
	ABIMismatch    Status = C.SFU_ABI_MISMATCH
	Panic          Status = C.SFU_PANIC
)

// Versions of the header that this program was compiled with.
const (
	HeaderABIVersion    = uint32(C.SFU_ABI_VERSION)
	HeaderSchemaVersion = uint32(C.SFU_SCHEMA_VERSION)
)

// whyCap holds every line that the library writes about a failure; longer ones are cut by it.
const whyCap = 1024

var whys = sync.Pool{New: func() any { return new([whyCap]byte) }}

// Version is the library's version.
func Version() string { return C.GoString(C.sfu_version()) }

// ABIVersion is the version of the C ABI that the library has.
func ABIVersion() uint32 { return uint32(C.sfu_abi_version()) }

// SchemaVersion is the version of the schema that the library has.
func SchemaVersion() uint32 { return uint32(C.sfu_schema_version()) }

// StatusText is one sentence for a status.
func StatusText(status Status) string { return C.GoString(C.sfu_status_text(C.uint32_t(status))) }

// pointer is the first byte of a slice, or null.
func pointer(bytes []byte) *C.uint8_t {
	if len(bytes) == 0 {
		return nil
	}
	return (*C.uint8_t)(unsafe.Pointer(&bytes[0]))
}

// text is what stands before the closing NUL.
func text(why *[whyCap]byte) string {
	for at, byte := range why {
		if byte == 0 {
			return string(why[:at])
		}
	}
	return string(why[:])
}

// Preflight tells whether an engine could start with these options, and a line for each check.
func Preflight(abi uint32, options []byte) (Status, string) {
	report := make([]byte, 16*1024)
	for {
		var length C.size_t
		status := C.sfu_preflight(C.uint32_t(abi), pointer(options), C.size_t(len(options)),
			(*C.char)(unsafe.Pointer(&report[0])), C.size_t(len(report)), &length)
		if int(length) < len(report) {
			return Status(status), string(report[:length])
		}
		report = make([]byte, int(length)+1)
	}
}

// EngineNew starts an engine. `abi` is [HeaderABIVersion] but in tests.
func EngineNew(abi uint32, options []byte) (uint64, Status, string) {
	why := whys.Get().(*[whyCap]byte)
	defer whys.Put(why)
	why[0] = 0
	var engine C.uint64_t
	status := C.sfu_engine_new(C.uint32_t(abi), pointer(options), C.size_t(len(options)), &engine,
		(*C.char)(unsafe.Pointer(&why[0])), whyCap)
	if status != C.SFU_OK {
		return 0, Status(status), text(why)
	}
	return uint64(engine), OK, ""
}

// Submit hands a request over; why it was refused comes with the status.
func Submit(engine uint64, message []byte) (Status, string) {
	why := whys.Get().(*[whyCap]byte)
	defer whys.Put(why)
	why[0] = 0
	status := C.sfu_engine_submit(C.uint64_t(engine), pointer(message), C.size_t(len(message)),
		(*C.char)(unsafe.Pointer(&why[0])), whyCap)
	if status != C.SFU_OK {
		return Status(status), text(why)
	}
	return OK, ""
}

// Outcome is where a poll writes what it did; each poller has its own.
type Outcome struct{ written, needed C.size_t }

// Poll fills a buffer with messages; tells how many bytes it wrote, and the size of the next message that did not fit.
func (o *Outcome) Poll(engine uint64, buffer []byte) (int, int, Status) {
	o.written, o.needed = 0, 0
	status := C.sfu_engine_poll(C.uint64_t(engine), pointer(buffer), C.size_t(len(buffer)), &o.written, &o.needed)
	return int(o.written), int(o.needed), Status(status)
}

// PollMedia fills a buffer with packets of direct transports.
func (o *Outcome) PollMedia(engine uint64, buffer []byte) (int, int, Status) {
	o.written, o.needed = 0, 0
	status := C.sfu_engine_poll_media(C.uint64_t(engine), pointer(buffer), C.size_t(len(buffer)), &o.written, &o.needed)
	return int(o.written), int(o.needed), Status(status)
}

// SendMedia gives packets to direct transports; tells how many were queued.
func SendMedia(engine uint64, packets []byte) (int, Status) {
	var taken C.size_t
	status := C.sfu_engine_send_media(C.uint64_t(engine), pointer(packets), C.size_t(len(packets)), &taken)
	return int(taken), Status(status)
}

// EventFD is the descriptor that is readable when there is something for Poll. It is the engine's.
func EventFD(engine uint64) (int, Status) {
	var fd C.int32_t
	status := C.sfu_engine_event_fd(C.uint64_t(engine), &fd)
	return int(fd), Status(status)
}

// MediaFD is the descriptor that is readable when there is something for PollMedia. It is the engine's.
func MediaFD(engine uint64) (int, Status) {
	var fd C.int32_t
	status := C.sfu_engine_media_fd(C.uint64_t(engine), &fd)
	return int(fd), Status(status)
}

// Wait blocks a thread until there may be something to poll. The package sfu does not use it.
func Wait(engine uint64, milliseconds uint32) Status {
	return Status(C.sfu_engine_wait(C.uint64_t(engine), C.uint32_t(milliseconds)))
}

// Shutdown ends the engine's shards.
func Shutdown(engine uint64, milliseconds uint32) Status {
	return Status(C.sfu_engine_shutdown(C.uint64_t(engine), C.uint32_t(milliseconds)))
}

// Free frees the engine; its handle is dead from here on.
func Free(engine uint64) Status { return Status(C.sfu_engine_free(C.uint64_t(engine))) }
