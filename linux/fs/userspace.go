package fs

import (
	"os"
	"strings"
	"sync"
)

// InUserSpace reports whether we are root of a user namespace alone, as an engine of an
// ordinary user is: the kernel then makes no devices for us, and keeps trusted attributes
// from us.
var InUserSpace = sync.OnceValue(func() bool {
	text, err := os.ReadFile("/proc/self/uid_map")
	return err == nil && strings.Join(strings.Fields(string(text)), " ") != "0 0 4294967295"
})

// OverlayAttr is what the names of the attributes begin with in which overlayfs keeps its
// marks: those of root, or, in a user namespace, those of any file's owner.
var OverlayAttr = sync.OnceValue(func() string {
	if InUserSpace() {
		return "user.overlay."
	}
	return "trusted.overlay."
})

// OpaqueAttr marks a folder that hides what lower layers have in it.
var OpaqueAttr = sync.OnceValue(func() string { return OverlayAttr() + "opaque" })
