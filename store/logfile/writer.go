package logfile

import (
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"sync"
	"sync/atomic"

	linuxfs "lighter/linux/fs"
)

// Writer writes one log. It is not safe for use by several goroutines, but for Room
// and Position, which may be asked while another writes.
type Writer struct {
	o      Options
	file   *os.File
	inode  uint64
	offset atomic.Int64 // how far the file is right
	gzips  sync.WaitGroup
	gzipMu sync.Mutex
	gzipE  error
}

// Open opens the log for appending, and makes it when there is none. A record that
// was cut off, by a power failure for instance, is removed.
func Open(o Options) (*Writer, error) {
	w := &Writer{o: o}
	if err := w.open(); err != nil {
		return nil, err
	}
	size, err := wholeRecords(w.file, w.offset.Load())
	if err == nil && size != w.offset.Load() {
		w.offset.Store(size)
		err = w.file.Truncate(size)
	}
	if err != nil {
		w.file.Close()
		return nil, fmt.Errorf("open log %s: %w", o.Path, err)
	}
	return w, nil
}

// Resume opens the log where another Writer was. Where p.Inode is not the current
// file any more, that one died in a rotation, and the new file is empty but for
// what it could not finish.
func Resume(o Options, p Position) (*Writer, error) {
	w := &Writer{o: o}
	if err := w.open(); err != nil {
		return nil, err
	}
	if w.inode != p.Inode {
		p.Offset = 0
	}
	w.offset.Store(min(w.offset.Load(), p.Offset)) // shorter when somebody emptied it by hand
	return w, nil
}

func (w *Writer) open() error {
	f, err := os.OpenFile(w.o.Path, os.O_RDWR|os.O_CREATE, 0o640)
	if err != nil {
		return fmt.Errorf("open log: %w", err)
	}
	inode, size, err := linuxfs.Identity(f)
	if err != nil {
		f.Close()
		return fmt.Errorf("open log: %w", err)
	}
	w.file, w.inode = f, inode
	w.offset.Store(size)
	return nil
}

// wholeRecords is the offset behind the last newline within the first size bytes.
func wholeRecords(f *os.File, size int64) (int64, error) {
	var b [4096]byte
	for size > 0 {
		n := min(int64(len(b)), size)
		if _, err := f.ReadAt(b[:n], size-n); err != nil {
			return 0, err
		}
		for i := n; i > 0; i-- {
			if b[i-1] == '\n' {
				return size - n + i, nil
			}
		}
		size -= n
	}
	return 0, nil
}

// Position is how far the log is right.
func (w *Writer) Position() Position { return Position{Inode: w.inode, Offset: w.offset.Load()} }

// Room is how many bytes of records go into the file before it is to be rotated,
// -1 for no bound.
func (w *Writer) Room() int64 {
	if w.o.MaxSize <= 0 {
		return -1
	}
	return max(w.o.MaxSize-w.offset.Load(), 0)
}

// Settle looks whether somebody emptied the file by hand, and follows: written at
// the old place, the next records would stand behind a hole.
func (w *Writer) Settle() {
	if _, size, err := linuxfs.Identity(w.file); err == nil && size < w.offset.Load() {
		w.offset.Store(size)
	}
}

// Write writes whole records at the position and moves it behind them. When it
// cannot, the position stays, and so do the readers' whole records.
func (w *Writer) Write(records []byte) error {
	at := w.offset.Load()
	if _, err := w.file.WriteAt(records, at); err != nil {
		w.file.Truncate(at)
		return fmt.Errorf("write log: %w", err)
	}
	w.offset.Store(at + int64(len(records)))
	return nil
}

// Trim cuts off what an unfinished write left behind the position.
func (w *Writer) Trim() error {
	if err := w.file.Truncate(w.offset.Load()); err != nil {
		return fmt.Errorf("trim log: %w", err)
	}
	return nil
}

// Rotate makes the current file Path.1 and begins a new one. Cut off at any point,
// it can be done again: only names up to the first free one are moved.
func (w *Writer) Rotate() error {
	if err := w.Wait(); err != nil {
		return err
	}
	if w.o.MaxFiles < 2 {
		if err := w.file.Truncate(0); err != nil {
			return fmt.Errorf("empty log: %w", err)
		}
		w.offset.Store(0)
		return nil
	}
	if err := shift(w.o.Path, w.o.MaxFiles); err != nil {
		return fmt.Errorf("rotate log: %w", err)
	}
	old := w.file
	if err := w.open(); err != nil {
		return err
	}
	old.Close()
	if w.o.Compress {
		w.gzips.Go(func() {
			if err := compress(rotated(w.o.Path, 1)); err != nil {
				w.gzipMu.Lock()
				w.gzipE = err
				w.gzipMu.Unlock()
			}
		})
	}
	return nil
}

// shift frees the name path by moving each file one number up, the last one out.
func shift(path string, keep int) error {
	free := 1
	for free < keep-1 && (exists(rotated(path, free)) || exists(rotated(path, free)+".gz")) {
		free++
	}
	for _, suffix := range []string{"", ".gz"} {
		if err := os.Remove(rotated(path, free) + suffix); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	for i := free; i > 1; i-- {
		for _, suffix := range []string{"", ".gz"} {
			err := os.Rename(rotated(path, i-1)+suffix, rotated(path, i)+suffix)
			if err != nil && !errors.Is(err, fs.ErrNotExist) {
				return err
			}
		}
	}
	return os.Rename(path, rotated(path, 1))
}

func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}

// compress replaces path by path.gz. Cut off, it leaves path as it was.
func compress(path string) (err error) {
	in, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("compress log: %w", err)
	}
	defer in.Close()
	tmp := path + ".gz.tmp"
	out, err := os.OpenFile(tmp, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o640)
	if err != nil {
		return fmt.Errorf("compress log: %w", err)
	}
	defer func() {
		if err != nil {
			os.Remove(tmp)
			err = fmt.Errorf("compress log: %w", err)
		}
	}()
	defer out.Close()
	z, err := gzip.NewWriterLevel(out, gzip.BestSpeed)
	if err != nil {
		return err
	}
	if _, err := io.Copy(z, in); err != nil {
		return err
	}
	if err := z.Close(); err != nil {
		return err
	}
	if err := os.Rename(tmp, path+".gz"); err != nil {
		return err
	}
	return os.Remove(path)
}

// Wait waits for rotated files to be compressed and tells what went wrong with it
// since it was last asked. Their lines are still there then, uncompressed.
func (w *Writer) Wait() error {
	w.gzips.Wait()
	w.gzipMu.Lock()
	defer w.gzipMu.Unlock()
	err := w.gzipE
	w.gzipE = nil
	return err
}

// Close closes the file, after what is still being compressed.
func (w *Writer) Close() error {
	return errors.Join(w.Wait(), w.file.Close())
}

// Remove deletes a log with its rotated files.
func Remove(path string) error {
	var all error
	for i := range maxFiles {
		name := path
		if i > 0 {
			name = rotated(path, i)
		}
		found := false
		for _, suffix := range []string{"", ".gz", ".gz.tmp"} {
			err := os.Remove(name + suffix)
			found = found || err == nil
			if err != nil && !errors.Is(err, fs.ErrNotExist) {
				all = errors.Join(all, err)
			}
		}
		if !found && i > 0 {
			break
		}
	}
	return all
}
