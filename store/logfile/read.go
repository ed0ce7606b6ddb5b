package logfile

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"time"

	linuxfs "lighter/linux/fs"
)

// ReadOptions is which records are wanted. The zero value wants none but Follow's:
// Tail counts records, All is for all of them.
type ReadOptions struct {
	Since  time.Time // records of this time and later
	Until  time.Time // records of this time and earlier; zero for no bound
	Tail   int       // at most so many of the last; All for all
	Follow bool
	Done   <-chan struct{} // closed when nothing will be written any more
}

// All is the Tail that leaves nothing out.
const All = -1

const (
	chunk     = 256 << 10
	patience  = 30 * time.Second // for a log whose files are renamed whenever we look
	maxRecord = 4 << 20          // a longer line is no record: MaxLine, escaped, with attrs, is far below
)

// Read calls f for each record wanted, oldest first, across rotated files. With
// Follow it goes on with what is written, through rotations, until Done is closed
// (it still reads what is there then), ctx ends, or a record is later than Until. An
// error of f ends it and is returned. No file is no record.
func Read(ctx context.Context, path string, o ReadOptions, f func(*Record) error) error {
	r := &reader{ctx: ctx, path: path, o: o, f: f}
	defer r.close()
	var watch *watcher
	if o.Follow {
		// Before the first look, so that nothing falls between the two.
		w, err := watchDir(filepath.Dir(path))
		if err != nil {
			return fmt.Errorf("follow log: %w", err)
		}
		watch = w
		defer watch.close()
	}
	err := r.backlog()
	if err == nil && o.Follow {
		err = r.follow(watch)
	}
	if errors.Is(err, errEnough) {
		return nil
	}
	return err
}

// errEnough ends a reading that is complete.
var errEnough = errors.New("enough")

type reader struct {
	ctx  context.Context
	path string
	o    ReadOptions
	f    func(*Record) error

	parser parser
	rec    Record
	last   time.Time // of the newest record given out
	buf    []byte
	file   *os.File // the current file once the backlog is read
	at     int64
	inode  uint64
}

func (r *reader) close() {
	if r.file != nil {
		r.file.Close()
	}
}

// segment is one file of a log.
type segment struct {
	file *os.File
	gz   bool
	size int64
}

// segments opens the files of a log, newest first. Opened files stay what they are,
// whatever is renamed later. Names that were moved while we went through them, from
// the oldest on, would show a file twice or not at all: then we go through them again.
func segments(path string) (all []segment, err error) {
	for begun := time.Now(); time.Since(begun) < patience; {
		if all, err = openAll(path); err != nil || stable(path, all) {
			return all, err
		}
		closeAll(all)
	}
	return nil, fmt.Errorf("read log %s: it is rotated faster than it can be opened", path)
}

func openAll(path string) (all []segment, err error) {
	for i := range maxFiles {
		s, err := openSegment(numbered(path, i))
		if errors.Is(err, fs.ErrNotExist) {
			break
		}
		if err != nil {
			closeAll(all)
			return nil, err
		}
		all = append(all, s)
	}
	return all, nil
}

// numbered is the name of the n-th file, the current one being the 0th.
func numbered(path string, n int) string {
	if n == 0 {
		return path
	}
	return rotated(path, n)
}

// stable says whether the names still lead to the files that were opened by them.
func stable(path string, all []segment) bool {
	for i, s := range all {
		name := numbered(path, i)
		if s.gz {
			name += ".gz"
		}
		now, err := os.Stat(name)
		opened, err2 := s.file.Stat()
		if err != nil || err2 != nil || !os.SameFile(now, opened) {
			return false
		}
	}
	// A file on its way from one number to the next leaves a gap of one.
	for i := range 2 {
		name := numbered(path, max(len(all), 1)+i)
		if exists(name) || exists(name+".gz") {
			return false
		}
	}
	return true
}

func openSegment(name string) (segment, error) {
	f, err := os.Open(name + ".gz")
	gz := err == nil
	if !gz {
		if f, err = os.Open(name); err != nil {
			return segment{}, fmt.Errorf("read log: %w", err)
		}
	}
	_, size, err := linuxfs.Identity(f)
	if err != nil {
		f.Close()
		return segment{}, fmt.Errorf("read log: %w", err)
	}
	return segment{f, gz, size}, nil
}

func closeAll(all []segment) {
	for _, s := range all {
		s.file.Close()
	}
}

// lines calls f for each whole line of the segment from offset on, without its
// newline, and gives the offset behind the last.
func (r *reader) lines(s segment, offset int64, f func(line []byte) error) (int64, error) {
	var src io.Reader = io.NewSectionReader(s.file, offset, 1<<62)
	if s.gz {
		z, err := gzip.NewReader(io.NewSectionReader(s.file, 0, s.size))
		if err != nil {
			return offset, fmt.Errorf("read log %s: %w", s.file.Name(), err)
		}
		defer z.Close()
		src = z
	}
	if r.buf == nil {
		r.buf = make([]byte, chunk)
	}
	have := 0
	for {
		if err := r.ctx.Err(); err != nil {
			return offset, err
		}
		n, err := src.Read(r.buf[have:])
		have += n
		data := r.buf[:have]
		for {
			i := bytes.IndexByte(data, '\n')
			if i < 0 {
				break
			}
			offset += int64(i) + 1
			if err := f(data[:i]); err != nil {
				return offset, err
			}
			data = data[i+1:]
		}
		have = copy(r.buf, data)
		if have == len(r.buf) {
			if have >= maxRecord {
				return offset, fmt.Errorf("read log %s: a record of more than %d bytes", s.file.Name(), maxRecord)
			}
			r.buf = append(r.buf, make([]byte, have)...)
		}
		if err == io.EOF {
			return offset, nil
		}
		if err != nil {
			return offset, fmt.Errorf("read log %s: %w", s.file.Name(), err)
		}
	}
}

// give hands one line on, if it is wanted.
func (r *reader) give(line []byte) error {
	if !r.parser.parse(line, &r.rec) {
		return nil
	}
	if r.rec.Time.Before(r.o.Since) {
		return nil
	}
	if !r.o.Until.IsZero() && r.rec.Time.After(r.o.Until) {
		return errEnough
	}
	r.last = r.rec.Time
	return r.f(&r.rec)
}

// backlog gives what is in the files now, and leaves the current one open.
func (r *reader) backlog() error {
	all, err := segments(r.path)
	if err != nil {
		return err
	}
	defer func() { closeAll(all) }()
	from, skip, err := r.begin(all)
	if err != nil {
		return err
	}
	offset := skip
	for i := from; i >= 0; i-- {
		if i != from {
			offset = 0
		}
		give := r.give
		if left := offset; all[i].gz && left > 0 { // lines to leave out, as there is no seeking
			offset, give = 0, func(line []byte) error {
				if left--; left >= 0 {
					return nil
				}
				return r.give(line)
			}
		}
		offset, err = r.lines(all[i], offset, give)
		if err != nil {
			return err
		}
	}
	if r.o.Follow && len(all) > 0 {
		r.file, r.at = all[0].file, offset
		all = all[1:]
		r.inode, _, err = linuxfs.Identity(r.file)
	}
	return err
}

// begin tells where reading starts: in which segment and at which offset, which for
// a compressed one is a number of lines.
func (r *reader) begin(all []segment) (from int, skip int64, err error) {
	from = len(all) - 1
	if from < 0 {
		return from, 0, nil
	}
	if r.o.Tail != All {
		return r.tail(all)
	}
	if r.o.Since.IsZero() {
		return from, 0, nil
	}
	// The newest segment that begins before Since holds the first record wanted.
	for i, s := range all {
		first, ok, err := r.first(s)
		if err != nil {
			return 0, 0, err
		}
		if i == from || ok && first.Before(r.o.Since) {
			if s.gz {
				return i, 0, nil
			}
			skip, err := r.bisect(s)
			return i, skip, err
		}
	}
	return from, 0, nil
}

// first is the time of a segment's first record.
func (r *reader) first(s segment) (t time.Time, ok bool, err error) {
	_, err = r.lines(s, 0, func(line []byte) error {
		if t, ok = r.parser.when(line); ok {
			return errEnough
		}
		return nil
	})
	if errors.Is(err, errEnough) {
		err = nil
	}
	return t, ok, err
}

// bisect finds an offset in a segment before which every record is older than
// Since, and from which at most a chunk's worth is.
func (r *reader) bisect(s segment) (int64, error) {
	low, high := int64(0), s.size // low begins a record that is too old, or is 0
	for high-low > chunk {
		mid := low + (high-low)/2
		at, when, ok, err := r.next(s, mid, high)
		if err != nil {
			return 0, err
		}
		if ok && when.Before(r.o.Since) {
			low = at
		} else {
			high = mid
		}
	}
	return low, nil
}

// next finds the first record that begins behind offset and before high.
func (r *reader) next(s segment, offset, high int64) (at int64, when time.Time, ok bool, err error) {
	at, begun := offset, false
	_, err = r.lines(s, offset, func(line []byte) error {
		if begun {
			if when, ok = r.parser.when(line); ok || at >= high {
				return errEnough
			}
		}
		begun = true
		at += int64(len(line)) + 1
		return nil
	})
	if errors.Is(err, errEnough) {
		err = nil
	}
	return at, when, ok && at < high, err
}

// tail finds where the last Tail records begin.
func (r *reader) tail(all []segment) (from int, skip int64, err error) {
	need := int64(max(r.o.Tail, 0))
	for i, s := range all {
		if need == 0 && i == 0 {
			// Nothing of what is there, but what follows from its last whole line on.
			end, err := wholeRecords(s.file, s.size)
			return 0, end, err
		}
		if s.gz {
			count := int64(0)
			if _, err := r.lines(s, 0, func([]byte) error { count++; return nil }); err != nil {
				return 0, 0, err
			}
			if count >= need {
				return i, count - need, nil
			}
			need -= count
			continue
		}
		at, found, err := backward(s, need)
		if err != nil {
			return 0, 0, fmt.Errorf("read log %s: %w", s.file.Name(), err)
		}
		if found == need {
			return i, at, nil
		}
		need -= found
	}
	return len(all) - 1, 0, nil
}

// backward goes back over need lines from the end of a plain segment. It gives where
// it came to and how many it found.
func backward(s segment, need int64) (at, found int64, err error) {
	end, err := wholeRecords(s.file, s.size)
	if err != nil || end == 0 {
		return 0, 0, err
	}
	b := make([]byte, 64<<10)
	for pos := end - 1; pos > 0; { // the newline at end-1 ends the last line
		n := min(int64(len(b)), pos)
		if _, err := s.file.ReadAt(b[:n], pos-n); err != nil {
			return 0, 0, err
		}
		for part := b[:n]; ; {
			i := bytes.LastIndexByte(part, '\n')
			if i < 0 {
				break
			}
			if found++; found == need {
				return pos - n + int64(i) + 1, found, nil
			}
			part = part[:i]
		}
		pos -= n
	}
	return 0, found + 1, nil
}

// watcher turns a folder's events into a channel.
type watcher struct {
	file  *os.File
	event chan struct{} // of length one: something happened since it was last read
	wait  sync.WaitGroup
}

func watchDir(dir string) (*watcher, error) {
	f, err := linuxfs.Watch(dir)
	if err != nil {
		return nil, err
	}
	w := &watcher{file: f, event: make(chan struct{}, 1)}
	w.wait.Go(func() {
		b := make([]byte, 4096)
		for {
			if _, err := f.Read(b); err != nil {
				return
			}
			select {
			case w.event <- struct{}{}:
			default:
			}
		}
	})
	return w, nil
}

func (w *watcher) close() {
	w.file.Close()
	w.wait.Wait()
}
