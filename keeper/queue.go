package keeper

import (
	"fmt"
	"os"
)

// How much may wait for one client that reads slower than its process prints.
const (
	queueMemory = 1 << 20 // bytes, before a file is used
	queueFile   = 1 << 30 // bytes, before the client is dropped
)

// queue is bytes that wait: first in memory, then in a file without a name. While
// the file holds some, all that comes goes there, so that the order stays.
type queue struct {
	memory []byte
	file   *os.File
	read   int64 // offsets in file
	wrote  int64
}

func (q *queue) empty() bool { return len(q.memory) == 0 && q.read == q.wrote }

// add appends b. The file is made in dir when it is needed first.
func (q *queue) add(b []byte, dir string) error {
	if q.read == q.wrote && len(q.memory)+len(b) <= queueMemory {
		q.memory = append(q.memory, b...)
		return nil
	}
	if q.wrote-q.read+int64(len(b)) > queueFile {
		return fmt.Errorf("more than %d bytes wait for it", int64(queueFile))
	}
	if q.file == nil {
		f, err := os.CreateTemp(dir, ".spool-*")
		if err != nil {
			return fmt.Errorf("make a spool file: %w", err)
		}
		os.Remove(f.Name())
		q.file = f
	}
	n, err := q.file.WriteAt(b, q.wrote)
	if err != nil {
		return fmt.Errorf("write a spool file: %w", err)
	}
	q.wrote += int64(n)
	return nil
}

// take moves the oldest bytes into b and tells how many.
func (q *queue) take(b []byte) (int, error) {
	if len(q.memory) > 0 {
		n := copy(b, q.memory)
		if q.memory = q.memory[n:]; len(q.memory) == 0 {
			q.memory = nil
		}
		return n, nil
	}
	if q.read == q.wrote {
		return 0, nil
	}
	n, err := q.file.ReadAt(b[:min(int64(len(b)), q.wrote-q.read)], q.read)
	if n == 0 && err != nil {
		return 0, fmt.Errorf("read a spool file: %w", err)
	}
	if q.read += int64(n); q.read == q.wrote {
		q.read, q.wrote = 0, 0
		if err := q.file.Truncate(0); err != nil {
			return n, fmt.Errorf("empty a spool file: %w", err)
		}
	}
	return n, nil
}

func (q *queue) close() {
	q.memory = nil
	q.read, q.wrote = 0, 0
	if q.file != nil {
		q.file.Close()
		q.file = nil
	}
}
