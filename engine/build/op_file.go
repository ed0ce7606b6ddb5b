package build

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"
	"time"

	"crypto/sha256"

	"github.com/moby/buildkit/solver/pb"
	mode "github.com/tonistiigi/dchapes-mode"

	"lighter/api"
	"lighter/store/tree"
)

// fileOp is COPY, ADD, WORKDIR and the like: actions on files, each on what another gave or on an
// input. Indices below inputs are those; the others are actions.
type fileOp struct {
	actions []*pb.FileAction
	inputs  int
	outputs []int // by outcome, the index of what gives it
}

// maxOutcomes bounds the outcomes of one operation.
const maxOutcomes = 1 << 10

func newFileOp(o *pb.Op, file *pb.FileOp) (op, error) {
	f := &fileOp{inputs: len(o.Inputs)}
	if file == nil || len(file.Actions) == 0 {
		return nil, api.Errorf(api.Invalid, "invalid file op with no actions")
	}
	outputs := map[int]int{}
	for n, a := range file.Actions {
		if err := f.check(n, a); err != nil {
			return nil, api.Errorf(api.Invalid, "action %d of a file op: %w", n, err)
		}
		if a.Output == -1 {
			continue
		}
		if _, ok := outputs[int(a.Output)]; ok || a.Output < 0 || a.Output >= maxOutcomes {
			return nil, api.Errorf(api.Invalid, "duplicate output %d", a.Output)
		}
		outputs[int(a.Output)] = f.inputs + n
	}
	for n := range len(outputs) {
		at, ok := outputs[n]
		if !ok {
			return nil, api.Errorf(api.Invalid, "missing output index %d", n)
		}
		f.outputs = append(f.outputs, at)
	}
	if len(f.outputs) == 0 {
		return nil, api.Errorf(api.Invalid, "no outputs specified")
	}
	f.actions = file.Actions
	return f, nil
}

// check refuses what no front end asks for.
func (f *fileOp) check(n int, a *pb.FileAction) error {
	if a == nil {
		return errors.New("it is empty")
	}
	known := func(index int64) error {
		if index < -1 || index >= int64(f.inputs+n) {
			return fmt.Errorf("invalid input index %d, %d provided", index, f.inputs+n)
		}
		return nil
	}
	if err := errors.Join(known(a.Input), known(a.SecondaryInput)); err != nil {
		return err
	}
	act, err := actionOf(a)
	if err != nil {
		return err
	}
	for _, u := range []*pb.UserOpt{act.owner.GetUser(), act.owner.GetGroup()} {
		by, ok := u.GetUser().(*pb.UserOpt_ByName)
		switch {
		case !ok:
		case by.ByName == nil:
			return errors.New("invalid nil named user")
		case by.ByName.Input < 0 || known(by.ByName.Input) != nil:
			return fmt.Errorf("invalid user index: %d", by.ByName.Input)
		}
	}
	if act.copy != nil && act.copy.ModeStr != "" {
		if _, err := mode.ParseWithUmask(act.copy.ModeStr, 0); err != nil {
			return err
		}
	}
	return nil
}

// action is what all kinds of action have, and one of them.
type action struct {
	*pb.FileAction
	owner     *pb.ChownOpt
	timestamp int64
	copy      *pb.FileActionCopy
	mkdir     *pb.FileActionMkDir
	mkfile    *pb.FileActionMkFile
	symlink   *pb.FileActionSymlink
	rm        *pb.FileActionRm
}

func actionOf(a *pb.FileAction) (action, error) {
	out := action{FileAction: a, timestamp: -1}
	switch x := a.Action.(type) {
	case *pb.FileAction_Copy:
		out.copy = x.Copy
		out.owner, out.timestamp = x.Copy.GetOwner(), x.Copy.GetTimestamp()
	case *pb.FileAction_Mkdir:
		out.mkdir = x.Mkdir
		out.owner, out.timestamp = x.Mkdir.GetOwner(), x.Mkdir.GetTimestamp()
	case *pb.FileAction_Mkfile:
		out.mkfile = x.Mkfile
		out.owner, out.timestamp = x.Mkfile.GetOwner(), x.Mkfile.GetTimestamp()
	case *pb.FileAction_Symlink:
		out.symlink = x.Symlink
		out.owner, out.timestamp = x.Symlink.GetOwner(), x.Symlink.GetTimestamp()
	case *pb.FileAction_Rm:
		out.rm = x.Rm
	}
	if out.copy == nil && out.mkdir == nil && out.mkfile == nil && out.symlink == nil && out.rm == nil {
		return out, fmt.Errorf("invalid action type %T", a.Action)
	}
	return out, nil
}

// time is what an action gives all that it makes; nil for none.
func (a *action) time() *time.Time {
	if a.timestamp == -1 {
		return nil
	}
	t := time.Unix(0, a.timestamp)
	return &t
}

// pick says what a copy takes.
func (a *action) pick() tree.Pick {
	c := a.copy
	return tree.Pick{
		Path: c.Src, Wildcard: c.AllowWildcard, Follow: c.FollowSymlink, Contents: c.DirCopyContents,
		Include: c.IncludePatterns, Exclude: c.ExcludePatterns, Required: c.RequiredPaths,
	}
}

// as says how copies look, once their owner is known.
func (a *action) as(owner *tree.Owner) tree.As {
	as := tree.As{Owner: owner}
	switch c := a.copy; {
	case c.ModeStr != "":
		set, _ := mode.ParseWithUmask(c.ModeStr, 0) // check did
		as.Mode = func(m uint32) uint32 { return unixMode(set.Apply(goMode(m))) }
	case c.Mode != -1:
		as.Mode = func(uint32) uint32 { return uint32(c.Mode) & 0o7777 }
	}
	return as
}

// parents gives what folders get that a copy makes on its way.
func (a *action) parents(owner *tree.Owner) tree.Made {
	m := tree.Made{Mode: 0o755, Owner: owner, Time: a.time()}
	if c := a.copy; c.Mode != -1 && c.ModeStr == "" {
		m.Mode = uint32(c.Mode) & 0o777
	}
	return m
}

// The bits of st_mode that Go has elsewhere.
var modeBits = []struct {
	unix uint32
	mode fs.FileMode
}{{0o4000, fs.ModeSetuid}, {0o2000, fs.ModeSetgid}, {0o1000, fs.ModeSticky}}

func goMode(m uint32) fs.FileMode {
	out := fs.FileMode(m & 0o777)
	if m&0o170000 == 0o040000 {
		out |= fs.ModeDir
	}
	for _, b := range modeBits {
		if m&b.unix != 0 {
			out |= b.mode
		}
	}
	return out
}

func unixMode(m fs.FileMode) uint32 {
	out := uint32(m.Perm())
	for _, b := range modeBits {
		if m&b.mode != 0 {
			out |= b.unix
		}
	}
	return out
}

// fileKey is an action as its key has it.
type fileKey struct {
	Kind     string
	Input    int64
	From     int64  `json:",omitempty"`
	Output   int64  `json:",omitempty"`
	Src      string `json:",omitempty"` // of a copy from what the op made itself
	Dest     string
	Owner    string `json:",omitempty"`
	Mode     int32  `json:",omitempty"`
	ModeStr  string `json:",omitempty"`
	Digest   string `json:",omitempty"` // of a file's content
	Time     int64  `json:",omitempty"`
	Target   string `json:",omitempty"` // of a link
	Flags    string `json:",omitempty"`
	Patterns []string
}

// key tells what the files are that the actions make: of those that are copied just what is taken, as it will look.
func (f *fileOp) key(ctx context.Context, j *job, in []outcome) (*key, error) {
	k := &key{}
	r := &fileRun{op: f, job: j, in: in}
	defer r.close()
	based := map[int64]bool{}
	for _, raw := range f.actions {
		a, _ := actionOf(raw)
		said, err := r.say(ctx, &a)
		if err != nil {
			return nil, err
		}
		if n := a.Input; n >= 0 && n < int64(f.inputs) && !based[n] {
			based[n] = true
			digest, err := r.whole(ctx, int(n))
			if err != nil {
				return nil, err
			}
			k.add("base", digest)
		}
		k.addJSON("instruction", said)
		if a.copy == nil || a.SecondaryInput < 0 || a.SecondaryInput >= int64(f.inputs) {
			continue
		}
		name, digest, err := r.taken(ctx, &a)
		if err != nil {
			return nil, err
		}
		k.add(name, digest)
	}
	return k, nil
}

// say puts an action into the words of its key.
func (r *fileRun) say(ctx context.Context, a *action) (*fileKey, error) {
	said := &fileKey{Input: a.Input, From: a.SecondaryInput, Output: a.Output}
	owner, err := r.owner(ctx, a)
	if err != nil {
		return nil, err
	}
	if owner != nil {
		said.Owner = fmt.Sprintf("%d:%d", owner.UID, owner.GID)
	}
	if a.timestamp != -1 {
		said.Time = a.timestamp
	}
	flag := func(set bool, name string) {
		if set {
			said.Flags += name + " "
		}
	}
	switch {
	case a.copy != nil:
		c := a.copy
		said.Kind, said.Dest, said.Mode, said.ModeStr = "copy", c.Dest, c.Mode, c.ModeStr
		if a.SecondaryInput >= int64(r.op.inputs) {
			said.Src, said.Patterns = c.Src, append(append(c.IncludePatterns, "!"), c.ExcludePatterns...)
			flag(c.AllowWildcard, "wildcard")
			flag(c.FollowSymlink, "follow")
		}
		flag(c.DirCopyContents, "contents")
		flag(c.AttemptUnpackDockerCompatibility, "unpack")
		flag(c.CreateDestPath, "parents")
		flag(c.AlwaysReplaceExistingDestPaths, "replace")
	case a.mkdir != nil:
		said.Kind, said.Dest, said.Mode = "mkdir", a.mkdir.Path, a.mkdir.Mode
		flag(a.mkdir.MakeParents, "parents")
	case a.mkfile != nil:
		sum := sha256.Sum256(a.mkfile.Data)
		said.Kind, said.Dest, said.Mode, said.Digest = "mkfile", a.mkfile.Path, a.mkfile.Mode, hex.EncodeToString(sum[:])
	case a.symlink != nil:
		said.Kind, said.Dest, said.Target = "symlink", a.symlink.Newpath, a.symlink.Oldpath
	case a.rm != nil:
		said.Kind, said.Dest = "rm", a.rm.Path
		flag(a.rm.AllowNotFound, "missing")
		flag(a.rm.AllowWildcard, "wildcard")
	}
	return said, nil
}

// taken gives the digest of what a copy takes of an input, and how an explanation names it.
func (r *fileRun) taken(ctx context.Context, a *action) (name, digest string, err error) {
	src, err := r.source(int(a.SecondaryInput))
	if err != nil {
		return "", "", err
	}
	if src == nil {
		return "", "", missing(&tree.Source{Name: "scratch"}, r.job, a.copy.Src, os.ErrNotExist)
	}
	name = src.Name + ": " + a.copy.Src
	owner, err := r.owner(ctx, a)
	if err != nil {
		return "", "", err
	}
	memo := ""
	if top := r.in[a.SecondaryInput].top; top != "" {
		memo = memoOf(top, a, owner)
		if digest := r.job.b.digests.get(memo); digest != "" {
			return name, digest, nil
		}
	}
	x, err := r.picked(ctx, a)
	if err == nil {
		digest, err = x.Digest(ctx, a.as(owner))
	}
	if err != nil {
		return "", "", missing(src, r.job, a.copy.Src, err)
	}
	if memo != "" {
		r.job.b.digests.put(memo, digest)
	}
	return name, digest, nil
}

// missing words the error about a path that is not there as BuildKit does.
func missing(src *tree.Source, j *job, path string, err error) error {
	var at *os.PathError
	switch {
	case !errors.Is(err, os.ErrNotExist):
		return fmt.Errorf("copy %s of the %s: %w", path, src.Name, err)
	case !src.Whole:
		return api.Errorf(api.Invalid, "lstat %s: no such file or directory", path)
	case errors.As(err, &at):
		path = at.Path
	}
	return &missingError{api.Errorf(api.Invalid, "failed to calculate checksum of ref %s: %s: not found", j.id, strconv.Quote(path))}
}

// missingError is a path that a context does not have. The step says so, and the build that no key could be made.
type missingError struct{ error }

// Unwrap gives the error with its kind.
func (e *missingError) Unwrap() error { return e.error }
