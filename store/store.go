// Package store keeps the data root: its layout, its lock, its small records, and
// the trash that is emptied behind the user's back.
//
// It knows nothing of what lies in the folders: blobs are store/content's, layers
// store/layer's, images and containers the engine's. The layout is
//
//	lock        held as long as an engine lives; holds its pid
//	version     the layout's number, for the next one to know what it finds
//	blobs/      an OCI image layout's blobs, with oci-layout beside it
//	layers/     a folder a layer, named by the hex of its chain id
//	images/     image records       names/  which name means which image
//	containers/ a folder a container
//	volumes/    a folder a volume
//	events/     the event log
//	trash/      what was removed and is yet to be deleted
//	tmp/        what is being made; nothing in it outlives the engine
//
// A thing is made in tmp and renamed into place, and removed by a rename into trash:
// so at any instant it is there whole or not at all.
package store

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"lighter/linux/fs"
)

// layoutVersion is the number in the version file. An engine opens no other.
const layoutVersion = 1

// folders of the layout, made at Open with mode 0710 and 0700 as they hold
// containers' files: the root can be passed through by its group, not read.
var folders = []string{"blobs", "blobs/sha256", "layers", "images", "names", "containers", "volumes", "events", "trash", "tmp"}

// Root is an open data root. Its methods may be called from many goroutines.
type Root struct {
	dir    string
	lock   *os.File
	unique atomic.Uint64
	nonce  string // tells this engine's temporary names from a dead one's
	spread bool   // the file system lays new trees where the fewest folders are

	wake    chan struct{} // of one: there is something in the trash
	closed  chan struct{}
	workers sync.WaitGroup // the emptier of the trash, SyncAhead
	ahead   atomic.Bool    // SyncAhead is under way
	once    sync.Once      // of Close
	err     error          // its result
}

// Open makes or opens the data root at dir and takes its lock. A root that another
// engine holds gives an error with that engine's pid. What a crash left in tmp goes.
func Open(dir string) (*Root, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(dir, 0o710); err != nil {
		return nil, fmt.Errorf("data root: %w", err)
	}
	lock, err := takeLock(filepath.Join(dir, "lock"))
	if err != nil {
		return nil, fmt.Errorf("data root %s: %w", dir, err)
	}
	r := &Root{dir: dir, lock: lock, wake: make(chan struct{}, 1), closed: make(chan struct{})}
	if err := r.prepare(); err != nil {
		return nil, errors.Join(fmt.Errorf("data root %s: %w", dir, err), lock.Close())
	}
	r.workers.Go(r.emptyTrash)
	return r, nil
}

func (r *Root) prepare() error {
	var nonce [6]byte
	rand.Read(nonce[:]) // never errs
	r.nonce = hex.EncodeToString(nonce[:])
	if err := r.checkVersion(); err != nil {
		return err
	}
	for _, name := range folders {
		if err := os.Mkdir(filepath.Join(r.dir, name), 0o700); err != nil && !errors.Is(err, os.ErrExist) {
			return err
		}
	}
	for _, name := range []string{"tmp", "containers"} {
		r.spread = fs.Spread(filepath.Join(r.dir, name))
	}
	return r.sweep()
}

// Free is how many bytes are free for anyone on the file system that the root lies on.
func (r *Root) Free() (int64, error) {
	space, err := fs.Statfs(r.dir)
	return int64(space.Free), err
}

// Size is how many bytes the file system has that the root lies on.
func (r *Root) Size() (int64, error) {
	space, err := fs.Statfs(r.dir)
	return int64(space.Total), err
}

// Below this what was removed is deleted at once: who removes a thing from a full disk
// does so for its room, and wants to use it next.
const (
	scarceBytes  = 64 << 20
	scarceInodes = 1 << 10
)

func (r *Root) scarce() bool {
	space, err := fs.Statfs(r.dir)
	return err == nil && (space.Free < scarceBytes || space.Inodes > 0 && space.FreeInodes < scarceInodes)
}

// sweep moves what a dead engine was making into the trash.
func (r *Root) sweep() error {
	left, err := os.ReadDir(r.Path("tmp"))
	if err != nil {
		return err
	}
	for _, entry := range left {
		if err := r.Trash(r.Path("tmp", entry.Name())); err != nil {
			return err
		}
	}
	return nil
}

func (r *Root) checkVersion() error {
	path := filepath.Join(r.dir, "version")
	text, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) {
		return WriteFile(path, []byte(strconv.Itoa(layoutVersion)+"\n"), 0o600, true)
	}
	if err != nil {
		return err
	}
	if found := strings.TrimSpace(string(text)); found != strconv.Itoa(layoutVersion) {
		return fmt.Errorf("its layout is version %.20q, this engine knows version %d only", found, layoutVersion)
	}
	return nil
}

// leaveTime is how long a process that has ended may hold its lock.
const leaveTime = 5 * time.Second

// holder is the process that a lock names, 0 when it names none.
func holder(path string) int {
	text, err := os.ReadFile(path)
	if err != nil {
		return 0
	}
	pid, _ := strconv.Atoi(strings.TrimSpace(string(text)))
	return pid
}

// lives says whether a process still has a program; one that nobody can tell of has.
func lives(pid int) bool {
	_, err := os.Readlink(fmt.Sprintf("/proc/%d/exe", pid))
	return pid == 0 || !errors.Is(err, os.ErrNotExist)
}

// takeLock locks the file at path and writes this process's pid into it.
func takeLock(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	err = fs.Flock(f)
	// A process that was killed holds the lock a moment longer than it can be seen.
	for end := time.Now().Add(leaveTime); errors.Is(err, fs.ErrLocked) && !lives(holder(path)) && time.Now().Before(end); {
		time.Sleep(2 * time.Millisecond)
		err = fs.Flock(f)
	}
	if errors.Is(err, fs.ErrLocked) {
		by := fmt.Sprintf("another engine, process %d,", holder(path))
		return nil, errors.Join(fmt.Errorf("%s uses it", by), f.Close())
	} else if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	err = f.Truncate(0)
	if err == nil {
		_, err = f.WriteAt([]byte(strconv.Itoa(os.Getpid())+"\n"), 0)
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// Path joins elem to the root's absolute path. It checks nothing: whoever puts a
// name from outside into a path has validated it.
func (r *Root) Path(elem ...string) string {
	return filepath.Join(append([]string{r.dir}, elem...)...)
}

// Temp makes a folder in tmp, of mode 0700. Its name begins with prefix.
func (r *Root) Temp(prefix string) (string, error) {
	path := r.Path("tmp", r.Name(prefix))
	return path, os.Mkdir(path, 0o700)
}

// TempFile makes an empty file in tmp, of mode 0600. Its name begins with prefix.
func (r *Root) TempFile(prefix string) (*os.File, error) {
	return os.OpenFile(r.Path("tmp", r.Name(prefix)), os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
}

// Trash takes the file or folder at path away: it is gone when Trash returns, and
// deleted in the background, or, where room is scarce, before it returns. Nothing there
// is no error.
func (r *Root) Trash(path string) error {
	trashed := r.Path("trash", r.Name(filepath.Base(path)))
	err := os.Rename(path, trashed)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err == nil && r.scarce() {
		_ = r.Erase(trashed) // what is left of it is the background's
	}
	select {
	case r.wake <- struct{}{}:
	default: // it will look anyway
	}
	return err
}

// Erase deletes what is at path before it returns, so that the room that a failed write
// took is free for the next.
func (r *Root) Erase(path string) error {
	dir, err := fs.OpenDir(filepath.Dir(path))
	if err != nil {
		return err
	}
	defer dir.Close()
	return dir.RemoveAll(filepath.Base(path), func() bool { return false })
}

// Name makes a name that nobody has, short enough whatever prefix is.
func (r *Root) Name(prefix string) string {
	return fmt.Sprintf("%.80s-%s-%d", prefix, r.nonce, r.unique.Add(1))
}

// Sync makes all that was written beneath the root durable.
func (r *Root) Sync() error { return fs.SyncFS(r.lock) }

// Close stops the deletion in the background, waits for it and for SyncAhead, and gives the lock back.
// What is still in the trash goes after the next Open. A second Close does nothing.
func (r *Root) Close() error {
	r.once.Do(func() {
		close(r.closed)
		r.workers.Wait()
		r.err = r.lock.Close()
	})
	return r.err
}
