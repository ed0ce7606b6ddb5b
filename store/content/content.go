// Package content keeps bytes by their digest: the blobs of an OCI image layout.
//
// A blob appears whole, verified and durable, or not at all. Which blobs are still
// needed is not known here: who holds the names walks them and deletes the rest.
package content

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"os"
	"sync"
	"time"

	"lighter/oci"
	"lighter/store"
)

// Store is the blobs of one data root. Its methods may be called from many goroutines.
type Store struct {
	root *store.Root

	mu   sync.Mutex
	busy map[oci.Digest]chan struct{} // partial blobs that somebody is at; closed when they are left
}

// ErrMismatch says that bytes are not those that a digest or a size promised.
var ErrMismatch = errors.New("not what was promised")

// Open gives the blobs of root, which it marks as an OCI image layout.
func Open(root *store.Root) (*Store, error) {
	path := root.Path("oci-layout")
	if _, err := os.Stat(path); errors.Is(err, os.ErrNotExist) {
		if err := store.WriteFile(path, []byte(`{"imageLayoutVersion":"1.0.0"}`), 0o600, true); err != nil {
			return nil, err
		}
	} else if err != nil {
		return nil, err
	}
	s := &Store{root: root, busy: map[oci.Digest]chan struct{}{}}
	if err := os.Mkdir(root.Path("blobs", partialDir), 0o700); err != nil && !errors.Is(err, os.ErrExist) {
		return nil, err
	}
	_, err := s.DropPartials(false)
	return s, err
}

// path is where a blob lies. The digest is checked before it becomes a part of it.
func (s *Store) path(digest oci.Digest) (string, error) {
	name, ok := hexOf(digest)
	if !ok {
		return "", fmt.Errorf("blob %.80q: not a sha256 digest", string(digest))
	}
	return s.root.Path("blobs", "sha256", name), nil
}

func hexOf(digest oci.Digest) (string, bool) {
	const prefix = "sha256:"
	if len(digest) <= len(prefix) || digest[:len(prefix)] != prefix {
		return "", false
	}
	name := string(digest[len(prefix):])
	_, ok := oci.FromHex(name)
	return name, ok
}

// Open opens a blob for reading; os.ErrNotExist when it is not there. The caller closes it.
func (s *Store) Open(digest oci.Digest) (*os.File, error) {
	path, err := s.path(digest)
	if err != nil {
		return nil, err
	}
	return os.Open(path)
}

// Read reads a blob of at most limit bytes into memory, and verifies it again.
func (s *Store) Read(digest oci.Digest, limit int64) ([]byte, error) {
	f, err := s.Open(digest)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err != nil {
		return nil, err
	}
	if int64(len(data)) > limit {
		return nil, fmt.Errorf("blob %s is larger than %d bytes", digest, limit)
	}
	if oci.FromBytes(data) != digest {
		return nil, fmt.Errorf("blob %s on disk: %w", digest, ErrMismatch)
	}
	return data, nil
}

// Stat gives the size of a blob in bytes; os.ErrNotExist when it is not there.
func (s *Store) Stat(digest oci.Digest) (int64, error) {
	path, err := s.path(digest)
	if err != nil {
		return 0, err
	}
	info, err := os.Stat(path)
	if err != nil {
		return 0, err
	}
	return info.Size(), nil
}

// Delete takes a blob away; one that is not there is no error.
func (s *Store) Delete(digest oci.Digest) error {
	path, err := s.path(digest)
	if err != nil {
		return err
	}
	return s.root.Trash(path)
}

// Walk calls f with each blob, its size in bytes and when it came. What else lies in
// the folder is passed over.
func (s *Store) Walk(f func(digest oci.Digest, size int64, since time.Time) error) error {
	entries, err := os.ReadDir(s.root.Path("blobs", "sha256"))
	if err != nil {
		return err
	}
	for _, entry := range entries {
		digest, ok := oci.FromHex(entry.Name())
		if !ok {
			continue
		}
		info, err := entry.Info()
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		if err != nil {
			return err
		}
		if err := f(digest, info.Size(), info.ModTime()); err != nil {
			return err
		}
	}
	return nil
}

// Put stores data that is in memory already and gives its digest.
func (s *Store) Put(ctx context.Context, data []byte) (oci.Digest, error) {
	digest := oci.FromBytes(data)
	if size, err := s.Stat(digest); err == nil && size == int64(len(data)) {
		return digest, nil
	}
	w, err := s.Writer(ctx)
	if err != nil {
		return "", err
	}
	if _, err := w.Write(data); err != nil {
		return "", errors.Join(err, w.Discard())
	}
	return w.Commit(digest, int64(len(data)))
}

// Writer takes the bytes of a blob to be. It ends with Commit or Discard.
type Writer struct {
	ctx   context.Context
	store *Store
	file  *os.File
	hash  hash.Hash
	size  int64
}

// Writer begins a blob.
func (s *Store) Writer(ctx context.Context) (*Writer, error) {
	f, err := s.root.TempFile("blob")
	if err != nil {
		return nil, err
	}
	return &Writer{ctx: ctx, store: s, file: f, hash: sha256.New()}, nil
}

// Write adds to the blob; it ends with the writer's context.
func (w *Writer) Write(b []byte) (int, error) {
	if err := w.ctx.Err(); err != nil {
		return 0, err
	}
	n, err := w.file.Write(b)
	w.hash.Write(b[:n])
	w.size += int64(n)
	return n, err
}

// Digest is that of the bytes so far.
func (w *Writer) Digest() oci.Digest {
	return oci.Digest("sha256:" + hex.EncodeToString(w.hash.Sum(nil)))
}

// Size is how many bytes were written so far.
func (w *Writer) Size() int64 { return w.size }

// Discard drops the blob.
func (w *Writer) Discard() error {
	return errors.Join(w.file.Close(), os.Remove(w.file.Name()))
}

// Commit makes the blob appear, durably, and gives its digest. An expected digest that
// is not "", or a size that is not negative, must be that of the bytes written; else
// nothing is kept and the error is ErrMismatch.
func (w *Writer) Commit(expected oci.Digest, size int64) (oci.Digest, error) {
	digest := w.Digest()
	err := w.ctx.Err()
	switch {
	case err != nil:
	case size >= 0 && size != w.size:
		err = fmt.Errorf("blob of %d bytes where %d should be: %w", w.size, size, ErrMismatch)
	case expected != "" && expected != digest:
		err = fmt.Errorf("blob %s where %s should be: %w", digest, expected, ErrMismatch)
	default:
		err = w.file.Sync()
	}
	if err != nil {
		return "", errors.Join(err, w.Discard())
	}
	if err := w.appear(digest); err != nil {
		return "", errors.Join(err, w.file.Close())
	}
	return digest, errors.Join(w.file.Close(), w.store.SyncNames())
}

// Appear makes the blob appear at once, for reading. Before anything may name it for good, sync
// must have returned, which waits for the disk, and SyncNames.
func (w *Writer) Appear() (digest oci.Digest, sync func() error, err error) {
	digest = w.Digest()
	if err := w.ctx.Err(); err != nil {
		return "", nil, errors.Join(err, w.Discard())
	}
	if err := w.appear(digest); err != nil {
		return "", nil, errors.Join(err, w.file.Close())
	}
	return digest, func() error { return errors.Join(w.file.Sync(), w.file.Close()) }, nil
}

func (w *Writer) appear(digest oci.Digest) error {
	path, err := w.store.path(digest)
	if err == nil {
		err = os.Rename(w.file.Name(), path)
	}
	if err != nil {
		return errors.Join(err, os.Remove(w.file.Name()))
	}
	return nil
}

// SyncNames makes it durable which blobs there are.
func (s *Store) SyncNames() error { return store.SyncDir(s.root.Path("blobs", "sha256")) }
