//go:build libsfu_static

package capi

// #cgo pkg-config: libsfu-static
import "C"
