package archive

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"hash/maphash"
	"io"
	"os"
	"path"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"

	"lighter/linux/fs"
)

// The names in the folder that Unpack fills.
const (
	FolderFiles = "fs"    // what the tar holds
	FileIndex   = "index" // see the package's doc
	FolderAside = "aside" // payloads that are not in fs; only there when needed
)

// Unpack writes the plain tar that r gives into the empty folder dir: its files to
// dir/fs, its index to dir/index. It reads r to its end. An error leaves rubbish in dir;
// one about the tar itself is ErrInvalid.
func Unpack(ctx context.Context, r io.Reader, dir string) (Totals, error) {
	u, err := newUnpacker(ctx, dir)
	if err != nil {
		return Totals{}, err
	}
	u.stream = newStream(r, u.stopped, &u.readers)
	u.scan.r = u.stream
	for range min(max(runtime.GOMAXPROCS(0), 2), 8) {
		u.workers.Go(u.work)
	}
	u.workers.Go(u.writeIndex)
	err = u.run()
	if err != nil {
		u.fail(err)
	}
	close(u.jobs)
	close(u.batches)
	u.workers.Wait()
	u.readers.Wait()
	err = u.err
	if err == nil {
		err = u.finish()
	}
	return u.totals, errors.Join(err, u.close())
}

// unpacker is one tar on its way to disk. One goroutine scans headers, makes folders
// and decides what goes where; workers write files, links and nodes; one writes the
// index. Names that the tar has once (nearly all) are written in any order; a name seen
// before waits for all that was begun, so that the last one wins.
type unpacker struct {
	ctx    context.Context
	dir    string
	root   fs.Dir
	umask  uint32
	stream *stream
	scan   scanner
	tree   *tree
	totals Totals

	readers, workers sync.WaitGroup
	jobs             chan *job
	begun            sync.WaitGroup // jobs that are not done
	batches          chan *batch
	batch            *batch

	seed maphash.Seed
	seen map[uint64]struct{} // hashes of all paths so far

	sparseMu  sync.Mutex
	sparseIno map[uint64][32]byte // digests of sparse files, as they cannot be told from the file

	stopped  chan struct{}
	failOnce sync.Once
	err      error // set before stopped is closed

	size  atomic.Int64
	index *os.File
	out   *indexWriter
}

// batch is records that go to the index together, when their digests are known.
type batch struct {
	records []*Entry
	bytes   int
	waits   sync.WaitGroup
}

// A batch is full with this many records, or bytes of headers.
const (
	batchRecords = 256
	batchBytes   = 1 << 20
)

func newUnpacker(ctx context.Context, dir string) (*unpacker, error) {
	files := filepath.Join(dir, FolderFiles)
	if err := os.Mkdir(files, 0o755); err != nil {
		return nil, err
	}
	root, err := fs.OpenDir(files)
	if err != nil {
		return nil, err
	}
	// A setgid bit or default ACL of the store's own folders must not be inherited.
	err = root.Chown("", 0, 0)
	if err == nil {
		err = root.Chmod("", 0o755)
	}
	if aclErr := root.RemoveXattr("system.posix_acl_default"); aclErr != nil && !errors.Is(aclErr, fs.ErrNoAttr) && !errors.Is(aclErr, fs.ErrNotSupported) {
		err = errors.Join(err, aclErr)
	}
	if err != nil {
		return nil, errors.Join(err, root.Close())
	}
	u := &unpacker{
		ctx: ctx, dir: dir, root: root, umask: fs.Umask(),
		jobs: make(chan *job, 256), batches: make(chan *batch, 4), batch: &batch{},
		seed: maphash.MakeSeed(), seen: map[uint64]struct{}{}, sparseIno: map[uint64][32]byte{},
		stopped: make(chan struct{}),
	}
	u.tree = newTree(root, u)
	u.index, err = os.OpenFile(filepath.Join(dir, FileIndex), os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err == nil {
		u.out, err = newIndexWriter(u.index)
	}
	if err != nil {
		return nil, errors.Join(err, root.Close())
	}
	return u, nil
}

// fail notes the first error and makes all others stop.
func (u *unpacker) fail(err error) {
	u.failOnce.Do(func() {
		u.err = err
		close(u.stopped)
	})
}

func (u *unpacker) failed() error {
	select {
	case <-u.stopped:
		return u.err
	default:
		return u.ctx.Err()
	}
}

// run goes through the tar.
func (u *unpacker) run() error {
	for {
		if err := u.failed(); err != nil {
			return err
		}
		e, err := u.scan.next()
		if err == io.EOF {
			break
		}
		if err == nil {
			err = u.take(e)
		}
		if err != nil {
			return err
		}
	}
	if len(u.scan.raw) > 0 {
		u.record(&Entry{Type: typeRaw, header: u.scan.raw})
	}
	if err := u.trailing(); err != nil {
		return err
	}
	u.batches <- u.batch // its writer takes all there are
	u.begun.Wait()
	return u.failed()
}

// take puts one entry where it belongs, with its payload, and notes it.
func (u *unpacker) take(e *Entry) error {
	if u.totals.Entries++; u.totals.Entries > maxEntries {
		return invalidf("more than %d entries", maxEntries)
	}
	j := &job{e: e}
	err := u.normalise(e)
	if err == nil {
		err = u.place(e, j)
	}
	if err == nil {
		err = u.payload(e, j)
	}
	if err != nil {
		return err
	}
	return u.padding(e)
}

// padding takes what lies between the payload and the next header; other than zeros
// it goes into the record.
func (u *unpacker) padding(e *Entry) error {
	n := padding(e.stored)
	if n == 0 {
		u.record(e)
		return nil
	}
	var pad [blockSize]byte
	got, err := io.ReadFull(u.stream, pad[:n])
	if err == io.EOF || err == io.ErrUnexpectedEOF {
		// Go's archive/tar lets the last padding be missing, and so Docker does.
		e.padding = append([]byte{}, pad[:got]...)
		err = nil
	} else if pad != [blockSize]byte{} {
		e.padding = append([]byte{}, pad[:n]...)
	}
	u.record(e)
	return err
}

// record hands e to the index. Its digest may come later.
func (u *unpacker) record(e *Entry) {
	b := u.batch
	b.records = append(b.records, e)
	b.bytes += len(e.header) + len(e.padding) + 2*len(e.Path)
	if len(b.records) >= batchRecords || b.bytes >= batchBytes {
		u.batches <- b
		u.batch = &batch{}
	}
}

// writeIndex writes the records of each batch once all of it is known.
func (u *unpacker) writeIndex() {
	var err error
	for b := range u.batches {
		b.waits.Wait()
		for _, e := range b.records {
			if err != nil || u.failed() != nil {
				break
			}
			switch e.Type {
			case typeRaw:
				err = u.out.raw(e.header)
			case typeZeros:
				err = u.out.zeros(e.Size)
			case typeKept:
				err = u.out.kept(e.Size, e.Digest)
			default:
				err = u.out.entry(e)
			}
		}
		if err != nil {
			u.fail(fmt.Errorf("write index: %w", err))
		}
	}
}

// normalise checks the entry's names and makes them clean, and finds whiteouts.
func (u *unpacker) normalise(e *Entry) error {
	var err error
	if e.Path, err = cleanName(e.name); err != nil {
		return err
	}
	if e.Type == TypeHard {
		if e.Link, err = cleanName(e.Link); err != nil {
			return invalidf("%.200q is a hard link: %w", e.name, err)
		}
	}
	dir, base := split(e.Path)
	if !strings.Contains(e.Path, ".wh.") {
		return nil
	}
	for part := range strings.SplitSeq(dir, "/") {
		switch {
		case strings.HasPrefix(part, ".wh..wh."):
			e.Type = TypeNone
			return nil
		case strings.HasPrefix(part, ".wh."):
			return invalidf("%.200q lies in a whiteout", e.name)
		}
	}
	hidden, ok := strings.CutPrefix(base, ".wh.")
	switch {
	case !ok:
	case hidden == ".wh..opq":
		e.Opaque, e.Path = true, dir
	case strings.HasPrefix(hidden, ".wh."):
		e.Type = TypeNone
	case hidden == "" || hidden == "." || hidden == "..":
		return invalidf("%.200q is a whiteout of nothing", e.name)
	default:
		e.Whiteout, e.Path = true, path.Join(dir, hidden)
	}
	return nil
}

// cleanName gives a path beneath the layer's root, "" for the root, or an error.
func cleanName(name string) (string, error) {
	clean := name
	if !plainPath(name) {
		clean = strings.TrimPrefix(path.Clean("./"+strings.TrimLeft(name, "/")), "/")
	}
	switch {
	case clean == ".":
		return "", nil
	case escapes(clean):
		return "", invalidf("%.200q leads out of the layer", name)
	case strings.Contains(clean, "\x00"):
		return "", invalidf("%.200q has a zero byte in it", name)
	case strings.Count(clean, "/") > maxDepth:
		return "", invalidf("%.200q is more than %d folders deep", name, maxDepth)
	}
	for rest := clean; len(rest) > maxName; {
		part, after, _ := strings.Cut(rest, "/")
		if len(part) > maxName {
			return "", invalidf("%.300q has a part longer than %d bytes", name, maxName)
		}
		rest = after
	}
	return clean, nil
}

// plainPath tells cheaply that a name is clean; most are, or begin with "./".
func plainPath(name string) bool {
	if name == "" || name[0] == '/' || name[len(name)-1] == '/' {
		return false
	}
	return name[0] != '.' && !strings.Contains(name, "//") && !strings.Contains(name, "/.")
}

// split gives the folder of a clean path, "" for the root, and the name in it.
func split(p string) (dir, base string) {
	i := strings.LastIndexByte(p, '/')
	return p[:max(i, 0)], p[i+1:]
}

// mark notes a path, and tells whether it is new.
func (u *unpacker) mark(p string) bool {
	h := maphash.String(u.seed, p)
	if _, ok := u.seen[h]; ok {
		return false
	}
	u.seen[h] = struct{}{}
	return true
}

// settle waits for what was begun, if there was any at p.
func (u *unpacker) settle(p string) bool {
	if _, ok := u.seen[maphash.String(u.seed, p)]; !ok {
		return false
	}
	u.begun.Wait()
	return true
}

// finish gives folders what they are to have, and ends the index.
func (u *unpacker) finish() error {
	t := &u.totals
	t.DiffID, t.TarSize, t.Size = "sha256:"+hex.EncodeToString(u.stream.sum[:]), u.stream.size, u.size.Load()
	if err := u.out.finish(*t); err != nil {
		return fmt.Errorf("write index: %w", err)
	}
	return u.dress()
}

func (u *unpacker) close() error {
	u.tree.close()
	return errors.Join(u.out.close(), u.index.Close())
}
