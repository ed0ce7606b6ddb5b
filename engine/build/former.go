package build

import (
	"errors"
	"slices"

	"lighter/store/archive"
	"lighter/store/layer"
	"lighter/store/tree"
)

// worthwhile is how many files a copy takes for which it is looked up what an earlier one left.
const worthwhile = 100

// former finds the layer that the same step left when it was run before, for files that did not change since: they
// are not written again.
func (r *fileRun) former(x *tree.Picked) (*tree.Former, error) {
	if len(r.op.outputs) != 1 || r.v == nil || x.Count() < worthwhile {
		return nil, nil
	}
	r.job.mu.Lock()
	visit := r.job.visits[r.v]
	r.job.mu.Unlock()
	if visit == nil || visit.key == nil {
		return nil, nil
	}
	top := r.job.b.cache.alike(visit.key)
	if top == "" || !r.job.take([]outcome{{top: top}}) {
		return nil, nil
	}
	out := &tree.Former{Known: map[string]tree.FormerFile{}}
	var err error
	out.Files, err = r.job.b.Layers.Alone(top, func(e *archive.Entry) error {
		if e.Type == archive.TypeFile && len(e.Xattrs) == 0 && !e.Sparse && !e.Whiteout {
			out.Known[e.Path] = tree.FormerFile{Size: e.Size, Mode: e.Mode, UID: e.UID, GID: e.GID, Mtime: e.Mtime.Sec, Sum: e.Digest}
		} else {
			delete(out.Known, e.Path)
		}
		return nil
	})
	if errors.Is(err, layer.ErrNotFound) {
		return nil, nil
	}
	return out, err
}

// alike gives what the latest step left that did the same with other files, "" for none.
func (c *cache) alike(k *key) string {
	c.mu.Lock()
	defer c.mu.Unlock()
	var best *record
	for _, r := range c.records {
		if len(r.Tops) != 1 || r.Tops[0] == "" || best != nil && !r.Used.After(best.Used) {
			continue
		}
		same := slices.EqualFunc(r.Parts, k.parts, func(a, b part) bool {
			return a.Name == b.Name && (a.Name != "instruction" || a.Value == b.Value)
		})
		if same {
			best = r
		}
	}
	if best == nil {
		return ""
	}
	return best.Tops[0]
}
