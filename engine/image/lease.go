package image

import (
	"context"
	"time"

	"lighter/oci"
)

// Hold keeps layers from being removed, with all that they stand on, until release is
// called, which drops what nothing needs any more. It says nothing of whether they are
// there. It waits for nothing but a removal of these very layers that is under way.
func (i *Images) Hold(chains ...oci.Digest) (release func()) {
	if !i.tryHold(chains) {
		i.change.Lock() // whose holder was removing one of them; now nobody is
		defer i.change.Unlock()
		i.tryHold(chains)
	}
	return func() { i.release(chains) }
}

func (i *Images) tryHold(chains []oci.Digest) bool {
	i.mu.Lock()
	defer i.mu.Unlock()
	for _, c := range chains {
		if i.going[c] {
			return false
		}
	}
	for _, c := range chains {
		i.leases[c]++
	}
	return true
}

func (i *Images) release(chains []oci.Digest) {
	i.mu.Lock()
	idle := false
	for _, c := range chains {
		if i.leases[c]--; i.leases[c] == 0 {
			delete(i.leases, c)
			idle = idle || i.index.stacks[c] == 0
		}
	}
	i.mu.Unlock()
	if !idle {
		return
	}
	i.change.Lock()
	defer i.change.Unlock()
	for n := len(chains) - 1; n >= 0; n-- {
		i.dropStack(chains[n])
	}
}

// Release drops the layers of the stack top that nothing needs any more; the container
// that stood on them is gone from Users.
func (i *Images) Release(top oci.Digest) {
	i.mu.RLock()
	idle := top != "" && i.index.stacks[top] == 0
	i.mu.RUnlock()
	if !idle {
		return
	}
	i.change.Lock()
	defer i.change.Unlock()
	i.dropStack(top)
}

// Sweep drops every layer and every blob that no image, container or lease needs: what a
// crash left behind. It does nothing when the record of an image or a container could not be read,
// since what that needs is not known.
func (i *Images) Sweep(ctx context.Context) {
	doubtful := i.doubtful
	for _, u := range i.Users() {
		doubtful = doubtful || u.Image == ""
	}
	if doubtful {
		i.Log.Warn("layers that nothing seems to need are kept, since a record could not be read")
		return
	}
	i.change.Lock()
	defer i.change.Unlock()
	below, layers := map[string]bool{}, i.Layers.List()
	for _, l := range layers {
		below[l.Parent] = true
	}
	for _, l := range layers {
		if !below[l.ChainID] && ctx.Err() == nil {
			i.dropStack(oci.Digest(l.ChainID))
		}
	}
	var blobs []oci.Digest
	err := i.Blobs.Walk(func(d oci.Digest, _ int64, _ time.Time) error {
		blobs = append(blobs, d)
		return ctx.Err()
	})
	if err != nil {
		i.Log.Warn("blobs that nothing needs are kept, since they could not be listed", "error", err)
		return
	}
	i.dropBlobs(blobs)
}

// dropStack removes the layers of a stack from the top down to the first that something
// needs, and gives those removed. Who calls it holds change.
func (i *Images) dropStack(chain oci.Digest) []oci.Digest {
	var gone []oci.Digest
	for chain != "" {
		l, err := i.Layers.Get(string(chain))
		if err != nil || !i.claim(chain) {
			break
		}
		err = i.Layers.Remove(string(chain))
		i.mu.Lock()
		delete(i.going, chain)
		i.mu.Unlock()
		if err != nil {
			i.Log.Error("a layer cannot be removed", "layer", chain, "error", err)
			break
		}
		gone = append(gone, chain)
		chain = oci.Digest(l.Parent)
	}
	return gone
}

// claim marks a layer as going, unless something needs it. From then on nobody can hold
// it. Containers are asked with the lock held: one that is being made holds its layers
// until it is listed, so that it is seen in one place or the other.
func (i *Images) claim(chain oci.Digest) bool {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.index.stacks[chain] > 0 {
		return false
	}
	tops := make([]oci.Digest, 0, len(i.leases))
	for c := range i.leases {
		tops = append(tops, c)
	}
	for _, u := range i.Users() {
		tops = append(tops, u.TopLayer)
	}
	for _, top := range tops {
		for c := top; c != ""; {
			if c == chain {
				return false
			}
			l, err := i.Layers.Get(string(c))
			if err != nil {
				break
			}
			c = oci.Digest(l.Parent)
		}
	}
	i.going[chain] = true
	return true
}
