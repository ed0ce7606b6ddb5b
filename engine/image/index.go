package image

import (
	"maps"
	"slices"
	"strings"

	"lighter/oci"
)

// index is what is known of all images, in memory. Who uses it holds Images.mu.
type index struct {
	images   map[oci.Digest]*Image
	names    map[string]oci.Digest                   // by the full reference
	refs     map[oci.Digest]map[string]oci.Reference // by image, by the full reference
	children map[oci.Digest]map[oci.Digest]bool      // by parent
	stacks   map[oci.Digest]int                      // by chain id: how many images stand on it
}

func newIndex() index {
	return index{
		images:   map[oci.Digest]*Image{},
		names:    map[string]oci.Digest{},
		refs:     map[oci.Digest]map[string]oci.Reference{},
		children: map[oci.Digest]map[oci.Digest]bool{},
		stacks:   map[oci.Digest]int{},
	}
}

func (x *index) add(img *Image) {
	x.images[img.ID] = img
	for _, chain := range img.Chains {
		x.stacks[chain]++
	}
	x.adopt(img)
}

// adopt notes an image as its parent's child.
func (x *index) adopt(img *Image) {
	if img.Parent == "" {
		return
	}
	if x.children[img.Parent] == nil {
		x.children[img.Parent] = map[oci.Digest]bool{}
	}
	x.children[img.Parent][img.ID] = true
}

// replace puts another state of an image in the place of the old one.
func (x *index) replace(img *Image) {
	if old := x.images[img.ID]; old != nil && old.Parent != img.Parent {
		delete(x.children[old.Parent], img.ID)
	}
	x.images[img.ID] = img
	x.adopt(img)
}

func (x *index) remove(img *Image) {
	delete(x.images, img.ID)
	delete(x.children[img.Parent], img.ID)
	for _, chain := range img.Chains {
		if x.stacks[chain]--; x.stacks[chain] == 0 {
			delete(x.stacks, chain)
		}
	}
}

func (x *index) name(ref oci.Reference, id oci.Digest) {
	full := ref.String()
	x.unname(ref)
	x.names[full] = id
	if x.refs[id] == nil {
		x.refs[id] = map[string]oci.Reference{}
	}
	x.refs[id][full] = ref
}

func (x *index) unname(ref oci.Reference) {
	full := ref.String()
	id, ok := x.names[full]
	if !ok {
		return
	}
	delete(x.names, full)
	delete(x.refs[id], full)
	if len(x.refs[id]) == 0 {
		delete(x.refs, id)
	}
}

// references gives an image's names, sorted.
func (x *index) references(id oci.Digest) []oci.Reference {
	list := slices.Collect(maps.Values(x.refs[id]))
	slices.SortFunc(list, func(a, b oci.Reference) int { return strings.Compare(a.String(), b.String()) })
	return list
}

// byName gives the tagged and pinned names of a repository, sorted.
func (x *index) byName(repo oci.Reference) []oci.Reference {
	var list []oci.Reference
	for _, refs := range x.refs {
		for _, ref := range refs {
			if ref.Repository() == repo.Repository() {
				list = append(list, ref)
			}
		}
	}
	slices.SortFunc(list, func(a, b oci.Reference) int { return strings.Compare(a.String(), b.String()) })
	return list
}

// search finds the one image whose id starts with prefix, which may have "sha256:" in front.
func (x *index) search(prefix string) (*Image, int) {
	if algorithm, rest, ok := strings.Cut(prefix, ":"); ok {
		if algorithm != "sha256" {
			return nil, 0
		}
		prefix = rest
	}
	var found *Image
	n := 0
	for id, img := range x.images {
		if strings.HasPrefix(id.Hex(), prefix) {
			found = img
			n++
		}
	}
	return found, n
}
