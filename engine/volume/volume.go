// Package volume keeps volumes: folders that outlive the containers which use them.
// Each is a folder of the data root,
//
//	volumes/<name>/_data        what it holds, and where the file system of one with options is mounted
//	volumes/<name>/volume.json  its record
//
// that is made whole in tmp and renamed into place. Who has a volume is what the
// containers' records say: they keep it (Use, Keep) and let it go (Release). Whether
// one with options is mounted is the mount table's to tell, and who uses it is known
// from what runs: nothing of that is on disk.
package volume

import (
	"cmp"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"lighter/api"
	"lighter/engine/event"
	"lighter/store"
)

const (
	recordFile   = "volume.json"
	recordFormat = 1
	dataFolder   = "_data"

	// Local is the only driver.
	Local = "local"
)

// Deps is what volumes stand on.
type Deps struct {
	Dir     string                              // <data root>/volumes
	Temp    func(prefix string) (string, error) // a folder that is swept at start-up
	Trash   func(path string) error             // takes a folder away at once
	Events  *event.Log
	Machine Machine

	Step func(name string) // told how far a creation came; nil, but where such a death is tried
}

// Machine is what volumes need of the kernel.
type Machine interface {
	// Mounted reports whether something is mounted on a folder.
	Mounted(path string) (bool, error)
	// Mount mounts on a folder what the options of a volume say, in mount(8)'s words.
	Mount(path, kind, device, options string) error
	// Unmount detaches what is mounted on a folder. Nothing there is no error.
	Unmount(path string) error
	// Empty reports whether a folder holds nothing.
	Empty(path string) (bool, error)
	// Quota reports whether what a folder holds can be bounded.
	Quota(path string) bool
	// Limit bounds what a folder may hold, in bytes. The project is a number that no
	// other volume has.
	Limit(path string, project uint32, size uint64) error
}

// record is a volume on disk.
type record struct {
	Format    int
	Name      string
	Created   time.Time
	Labels    map[string]string `json:",omitempty"`
	Options   map[string]string `json:",omitempty"`
	Anonymous bool              `json:",omitempty"`
	For       string            `json:",omitempty"` // the container that it was made with
	Project   uint32            `json:",omitempty"` // of its quota
}

// volume is a volume in memory.
type volume struct {
	record
	dir string

	users map[string]int // the containers that have it, how often; the Volumes' lock guards it

	mu     sync.Mutex      // serialises what is done to it: mounts, filling, removal
	active map[string]bool // the containers that have it mounted, for one with options
	gone   bool
}

func (v *volume) data() string { return filepath.Join(v.dir, dataFolder) }

// mounts reports whether its options ask for a file system of its own.
func (v *volume) mounts() bool { return v.Options["type"] != "" || v.Options["device"] != "" }

// Volumes is all volumes of an engine.
type Volumes struct {
	Deps

	mu      sync.Mutex // for look-ups, entries and users; held over a rename at most
	all     map[string]*volume
	going   map[string]chan struct{} // volumes whose folders are being taken away; closed when they have gone
	corrupt map[string]error
	blind   map[string]bool // containers that may use any volume, as nobody can read which
	project uint32

	pruning atomic.Bool
}

// Open takes over the volumes in d.Dir. One whose record cannot be read is left alone,
// and told.
func Open(d Deps) (*Volumes, error) {
	vs := &Volumes{Deps: d, all: map[string]*volume{}, going: map[string]chan struct{}{}, corrupt: map[string]error{}, blind: map[string]bool{}, project: firstProject}
	entries, err := os.ReadDir(d.Dir)
	if err != nil {
		return nil, fmt.Errorf("open the volumes: %w", err)
	}
	for _, e := range entries {
		if !e.IsDir() {
			continue
		}
		v, err := load(filepath.Join(d.Dir, e.Name()))
		if err != nil {
			slog.Error("a volume's record cannot be read; the volume is left alone", "volume", e.Name(), "err", err)
			vs.corrupt[e.Name()] = err
			continue
		}
		vs.all[v.Name] = v
		vs.project = max(vs.project, v.Project+1)
	}
	return vs, nil
}

func load(dir string) (*volume, error) {
	v := newVolume(record{}, dir)
	path := filepath.Join(dir, recordFile)
	err := store.ReadRecord(path, &v.record)
	switch {
	case err != nil:
		return nil, err
	case v.Format != recordFormat:
		return nil, fmt.Errorf("%s is of format %d, this engine knows %d", path, v.Format, recordFormat)
	case v.Name != filepath.Base(dir):
		return nil, &store.CorruptError{Path: path, Err: errors.New("it is not this volume's")}
	}
	return v, nil
}

func newVolume(r record, dir string) *volume {
	return &volume{record: r, dir: dir, users: map[string]int{}, active: map[string]bool{}}
}

// Settle takes away what an earlier engine left mounted for containers that no longer
// run. It is called once those that run have been found (Mount).
func (vs *Volumes) Settle() {
	for _, v := range vs.list() {
		if !v.mounts() {
			continue
		}
		v.mu.Lock()
		if len(v.active) == 0 && !v.gone {
			if err := vs.Machine.Unmount(v.data()); err != nil {
				slog.Warn("unmount a volume that nobody uses", "volume", v.Name, "err", err)
			}
		}
		v.mu.Unlock()
	}
}

// list gives all volumes, by name.
func (vs *Volumes) list() []*volume {
	vs.mu.Lock()
	defer vs.mu.Unlock()
	return slices.SortedFunc(maps.Values(vs.all), func(a, b *volume) int { return cmp.Compare(a.Name, b.Name) })
}

// find looks a volume up.
func (vs *Volumes) find(name string) (*volume, error) {
	vs.mu.Lock()
	defer vs.mu.Unlock()
	return vs.get(name)
}

// get is find for one who holds the lock.
func (vs *Volumes) get(name string) (*volume, error) {
	if v := vs.all[name]; v != nil {
		return v, nil
	}
	if err := vs.corrupt[name]; err != nil {
		return nil, api.Errorf(api.Internal, "get %s: the volume cannot be used: %w", name, err)
	}
	return nil, api.Errorf(api.NotFound, "get %s: no such volume", name)
}

// wire is a volume as the API shows it.
func (v *volume) wire() *api.Volume {
	return &api.Volume{
		Name: v.Name, Driver: Local, Scope: "local", Mountpoint: v.data(), CreatedAt: v.Created.Local().Format(time.RFC3339),
		Labels: v.Labels, Options: v.Options,
	}
}

func (v *volume) publish(to *event.Log, action string) {
	to.Publish("volume", action, v.Name, map[string]string{"driver": Local})
}
