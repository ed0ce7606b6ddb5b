package main

import (
	"fmt"
	"os"

	"lighter/linux/fs"
	"lighter/linux/proc"
)

// programVar tells the program that was started anew where it lies.
const programVar = "LIGHTERD_PROGRAM"

// program is where this program lies, empty when it is known from /proc.
var program string

// shield starts the program anew, as the same process, from a mount that nobody can write to: a build's
// step is a child of ours, and for a moment in its container while it still is of this program
// (CVE-2019-5736). It returns when that has been done, or cannot be.
func shield() error {
	if program = os.Getenv(programVar); program != "" {
		return os.Unsetenv(programVar)
	}
	if os.Geteuid() != 0 {
		return nil
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	dir, name, err := fs.Unwritable(self)
	if err != nil {
		return err
	}
	defer dir.Close()
	return proc.Become(fmt.Sprintf("/proc/self/fd/%d/%s", dir.Fd(), name), os.Args, append(os.Environ(), programVar+"="+self))
}
