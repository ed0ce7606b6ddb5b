package image

import (
	"lighter/api"
	"lighter/oci"
)

// Resolve finds an image by a whole id, a name (without a tag: latest), or the start of
// its id, in this order.
func (c *catalog) Resolve(name string) (*Image, error) {
	ref, id, err := oci.ParseAny(name)
	if err != nil {
		return nil, api.Errorf(api.Invalid, "%w", err)
	}
	c.mu.RLock()
	defer c.mu.RUnlock()
	if id != "" {
		if img := c.index.images[id]; img != nil {
			return img, nil
		}
		return nil, api.Errorf(api.NotFound, "No such image: %s", id)
	}
	if img := c.index.named(ref); img != nil {
		return img, nil
	}
	if img, n := c.index.search(name); n == 1 {
		return img, nil
	}
	return nil, api.Errorf(api.NotFound, "No such image: %s", ref.OrLatest().Familiar())
}

// ResolveFor is Resolve for an image that must run on a platform; nil asks nothing.
func (c *catalog) ResolveFor(name string, p *oci.Platform) (*Image, error) {
	img, err := c.Resolve(name)
	if err != nil || p == nil {
		return img, err
	}
	if have := img.Doc.Platform(); !p.Runs(have) {
		shown := name
		if ref, err := oci.ParseReference(name); err == nil && ref.String() == name {
			shown = ref.Familiar()
		}
		return nil, api.Errorf(api.NotFound,
			"image with reference %s was found but its platform (%s) does not match the specified platform (%s)", shown, have, p)
	}
	return img, nil
}

// Names gives the tags and the pinned names of an image, as people write them, sorted.
func (c *catalog) Names(id oci.Digest) (tags, digests []string) {
	for _, ref := range c.references(id) {
		if ref.Digest != "" {
			digests = append(digests, ref.Familiar())
		} else {
			tags = append(tags, ref.Familiar())
		}
	}
	return tags, digests
}

// named gives the image that a name leads to. Of a name with tag and digest the digest counts.
func (x *index) named(ref oci.Reference) *Image {
	return x.images[x.names[stored(ref).String()]]
}

// stored gives the form in which a name is kept: with a tag or a digest, not both.
func stored(ref oci.Reference) oci.Reference {
	if ref.Digest != "" {
		ref.Tag = ""
		return ref
	}
	return ref.OrLatest()
}
