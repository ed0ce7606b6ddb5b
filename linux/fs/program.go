package fs

import (
	"fmt"
	"os"
	"path/filepath"
)

// Unwritable gives the folder of a program as an overlay without an upper folder has
// it, and the program's name there. Whoever gets at a process that was started from
// it, through /proc/PID/exe, has a file that cannot be written, and not the one
// beneath (CVE-2019-5736). The program is run as /proc/PID/fd/N/name.
func Unwritable(program string) (dir *os.File, name string, err error) {
	path, err := filepath.EvalSymlinks(program)
	if err != nil {
		return nil, "", err
	}
	// An overlay that is only read has two folders at least.
	empty, err := Tmpfs("size=4k,nr_inodes=2", ReadOnly)
	if err != nil {
		return nil, "", err
	}
	defer empty.Close()
	lower := []string{filepath.Dir(path), fmt.Sprintf("/proc/self/fd/%d", empty.Fd())}
	dir, err = Overlay(OverlayOptions{Lower: lower, ReadOnly: true})
	return dir, filepath.Base(path), err
}
