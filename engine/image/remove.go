package image

import (
	"context"
	"strings"

	"lighter/api"
	"lighter/oci"
)

// RemoveOptions says how far a removal may go.
type RemoveOptions struct {
	Force       bool
	KeepParents bool // keep the untagged images that it was made from
	Platform    *oci.Platform
}

// Remove takes a name away, or an image by its id, and with the last name the image and
// the layers that nothing else needs. It tells what went, in order.
//
// A name alone goes without asking while the image has others. An image goes only when
// no image was made from it and no running container uses it; with Force, names and
// stopped containers that use it do not stand in the way.
func (i *Images) Remove(ctx context.Context, name string, o RemoveOptions) ([]api.ImageDeleted, error) {
	r := &removal{i: i, Force: o.Force, prune: !o.KeepParents}
	i.change.Lock()
	err := r.run(name, o.Platform)
	i.change.Unlock()
	for _, e := range r.events {
		e()
	}
	if err != nil {
		return nil, err
	}
	return r.rows, nil
}

// removal is one call of Remove, which holds change.
type removal struct {
	i     *Images
	Force bool
	prune bool

	users  []User
	rows   []api.ImageDeleted
	events []func()
}

func (r *removal) run(name string, p *oci.Platform) error {
	i := r.i
	img, err := i.ResolveFor(name, p)
	if err != nil {
		return err
	}
	r.users = i.Users()
	refs := i.references(img.ID)
	if strings.HasPrefix(string(img.ID), name) || strings.HasPrefix(img.ID.Hex(), name) {
		return r.byID(img, refs)
	}
	if !r.Force && oneName(refs) {
		for _, u := range r.users {
			if uses(u, img.ID) {
				return api.Errorf(api.Conflict,
					"conflict: unable to remove repository reference %q (must force) - container %s is using its referenced image %s",
					name, short(u.Container), img.ID.Short())
			}
		}
	}
	ref, err := oci.ParseReference(name)
	if err != nil {
		return api.Errorf(api.Invalid, "%w", err)
	}
	if err := r.untag(img, stored(ref), ref.OrLatest().Familiar(), true); err != nil {
		return err
	}
	if refs, err = r.unpin(img, ref); err != nil || len(refs) > 0 {
		return err
	}
	return r.delete(img, r.Force, true)
}

// byID removes an image that was named by its id.
func (r *removal) byID(img *Image, refs []oci.Reference) error {
	if oneName(refs) {
		if err := r.conflict(img, r.Force, true); err != nil {
			return api.Errorf(api.Conflict, "%w", err)
		}
		for _, ref := range refs {
			if err := r.untag(img, ref, ref.Familiar(), true); err != nil {
				return err
			}
		}
	}
	return r.delete(img, r.Force, false)
}

// unpin takes the pinned names of a repository away once its last tag has gone, and
// gives the names that are left.
func (r *removal) unpin(img *Image, gone oci.Reference) ([]oci.Reference, error) {
	refs := r.i.references(img.ID)
	if gone.Digest != "" {
		return refs, nil
	}
	for _, ref := range refs {
		if ref.Digest == "" && ref.Name() == gone.Name() {
			return refs, nil
		}
	}
	var left []oci.Reference
	for _, ref := range refs {
		if ref.Name() != gone.Name() {
			left = append(left, ref)
			continue
		}
		if err := r.untag(img, ref, ref.Familiar(), false); err != nil {
			return nil, err
		}
	}
	return left, nil
}

// untag takes one name away.
func (r *removal) untag(img *Image, ref oci.Reference, shown string, tell bool) error {
	if err := r.i.unname(ref); err != nil {
		return err
	}
	if tell {
		r.events = append(r.events, func() { r.i.publish("untag", img, string(img.ID)) })
	}
	r.rows = append(r.rows, api.ImageDeleted{Untagged: shown})
	return nil
}

// delete removes an image and then, unless told not to, those that it was made from and
// that have no names. A quiet one stops at a conflict without a word, but for those that
// would leave an image without a name that nothing uses.
func (r *removal) delete(img *Image, force, quiet bool) error {
	i := r.i
	if err := r.conflict(img, force, false); err != nil {
		if quiet && (!i.dangling(img) || err.used) {
			return nil
		}
		return api.Errorf(api.Conflict, "%w", err)
	}
	for _, ref := range i.references(img.ID) {
		if err := r.untag(img, ref, ref.Familiar(), true); err != nil {
			return err
		}
	}
	parent := i.byID(img.Parent)
	if err := i.forget(img); err != nil {
		return err
	}
	bare := &Image{ID: img.ID} // its labels went with it
	r.events = append(r.events, func() { i.publish("delete", bare, string(img.ID)) })
	r.rows = append(r.rows, api.ImageDeleted{Deleted: string(img.ID)})
	for _, chain := range i.dropStack(img.TopLayer()) {
		r.rows = append(r.rows, api.ImageDeleted{Deleted: string(chain)})
	}
	if !r.prune || parent == nil {
		return nil
	}
	return r.delete(parent, false, true)
}

// inTheWay is why an image cannot be removed.
type inTheWay struct {
	img  *Image
	hard bool // not even by force
	used bool // by a container
	why  string
}

func (c *inTheWay) Error() string {
	must := "must be forced"
	if c.hard {
		must = "cannot be forced"
	}
	return "conflict: unable to delete " + c.img.ID.Short() + " (" + must + ") - " + c.why
}

// conflict tells what stands in the way of removing an image. Names are none when the
// caller takes them away itself.
func (r *removal) conflict(img *Image, force, namesGo bool) *inTheWay {
	r.i.mu.RLock()
	children, names := len(r.i.index.children[img.ID]), len(r.i.index.refs[img.ID])
	r.i.mu.RUnlock()
	if children > 0 {
		return &inTheWay{img: img, hard: true, why: "image has dependent child images"}
	}
	for _, u := range r.users {
		if u.Image == img.ID && u.Running {
			return &inTheWay{img: img, hard: true, used: true, why: "image is being used by running container " + short(u.Container)}
		}
	}
	if force {
		return nil
	}
	if names > 0 && !namesGo {
		return &inTheWay{img: img, why: "image is referenced in multiple repositories"}
	}
	for _, u := range r.users {
		if u.Image == img.ID {
			return &inTheWay{img: img, used: true, why: "image is being used by stopped container " + short(u.Container)}
		}
	}
	return nil
}

// dangling reports whether an image has neither name nor child.
func (c *catalog) dangling(img *Image) bool {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return len(c.index.refs[img.ID]) == 0 && len(c.index.children[img.ID]) == 0
}

// oneName reports whether an image has names of one repository only, at most one of them a tag.
func oneName(refs []oci.Reference) bool {
	if len(refs) < 2 {
		return len(refs) == 1
	}
	tags := 0
	for _, ref := range refs {
		if ref.Name() != refs[0].Name() {
			return false
		}
		if ref.Digest == "" {
			tags++
		}
	}
	return tags <= 1
}

func uses(u User, id oci.Digest) bool {
	if u.Image == id {
		return true
	}
	for _, m := range u.Mounts {
		if m == id {
			return true
		}
	}
	return false
}

// short gives the first twelve digits of a container's id.
func short(id string) string { return id[:min(12, len(id))] }
