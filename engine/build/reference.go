package build

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"strconv"
	"strings"

	"github.com/moby/buildkit/client/llb"
	"github.com/moby/buildkit/frontend/gateway/client"
	"github.com/moby/buildkit/solver/pb"
	"github.com/tonistiigi/fsutil/types"
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

// root opens the result's files, nil for none.
func (r *reference) root(ctx context.Context) (*os.Root, error) {
	out, err := r.job.solve(ctx, r.at)
	if err != nil {
		return nil, err
	}
	var dir *os.File
	switch {
	case out.tree != nil:
		dir = out.tree.Root
	case out.top == "":
		return nil, nil
	default:
		if dir, err = r.job.b.Layers.View(out.top); err != nil {
			return nil, err
		}
		defer dir.Close()
	}
	return os.OpenRoot("/proc/self/fd/" + strconv.Itoa(int(dir.Fd())))
}

// ReadFile gives a file, or a part of it.
func (r *reference) ReadFile(ctx context.Context, req client.ReadRequest) ([]byte, error) {
	root, err := r.root(ctx)
	if err != nil {
		return nil, err
	}
	name := clean(req.Filename)
	if root == nil {
		return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrNotExist}
	}
	defer root.Close()
	f, err := root.Open(name)
	if err != nil {
		return nil, plain(err)
	}
	defer f.Close()
	if st, err := f.Stat(); err != nil || !st.Mode().IsRegular() {
		return nil, errors.Join(err, fmt.Errorf("read %s: it is no file", name))
	}
	in, most := io.Reader(f), int64(maxRead)
	if g := req.Range; g != nil {
		if _, err := f.Seek(int64(g.Offset), io.SeekStart); err != nil {
			return nil, err
		}
		if g.Length > 0 {
			most = min(most, int64(g.Length))
		}
	}
	return io.ReadAll(io.LimitReader(in, most))
}

// StatFile tells of a file.
func (r *reference) StatFile(ctx context.Context, req client.StatRequest) (*types.Stat, error) {
	root, err := r.root(ctx)
	if err != nil {
		return nil, err
	}
	name := clean(req.Path)
	if root == nil {
		return nil, &fs.PathError{Op: "stat", Path: name, Err: fs.ErrNotExist}
	}
	defer root.Close()
	st, err := root.Stat(name)
	if err != nil {
		return nil, plain(err)
	}
	return statOf(name, st), nil
}

// ReadDir lists a folder.
func (r *reference) ReadDir(ctx context.Context, req client.ReadDirRequest) ([]*types.Stat, error) {
	root, err := r.root(ctx)
	if err != nil || root == nil {
		return nil, err
	}
	defer root.Close()
	f, err := root.Open(clean(req.Path))
	if err != nil {
		return nil, plain(err)
	}
	defer f.Close()
	entries, err := f.ReadDir(-1)
	if err != nil {
		return nil, err
	}
	var out []*types.Stat
	for _, e := range entries {
		if req.IncludePattern != "" {
			if ok, err := path.Match(req.IncludePattern, e.Name()); err != nil || !ok {
				continue
			}
		}
		if st, err := e.Info(); err == nil {
			out = append(out, statOf(e.Name(), st))
		}
	}
	return out, nil
}

func statOf(name string, st fs.FileInfo) *types.Stat {
	return &types.Stat{Path: name, Mode: uint32(st.Mode()), Size: st.Size(), ModTime: st.ModTime().UnixNano()}
}

// clean makes a name of the root's of what the front end asks for.
func clean(name string) string {
	if name = strings.TrimPrefix(path.Clean("/"+name), "/"); name != "" {
		return name
	}
	return "."
}

// plain words a path's error as it is elsewhere: the call is "open", whatever call it was.
func plain(err error) error {
	var p *fs.PathError
	if errors.As(err, &p) {
		return &fs.PathError{Op: "open", Path: p.Path, Err: p.Err}
	}
	return err
}
