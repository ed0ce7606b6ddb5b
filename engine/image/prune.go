package image

import (
	"context"
	"errors"
	"strconv"
	"time"

	"lighter/api"
	"lighter/oci"
)

// Pruned is what a prune took away.
type Pruned struct {
	Deleted   []api.ImageDeleted
	Reclaimed int64 // bytes
}

// Prune removes the images that no name leads to, or with the filter dangling=false all
// that no container uses.
func (i *Images) Prune(ctx context.Context, f api.Filters) (Pruned, error) {
	if !i.pruning.TryLock() {
		return Pruned{}, api.Errorf(api.Conflict, "a prune operation is already running")
	}
	defer i.pruning.Unlock()
	if err := f.Check("dangling", "label", "label!", "until"); err != nil {
		return Pruned{}, err
	}
	onlyDangling, err := boolean(f, "dangling", true)
	if err != nil {
		return Pruned{}, err
	}
	until, err := pruneUntil(f)
	if err != nil {
		return Pruned{}, err
	}
	sizes := map[string]int64{}
	for _, l := range i.Layers.List() {
		sizes[l.ChainID] = l.Size
	}
	blobs := map[oci.Digest]int64{} // of images that may go
	var out Pruned
	for _, img := range i.all() {
		if ctx.Err() != nil {
			break // what is done is told
		}
		created := img.Doc.Created
		if !until.IsZero() && (created == nil || created.After(until)) || !pruneLabels(f, img.Config.Labels) {
			continue
		}
		for _, d := range img.blobs() {
			if size, err := i.Blobs.Stat(d); err == nil {
				blobs[d] = size
			}
		}
		out.Deleted = append(out.Deleted, i.pruneOne(ctx, img, onlyDangling)...)
	}
	for _, d := range out.Deleted {
		out.Reclaimed += sizes[d.Deleted]
	}
	for d, size := range blobs {
		if _, err := i.Blobs.Stat(d); err != nil {
			out.Reclaimed += size
		}
	}
	freed, err := i.Blobs.DropPartials(!onlyDangling)
	if err != nil {
		i.Log.Warn("what came of broken pulls cannot be removed", "error", err)
	}
	out.Reclaimed += freed
	i.Events.Publish("image", "prune", "", map[string]string{"reclaimed": strconv.FormatInt(out.Reclaimed, 10)})
	return out, nil
}

// pruneOne removes an image that may go. What stands in the way is no error.
func (i *Images) pruneOne(ctx context.Context, img *Image, onlyDangling bool) []api.ImageDeleted {
	i.mu.RLock()
	refs, children := i.index.references(img.ID), len(i.index.children[img.ID])
	i.mu.RUnlock()
	var names []string
	tagged := false
	for _, ref := range refs {
		names = append(names, ref.String())
		tagged = tagged || ref.Digest == ""
	}
	switch {
	case children > 0 && (len(refs) == 0 || onlyDangling), tagged && onlyDangling:
		return nil
	case len(refs) == 0:
		names = []string{img.ID.Hex()}
	}
	var out []api.ImageDeleted
	for _, name := range names {
		rows, err := i.Remove(ctx, name, RemoveOptions{})
		if err != nil && !api.Is(err, api.Conflict) && !api.Is(err, api.NotFound) && !errors.Is(err, context.Canceled) {
			i.Log.Warn("an image cannot be pruned", "image", name, "error", err)
		}
		out = append(out, rows...)
	}
	return out
}

func pruneUntil(f api.Filters) (time.Time, error) {
	switch values := f["until"]; len(values) {
	case 0:
		return time.Time{}, nil
	case 1:
		return when(values[0], time.Now())
	}
	return time.Time{}, errors.New("more than one until filter specified")
}

// pruneLabels: all of label, and not all of label!.
func pruneLabels(f api.Filters, labels map[string]string) bool {
	if !f.Labels("label", labels) {
		return false
	}
	const not = "label!"
	return len(f[not]) == 0 || len(labels) == 0 || !f.Labels(not, labels)
}
