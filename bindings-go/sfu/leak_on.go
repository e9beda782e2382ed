//go:build libsfu_leaks

package sfu

import (
	"log/slog"
	"runtime"
	"runtime/debug"
)

// watchEngine tells of an engine that the program has forgotten: its threads run on.
func watchEngine(engine *Engine) {
	c, made := engine.core, string(debug.Stack())
	runtime.SetFinalizer(engine, func(*Engine) { tell(c.root, "Engine", made) })
}

// watch tells of a handle that was dropped while its object is open: nobody can close it any more but by what it
// belongs to.
func watch[T any](handle *T, o *object, name string) {
	made := string(debug.Stack())
	runtime.SetFinalizer(handle, func(*T) { tell(o, name, made) })
}

func tell(o *object, name, made string) {
	select {
	case <-o.done:
	default:
		slog.Warn("sfu: dropped without Close", "object", name, "id", o.id.String(), "made", made)
	}
}
