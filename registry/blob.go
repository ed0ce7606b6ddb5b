package registry

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	"lighter/oci"
)

// ErrMismatch says that a registry did not send the bytes that a digest or a size
// promised. Asking it again does not help.
var ErrMismatch = errors.New("not what was promised")

// Blob reads a blob. Its bytes are verified on the way: whoever reads to io.EOF has read
// what d promises, or gets an error that wraps ErrMismatch. A connection that breaks or
// falls silent is resumed where it broke. from, when not 0, leaves out that many bytes,
// whose hash has stands in for them.
func (r *Repository) Blob(ctx context.Context, d oci.Descriptor, from int64, has hash.Hash) (io.ReadCloser, error) {
	if err := checkDigest(d.Digest); err != nil {
		return nil, err
	}
	if has == nil {
		from, has = 0, sha256.New()
	}
	b := &blob{ctx: ctx, repo: r, want: d, at: from, hash: has}
	if err := b.open(); err != nil {
		return nil, err
	}
	return b, nil
}

// blob is a blob that is being read.
type blob struct {
	ctx  context.Context
	repo *Repository
	want oci.Descriptor
	hash hash.Hash
	at   int64 // bytes that came

	body   io.ReadCloser
	cancel context.CancelFunc
	silent *time.Timer // cancels a request whose answer stands still
	broken int         // times that it broke since a connection was of use
	came   int         // bytes since the last sign of life
	useful int64       // bytes that this connection brought
	err    error       // for good
}

// open asks for the rest.
func (b *blob) open() error {
	ctx, cancel := context.WithCancel(b.ctx)
	c := call{method: http.MethodGet, path: "blobs/" + string(b.want.Digest), header: http.Header{}, long: true}
	if b.at > 0 {
		c.header.Set("Range", fmt.Sprintf("bytes=%d-", b.at))
	}
	resp, err := b.repo.do(ctx, c)
	if err != nil {
		cancel()
		return err
	}
	skip, err := b.offset(resp)
	if err == nil && skip == 0 && resp.ContentLength >= 0 && b.want.Size >= 0 && b.at+resp.ContentLength != b.want.Size {
		err = fmt.Errorf("blob %s: %w: the registry has %d bytes of it, not %d", b.want.Digest, ErrMismatch, b.at+resp.ContentLength, b.want.Size)
	}
	if err != nil {
		resp.Body.Close()
		cancel()
		return err
	}
	b.body, b.cancel, b.came, b.useful = resp.Body, cancel, 0, 0
	b.silent = time.AfterFunc(b.repo.c.cfg.Patience, cancel)
	if skip > 0 {
		// It does not know ranges: what we have comes again.
		if _, err := io.CopyN(io.Discard, alive{b}, skip); err != nil {
			b.shut()
			return fmt.Errorf("blob %s: %w", b.want.Digest, err)
		}
	}
	return nil
}

// offset gives how many bytes of an answer are known already.
func (b *blob) offset(resp *http.Response) (skip int64, err error) {
	if resp.StatusCode != http.StatusPartialContent {
		return b.at, nil
	}
	first, _, ok := strings.Cut(strings.TrimPrefix(resp.Header.Get("Content-Range"), "bytes "), "-")
	if n, err := strconv.ParseInt(first, 10, 64); !ok || err != nil || n != b.at {
		return 0, fmt.Errorf("blob %s: %w: asked for the bytes from %d, the registry sends %q", b.want.Digest, ErrMismatch, b.at, printable(resp.Header.Get("Content-Range")))
	}
	return 0, nil
}

// least is how many bytes are a sign of life: a peer that sends fewer while we wait is as good as
// silent, and a connection that brought fewer was of no use.
const least = 4 << 10

// alive reads from the connection, and looks for signs of life.
type alive struct{ b *blob }

func (a alive) Read(p []byte) (int, error) {
	n, err := a.b.body.Read(p)
	if a.b.came += n; a.b.came >= least {
		a.b.came = 0
		a.b.silent.Reset(a.b.repo.c.cfg.Patience)
	}
	return n, err
}

func (b *blob) shut() {
	if b.body != nil {
		b.silent.Stop()
		b.body.Close()
		b.cancel()
		b.body = nil
	}
}

// Read gives verified bytes.
func (b *blob) Read(p []byte) (int, error) {
	for b.err == nil {
		if b.body == nil {
			if b.err = b.resume(); b.err != nil {
				break
			}
		}
		n, err := alive{b}.Read(p)
		if n > 0 {
			if b.useful += int64(n); b.useful >= least {
				b.broken = 0
			}
			b.at += int64(n)
			b.hash.Write(p[:n])
			if b.want.Size >= 0 && b.at > b.want.Size {
				b.err = fmt.Errorf("blob %s: %w: longer than %d bytes", b.want.Digest, ErrMismatch, b.want.Size)
				break
			}
			return n, nil
		}
		if err == nil {
			continue
		}
		b.shut()
		if b.ctx.Err() != nil {
			b.err = b.ctx.Err()
		} else if errors.Is(err, io.EOF) && (b.want.Size < 0 || b.at == b.want.Size) {
			b.err = b.verify()
		}
	}
	b.shut()
	return 0, b.err
}

func (b *blob) verify() error {
	if got := fmt.Sprintf("sha256:%x", b.hash.Sum(nil)); got != string(b.want.Digest) {
		return fmt.Errorf("blob %s: %w: its bytes are those of %s", b.want.Digest, ErrMismatch, got)
	}
	return io.EOF
}

// resume goes on after a break.
func (b *blob) resume() error {
	if b.broken++; b.broken > b.repo.c.cfg.Attempts {
		return fmt.Errorf("blob %s: the connection broke %d times, or brought next to nothing, at byte %d of %d", b.want.Digest, b.repo.c.cfg.Attempts, b.at, b.want.Size)
	}
	if b.broken > 1 {
		select {
		case <-time.After(b.repo.c.backoff(b.broken)):
		case <-b.ctx.Done():
			return b.ctx.Err()
		}
	}
	err := b.open()
	if err != nil && b.ctx.Err() == nil && !errors.Is(err, ErrMismatch) && repeatable(err) {
		return b.resume()
	}
	return err
}

// Close ends the reading.
func (b *blob) Close() error {
	b.shut()
	if b.err == nil {
		b.err = errors.New("read from a closed blob")
	}
	return nil
}
