package distribution

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strconv"
	"sync"
	"time"

	"lighter/hub/blob"
	"lighter/hub/meta"
	"lighter/oci"
)

// fetches are the blobs that are on their way from other registries. All who want one read
// along while it is written: none waits for its end, and it is fetched once. It goes on when
// they have left.
type fetches struct {
	mu   sync.Mutex
	by   map[string]*fetch
	all  sync.WaitGroup
	over bool
}

// maxFetches bounds how many blobs come at once.
const maxFetches = 64

// fetch is one blob on its way.
type fetch struct {
	size   int64
	f      *os.File
	cancel context.CancelFunc

	mu   sync.Mutex
	more chan struct{} // closed, and made anew, when one of these changes
	has  int64         // bytes that may be read: all but the last until it is verified
	done bool
	err  error
	refs int // readers, and the writer
}

// blob sends a blob of a mirrored repository that is not here; unknown is the answer
// for any other repository.
func (g *mirror) blob(w http.ResponseWriter, r *http.Request, at route, d oci.Digest, unknown error) error {
	o, err := g.origin(r.Context(), at.name)
	if err != nil {
		return err
	}
	if o.remote == nil {
		return unknown
	}
	// A manifest that is here tells its size. What none names is nobody's to fetch by us.
	size, err := g.namedSize(r.Context(), at.name, d)
	if err != nil {
		return err
	}
	if size < 0 {
		return unknown
	}
	blobHeader(w, d)
	if r.Method == http.MethodHead {
		w.Header().Set("Content-Length", strconv.FormatInt(size, 10))
		return nil
	}
	f, err := g.fetch(r.Context(), o, at.name, oci.Descriptor{Digest: d, Size: size})
	if err != nil {
		return err
	}
	defer f.leave()
	if err := patience(w, size); err != nil {
		return err
	}
	http.ServeContent(w, r, "", time.Time{}, &along{ctx: r.Context(), f: f})
	return nil
}

// namedSize is the size that a manifest of the repository says of a blob; -1 when none names it.
func (g *mirror) namedSize(ctx context.Context, repo string, d oci.Digest) (int64, error) {
	var raw string
	err := g.cfg.DB.QueryRow(ctx, `SELECT m.raw FROM repositories r JOIN refs f ON f.repo = r.id JOIN manifests m ON m.repo = f.repo AND m.digest = f.manifest
		WHERE r.name = ? AND f.digest = ? AND f.manifest <> f.digest LIMIT 1`, repo, string(d)).Scan(&raw)
	if errors.Is(err, meta.ErrNotFound) {
		return -1, nil
	}
	if err != nil {
		return -1, err
	}
	m, err := read([]byte(raw), "")
	if err != nil {
		return -1, err
	}
	size, ok := m.blobs[d]
	if !ok || size < 0 {
		return -1, nil
	}
	return size, nil
}

// fetch begins to fetch a blob, or joins who does. It returns when the other registry has
// answered that it comes.
func (g *mirror) fetch(ctx context.Context, o origin, repo string, d oci.Descriptor) (*fetch, error) {
	key := repo + " " + string(d.Digest)
	defer g.cfg.Mirrors.turns.take(key)()
	s := &g.fetches
	s.mu.Lock()
	f, over, n := s.by[key], s.over, len(s.by)
	if f != nil && !f.join() {
		f = nil // it has just ended
	}
	s.mu.Unlock()
	switch {
	case f != nil:
		return f, nil
	case over || n >= maxFetches:
		return nil, refuse("UNAVAILABLE", "too many blobs are fetched from the registry that is mirrored; try again")
	}
	run, cancel := context.WithCancel(context.WithoutCancel(ctx))
	begun, err := g.beginFetch(run, o, repo, d)
	if err != nil {
		cancel()
		return nil, err
	}
	f, begun.cancel = begun.fetch, cancel
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.by == nil {
		s.by = map[string]*fetch{}
	}
	s.by[key] = f
	if s.over {
		cancel() // between the question above and now
	}
	s.all.Go(func() {
		defer cancel()
		err := g.receiveFetch(run, begun)
		if err != nil {
			g.cfg.Log.Warn("a blob could not be mirrored", "repository", repo, "digest", d.Digest, "error", err)
		}
		s.mu.Lock()
		delete(s.by, key)
		s.mu.Unlock()
		f.end(err)
		f.leave()
	})
	return f, nil
}

// fetching is a fetch with its ends.
type fetching struct {
	*fetch
	u    *upload
	d    oci.Digest
	body io.ReadCloser
}

func (g *mirror) beginFetch(ctx context.Context, o origin, repo string, d oci.Descriptor) (*fetching, error) {
	shower, ok := g.cfg.Blobs.(blob.Shower)
	if !ok {
		return nil, errors.New("the storage shows no uploads")
	}
	body, err := o.remote.blob(ctx, o.name, d)
	if err != nil {
		if gone(err) {
			return nil, &refusal{"BLOB_UNKNOWN", "blob unknown to registry", map[string]string{"digest": string(d.Digest)}}
		}
		g.cfg.Log.Warn("the registry that is mirrored does not answer", "repository", repo, "digest", d.Digest, "error", err)
		return nil, refuse("UNAVAILABLE", "the blob is not here yet, and the registry that it is mirrored from does not answer")
	}
	u, err := g.begin(ctx, repo, d.Digest.Algorithm(), "")
	if err != nil {
		return nil, errors.Join(err, body.Close())
	}
	g.busy.Store(u.id, true) // no collector takes it
	f, err := shower.Show(u.id)
	if err != nil {
		g.busy.Delete(u.id)
		return nil, errors.Join(err, body.Close(), g.drop(ctx, u))
	}
	return &fetching{&fetch{size: d.Size, f: f, more: make(chan struct{}), refs: 2}, u, d.Digest, body}, nil
}

// receiveFetch writes the blob, and makes it one of the repository when it is what it should be.
func (g *mirror) receiveFetch(ctx context.Context, f *fetching) error {
	defer g.busy.Delete(f.u.id)
	n, err := g.cfg.Blobs.Append(ctx, f.u.id, 0, &progress{f})
	err = errors.Join(err, f.body.Close())
	if err == nil && n != f.size {
		err = fmt.Errorf("%d bytes came of %d", n, f.size)
	}
	if err == nil {
		f.u.size = n
		err = g.adopt(ctx, f.u, f.d)
	}
	if err != nil {
		undo, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
		defer cancel()
		return errors.Join(err, g.drop(undo, f.u))
	}
	return nil
}

// progress tells the readers how far it is. What it read before is written when it is asked
// for more.
type progress struct{ *fetching }

func (p *progress) Read(b []byte) (int, error) {
	p.mu.Lock()
	p.has = min(p.u.size, p.size-1)
	p.change()
	p.mu.Unlock()
	n, err := p.body.Read(b)
	p.u.size += int64(n)
	return n, err
}

// change wakes who waits; f.mu is held.
func (f *fetch) change() {
	close(f.more)
	f.more = make(chan struct{})
}

func (f *fetch) end(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.done, f.err = true, err; err == nil {
		f.has = f.size
	}
	f.change()
}

// join adds a reader, unless the fetch has ended.
func (f *fetch) join() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.done {
		return false
	}
	f.refs++
	return true
}

// leave takes a reader away; the last one closes the file.
func (f *fetch) leave() {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.refs--; f.refs == 0 {
		_ = f.f.Close() // it was read
	}
}

// stop calls all fetches off, and waits for them.
func (s *fetches) stop() {
	s.mu.Lock()
	s.over = true
	for _, f := range s.by {
		f.cancel()
	}
	s.mu.Unlock()
	s.all.Wait()
}

// along reads a blob while it comes.
type along struct {
	ctx context.Context
	f   *fetch
	at  int64
}

func (a *along) Seek(offset int64, whence int) (int64, error) {
	switch whence {
	case io.SeekCurrent:
		offset += a.at
	case io.SeekEnd:
		offset += a.f.size
	}
	if offset < 0 {
		return 0, errors.New("before the beginning")
	}
	a.at = offset
	return offset, nil
}

func (a *along) Read(b []byte) (int, error) {
	for {
		a.f.mu.Lock()
		has, done, err, more := a.f.has, a.f.done, a.f.err, a.f.more
		a.f.mu.Unlock()
		switch {
		case a.at >= a.f.size:
			return 0, io.EOF
		case a.at < has:
			n, err := a.f.f.ReadAt(b[:min(int64(len(b)), has-a.at)], a.at)
			if a.at += int64(n); n > 0 {
				return n, nil
			}
			return 0, err
		case done:
			return 0, errors.Join(err, io.ErrUnexpectedEOF)
		}
		select {
		case <-more:
		case <-a.ctx.Done():
			return 0, a.ctx.Err()
		}
	}
}
