package build

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/moby/buildkit/solver/pb"

	"lighter/store/layer"
	"lighter/store/tree"
)

// fileRun is the actions of a fileOp while their key is made, or they are.
type fileRun struct {
	op  *fileOp
	job *job
	in  []outcome
	v   *vertex // when they are made

	made    map[int]string       // by index, the chain ids of actions that became layers
	sources map[int]*tree.Source // by index, opened
	views   []*os.File
	desk    *desk // where the last action has left off
	until   time.Time
}

func (r *fileRun) close() {
	for _, v := range r.views {
		v.Close()
	}
	if r.desk != nil {
		r.desk.drop()
	}
}

// top gives the chain id of an input or of what an action made.
func (r *fileRun) top(ctx context.Context, n int) (string, error) {
	switch {
	case n < 0:
		return "", nil
	case n >= r.op.inputs:
		return r.made[n], nil
	}
	return layersOf(ctx, r.job, r.in[n])
}

// source gives an input, or what an action made, to be read; nil for no file at all.
func (r *fileRun) source(n int) (*tree.Source, error) {
	if s := r.sources[n]; s != nil {
		return s, nil
	}
	name, top := "earlier files", r.made[n]
	if n < r.op.inputs {
		if t := r.in[n].tree; t != nil {
			return t, nil
		}
		name, top = "files", r.in[n].top
	}
	if top == "" {
		return nil, nil
	}
	view, err := r.job.b.Layers.View(top, false)
	if err != nil {
		return nil, err
	}
	if r.sources == nil {
		r.sources = map[int]*tree.Source{}
	}
	r.views = append(r.views, view)
	r.sources[n] = &tree.Source{Root: view, Name: name}
	return r.sources[n], nil
}

// whole is what an input is in keys: a digest of all of it.
func (r *fileRun) whole(ctx context.Context, n int) (string, error) {
	return outcomeDigest(ctx, r.in[n])
}

// picked finds what a copy takes, once.
func (r *fileRun) picked(ctx context.Context, a *action) (*tree.Picked, error) {
	src, err := r.source(int(a.SecondaryInput))
	if err != nil {
		return nil, err
	}
	if src == nil {
		return nil, &os.PathError{Op: "lstat", Path: a.copy.Src, Err: os.ErrNotExist}
	}
	if !src.Whole {
		return src.Pick(ctx, a.pick())
	}
	// What the key was made of is what is copied.
	if x, ok := r.job.picks.Load(a.FileAction); ok {
		return x.(*tree.Picked), nil
	}
	x, err := src.Pick(ctx, a.pick())
	if err == nil {
		r.job.picks.Store(a.FileAction, x)
	}
	return x, err
}

// owner finds out who an action gives its files to; nil for whoever has them.
func (r *fileRun) owner(ctx context.Context, a *action) (*tree.Owner, error) {
	if a.owner == nil {
		return nil, nil
	}
	var out tree.Owner
	switch u := a.owner.GetUser().GetUser().(type) {
	case *pb.UserOpt_ByID:
		out.UID, out.GID = u.ByID, u.ByID
	case *pb.UserOpt_ByName:
		fields, err := r.account(ctx, u.ByName, "/etc/passwd", 4)
		if err != nil {
			return nil, err
		}
		if fields != nil {
			out.UID, out.GID = number(fields[2]), number(fields[3])
		}
	}
	switch g := a.owner.GetGroup().GetUser().(type) {
	case *pb.UserOpt_ByID:
		out.GID = g.ByID
	case *pb.UserOpt_ByName:
		fields, err := r.account(ctx, g.ByName, "/etc/group", 3)
		if err != nil {
			return nil, err
		}
		if fields != nil {
			out.GID = number(fields[2])
		}
	}
	return &out, nil
}

func number(s string) uint32 {
	n, err := strconv.ParseUint(s, 10, 31)
	if err != nil {
		return 0
	}
	return uint32(n)
}

// maxAccounts bounds a passwd or group file, in bytes, as BuildKit does.
const maxAccounts = 10 << 20

// account finds a line by its first field in a file of an input. As BuildKit has it, who is not there
// is root.
func (r *fileRun) account(ctx context.Context, who *pb.NamedUserOpt, file string, fields int) ([]string, error) {
	src, err := r.source(int(who.Input))
	if err != nil || src == nil {
		return nil, err
	}
	b, err := src.ReadFile(ctx, file, 0, 0, maxAccounts)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	for lines := bufio.NewScanner(bytes.NewReader(b)); lines.Scan(); {
		f := strings.Split(strings.TrimSpace(lines.Text()), ":")
		if len(f) >= fields && f[0] == who.Name {
			return f, nil
		}
	}
	return nil, nil
}

// run does the actions, and makes layers of what they leave.
func (f *fileOp) run(ctx context.Context, j *job, v *vertex, in []outcome) (out []outcome, err error) {
	r := &fileRun{op: f, job: j, in: in, v: v, made: map[int]string{}}
	defer r.close()
	ends := f.ends()
	if r.until, err = r.bound(ctx); err != nil {
		return nil, err
	}
	for n, raw := range f.actions {
		a, _ := actionOf(raw)
		if err := r.begin(ctx, n, &a); err != nil {
			return nil, err
		}
		if err := r.do(ctx, &a); err != nil {
			return nil, err
		}
		if ends[f.inputs+n] {
			if r.made[f.inputs+n], err = r.desk.commit(ctx, j); err != nil {
				return nil, err
			}
			r.desk = nil
		}
	}
	for _, at := range f.outputs {
		out = append(out, outcome{top: r.made[at]})
	}
	return out, nil
}

// ends tells which actions become layers: the outcomes, and all that anything but the next action
// goes on from.
func (f *fileOp) ends() map[int]bool {
	ends := map[int]bool{f.inputs + len(f.actions) - 1: true}
	for n, raw := range f.actions {
		a, _ := actionOf(raw)
		at := f.inputs + n
		if a.Output != -1 {
			ends[at] = true
		}
		if int(a.Input) != at-1 {
			ends[int(a.Input)] = true
			ends[at-1] = true // nothing goes on from it
		}
		ends[int(a.SecondaryInput)] = true
		for _, u := range []*pb.UserOpt{a.owner.GetUser(), a.owner.GetGroup()} {
			if by, ok := u.GetUser().(*pb.UserOpt_ByName); ok {
				ends[int(by.ByName.Input)] = true
			}
		}
	}
	return ends
}

// bound is the time that nothing which the actions make is newer than: that of the newest layer or file which they
// stand on.
func (r *fileRun) bound(ctx context.Context) (time.Time, error) {
	var newest time.Time
	for _, raw := range r.op.actions {
		a, _ := actionOf(raw)
		n := int(a.SecondaryInput)
		if a.copy == nil || n < 0 || n >= r.op.inputs || r.in[n].tree == nil {
			continue
		}
		at := r.in[n].tree.Date
		if at.IsZero() {
			x, err := r.picked(ctx, &a)
			if err != nil {
				return at, err
			}
			at = x.Newest()
		}
		if at.After(newest) {
			newest = at
		}
	}
	return dater{r.job}.until(r.in, newest)
}

// begin makes ready what an action writes to.
func (r *fileRun) begin(ctx context.Context, n int, a *action) error {
	if r.desk != nil && int(a.Input) == r.op.inputs+n-1 {
		return nil // it goes on where the last one left off
	}
	top, err := r.top(ctx, int(a.Input))
	if err != nil {
		return err
	}
	r.desk, err = newDesk(r.job, top, r.until)
	return err
}

// do does one action.
func (r *fileRun) do(ctx context.Context, a *action) error {
	owner, err := r.owner(ctx, a)
	if err != nil {
		return err
	}
	made := tree.Made{Owner: owner, Time: a.time()}
	t := r.desk.target
	switch {
	case a.mkdir != nil:
		made.Mode = uint32(a.mkdir.Mode) & 0o777
		return t.Mkdir(a.mkdir.Path, a.mkdir.MakeParents, made)
	case a.mkfile != nil:
		made.Mode = uint32(a.mkfile.Mode) & 0o777
		return t.WriteFile(a.mkfile.Path, a.mkfile.Data, made)
	case a.symlink != nil:
		return t.Symlink(a.symlink.Oldpath, a.symlink.Newpath, made)
	case a.rm != nil:
		return t.Remove(a.rm.Path, a.rm.AllowWildcard, a.rm.AllowNotFound)
	}
	return r.copy(ctx, a, owner)
}

func (r *fileRun) copy(ctx context.Context, a *action, owner *tree.Owner) error {
	x, err := r.picked(ctx, a)
	if err != nil {
		return err
	}
	c := a.copy
	if x.Empty() {
		if c.AllowEmptyWildcard {
			return nil
		}
		return fmt.Errorf("%s not found", c.Src)
	}
	former, err := r.former(x)
	if err != nil {
		return err
	}
	if former != nil {
		defer former.Files.Close()
	}
	if c.AttemptUnpackDockerCompatibility {
		if x, err = r.unpack(ctx, a, x, owner); err != nil || x.Empty() {
			return err
		}
	}
	return r.desk.target.Copy(ctx, x, tree.CopyOptions{
		Dest: c.Dest, As: a.as(owner), Time: a.time(), Made: a.parents(owner), Existing: !c.CreateDestPath, Replace: c.AlwaysReplaceExistingDestPaths,
		Former: former,
	})
}

// desk is a layer on its way, to which actions write.
type desk struct {
	work   *layer.Work
	until  time.Time // nothing in it is newer
	target *tree.Target
	files  []*os.File // upper and lower
	root   *os.File   // or a mount
}

// newDesk begins a layer on top of others.
func newDesk(j *job, top string, until time.Time) (*desk, error) {
	work, err := j.b.Layers.Work(top)
	if err != nil {
		return nil, err
	}
	d := &desk{work: work, until: until}
	upper, err := work.Upper()
	if err != nil {
		return nil, errors.Join(err, d.work.Discard())
	}
	d.files = append(d.files, upper)
	var lower *os.File
	if top != "" {
		if lower, err = j.b.Layers.View(top, false); err != nil {
			d.drop()
			return nil, err
		}
		d.files = append(d.files, lower)
	}
	if d.target, err = tree.NewTarget(upper, lower, d.until); err != nil {
		d.drop()
		return nil, err
	}
	return d, nil
}

// mount has what follows written through a mount, for those who need one.
func (d *desk) mount(j *job) (*os.File, error) {
	if d.root != nil {
		return d.root, nil
	}
	err := d.leave()
	if err != nil {
		return nil, err
	}
	if d.root, err = d.work.Files(false); err == nil {
		d.target, err = tree.NewTarget(d.root, nil, d.until)
	}
	return d.root, err
}

// leave closes what is open.
func (d *desk) leave() error {
	var err error
	if d.target != nil {
		err = d.target.Close()
		d.target = nil
	}
	if d.root != nil {
		err = errors.Join(err, d.root.Close())
		d.root = nil
	}
	for _, f := range d.files {
		err = errors.Join(err, f.Close())
	}
	d.files = nil
	return err
}

// commit makes a layer of what was written.
func (d *desk) commit(ctx context.Context, j *job) (string, error) {
	if err := d.leave(); err != nil {
		return "", errors.Join(err, d.work.Discard())
	}
	l, err := d.work.Commit(ctx, d.until)
	return l.ChainID, err
}

// drop gives up what was written.
func (d *desk) drop() error { return errors.Join(d.leave(), d.work.Discard()) }

// memo remembers digests of parts of layers, which never change.
type memo struct {
	mu    sync.Mutex
	known map[string]string
}

// maxMemo is how many digests are remembered.
const maxMemo = 20_000

func memoOf(top string, a *action, owner *tree.Owner) string {
	b, _ := json.Marshal([]any{top, a.pick(), owner, a.copy.Mode, a.copy.ModeStr}) // of our own types: it never errs
	return string(b)
}

func (m *memo) get(of string) string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.known[of]
}

func (m *memo) put(of, digest string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.known == nil || len(m.known) >= maxMemo {
		m.known = map[string]string{}
	}
	m.known[of] = digest
}
