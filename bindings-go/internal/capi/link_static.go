//go:build libsfu_static

package capi

// The archive is named by its file and comes first; what it resolves needs no libsfu.so any more, which pkg-config names
// too and the linker then leaves out.

// #cgo LDFLAGS: -Wl,--as-needed -l:libsfu.a -lpthread -ldl -lm
// #cgo pkg-config: libsfu
import "C"
