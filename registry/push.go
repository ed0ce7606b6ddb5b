package registry

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"time"

	"lighter/oci"
)

// Has asks whether the repository has a blob.
func (r *Repository) Has(ctx context.Context, d oci.Digest) (bool, error) {
	resp, err := r.do(ctx, call{method: http.MethodHead, path: "blobs/" + string(d), push: true})
	if NotFound(err) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	resp.Body.Close()
	return true, nil
}

// Reach makes the repository's registry known to be there, and gets what it wants to know
// of us, before many ask it at once.
func (r *Repository) Reach(ctx context.Context) error {
	resp, err := r.do(ctx, call{method: http.MethodGet, path: "/v2/", push: true})
	if NotFound(err) {
		return nil // it may know no more than it must
	}
	if err == nil {
		discard(resp)
	}
	return err
}

// Upload is how a blob gets into a repository.
type Upload struct {
	// From is another repository of the registry, by path, that has the blob; empty for none.
	From string

	// Open gives the blob's bytes; it is called again when a connection broke.
	Open func() (io.ReadCloser, error)

	// Want is the blob's descriptor. Its digest may be empty when only its bytes tell
	// it, its size is negative then.
	Want oci.Descriptor
}

// Push brings a blob into the repository, unless it is there, and gives its descriptor.
// mounted says that the registry took it from u.From. Of a blob whose digest is known
// nothing is sent that the registry has.
func (r *Repository) Push(ctx context.Context, u Upload) (d oci.Descriptor, mounted bool, err error) {
	for try := 1; ; try++ {
		d, mounted, err = r.push(ctx, u)
		var f *Error
		again := errors.As(err, &f) && f.Temporary() || err != nil && f == nil && repeatable(err)
		if err == nil || !again || try >= r.c.cfg.Attempts || ctx.Err() != nil {
			return d, mounted, err
		}
		select {
		case <-time.After(r.c.backoff(try)):
		case <-ctx.Done():
			return d, false, ctx.Err()
		}
	}
}

func (r *Repository) push(ctx context.Context, u Upload) (oci.Descriptor, bool, error) {
	to, mounted, err := r.begin(ctx, u)
	if err != nil || mounted {
		return u.Want, mounted, err
	}
	binary := http.Header{"Content-Type": {"application/octet-stream"}}
	if u.Want.Digest != "" {
		// All in one request, as its length and its digest are known; it is the registry that
		// looks whether the bytes are the digest's.
		resp, err := r.do(ctx, call{method: http.MethodPut, to: withDigest(to, u.Want.Digest), header: binary, body: u.Open, size: u.Want.Size, push: true, once: true})
		if err != nil {
			return u.Want, false, err
		}
		resp.Body.Close()
		return u.Want, false, nil
	}
	sum, count := sha256.New(), int64(0)
	body := func() (io.ReadCloser, error) {
		in, err := u.Open()
		if err != nil {
			return nil, err
		}
		sum.Reset()
		count = 0
		return tee{in, func(p []byte) { sum.Write(p); count += int64(len(p)) }}, nil
	}
	resp, err := r.do(ctx, call{method: http.MethodPatch, to: to, header: binary, body: body, size: -1, push: true, once: true})
	if err != nil {
		return u.Want, false, err
	}
	resp.Body.Close()
	if to, err = located(resp); err != nil {
		return u.Want, false, err
	}
	d := u.Want
	d.Digest, d.Size = oci.Digest(fmt.Sprintf("sha256:%x", sum.Sum(nil))), count
	resp, err = r.do(ctx, call{method: http.MethodPut, to: withDigest(to, d.Digest), push: true, once: true})
	if err != nil {
		return d, false, err
	}
	resp.Body.Close()
	return d, false, nil
}

// Mount has the registry take a blob from another of its repositories, and tells whether
// it did.
func (r *Repository) Mount(ctx context.Context, d oci.Digest, from string) (bool, error) {
	to, mounted, err := r.begin(ctx, Upload{From: from, Want: oci.Descriptor{Digest: d}})
	if err != nil || mounted {
		return mounted, err
	}
	resp, err := r.do(ctx, call{method: http.MethodDelete, to: to, push: true, once: true})
	if err == nil {
		discard(resp)
	}
	return false, nil // an upload that stays open is the registry's to close
}

// begin opens an upload, or has the registry take the blob from another repository.
func (r *Repository) begin(ctx context.Context, u Upload) (to *url.URL, mounted bool, err error) {
	c := call{method: http.MethodPost, path: "blobs/uploads/", push: true}
	if u.From != "" && u.From != r.path {
		c.path += "?" + url.Values{"mount": {string(u.Want.Digest)}, "from": {u.From}}.Encode()
		c.mount = u.From
	}
	resp, err := r.do(ctx, c)
	if err != nil && c.mount != "" && Denied(err) {
		return r.begin(ctx, Upload{Want: u.Want, Open: u.Open}) // we may not read there
	}
	if err != nil {
		return nil, false, err
	}
	resp.Body.Close()
	if resp.StatusCode == http.StatusCreated {
		return nil, true, nil
	}
	to, err = located(resp)
	return to, false, err
}

func withDigest(to *url.URL, d oci.Digest) *url.URL {
	u := *to
	query := u.Query()
	query.Set("digest", string(d))
	u.RawQuery = query.Encode()
	return &u
}

// tee shows what is read to see.
type tee struct {
	io.ReadCloser
	see func([]byte)
}

func (t tee) Read(p []byte) (int, error) {
	n, err := t.ReadCloser.Read(p)
	t.see(p[:n])
	return n, err
}

// PutManifest stores a manifest or an index under a tag, or under its digest.
func (r *Repository) PutManifest(ctx context.Context, tag, mediaType string, raw []byte) (oci.Digest, error) {
	resp, err := r.do(ctx, call{
		method: http.MethodPut, path: "manifests/" + tag, header: http.Header{"Content-Type": {mediaType}}, push: true,
		body: func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(raw)), nil }, size: int64(len(raw)),
	})
	if err != nil {
		return "", err
	}
	resp.Body.Close()
	return oci.FromBytes(raw), nil
}
