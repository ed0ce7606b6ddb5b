package oci

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/opencontainers/runtime-spec/specs-go"

	"lighter/linux/cgroup"
	"lighter/linux/fs"
)

// Names in a container's folder.
const (
	stateFile = "state.json"
	gateFile  = "gate" // a FIFO: as long as it stands, the process has not been let run
	saveFile  = "state.new"
)

// record is what is kept of a container.
type record struct {
	ID      string      `json:"id"`
	Pid     int         `json:"pid"`
	Started uint64      `json:"started"` // the process's start time in clock ticks, as a PID may come back
	Bundle  string      `json:"bundle"`
	Created time.Time   `json:"created"`
	Cgroup  string      `json:"cgroup"`
	Spec    *specs.Spec `json:"spec"`

	dir string
}

// The errors that callers of a runtime look for in its text.
var (
	errNone       = errors.New("container does not exist")
	errNotRunning = errors.New("container not running")
)

// checkID keeps an id from being anything but a file name.
func checkID(id string) error {
	ok := id != "" && id != "." && id != ".." && len(id) <= 1024
	for _, c := range id {
		ok = ok && (c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || strings.ContainsRune("_+-.", c))
	}
	if !ok {
		return fmt.Errorf("invalid container ID format: %q", id)
	}
	return nil
}

// load finds a container.
func (a *app) load(id string) (*record, error) {
	if err := checkID(id); err != nil {
		return nil, err
	}
	dir := filepath.Join(a.root, id)
	text, err := os.ReadFile(filepath.Join(dir, stateFile))
	if errors.Is(err, os.ErrNotExist) {
		return nil, errNone
	}
	if err != nil {
		return nil, fmt.Errorf("state of %s: %w", id, err)
	}
	r := &record{dir: dir}
	if err := json.Unmarshal(text, r); err != nil {
		return nil, fmt.Errorf("state of %s: %w", id, err)
	}
	return r, nil
}

// save writes the record, at once and whole.
func (r *record) save() error {
	text, err := json.Marshal(r)
	if err != nil {
		return err
	}
	temp := filepath.Join(r.dir, saveFile)
	if err := os.WriteFile(temp, text, 0o600); err != nil {
		return fmt.Errorf("save state: %w", err)
	}
	return os.Rename(temp, filepath.Join(r.dir, stateFile))
}

// status looks at the container's process.
func (r *record) status() specs.ContainerState {
	if r.Pid == 0 {
		return specs.StateCreating
	}
	state, started := stat(r.Pid)
	if started != r.Started || state == 'Z' || state == 'X' {
		return specs.StateStopped
	}
	if g, err := cgroup.Open(r.Cgroup); err == nil && g.Frozen() {
		return "paused"
	}
	if _, err := os.Lstat(filepath.Join(r.dir, gateFile)); err == nil {
		return specs.StateCreated
	}
	return specs.StateRunning
}

// stat gives a process's state letter and start time; zero when there is none.
func stat(pid int) (state byte, started uint64) {
	text, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return 0, 0
	}
	// The name in parentheses may hold anything.
	f := strings.Fields(string(text[strings.LastIndexByte(string(text), ')')+1:]))
	if len(f) < 20 {
		return 0, 0
	}
	started, _ = strconv.ParseUint(f[19], 10, 64)
	return f[0][0], started
}

// oci is the state as the spec has it, which hooks get, too.
func (r *record) oci(status specs.ContainerState) specs.State {
	pid := r.Pid
	if status == specs.StateStopped {
		pid = 0
	}
	return specs.State{Version: specs.Version, ID: r.ID, Status: status, Pid: pid, Bundle: r.Bundle, Annotations: r.Spec.Annotations}
}

// shown is the state as runc prints it.
type shown struct {
	Version     string            `json:"ociVersion"`
	ID          string            `json:"id"`
	Pid         int               `json:"pid"`
	Status      string            `json:"status"`
	Bundle      string            `json:"bundle"`
	Rootfs      string            `json:"rootfs"`
	Created     time.Time         `json:"created"`
	Annotations map[string]string `json:"annotations,omitempty"`
	Owner       string            `json:"owner"`
}

func (r *record) shown() shown {
	s := r.oci(r.status())
	return shown{s.Version, s.ID, s.Pid, string(s.Status), s.Bundle, r.Spec.Root.Path, r.Created, s.Annotations, ""}
}

func printState(_ context.Context, a *app, args []string) error {
	r, err := a.load(args[0])
	if err != nil {
		return err
	}
	text, err := json.MarshalIndent(r.shown(), "", "  ")
	if err != nil {
		return err
	}
	_, err = a.Out.Write(text)
	return err
}

// running finds a container whose process lives.
func (a *app) running(id string) (*record, *cgroup.Group, error) {
	r, err := a.load(id)
	if err != nil {
		return nil, nil, err
	}
	if s := r.status(); s == specs.StateStopped || s == specs.StateCreating {
		return nil, nil, errNotRunning
	}
	g, err := cgroup.Open(r.Cgroup)
	return r, g, err
}

// makeDir makes the container's folder; its being there is the container's being.
func (a *app) makeDir(id string) (string, error) {
	if err := checkID(id); err != nil {
		return "", err
	}
	if err := os.MkdirAll(a.root, 0o700); err != nil {
		return "", fmt.Errorf("make %s: %w", a.root, err)
	}
	dir := filepath.Join(a.root, id)
	if err := os.Mkdir(dir, 0o711); err != nil {
		if errors.Is(err, os.ErrExist) {
			return "", fmt.Errorf("container with given ID already exists")
		}
		return "", fmt.Errorf("make %s: %w", dir, err)
	}
	return dir, nil
}

// fifo makes the gate and opens it both ways, so that it never ends.
func fifo(dir string) (*os.File, error) {
	d, err := os.Open(dir)
	if err != nil {
		return nil, err
	}
	defer d.Close()
	const isFifo = 0o010000
	if err := fs.Mknodat(d, gateFile, isFifo|0o600, 0, 0); err != nil {
		return nil, fmt.Errorf("make %s/%s: %w", dir, gateFile, err)
	}
	return os.OpenFile(filepath.Join(dir, gateFile), os.O_RDWR, 0)
}

// destroy removes what is left of a container, and runs its last hooks. It can be
// done again.
func (a *app) destroy(ctx context.Context, r *record) error {
	var left error
	if g, err := cgroup.Open(r.Cgroup); err == nil {
		left = cmp.Or(g.Kill(ctx), g.Remove(ctx))
	}
	if left != nil {
		return left
	}
	if err := os.RemoveAll(r.dir); err != nil {
		return fmt.Errorf("remove state: %w", err)
	}
	if h := r.Spec.Hooks; h != nil {
		if err := runHooks(ctx, "poststop", h.Poststop, r.oci(specs.StateStopped)); err != nil {
			a.say("warning", err.Error())
		}
	}
	return nil
}
