package image

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"sync"

	"lighter/api"
	"lighter/oci"
	"lighter/registry"
	"lighter/store/archive"
	"lighter/store/layer"
)

// Layers are brought by the pull that needs them first; others that need the same ones
// meanwhile wait, and see its progress. A layer is verified and unpacked while it comes:
// its bytes go by once.

// transfer is a layer that some pull brings.
type transfer struct {
	done chan struct{} // closed when the layer is there, or the pull has failed

	mu    sync.Mutex
	tells []Tell
}

func (t *transfer) tell(p api.Progress) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, tell := range t.tells {
		tell(p)
	}
}

func (t *transfer) watch(tell Tell) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.tells = append(t.tells, tell)
}

// transfers are those under way, by chain id.
type transfers struct {
	mu   sync.Mutex
	live map[oci.Digest]*transfer
	slot chan struct{} // one for each layer that comes at this moment
}

func newTransfers(most int) *transfers {
	if most <= 0 {
		most = 3
	}
	return &transfers{live: map[oci.Digest]*transfer{}, slot: make(chan struct{}, most)}
}

// claim makes the caller the one who brings a chain; else it gives who does.
func (t *transfers) claim(chain oci.Digest, tell Tell) (mine bool, tr *transfer) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if tr := t.live[chain]; tr != nil {
		return false, tr
	}
	tr = &transfer{done: make(chan struct{}), tells: []Tell{tell}}
	t.live[chain] = tr
	return true, tr
}

func (t *transfers) end(chain oci.Digest, tr *transfer) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.live[chain] == tr {
		delete(t.live, chain)
		close(tr.done)
	}
}

// arrival is one layer of a pull.
type arrival struct {
	blob  oci.Descriptor
	chain oci.Digest
	tr    *transfer // nil when the layer is there already
	mine  bool

	ready chan struct{} // closed when st or err is set
	st    *layer.Staged
	err   error
}

// layers brings the layers of img that are not there, and puts them on each other.
func (p *pull) layers(ctx context.Context, img *Image, blobs []oci.Descriptor) (err error) {
	ctx, cancel := context.WithCancel(ctx)
	var workers sync.WaitGroup
	list := make([]*arrival, len(blobs))
	defer func() {
		cancel()
		workers.Wait()
		for _, a := range list {
			if a == nil || !a.mine {
				continue
			}
			if a.st != nil {
				err = errors.Join(err, a.st.Discard())
			}
			p.i.transfers.end(a.chain, a.tr)
		}
	}()
	for n, d := range blobs {
		list[n] = p.expect(ctx, &workers, d, img.Chains[n])
	}
	for n := 0; n < len(list); {
		if n, err = p.settle(ctx, &workers, img, list, n); err != nil {
			return err
		}
	}
	return nil
}

// expect finds out who brings a layer, and begins to, if that is us.
func (p *pull) expect(ctx context.Context, workers *sync.WaitGroup, d oci.Descriptor, chain oci.Digest) *arrival {
	a := &arrival{blob: d, chain: chain, ready: make(chan struct{})}
	if _, err := p.i.Layers.Get(string(chain)); err == nil {
		p.tell(step(d.Digest.Short(), "Already exists"))
		return a
	}
	a.mine, a.tr = p.i.transfers.claim(chain, p.tell)
	p.tell(step(d.Digest.Short(), "Pulling fs layer"))
	if !a.mine {
		a.tr.watch(p.tell)
		return a
	}
	workers.Go(func() {
		defer close(a.ready)
		select {
		case p.i.transfers.slot <- struct{}{}:
		default:
			a.tr.tell(step(d.Digest.Short(), "Waiting"))
			select {
			case p.i.transfers.slot <- struct{}{}:
			case <-ctx.Done():
				a.err = ctx.Err()
				return
			}
		}
		defer func() { <-p.i.transfers.slot }()
		a.st, a.err = p.fetch(ctx, a)
	})
	return a
}

// settle makes layers of what has come from place n on, as many as are ours, or waits
// for another pull's; it gives the next place.
func (p *pull) settle(ctx context.Context, workers *sync.WaitGroup, img *Image, list []*arrival, n int) (int, error) {
	a := list[n]
	switch {
	case a.tr == nil:
		return n + 1, nil
	case !a.mine:
		select {
		case <-a.tr.done:
		case <-ctx.Done():
			return n, ctx.Err()
		}
		if _, err := p.i.Layers.Get(string(a.chain)); err == nil {
			return n + 1, nil
		}
		list[n] = p.expect(ctx, workers, a.blob, a.chain) // the other one failed
		return n, nil
	}
	parent := oci.Digest("")
	if n > 0 {
		parent = img.Chains[n-1]
	}
	end := n
	var batch []*layer.Staged
	for ; end < len(list) && list[end].mine; end++ {
		a := list[end]
		<-a.ready
		if a.err != nil {
			return n, a.err
		}
		if got, want := oci.Digest(a.st.DiffID), img.Doc.DiffIDs()[end]; got != want {
			return n, errors.Join(fmt.Errorf("layer %s: %w: it unpacks to %s, the image's config names %s", a.blob.Digest, errMismatch, got, want), p.i.Blobs.Delete(a.blob.Digest))
		}
		batch = append(batch, a.st)
	}
	there := true
	for _, a := range list[n:end] {
		_, err := p.i.Layers.Get(string(a.chain))
		there = there && err == nil
		size := a.blob.Size // it was unpacked while it came: what is left is the disk's
		a.tr.tell(api.Progress{ID: a.blob.Digest.Short(), Status: "Extracting", Progress: bar(size, size), ProgressDetail: &api.ProgressDetail{Current: size, Total: size}})
	}
	_, err := p.i.Layers.CommitChain(ctx, batch, string(parent))
	if err == nil && there { // else it has synced the blobs, too
		err = p.i.Root.Sync()
	}
	if err != nil {
		return n, err
	}
	for _, a := range list[n:end] {
		a.st, a.mine = nil, false
		a.tr.tell(step(a.blob.Digest.Short(), "Pull complete"))
		p.i.transfers.end(a.chain, a.tr)
	}
	return end, nil
}

var errMismatch = errors.New("not what was promised")

// fetch brings one layer: what is here of it first, the rest from the registry. It is
// kept as it came, so that it can be pushed again to the byte.
func (p *pull) fetch(ctx context.Context, a *arrival) (*layer.Staged, error) {
	short := a.blob.Digest.Short()
	if st, err := p.here(ctx, a); st != nil || err != nil {
		return st, err
	}
	part, err := p.i.Blobs.Partial(ctx, a.blob.Digest)
	if err != nil {
		return nil, err
	}
	defer part.Leave()
	if st, err := p.here(ctx, a); st != nil || err != nil { // another pull was at it, and has brought it
		return st, err
	}
	in := io.Reader(part.Had())
	if part.Size() < a.blob.Size || a.blob.Size <= 0 {
		rest, err := p.repo.Blob(ctx, a.blob, part.Size(), part.Hash())
		if err != nil {
			return nil, err
		}
		defer rest.Close()
		in = io.MultiReader(in, io.TeeReader(rest, part))
	}
	st, err := p.i.Layers.Stage(ctx, &meter{r: in, tell: a.tr.tell, id: short, action: "Downloading", total: a.blob.Size})
	if err != nil {
		return nil, p.broken(ctx, err, part.Discard)
	}
	a.tr.tell(step(short, "Verifying Checksum"))
	if err := part.Commit(); err != nil {
		return nil, errors.Join(err, st.Discard())
	}
	a.tr.tell(step(short, "Download complete"))
	return st, nil
}

// here makes a layer of a blob that is here: of an image that has it on another layer. It
// gives nil when it is not.
func (p *pull) here(ctx context.Context, a *arrival) (*layer.Staged, error) {
	f, err := p.i.Blobs.Open(a.blob.Digest)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	a.tr.tell(step(a.blob.Digest.Short(), "Download complete"))
	return p.i.Layers.Stage(ctx, f)
}

// broken tells why a layer did not come. What came of one that is not what was promised
// is of no use to anybody.
func (p *pull) broken(ctx context.Context, err error, drop func() error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if lies(err) {
		return errors.Join(err, drop())
	}
	return err
}

// lies reports whether a layer's bytes are to blame, and not the way that they came.
func lies(err error) bool {
	var network net.Error
	return errors.Is(err, registry.ErrMismatch) || errors.Is(err, archive.ErrInvalid) && !errors.As(err, &network)
}
