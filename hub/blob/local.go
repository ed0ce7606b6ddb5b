package blob

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
	"sync"

	"lighter/oci"
)

// Local is a Store in a folder.
//
// A sync of every blob while its client waits would be a storm of them: a blob is synced
// behind its client's back, and whoever is about to promise that it will stay calls
// Settle, which waits for that.
type Local struct {
	dir    string
	queue  chan *settling
	wg     sync.WaitGroup
	mu     sync.Mutex
	closed bool
	bare   map[oci.Digest]*settling // committed, not known to be synced
	known  map[oci.Digest]bool      // synced by this process, lately
}

// settling is a blob on its way to the disk.
type settling struct {
	d    oci.Digest
	done chan struct{}
	err  error
}

const (
	syncers   = 8       // syncs at once: the file system puts them in one commit
	syncQueue = 1 << 10 // blobs that wait; a commit after those waits, too
	maxKnown  = 1 << 16
)

const (
	uploadsDir = "uploads"
	bufferSize = 128 << 10
)

// OpenLocal opens the folder dir, and makes what is not there. It wants a Close.
func OpenLocal(dir string) (*Local, error) {
	folders := []string{uploadsDir}
	for algorithm := range Hashes {
		folders = append(folders, path.Join(oci.BlobsDir, algorithm))
	}
	for _, sub := range folders {
		if err := os.MkdirAll(filepath.Join(dir, sub), 0o755); err != nil {
			return nil, fmt.Errorf("open the storage: %w", err)
		}
	}
	layout := filepath.Join(dir, oci.LayoutFile)
	if err := os.WriteFile(layout, []byte(oci.LayoutContent), 0o644); err != nil {
		return nil, fmt.Errorf("open the storage: %w", err)
	}
	l := &Local{dir: dir, queue: make(chan *settling, syncQueue), bare: map[oci.Digest]*settling{}, known: map[oci.Digest]bool{}}
	for range syncers {
		l.wg.Go(l.syncer)
	}
	return l, nil
}

// Close waits until everything is on the disk. Nothing may be committed from now on.
func (l *Local) Close() error {
	l.mu.Lock()
	if !l.closed {
		l.closed = true
		close(l.queue)
	}
	l.mu.Unlock()
	l.wg.Wait()
	return nil
}

// Dir gives the folder.
func (l *Local) Dir() string { return l.dir }

func (l *Local) blob(d oci.Digest) string {
	return filepath.Join(l.dir, oci.BlobsDir, d.Algorithm(), d.Hex())
}

func (l *Local) upload(id string) string { return filepath.Join(l.dir, uploadsDir, id) }

// NewUpload gives an id for an upload: 128 bits of chance, in hex.
func NewUpload() string {
	var b [16]byte
	rand.Read(b[:]) // never fails
	return fmt.Sprintf("%x", b)
}

// buffers are what uploads are copied through: as many as there are uploads at once.
var buffers = sync.Pool{New: func() any { return new([bufferSize]byte) }}

// onlyWriter and onlyReader hide the ways around the buffer.
type onlyWriter struct{ io.Writer }
type onlyReader struct{ io.Reader }

// Append writes to the upload's file, which is made by the first one.
func (l *Local) Append(_ context.Context, id string, at int64, r io.Reader) (n int64, err error) {
	flags := os.O_WRONLY
	if at == 0 {
		flags |= os.O_CREATE
	}
	f, err := os.OpenFile(l.upload(id), flags, 0o644)
	if errors.Is(err, fs.ErrNotExist) {
		return 0, ErrNotFound
	}
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	has, err := f.Seek(0, io.SeekEnd)
	if err != nil {
		return 0, err
	}
	if has < at {
		return 0, fmt.Errorf("upload %s has %d bytes, not %d: %w", id, has, at, ErrNotFound)
	}
	if has > at {
		if err := f.Truncate(at); err != nil {
			return 0, err
		}
		if _, err := f.Seek(at, io.SeekStart); err != nil {
			return 0, err
		}
	}
	buf := buffers.Get().(*[bufferSize]byte)
	defer buffers.Put(buf)
	return io.CopyBuffer(onlyWriter{f}, onlyReader{r}, buf[:])
}

// Show opens the upload's file, which is made by it.
func (l *Local) Show(id string) (*os.File, error) {
	return os.OpenFile(l.upload(id), os.O_RDONLY|os.O_CREATE, 0o644)
}

// Commit gives the upload's file its name.
func (l *Local) Commit(ctx context.Context, id string, d oci.Digest, size int64) error {
	info, err := os.Stat(l.upload(id))
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return ErrNotFound
	case err != nil:
		return err
	case info.Size() < size:
		return fmt.Errorf("upload %s has %d bytes, not %d: %w", id, info.Size(), size, ErrNotFound)
	case info.Size() > size:
		if err := os.Truncate(l.upload(id), size); err != nil {
			return err
		}
	}
	if has, err := os.Stat(l.blob(d)); err == nil && has.Size() == size {
		return l.Abort(ctx, id)
	}
	if err := os.Rename(l.upload(id), l.blob(d)); err != nil {
		return err
	}
	_, err = l.settle(ctx, d, true)
	return err
}

// settle puts a blob before the syncers; nil when it is on the disk already. A new file
// is none that was synced before, whatever its name.
func (l *Local) settle(ctx context.Context, d oci.Digest, fresh bool) (*settling, error) {
	l.mu.Lock()
	s, waiting := l.bare[d]
	if !fresh && (waiting || l.known[d]) {
		l.mu.Unlock()
		return s, nil
	}
	if l.closed {
		l.mu.Unlock()
		return nil, errors.New("the storage is closed")
	}
	s = &settling{d: d, done: make(chan struct{})}
	l.bare[d] = s
	l.wg.Add(1) // Close waits for the send below
	l.mu.Unlock()
	defer l.wg.Done()
	select {
	case l.queue <- s:
		return s, nil
	case <-ctx.Done():
		l.settled(s, ctx.Err())
		return nil, ctx.Err()
	}
}

func (l *Local) settled(s *settling, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	s.err = err
	newest := l.bare[s.d] == s
	if newest {
		delete(l.bare, s.d)
	}
	if newest && err == nil {
		if len(l.known) >= maxKnown {
			clear(l.known) // what is not known is synced again, which costs little
		}
		l.known[s.d] = true
	}
	close(s.done)
}

// syncer brings blobs to the disk until the storage closes.
func (l *Local) syncer() {
	for s := range l.queue {
		err := syncPath(l.blob(s.d))
		if err == nil {
			err = syncPath(filepath.Dir(l.blob(s.d)))
		}
		l.settled(s, err)
	}
}

func syncPath(name string) error {
	f, err := os.Open(name)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

// Settle waits for the syncers. A blob that an earlier process wrote is synced again.
func (l *Local) Settle(ctx context.Context, list ...oci.Digest) error {
	var waits []*settling
	for _, d := range list {
		s, err := l.settle(ctx, d, false)
		if err != nil {
			return err
		}
		if s != nil {
			waits = append(waits, s)
		}
	}
	for _, s := range waits {
		select {
		case <-s.done:
		case <-ctx.Done():
			return ctx.Err()
		}
		if errors.Is(s.err, fs.ErrNotExist) {
			return fmt.Errorf("bring %s to the disk: %w", s.d, ErrNotFound)
		}
		if s.err != nil {
			return fmt.Errorf("bring %s to the disk: %w", s.d, s.err)
		}
	}
	return nil
}

// Abort removes the upload's file.
func (l *Local) Abort(_ context.Context, id string) error {
	if err := os.Remove(l.upload(id)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// Open gives a file: net/http sends it with sendfile.
func (l *Local) Open(_ context.Context, d oci.Digest) (io.ReadSeekCloser, error) {
	f, err := os.Open(l.blob(d))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, ErrNotFound
	}
	if err != nil {
		return nil, err
	}
	return f, nil
}

// Stat gives the size of a blob.
func (l *Local) Stat(_ context.Context, d oci.Digest) (int64, error) {
	info, err := os.Stat(l.blob(d))
	if errors.Is(err, fs.ErrNotExist) {
		return 0, ErrNotFound
	}
	if err != nil {
		return 0, err
	}
	return info.Size(), nil
}

// Delete removes a blob's file.
func (l *Local) Delete(_ context.Context, d oci.Digest) error {
	if err := os.Remove(l.blob(d)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// Index writes the image layout's index.json, which is replaced as a whole.
func (l *Local) Index(named oci.Index) error {
	raw, err := json.Marshal(named)
	if err != nil {
		return err
	}
	name := filepath.Join(l.dir, oci.IndexFile)
	f, err := os.CreateTemp(l.dir, "."+oci.IndexFile+"-") // which none but its owner reads
	if err != nil {
		return err
	}
	_, err = f.Write(raw)
	if err = errors.Join(err, f.Close()); err == nil {
		err = os.Rename(f.Name(), name)
	}
	if err != nil {
		return errors.Join(fmt.Errorf("write %s: %w", name, err), os.Remove(f.Name()))
	}
	return nil
}

// Walk reads the folders of blobs.
func (l *Local) Walk(ctx context.Context, visit func(oci.Digest, int64) error) error {
	root := filepath.Join(l.dir, oci.BlobsDir)
	return filepath.WalkDir(root, func(name string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return errors.Join(err, ctx.Err())
		}
		d, bad := oci.ParseDigest(filepath.Base(filepath.Dir(name)) + ":" + e.Name())
		if bad != nil || strings.HasPrefix(e.Name(), ".") {
			return nil
		}
		info, err := e.Info()
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil {
			return err
		}
		return visit(d, info.Size())
	})
}
