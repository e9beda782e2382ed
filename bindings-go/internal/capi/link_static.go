//go:build libsfu_static

package capi

// The archive is named by its file, since beside a libsfu.so the linker would take that.

// #cgo pkg-config: libsfu
// #cgo LDFLAGS: -l:libsfu.a -lpthread -ldl -lm
import "C"
