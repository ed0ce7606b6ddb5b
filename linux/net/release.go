package net

import (
	"fmt"
	"sync"

	"golang.org/x/sys/unix"
)

// NamesLive tells whether a link that is up can be given a name, which Linux does since 6.2;
// before, it answers EBUSY.
var NamesLive = sync.OnceValue(func() bool {
	var u unix.Utsname
	if unix.Uname(&u) != nil {
		return false
	}
	return namesLive(unix.ByteSliceToString(u.Release[:]))
})

func namesLive(release string) bool {
	var major, minor int
	_, err := fmt.Sscanf(release, "%d.%d", &major, &minor)
	return err == nil && (major > 6 || major == 6 && minor >= 2)
}
