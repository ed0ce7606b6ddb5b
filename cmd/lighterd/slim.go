package main

import (
	"runtime/debug"
	"time"

	"lighter/linux/proc"
)

// slimTime is how long nothing must be asked of the engine before it gives back the
// memory that its work left.
const slimTime = 5 * time.Second

// newSlimmer makes the timer that does so; each request is to reset it.
func newSlimmer() *time.Timer {
	return time.AfterFunc(slimTime, func() {
		debug.FreeOSMemory()
		proc.ForgetProgram()
	})
}
