package build

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path"
	"strings"

	"github.com/moby/buildkit/client/llb"
	"github.com/moby/buildkit/frontend/gateway/client"
	"github.com/moby/buildkit/solver/pb"
	"github.com/tonistiigi/fsutil/types"

	"lighter/store/tree"
)

// reference is a result that the front end may look into.
type reference struct {
	job *job
	at  edge
	def *pb.Definition
}

var _ client.Reference = (*reference)(nil)

// maxRead bounds a file that the front end reads, in bytes.
const maxRead = 64 << 20

// ToState gives the graph that the result is of.
func (r *reference) ToState() (llb.State, error) {
	if r.def == nil || len(r.def.Def) == 0 {
		return llb.Scratch(), nil
	}
	op, err := llb.NewDefinitionOp(r.def)
	if err != nil {
		return llb.State{}, err
	}
	return llb.NewState(op), nil
}

// Evaluate makes the result.
func (r *reference) Evaluate(ctx context.Context) error {
	_, err := r.job.solve(ctx, r.at)
	return err
}

// files opens the result's files, nil for none; close ends that.
func (r *reference) files(ctx context.Context) (t *tree.Source, close func(), err error) {
	out, err := r.job.solve(ctx, r.at)
	switch {
	case err != nil:
		return nil, nil, r.job.cause(err)
	case out.tree != nil:
		return out.tree, func() {}, nil
	case out.top == "":
		return nil, nil, nil
	}
	root, err := r.job.b.Layers.View(out.top, false)
	if err != nil {
		return nil, nil, err
	}
	t = &tree.Source{Root: root, Name: "the files of the build"}
	return t, func() { t.Close() }, nil
}

// nothingAt is what is said of a file where there are none.
func nothingAt(name string) error {
	return &fs.PathError{Op: "open", Path: clean(name), Err: errNoFile}
}

// errNoFile is what the kernel says of a file that is not there: its words stand in errors of builds.
var errNoFile = func() error { _, err := os.Lstat(""); return errors.Unwrap(err) }()

// ReadFile gives a file, or a part of it.
func (r *reference) ReadFile(ctx context.Context, req client.ReadRequest) ([]byte, error) {
	t, end, err := r.files(ctx)
	if err != nil || t == nil {
		return nil, errors.Join(err, nothingAt(req.Filename))
	}
	defer end()
	var offset, length int64
	if g := req.Range; g != nil {
		offset, length = int64(g.Offset), int64(g.Length)
	}
	data, err := t.ReadFile(ctx, req.Filename, offset, length, maxRead)
	if errors.Is(err, fs.ErrNotExist) {
		err = nothingAt(req.Filename)
	}
	return data, err
}

// StatFile tells of a file, the link itself of one.
func (r *reference) StatFile(ctx context.Context, req client.StatRequest) (*types.Stat, error) {
	t, end, err := r.files(ctx)
	if err != nil || t == nil {
		return nil, errors.Join(err, nothingAt(req.Path))
	}
	defer end()
	i, err := t.Stat(ctx, req.Path, false)
	if errors.Is(err, fs.ErrNotExist) {
		err = nothingAt(req.Path)
	}
	if err != nil {
		return nil, err
	}
	return statOf(i), nil
}

// ReadDir lists a folder.
func (r *reference) ReadDir(ctx context.Context, req client.ReadDirRequest) ([]*types.Stat, error) {
	t, end, err := r.files(ctx)
	if err != nil || t == nil {
		return nil, err
	}
	defer end()
	list, err := t.ReadDir(ctx, req.Path)
	if err != nil {
		return nil, err
	}
	var out []*types.Stat
	for _, i := range list {
		if req.IncludePattern != "" {
			if ok, err := path.Match(req.IncludePattern, i.Name); err != nil || !ok {
				continue
			}
		}
		out = append(out, statOf(i))
	}
	return out, nil
}

// statOf tells of a file as fsutil does: with Go's mode bits.
func statOf(i tree.Info) *types.Stat {
	mode := fs.FileMode(i.Mode & 0o777)
	for bit, is := range map[uint32]fs.FileMode{0o4000: fs.ModeSetuid, 0o2000: fs.ModeSetgid, 0o1000: fs.ModeSticky} {
		if i.Mode&bit != 0 {
			mode |= is
		}
	}
	switch {
	case i.IsDir():
		mode |= fs.ModeDir
	case i.Link != "":
		mode |= fs.ModeSymlink
	case !i.IsRegular():
		mode |= fs.ModeIrregular
	}
	return &types.Stat{Path: i.Name, Mode: uint32(mode), Uid: i.UID, Gid: i.GID, Size: i.Size, ModTime: i.ModTime.UnixNano(), Linkname: i.Link}
}

// clean makes a name of the root's of what the front end asks for.
func clean(name string) string { return strings.TrimPrefix(path.Clean("/"+name), "/") }
