//go:build !libsfu_static

package capi

// #cgo pkg-config: libsfu
import "C"
