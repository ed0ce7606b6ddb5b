package store

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"

	"lighter/linux/fs"
)

// maxRecord bounds what ReadRecord takes into memory, in bytes.
const maxRecord = 64 << 20

// CorruptError says that a record cannot be read as what it should be. The thing it
// describes is to be left alone, and everything else goes on.
type CorruptError struct {
	Path string
	Err  error
}

func (e *CorruptError) Error() string { return fmt.Sprintf("record %s is corrupt: %v", e.Path, e.Err) }

// Unwrap gives what was found wrong.
func (e *CorruptError) Unwrap() error { return e.Err }

// WriteRecord writes v as JSON to path, whole or not at all. With sync it also
// survives a power cut; else only a crash of ours.
func WriteRecord(path string, v any, sync bool) error {
	text, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("record %s: %w", path, err)
	}
	return WriteFile(path, append(text, '\n'), 0o600, sync)
}

// ReadRecord reads the JSON at path into v. One that is not there gives an error
// that is os.ErrNotExist, one that makes no sense a *CorruptError.
func ReadRecord(path string, v any) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxRecord+1))
	if err != nil {
		return err
	}
	if len(text) > maxRecord {
		return &CorruptError{path, fmt.Errorf("it is larger than %d bytes", maxRecord)}
	}
	decoder := json.NewDecoder(bytes.NewReader(text))
	if err := decoder.Decode(v); err != nil {
		if errors.Is(err, io.EOF) {
			err = errors.New("it is empty")
		}
		return &CorruptError{path, err}
	}
	if _, err := decoder.Token(); err != io.EOF {
		return &CorruptError{path, errors.New("something follows its end")}
	}
	return nil
}

// temporary numbers the files that WriteFile renames from.
var temporary atomic.Uint64

// WriteFile writes data to path, whole or not at all, over what was there; parents
// must exist. With sync it is durable when WriteFile returns.
func WriteFile(path string, data []byte, mode os.FileMode, sync bool) (err error) {
	temp := path + ".new-" + strconv.Itoa(os.Getpid()) + "-" + strconv.FormatUint(temporary.Add(1), 10)
	f, err := os.OpenFile(temp, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, mode)
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, remove(temp))
		}
	}()
	_, err = f.Write(data)
	if err == nil && sync {
		err = f.Sync()
	}
	if err := errors.Join(err, f.Close()); err != nil {
		return err
	}
	if err := os.Rename(temp, path); err != nil {
		return err
	}
	if sync {
		return SyncDir(filepath.Dir(path))
	}
	return nil
}

// HalfWritten tells by a file's name that it is one of WriteFile's that an engine died over:
// nobody reads it again.
func HalfWritten(name string) bool { return strings.Contains(name, ".new-") }

// SweepHalfWritten removes such files of a folder, in which nobody writes meanwhile. A
// folder that is not there has none.
func SweepHalfWritten(dir string) error {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	for _, e := range entries {
		if HalfWritten(e.Name()) {
			err = errors.Join(err, remove(filepath.Join(dir, e.Name())))
		}
	}
	return err
}

// SyncDir makes the names in a folder durable.
func SyncDir(path string) error {
	dir, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}

func remove(path string) error {
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return nil
}

// Wait takes the lock of a file that several engines share, however long the holder has it;
// holders have it for milliseconds. The file is made if need be, and stays, unless a holder
// takes it away: then who waited for it waits for the next.
func Wait(path string) (unlock func(), err error) {
	for {
		f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
		if err != nil {
			return nil, err
		}
		if err := fs.FlockWait(f); err != nil {
			return nil, errors.Join(err, f.Close())
		}
		have, err := f.Stat()
		if now, gone := os.Stat(path); err == nil && gone == nil && os.SameFile(have, now) {
			return func() { f.Close() }, nil // nothing was written
		}
		f.Close()
	}
}
