package build

import (
	"context"
	"encoding/json"
	"fmt"
	"os"

	"github.com/moby/buildkit/solver/pb"

	"lighter/api"
	"lighter/store/tree"
)

// localSource is a context: a folder that is read in place.
type localSource struct {
	name                     string
	include, exclude, follow []string
}

func newLocalSource(_ *pb.Op, source *pb.SourceOp) (op, error) {
	s := &localSource{}
	_, s.name = schemeOf(source)
	for attr, list := range map[string]*[]string{
		pb.AttrIncludePatterns: &s.include, pb.AttrExcludePatterns: &s.exclude, pb.AttrFollowPaths: &s.follow,
	} {
		if text := source.Attrs[attr]; text != "" {
			if err := json.Unmarshal([]byte(text), list); err != nil {
				return nil, api.Errorf(api.Invalid, "%s of the context %s: %w", attr, s.name, err)
			}
		}
	}
	return s, nil
}

func (s *localSource) key(context.Context, *job, []outcome) (*key, error) { return nil, nil }

func (s *localSource) run(ctx context.Context, j *job, _ *vertex, _ []outcome) ([]outcome, error) {
	t, err := s.tree(ctx, j)
	if err != nil {
		return nil, err
	}
	return []outcome{{tree: t}}, nil
}

// tree opens the folder, once in a job.
func (s *localSource) tree(ctx context.Context, j *job) (*tree.Source, error) {
	j.treesMu.Lock()
	defer j.treesMu.Unlock()
	if t := j.trees[s]; t != nil {
		return t, nil
	}
	dir, err := j.folder(ctx, s.name, Files{Include: s.include, Exclude: s.exclude, Follow: s.follow})
	if err != nil {
		return nil, err
	}
	t := &tree.Source{
		Root: dir, Name: contextName(s.name), Include: s.include, Exclude: s.exclude, Follow: s.follow,
		Unowned: true, Whole: true,
	}
	if c, ok := j.request.Contexts[s.name]; ok && c.Upload == "" { // else it is gone after the build
		if t.Stats, err = j.b.stats.of(dir); err != nil {
			return nil, err
		}
		t.Date, _ = j.b.commits.of(ctx, dir.Name())
	}
	if j.trees == nil {
		j.trees = map[*localSource]*tree.Source{}
	}
	j.trees[s] = t
	return t, nil
}

// contextName is what errors call a context.
func contextName(name string) string {
	if name == "context" || name == "dockerfile" {
		return "build context"
	}
	return fmt.Sprintf("build context %q", name)
}

// folder opens the folder of a context, until the job ends.
func (j *job) folder(ctx context.Context, name string, want Files) (*os.File, error) {
	path, release, err := j.client.Folder(ctx, name, want)
	if err != nil {
		return nil, err
	}
	f, err := os.Open(path)
	if err == nil {
		if st, wrong := f.Stat(); wrong != nil || !st.IsDir() {
			f.Close()
			err = fmt.Errorf("%s is no folder", path)
		}
	}
	if err != nil {
		release()
		return nil, api.Errorf(api.Invalid, "open the %s: %w", contextName(name), err)
	}
	j.later(func() { f.Close(); release() })
	return f, nil
}
