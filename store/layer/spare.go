package layer

import (
	"errors"
	"os"
	"sync"
	"time"

	"lighter/store"
)

const (
	sparesKept = 2               // folders that wait to become a container's
	sparesIdle = 3 * time.Second // after which they go, when none was taken
)

// spares are folders as containers begin with, made ahead once there was a first one. To
// find a place for a folder ext4 looks through all of its groups (fs.Spread), which would be
// half of the time that a create takes. They lie in tmp, where the next engine sweeps them;
// at rest there are none.
type spares struct {
	root *store.Root

	mu      sync.Mutex
	ready   []string
	filling bool
	idle    *time.Timer
	closed  bool
	work    sync.WaitGroup
}

// take makes the folder at path, of a spare one when there is one.
func (s *spares) take(path string) error {
	s.mu.Lock()
	spare := ""
	if n := len(s.ready); n > 0 {
		spare, s.ready = s.ready[n-1], s.ready[:n-1]
	}
	s.refill()
	s.mu.Unlock()
	if spare == "" {
		return furnish(path)
	}
	err := os.Rename(spare, path)
	if err != nil {
		err = errors.Join(err, s.root.Trash(spare))
	}
	return err
}

// refill has folders made. The lock is held.
func (s *spares) refill() {
	if s.closed {
		return
	}
	if s.idle == nil {
		s.idle = time.AfterFunc(sparesIdle, func() { _ = s.drop() }) // what stays is swept
	} else {
		s.idle.Reset(sparesIdle)
	}
	if !s.filling {
		s.filling = true
		s.work.Go(s.fill)
	}
}

// fill makes folders until there are enough. What goes wrong is told to who needs one
// and has to make it.
func (s *spares) fill() {
	s.mu.Lock()
	defer s.mu.Unlock()
	defer func() { s.filling = false }()
	for len(s.ready) < sparesKept && !s.closed {
		s.mu.Unlock()
		path := s.root.Path("tmp", s.root.Name("container"))
		err := furnish(path)
		if err != nil {
			_ = s.root.Trash(path)
		}
		s.mu.Lock()
		if err != nil {
			return
		}
		s.ready = append(s.ready, path)
	}
}

// drop takes the spare ones away.
func (s *spares) drop() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	var errs []error
	for _, path := range s.ready {
		errs = append(errs, s.root.Trash(path))
	}
	s.ready = nil
	return errors.Join(errs...)
}

// close takes them away for good, and waits for who makes one.
func (s *spares) close() error {
	s.mu.Lock()
	s.closed = true
	if s.idle != nil {
		s.idle.Stop()
	}
	s.mu.Unlock()
	s.work.Wait()
	return s.drop()
}

// furnish makes a container's folder with those of its writable layer.
func furnish(dir string) error {
	if err := os.Mkdir(dir, 0o710); err != nil {
		return err
	}
	if err := os.Mkdir(dir+"/upper", 0o755); err != nil {
		return err
	}
	if err := os.Chmod(dir+"/upper", 0o755); err != nil { // whatever the umask
		return err
	}
	return os.Mkdir(dir+"/work", 0o700)
}
