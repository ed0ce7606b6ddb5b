// Package imagetest gives tests what images stand on.
package imagetest

import (
	"log/slog"
	"testing"

	"lighter/engine/event"
	"lighter/engine/image"
	"lighter/store"
	"lighter/store/content"
)

// Deps is a data root with blobs and events that goes with the test. Layers are the caller's to add.
func Deps(t testing.TB) image.Deps {
	t.Helper()
	root, err := store.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { root.Close() })
	blobs, err := content.Open(root)
	if err != nil {
		t.Fatal(err)
	}
	events, err := event.Open(root.Path("events"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { events.Close() })
	return image.Deps{Log: slog.New(slog.DiscardHandler), Root: root, Blobs: blobs, Events: events, Users: func() []image.User { return nil }}
}
