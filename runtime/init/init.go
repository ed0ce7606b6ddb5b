// Package tiny holds the small first process that `--init` puts before a container's
// command: it starts the command, passes signals on, reaps orphans and exits with
// the command's code (127 when it is not found, 126 when it cannot be run).
//
// The program is src/init.c, freestanding and under 2 KB; its built form is kept here and
// compared with a fresh build by a test. It is no part of ours: no Go runs inside a
// container, and what runs cannot be written to.
package tiny

import (
	"os"
	"sync"

	"lighter/linux/proc"
)

//go:generate sh src/build.sh .

// File is the program, sealed, to be executed by its descriptor with the arguments
// `init -- COMMAND ARG…`. It is made once and stays open: the caller must not close it.
func File() (*os.File, error) { return file() }

var file = sync.OnceValues(func() (*os.File, error) { return proc.Sealed("docker-init", program) })
