// Package fbs is what flatc makes of include/libsfu.fbs: the messages of the C ABI. `make generate` writes it anew.
package fbs
