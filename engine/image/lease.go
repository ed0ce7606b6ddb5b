package image

import (
	"context"

	"lighter/oci"
)

// Hold keeps the layers of an image, and those of any other stack named, from being
// removed until release is called, which drops what nothing needs any more. It says
// nothing of whether they are there.
func (i *Images) Hold(chains ...oci.Digest) (release func()) {
	// The lock of changes: a removal under way has taken its layers away, or has not begun.
	i.change.Lock()
	defer i.change.Unlock()
	for _, c := range chains {
		i.leases[c]++
	}
	return func() { i.release(chains) }
}

func (i *Images) release(chains []oci.Digest) {
	i.change.Lock()
	defer i.change.Unlock()
	for _, c := range chains {
		if i.leases[c]--; i.leases[c] == 0 {
			delete(i.leases, c)
		}
	}
	used := i.used()
	for n := len(chains) - 1; n >= 0; n-- {
		i.dropStack(chains[n], used)
	}
}

// Release drops the layers of the stack top that nothing needs any more; the container
// that stood on them is gone from Users.
func (i *Images) Release(top oci.Digest) {
	if top == "" {
		return
	}
	i.change.Lock()
	defer i.change.Unlock()
	i.dropStack(top, i.used())
}

// Sweep drops every layer that no image, container or lease needs: what a crash left
// behind. It does nothing when a record of an image could not be read, since its layers
// are not known.
func (i *Images) Sweep(ctx context.Context) {
	if i.doubtful {
		i.Log.Warn("layers that nothing needs are kept, since a record of an image is bad")
		return
	}
	i.change.Lock()
	defer i.change.Unlock()
	used, below := i.used(), map[string]bool{}
	layers := i.Layers.List()
	for _, l := range layers {
		below[l.Parent] = true
	}
	for _, l := range layers {
		if !below[l.ChainID] && ctx.Err() == nil {
			i.dropStack(oci.Digest(l.ChainID), used)
		}
	}
}

// used gives the chains of all layers that something needs but images' own: containers'
// and leases'. Who calls it holds change.
func (i *Images) used() map[oci.Digest]bool {
	used := map[oci.Digest]bool{}
	note := func(chain oci.Digest) {
		for chain != "" && !used[chain] {
			used[chain] = true
			l, err := i.Layers.Get(string(chain))
			if err != nil {
				break
			}
			chain = oci.Digest(l.Parent)
		}
	}
	for _, u := range i.Users() {
		note(u.TopLayer)
	}
	for c := range i.leases {
		note(c)
	}
	return used
}

// dropStack removes the layers of a stack from the top down to the first that something
// needs, and gives those removed. Who calls it holds change.
func (i *Images) dropStack(chain oci.Digest, used map[oci.Digest]bool) []oci.Digest {
	var gone []oci.Digest
	for chain != "" {
		i.mu.RLock()
		needed := i.index.stacks[chain] > 0
		i.mu.RUnlock()
		l, err := i.Layers.Get(string(chain))
		if needed || used[chain] || err != nil {
			break
		}
		if err := i.Layers.Remove(string(chain)); err != nil {
			i.Log.Error("a layer cannot be removed", "layer", chain, "error", err)
			break
		}
		gone = append(gone, chain)
		chain = oci.Digest(l.Parent)
	}
	return gone
}
