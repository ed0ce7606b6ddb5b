package volume

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"sync"
	"time"

	"github.com/docker/go-units"

	"lighter/api"
	"lighter/store"
)

// Want is a volume that is asked for.
type Want struct {
	Name    string // empty for an anonymous one
	Driver  string
	Options map[string]string
	Labels  map[string]string

	// For a container: its id, which keeps the volume until Release; whether its record
	// may be lost in a power cut as the container's is; and who fills it while it is empty
	// (nil: nobody).
	Container string
	Volatile  bool
	Fill      func(dir string) error
}

// Create makes a volume, or gives the one that has the name.
func (vs *Volumes) Create(ctx context.Context, req api.CreateVolume) (*api.Volume, error) {
	v, err := vs.Use(ctx, Want{Name: req.Name, Driver: req.Driver, Options: req.DriverOpts, Labels: req.Labels})
	if err != nil {
		return nil, err
	}
	return v, nil
}

// Use finds a volume or makes it, fills it if it is empty, and keeps it for a container.
func (vs *Volumes) Use(ctx context.Context, w Want) (*api.Volume, error) {
	anonymous := w.Name == ""
	if anonymous {
		w.Name = newName()
		w.Labels = maps.Clone(w.Labels)
		if w.Labels == nil {
			w.Labels = map[string]string{}
		}
		w.Labels[api.AnonymousLabel] = ""
	}
	bad := func(err error) error { return api.Errorf(api.KindOf(err), "create %s: %w", w.Name, err) }
	if err := checkDriver(w.Driver); err != nil {
		return nil, bad(err)
	}
	if v := vs.keep(w.Name, w.Container); v != nil {
		return vs.filled(v, &w)
	}
	if err := checkWant(vs, &w); err != nil {
		return nil, bad(err)
	}
	if err := ctx.Err(); err != nil {
		return nil, api.Errorf(api.Canceled, "create %s: %w", w.Name, err)
	}
	v, made, err := vs.make(&w, anonymous)
	var unfilled *fillError
	if errors.As(err, &unfilled) {
		return nil, unfilled.err
	}
	if err != nil {
		return nil, bad(err)
	}
	if made {
		v.publish(vs.Events, "create")
		if len(v.Options) == 0 {
			return v.wire(), nil // filled before it was there
		}
	}
	return vs.filled(v, &w)
}

// fillError is an error of who fills a volume, which is told in his words.
type fillError struct{ err error }

func (e *fillError) Error() string { return e.err.Error() }

// keep gives a volume that is there already, kept for a container.
func (vs *Volumes) keep(name, container string) *volume {
	vs.mu.Lock()
	defer vs.mu.Unlock()
	v := vs.all[name]
	if v != nil && container != "" {
		v.users[container]++
	}
	return v
}

// filled fills a volume that is there and empty.
func (vs *Volumes) filled(v *volume, w *Want) (*api.Volume, error) {
	if w.Fill == nil {
		return v.wire(), nil
	}
	if err := vs.fill(v, w); err != nil {
		vs.Release(v.Name, w.Container)
		return nil, err
	}
	return v.wire(), nil
}

func (vs *Volumes) fill(v *volume, w *Want) (err error) {
	dir, err := vs.Mount(v.Name, w.Container)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, vs.Unmount(v.Name, w.Container)) }()
	v.mu.Lock()
	defer v.mu.Unlock()
	empty, err := vs.Machine.Empty(dir)
	if err != nil || !empty {
		return err
	}
	return w.Fill(dir)
}

// make makes a volume in tmp, fills it and renames it into place: it is there whole or
// not at all. Should another of the name have come meanwhile, that is the volume.
func (vs *Volumes) make(w *Want, anonymous bool) (_ *volume, made bool, err error) {
	temp, err := vs.Temp("volume")
	if err != nil {
		return nil, false, err
	}
	defer func() {
		if !made {
			err = errors.Join(err, vs.Trash(temp))
		}
	}()
	r := record{
		Format: recordFormat, Name: w.Name, Created: time.Now().UTC(), Labels: w.Labels, Options: w.Options, Anonymous: anonymous,
		For: w.Container,
	}
	if r.Options["size"] != "" {
		vs.mu.Lock()
		r.Project = vs.project
		vs.project++
		vs.mu.Unlock()
	}
	v := newVolume(r, temp)
	if err := v.lay(w); err != nil {
		return nil, false, err
	}
	if vs.Step != nil {
		vs.Step("volume: laid")
	}
	placed, made, err := vs.place(v, w)
	if vs.Step != nil {
		vs.Step("volume: placed")
	}
	if err != nil || !made || w.Volatile {
		return placed, made, err
	}
	if err := store.SyncDir(vs.Dir); err != nil {
		vs.Release(v.Name, w.Container)
		return nil, true, err
	}
	return placed, true, nil
}

// place renames a volume to where it belongs, and keeps it for its container.
func (vs *Volumes) place(v *volume, w *Want) (_ *volume, made bool, err error) {
	dir := filepath.Join(vs.Dir, v.Name)
	vs.lockFor(v.Name)
	defer vs.mu.Unlock()
	if other := vs.all[v.Name]; other != nil {
		if w.Container != "" {
			other.users[w.Container]++
		}
		return other, false, nil
	}
	if err := vs.corrupt[v.Name]; err != nil {
		return nil, false, fmt.Errorf("there is a volume of that name that cannot be used: %w", err)
	}
	if err := os.Rename(v.dir, dir); err != nil {
		return nil, false, err
	}
	v.dir = dir
	if w.Container != "" {
		v.users[w.Container]++
	}
	vs.all[v.Name] = v
	return v, true, nil
}

// lockFor takes the lock when no volume of the name is on its way out.
func (vs *Volumes) lockFor(name string) {
	for {
		vs.mu.Lock()
		going := vs.going[name]
		if going == nil {
			return
		}
		vs.mu.Unlock()
		<-going
	}
}

// lay makes a volume's folders and record.
func (v *volume) lay(w *Want) error {
	if err := os.Mkdir(v.data(), 0o755); err != nil {
		return err
	}
	for path, mode := range map[string]os.FileMode{v.dir: 0o701, v.data(): 0o755} { // whatever the umask
		if err := os.Chmod(path, mode); err != nil {
			return err
		}
	}
	if w.Fill != nil && len(v.Options) == 0 { // else through its own file system, or within its quota
		if err := w.Fill(v.data()); err != nil {
			return &fillError{err}
		}
	}
	path := filepath.Join(v.dir, recordFile)
	if err := store.WriteRecord(path, &v.record, false); err != nil || w.Volatile {
		return err
	}
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close()) // the names become durable with the folder's
}

func newName() string {
	var b [32]byte
	rand.Read(b[:]) // never fails
	return hex.EncodeToString(b[:])
}

// nameChars is what Docker allows in the name of a volume.
const nameChars = "[a-zA-Z0-9][a-zA-Z0-9_.-]"

// nameRule is compiled when it is first needed.
var nameRule = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile("^" + nameChars + "+$") })

// firstProject is where the numbers of quotas begin: far from what others use.
const firstProject = 1 << 24

func invalid(format string, args ...any) error { return api.Errorf(api.Invalid, format, args...) }

func checkDriver(name string) error {
	if name != "" && name != Local {
		return api.Errorf(api.NotFound, "error looking up volume plugin %s: plugin %q not found", name, name)
	}
	return nil
}

// checkWant refuses names and options that the local driver does not take.
func checkWant(vs *Volumes, w *Want) error {
	switch {
	case len(w.Name) == 1:
		return invalid("volume name is too short, names should be at least two alphanumeric characters")
	case !nameRule().MatchString(w.Name) || len(w.Name) > 255:
		return invalid("%q includes invalid characters for a local volume name, only %q are allowed. If you intended to pass a host directory, use absolute path", w.Name, nameChars)
	}
	for key := range w.Options {
		if key != "type" && key != "o" && key != "device" && key != "size" {
			return invalid("invalid option: %q", key)
		}
	}
	if w.Options["type"] == "cifs" {
		if u, err := url.Parse(w.Options["device"]); err != nil {
			return invalid("error parsing mount device url: %w", err)
		} else if u.Port() != "" {
			return invalid("port not allowed in CIFS device URL, include 'port' in 'o='")
		}
	}
	if size, set := w.Options["size"]; set {
		n, err := units.RAMInBytes(size)
		if err != nil {
			return invalid("%w", err)
		}
		if n > 0 && !vs.Machine.Quota(vs.Dir) {
			return invalid("quota size requested but no quota support")
		}
	}
	for _, need := range []struct{ has, wants string }{{"device", "type"}, {"type", "device"}, {"o", "device"}, {"o", "type"}} {
		_, has := w.Options[need.has]
		if _, there := w.Options[need.wants]; has && !there {
			return invalid("missing required option: %q", need.wants)
		}
	}
	return nil
}
