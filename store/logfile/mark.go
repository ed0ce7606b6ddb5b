package logfile

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"
	"strings"
	"time"
)

// A mark is a small file that says up to which record a log was read by somebody for
// whom it must be kept: that record's time, in Unix nanoseconds, as twenty digits and
// a newline. It is overwritten in place.

// AppendMark appends a mark's content to dst.
func AppendMark(dst []byte, at time.Time) []byte { return fmt.Appendf(dst, "%020d\n", at.UnixNano()) }

// ReadMark reads a mark. No file, or an empty one, is the zero time: nothing was read.
func ReadMark(path string) (time.Time, error) {
	b, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) || err == nil && len(b) == 0 {
		return time.Time{}, nil
	}
	if err != nil {
		return time.Time{}, fmt.Errorf("read a log's mark: %w", err)
	}
	n, err := strconv.ParseInt(strings.TrimSpace(string(b)), 10, 64)
	if err != nil {
		return time.Time{}, fmt.Errorf("read a log's mark %s: %w", path, err)
	}
	return time.Unix(0, n), nil
}

// Spent says whether all that the next rotation throws away is marked as read. last is
// the time of the newest record, in Unix nanoseconds.
func (w *Writer) Spent(ctx context.Context, mark string, last int64) (bool, error) {
	if w.o.MaxFiles < 2 { // the only file is emptied
		at, err := ReadMark(mark)
		return last == 0 || !at.IsZero() && at.UnixNano() >= last, err
	}
	goes := rotated(w.o.Path, w.o.MaxFiles-1)
	if !exists(goes) && !exists(goes+".gz") {
		return true, nil
	}
	at, err := ReadMark(mark)
	if err != nil || at.IsZero() {
		return false, err
	}
	// Records' times only grow: who has read the first of the file that follows has
	// read all of this one.
	s, err := openSegment(numbered(w.o.Path, w.o.MaxFiles-2))
	if err != nil {
		return false, err
	}
	defer s.file.Close()
	r := &reader{ctx: ctx, path: w.o.Path}
	first, ok, err := r.first(s)
	return ok && !first.After(at), err
}

// Newest is the time of a log's last record in Unix nanoseconds, 0 when there is none.
func Newest(ctx context.Context, path string) (last int64, err error) {
	err = Read(ctx, path, ReadOptions{Tail: 1}, func(r *Record) error {
		last = r.Time.UnixNano()
		return nil
	})
	return last, err
}

// Within is the time from which on a log's records take at most size bytes in its files,
// a compressed one being counted as it lies there. It is zero when all do.
func Within(ctx context.Context, path string, size int64) (time.Time, error) {
	all, err := segments(path)
	if err != nil {
		return time.Time{}, err
	}
	defer func() { closeAll(all) }()
	r := &reader{ctx: ctx, path: path}
	for i, s := range all {
		if s.size <= size {
			size -= s.size
			continue
		}
		if s.gz { // no seeking in there: it goes as a whole
			if i == 0 {
				return time.Time{}, nil
			}
			at, _, err := r.first(all[i-1])
			return at, err
		}
		_, at, ok, err := r.next(s, s.size-size, s.size)
		if err == nil && !ok && i > 0 {
			at, _, err = r.first(all[i-1])
		}
		return at, err
	}
	return time.Time{}, nil
}
