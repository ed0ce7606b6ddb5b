package image

import (
	"cmp"
	"context"
	"slices"
	"strings"
	"time"

	"lighter/api"
	"lighter/oci"
)

// ListOptions says which images to list and what to tell of them.
type ListOptions struct {
	All        bool // those without a name that others were made from, too
	SharedSize bool // count the bytes that images share
	Filters    api.Filters
}

// List gives the images that pass, newest first.
func (i *Images) List(ctx context.Context, o ListOptions) ([]api.ImageSummary, error) {
	f, err := i.filter(o.Filters)
	if err != nil {
		return nil, err
	}
	users := map[oci.Digest]int64{}
	for _, u := range i.Users() {
		users[u.Image]++
	}
	all := i.all()
	var shared map[oci.Digest]int64
	if o.SharedSize {
		shared = i.sharedSizes(all)
	}
	list := []api.ImageSummary{}
	for _, img := range all {
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		if !f.passes(img) {
			continue
		}
		s, ok, err := i.summary(img, f, o.All)
		if err != nil {
			return nil, err
		}
		if !ok {
			continue
		}
		s.Containers = users[img.ID]
		if o.SharedSize {
			s.SharedSize = shared[img.ID]
		}
		list = append(list, s)
	}
	slices.SortStableFunc(list, func(a, b api.ImageSummary) int {
		return cmp.Or(cmp.Compare(b.Created, a.Created), strings.Compare(strings.Join(a.RepoTags, " "), strings.Join(b.RepoTags, " ")))
	})
	return list, nil
}

// filter is what a list is asked to hold to.
type filter struct {
	api.Filters
	dangling      bool
	before, since time.Time
}

func (c *catalog) filter(f api.Filters) (filter, error) {
	out := filter{Filters: f}
	err := f.Check("dangling", "label", "before", "since", "reference", "until")
	if err == nil {
		out.dangling, err = boolean(f, "dangling", false)
	}
	if err != nil {
		return out, err
	}
	for _, name := range f["before"] {
		img, err := c.Resolve(name)
		if err != nil {
			return out, err
		}
		if c := img.Doc.Created; c != nil && (out.before.IsZero() || out.before.After(*c)) {
			out.before = *c
		}
	}
	for _, value := range f["until"] {
		t, err := when(value, time.Now())
		if err != nil {
			return out, err
		}
		if out.before.IsZero() || out.before.After(t) {
			out.before = t
		}
	}
	for _, name := range f["since"] {
		img, err := c.Resolve(name)
		if err != nil {
			return out, err
		}
		if c := img.Doc.Created; c != nil && out.since.Before(*c) {
			out.since = *c
		}
	}
	return out, nil
}

// passes tells by the image's document alone.
func (f filter) passes(img *Image) bool {
	created := img.Doc.Created
	if !f.before.IsZero() && (created == nil || !created.Before(f.before)) {
		return false
	}
	if !f.since.IsZero() && (created == nil || !created.After(f.since)) {
		return false
	}
	return f.Labels("label", img.Config.Labels)
}

// summary tells of an image that passes; ok is false when its names do not.
func (c *catalog) summary(img *Image, f filter, all bool) (s api.ImageSummary, ok bool, err error) {
	c.mu.RLock()
	refs, children := c.index.references(img.ID), len(c.index.children[img.ID])
	c.mu.RUnlock()
	if f.dangling && children > 0 {
		return s, false, nil
	}
	s = api.ImageSummary{ID: string(img.ID), ParentID: string(img.Parent), Labels: img.Config.Labels, SharedSize: -1}
	if img.Doc.Created != nil {
		s.Created = img.Doc.Created.Unix()
	}
	for _, ref := range refs {
		if ok, err := f.named(ref); err != nil {
			return s, false, err
		} else if !ok {
			continue
		}
		if ref.Digest != "" {
			s.RepoDigests = append(s.RepoDigests, ref.Familiar())
		} else {
			s.RepoTags = append(s.RepoTags, ref.Familiar())
		}
	}
	switch {
	case len(s.RepoTags)+len(s.RepoDigests) > 0:
		if f.dangling && len(s.RepoTags) > 0 {
			return s, false, nil
		}
	case !all && children > 0, len(f.Filters["dangling"]) > 0 && !f.dangling, len(f.Filters["reference"]) > 0:
		return s, false, nil
	}
	if s.Size, err = c.size(img); err != nil {
		return s, false, nil // it was removed since
	}
	return s, true, nil
}

// named reports whether a name matches one of the patterns asked for, if any.
func (f filter) named(ref oci.Reference) (bool, error) {
	patterns := f.Filters["reference"]
	for _, pattern := range patterns {
		if ok, err := ref.Matches(pattern); ok || err != nil {
			return ok, err
		}
	}
	return len(patterns) == 0, nil
}

// size gives the bytes of all layers of an image.
func (c *catalog) size(img *Image) (int64, error) {
	var sum int64
	for _, chain := range img.Chains {
		l, err := c.deps.Layers.Get(string(chain))
		if err != nil {
			return 0, err
		}
		sum += l.Size
	}
	return sum, nil
}

// sharedSizes gives, for each image, the bytes of the layers that another one has, too.
func (c *catalog) sharedSizes(all []*Image) map[oci.Digest]int64 {
	uses := map[oci.Digest]int{}
	for _, img := range all {
		for _, chain := range img.Chains {
			uses[chain]++
		}
	}
	out := make(map[oci.Digest]int64, len(all))
	for _, img := range all {
		for _, chain := range img.Chains {
			if uses[chain] < 2 {
				continue
			}
			if l, err := c.deps.Layers.Get(string(chain)); err == nil {
				out[img.ID] += l.Size
			}
		}
	}
	return out
}

// boolean reads a filter that is true or false, in the few spellings that Docker takes here.
func boolean(f api.Filters, key string, def bool) (bool, error) {
	values, has := f[key]
	if !has {
		return def, nil
	}
	yes := slices.Contains(values, "1") || slices.Contains(values, "true")
	no := slices.Contains(values, "0") || slices.Contains(values, "false")
	if yes == no {
		return def, api.Errorf(api.Invalid, "invalid filter '%s=%v'", key, values)
	}
	return yes, nil
}

// LayersSize gives the bytes of all layers that there are, each once, and of the blobs
// that registries know them by.
func LayersSize(i *Images) (int64, error) {
	var sum int64
	for _, l := range i.Layers.List() {
		sum += l.Size
	}
	err := i.Blobs.Walk(func(_ oci.Digest, size int64, _ time.Time) error {
		sum += size
		return nil
	})
	return sum, err
}

// BlobsSize gives the bytes of the blobs that an image is known by at registries; 0 for one
// that is not there.
func BlobsSize(i *Images, id oci.Digest) (sum int64) {
	img := i.byID(id)
	if img == nil {
		return 0
	}
	for _, d := range slices.Compact(slices.Sorted(slices.Values(img.blobs()))) {
		if size, err := i.Blobs.Stat(d); err == nil {
			sum += size
		}
	}
	return sum
}
