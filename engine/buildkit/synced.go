package buildkit

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"sync"
)

// keptFolders is how many contexts of clients stay here between their builds, so that the next one
// sends only what changed.
const keptFolders = 16

// synced is folders that hold what clients sent, the newest last. One has one build at a time; a second build
// of the same context gets a folder that is thrown away.
type synced struct {
	dir string

	mu   sync.Mutex
	kept []string        // names of folders that no build has
	used map[string]bool // those that a build has
}

// openSynced begins with none: what an engine before had may be half of what its client meant.
func openSynced(dir string) (*synced, error) {
	if err := os.RemoveAll(dir); err != nil {
		return nil, err
	}
	return &synced{dir: dir, used: map[string]bool{}}, os.MkdirAll(dir, 0o700)
}

// take gives the folder of a client's context, with what it held after the last build.
func (s *synced) take(client, context string) (path string, release func(), err error) {
	sum := sha256.Sum256([]byte(client + "\x00" + context))
	name := hex.EncodeToString(sum[:16])
	s.mu.Lock()
	shared := client != "" && !s.used[name]
	if shared {
		s.used[name] = true
		s.kept = slices.DeleteFunc(s.kept, func(k string) bool { return k == name })
	}
	s.mu.Unlock()
	if !shared {
		path, err = os.MkdirTemp(s.dir, "once-")
		return path, func() { os.RemoveAll(path) }, err
	}
	path = filepath.Join(s.dir, name)
	if err := os.Mkdir(path, 0o755); err != nil && !errors.Is(err, os.ErrExist) {
		s.give(name)
		return "", nil, err
	}
	return path, func() { s.give(name) }, nil
}

// give takes a folder back, and drops those that were not asked for longest.
func (s *synced) give(name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.used, name)
	s.kept = append(s.kept, name)
	for len(s.kept) > keptFolders {
		os.RemoveAll(filepath.Join(s.dir, s.kept[0]))
		s.kept = s.kept[1:]
	}
}
