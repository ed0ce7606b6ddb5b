package content

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io"
	"os"
	"path/filepath"
	"time"

	"lighter/oci"
)

// partialDir holds, in blobs/, what has come of blobs that did not come whole, each by
// its digest.
const partialDir = "partial"

// partialKept is how long they wait for somebody who goes on.
const partialKept = 24 * time.Hour

// Partial is a blob on its way from afar. What has come of it stays on disk when it is
// left, so that the next Partial of its digest goes on from there. It ends with Commit,
// Leave or Discard.
type Partial struct {
	store  *Store
	digest oci.Digest
	file   *os.File
	had    int64
	size   int64
	hash   hash.Hash
	ended  bool
}

// Partial goes on with a blob, or begins it. While another does, it waits.
func (s *Store) Partial(ctx context.Context, digest oci.Digest) (*Partial, error) {
	name, ok := hexOf(digest)
	if !ok {
		return nil, fmt.Errorf("blob %.80q: not a sha256 digest", string(digest))
	}
	for {
		s.mu.Lock()
		busy := s.busy[digest]
		if busy == nil {
			s.busy[digest] = make(chan struct{})
		}
		s.mu.Unlock()
		if busy == nil {
			break
		}
		select {
		case <-busy:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	p := &Partial{store: s, digest: digest, hash: sha256.New()}
	err := p.open(s.root.Path("blobs", partialDir, name))
	if err != nil {
		p.end()
		return nil, err
	}
	return p, nil
}

func (p *Partial) open(path string) error {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	st, err := f.Stat()
	if err == nil {
		_, err = f.Seek(0, io.SeekEnd)
	}
	if err != nil {
		return errors.Join(err, f.Close())
	}
	p.file, p.had, p.size = f, st.Size(), st.Size()
	return nil
}

// end lets the next one have it.
func (p *Partial) end() {
	p.ended = true
	p.store.mu.Lock()
	defer p.store.mu.Unlock()
	close(p.store.busy[p.digest])
	delete(p.store.busy, p.digest)
}

// Size is how many bytes have come.
func (p *Partial) Size() int64 { return p.size }

// Hash is that of the bytes so far, once Had is read. Who writes adds to it.
func (p *Partial) Hash() hash.Hash { return p.hash }

// Had reads what had come before, into the hash, too.
func (p *Partial) Had() io.Reader {
	return io.TeeReader(io.NewSectionReader(p.file, 0, p.had), p.hash)
}

// Write adds to the blob. It leaves the hash alone.
func (p *Partial) Write(b []byte) (int, error) {
	n, err := p.file.Write(b)
	p.size += int64(n)
	return n, err
}

// Commit makes the blob appear. Bytes that are not the digest's are dropped: ErrMismatch.
// It does not wait for the disk: the caller syncs the data root, once for all blobs, before
// it lets anything name them. What nothing names is swept by the next start.
func (p *Partial) Commit() error {
	if got := oci.Digest(fmt.Sprintf("sha256:%x", p.hash.Sum(nil))); got != p.digest {
		return errors.Join(fmt.Errorf("blob %s where %s should be: %w", got, p.digest, ErrMismatch), p.Discard())
	}
	defer p.end()
	path, err := p.store.path(p.digest)
	if err == nil {
		err = p.file.Close()
	}
	if err == nil {
		err = os.Rename(p.file.Name(), path)
	}
	if err != nil {
		return fmt.Errorf("keep blob %s: %w", p.digest, err)
	}
	return nil
}

// Leave keeps what has come for another time. After Commit or Discard it does nothing.
func (p *Partial) Leave() error {
	if p.ended {
		return nil
	}
	defer p.end()
	if p.size == 0 {
		return errors.Join(p.file.Close(), os.Remove(p.file.Name()))
	}
	return p.file.Close()
}

// Discard drops what has come.
func (p *Partial) Discard() error {
	if p.ended {
		return nil
	}
	defer p.end()
	return errors.Join(p.file.Close(), os.Remove(p.file.Name()))
}

// DropPartials drops those that nobody is at: all of them, or those that nobody went on
// with for long. It gives the bytes that this freed.
func (s *Store) DropPartials(all bool) (freed int64, err error) {
	s.mu.Lock() // so that nobody goes on with one meanwhile
	defer s.mu.Unlock()
	dir := s.root.Path("blobs", partialDir)
	entries, err := os.ReadDir(dir)
	if err != nil {
		return 0, err
	}
	for _, e := range entries {
		digest, known := oci.FromHex(e.Name())
		info, err := e.Info()
		if err != nil || known && s.busy[digest] != nil || !all && time.Since(info.ModTime()) < partialKept {
			continue
		}
		if err := os.Remove(filepath.Join(dir, e.Name())); err != nil {
			return freed, err
		}
		freed += info.Size()
	}
	return freed, nil
}
