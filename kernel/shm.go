package kernel

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"

	"lighter/linux/fs"
)

// Shm keeps the shared memory of containers that let others in (--ipc shareable): a tmpfs
// each, mounted in the exec root, so that the next engine finds it.
type Shm struct {
	dir string

	mu   sync.Mutex
	made map[string]bool // by container
}

// NewShm takes over what an earlier engine mounted below dir.
func NewShm(dir string) (*Shm, error) {
	s := &Shm{dir: dir, made: map[string]bool{}}
	entries, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("find shared memory: %w", err)
	}
	for _, e := range entries {
		s.made[e.Name()] = true
	}
	return s, nil
}

func (s *Shm) path(id string) string { return filepath.Join(s.dir, id) }

// Make mounts a container's shared memory, and gives its folder. What was there is gone.
func (s *Shm) Make(id string, size int64, uid, gid int) (string, error) {
	if err := s.Remove(id); err != nil {
		return "", err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.made[id] = true // before it is: a failure half-way is removed like a whole one
	if err := os.MkdirAll(s.path(id), 0o700); err != nil {
		return "", fmt.Errorf("make shared memory: %w", err)
	}
	m, err := fs.Tmpfs(fmt.Sprintf("mode=1777,size=%d,uid=%d,gid=%d", size, uid, gid), int(fs.NoSuid|fs.NoDev|fs.NoExec))
	if err != nil {
		return "", fmt.Errorf("make shared memory: %w", err)
	}
	defer m.Close()
	return s.path(id), fs.Attach(m, s.path(id))
}

// Path gives the folder of a container's shared memory, empty when it has none.
func (s *Shm) Path(id string) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	if there, err := fs.Mounted(s.path(id)); !s.made[id] || err != nil || !there {
		return ""
	}
	return s.path(id)
}

// Remove takes it away. Containers that use it keep it until they end.
func (s *Shm) Remove(id string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.made[id] {
		return nil
	}
	if err := fs.Unmount(s.path(id)); err != nil {
		return err
	}
	if err := os.Remove(s.path(id)); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("remove shared memory: %w", err)
	}
	delete(s.made, id)
	return nil
}

// Known lists the containers that have some.
func (s *Shm) Known() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var ids []string
	for id := range s.made {
		ids = append(ids, id)
	}
	return ids
}
