package proc

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// Become makes this process the program at path, with its descriptors that are not closed on
// exec. It returns only when that failed.
func Become(path string, args, env []string) error {
	return fmt.Errorf("run %s: %w", path, unix.Exec(path, args, env))
}
