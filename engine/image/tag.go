package image

import (
	"errors"
	"time"

	"lighter/api"
	"lighter/oci"
)

var errAmbiguousTag = errors.New("refusing to create an ambiguous tag using digest algorithm as name")

// Tag gives an image another name, which is taken away from the image that has it.
// An empty tag means latest.
func (i *Images) Tag(name, repo, tag string) error {
	ref, err := TagReference(repo, tag)
	if err != nil {
		return err
	}
	img, err := i.Resolve(name)
	if err != nil {
		return err
	}
	return i.tag(img, ref)
}

// TagReference makes the name that repo and tag stand for; both may hold the tag.
func TagReference(repo, tag string) (oci.Reference, error) {
	ref, err := oci.ParseReference(repo)
	switch {
	case err != nil:
		return ref, api.Errorf(api.Invalid, "%w", err)
	case ref.Digest != "":
		return ref, api.Errorf(api.Invalid, "cannot import digest reference")
	case tag != "":
		if ref, err = ref.WithTag(tag); err != nil {
			return ref, api.Errorf(api.Invalid, "%w", err)
		}
	}
	ref = ref.OrLatest()
	if ref.FamiliarName() == "sha256" {
		return ref, api.Errorf(api.Invalid, "%w", errAmbiguousTag)
	}
	return ref, nil
}

// tag gives a known image a name and tells of it.
func (i *Images) tag(img *Image, ref oci.Reference) error {
	i.change.Lock()
	_, err := i.name(img, ref, time.Now().UTC())
	i.change.Unlock()
	if err == nil {
		i.publish("tag", img, ref.Familiar())
	}
	return err
}

// register keeps an image, whose layers are there and held by the caller, with names, at
// once: nobody sees the one without the others. One that is known already only gets the
// names. It gives the images that had the names before, nil where none or the same.
func (i *Images) register(raw []byte, parent oci.Digest, names []oci.Reference, at time.Time) (img *Image, before []*Image, err error) {
	if img, err = newImage(raw); err != nil {
		return nil, nil, api.Errorf(api.Invalid, "%w", err)
	}
	i.change.Lock()
	defer i.change.Unlock()
	if known := i.byID(img.ID); known != nil {
		img = known
	} else {
		if i.byID(parent) != nil {
			img.Parent = parent
		}
		if err := i.writeImage(img); err != nil {
			return nil, nil, err
		}
		i.mu.Lock()
		i.index.add(img)
		i.mu.Unlock()
		fresh := img
		defer func() {
			if err != nil {
				err = errors.Join(err, i.forget(fresh))
			}
		}()
	}
	for _, ref := range names {
		old, err := i.name(img, ref, at)
		if err != nil {
			return nil, nil, err
		}
		before = append(before, old)
	}
	return i.byID(img.ID), before, nil
}

// forget takes an image and its names away; its layers are another matter. Who calls it
// holds change.
func (i *Images) forget(img *Image) error {
	for _, ref := range i.references(img.ID) {
		if err := i.unname(ref); err != nil {
			return err
		}
	}
	if err := i.deleteImage(img); err != nil {
		return err
	}
	i.mu.Lock()
	i.index.remove(img)
	i.mu.Unlock()
	i.dropBlobs(img.blobs())
	return nil
}

// unname takes one name away. Who calls it holds change.
func (i *Images) unname(ref oci.Reference) error {
	if err := i.deleteName(ref); err != nil {
		return err
	}
	i.mu.Lock()
	i.index.unname(ref)
	i.mu.Unlock()
	return nil
}

// name gives an image a name, and gives back the image that had it before, nil when none
// or the same. The time is kept as that of the last tag, unless zero. Who calls it holds
// change.
func (i *Images) name(img *Image, ref oci.Reference, at time.Time) (*Image, error) {
	i.mu.RLock()
	known, before := i.index.images[img.ID], i.index.named(ref)
	i.mu.RUnlock()
	if known == nil {
		return nil, api.Errorf(api.NotFound, "No such image: %s", img.ID)
	}
	if before != nil && before.ID == img.ID {
		before = nil
	} else if err := i.writeName(ref, img.ID); err != nil {
		return nil, err
	}
	if !at.IsZero() {
		tagged := *known
		tagged.Tagged = at
		if err := i.writeImage(&tagged); err != nil {
			return nil, err
		}
		known = &tagged
	}
	i.mu.Lock()
	i.index.name(ref, img.ID)
	i.index.replace(known)
	i.mu.Unlock()
	return before, nil
}
