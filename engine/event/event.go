// Package event keeps the engine's timeline: what happened to containers, images,
// networks and volumes, each event with a sequence number, appended to disk so that
// a replay reaches back over restarts.
//
// It only tells. Nothing in the engine reacts to an event, and no listener, however
// slow, holds up the one who publishes: a listener is a position in the timeline,
// not a queue.
package event

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"lighter/api"
)

const (
	ringSize = 1024    // events kept in memory
	fileSize = 8 << 20 // bytes after which the current file becomes the previous one
	maxLine  = 1 << 20 // bytes of one event on disk
)

// entry is an event with its place in the timeline, as it stands on disk.
type entry struct {
	Seq uint64 `json:"seq"`
	api.Event
}

// Log is the timeline. Its methods may be called from anywhere at any time.
type Log struct {
	dir       string
	listeners atomic.Int64

	mu   sync.Mutex
	ring []entry // the newest, oldest first once unrolled: event n is at n % ringSize
	next uint64  // the sequence number of the next event; the first ever is 1
	low  uint64  // the oldest in the ring
	file *os.File
	size int64         // of file
	wake chan struct{} // closed by the next event; nil when nobody waits
	sick bool          // a write failed, and it was said
	gone bool
}

// Open opens the timeline that is kept in the folder dir, which is made when absent.
// A last line that a crash tore is cut off.
func Open(dir string) (*Log, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("open the event log: %w", err)
	}
	l := &Log{dir: dir, ring: make([]entry, ringSize), next: 1, low: 1}
	for _, path := range []string{l.previous(), l.current()} {
		good, err := scan(path, func(e entry) bool { l.keep(e); return true })
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("open the event log: %w", err)
		}
		if path == l.current() {
			if err := os.Truncate(path, good); err != nil {
				return nil, fmt.Errorf("open the event log: %w", err)
			}
		}
	}
	return l, l.reopen()
}

func (l *Log) current() string  { return filepath.Join(l.dir, "events.json") }
func (l *Log) previous() string { return filepath.Join(l.dir, "events.json.1") }

func (l *Log) reopen() error {
	f, err := os.OpenFile(l.current(), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return fmt.Errorf("open the event log: %w", err)
	}
	st, err := f.Stat()
	if err != nil {
		f.Close()
		return fmt.Errorf("open the event log: %w", err)
	}
	l.file, l.size = f, st.Size()
	return nil
}

// keep puts an event in the ring. A gap in the numbers (a lost file) empties it.
func (l *Log) keep(e entry) {
	if e.Seq != l.next {
		l.low = e.Seq
	}
	l.ring[e.Seq%ringSize] = e
	l.next = e.Seq + 1
	if l.next-l.low > ringSize {
		l.low = l.next - ringSize
	}
}

// Publish appends an event. The map becomes the log's: it must not change afterwards.
// A disk that takes no more costs the event its place on disk, not in memory.
func (l *Log) Publish(typ, action, id string, attrs map[string]string) {
	if attrs == nil {
		attrs = map[string]string{}
	}
	e := api.Event{Type: typ, Action: action, Scope: "local", Actor: api.Actor{ID: id, Attributes: attrs}}
	switch typ {
	case "container":
		e.ID, e.Status, e.From = id, action, attrs["image"]
	case "image":
		e.ID, e.Status = id, action
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	now := time.Now()
	e.Time, e.TimeNano = now.Unix(), now.UnixNano()
	ent := entry{Seq: l.next, Event: e}
	l.keep(ent)
	if err := l.write(ent); err != nil && !l.sick {
		l.sick = true
		slog.Error("events are no longer kept on disk", "err", err)
	}
	if l.wake != nil {
		close(l.wake)
		l.wake = nil
	}
}

// write appends to the file, whole or not at all.
func (l *Log) write(e entry) error {
	if l.gone {
		return nil
	}
	line, err := json.Marshal(e)
	if err != nil || len(line) >= maxLine {
		return fmt.Errorf("event %d of %d bytes: %w", e.Seq, len(line), err)
	}
	if l.size+int64(len(line)) > fileSize {
		if err := l.rotate(); err != nil {
			return err
		}
	}
	n, err := l.file.Write(append(line, '\n'))
	if err != nil {
		return errors.Join(err, l.file.Truncate(l.size))
	}
	l.size += int64(n)
	l.sick = false
	return nil
}

func (l *Log) rotate() error {
	if err := os.Rename(l.current(), l.previous()); err != nil {
		return err
	}
	old := l.file
	if err := l.reopen(); err != nil {
		return err // old stays open: events go on into what is now the previous file
	}
	return old.Close()
}

// Listeners is how many subscriptions are being read.
func (l *Log) Listeners() int { return int(l.listeners.Load()) }

// Close ends every subscription and closes the file. Events published later are in
// memory only.
func (l *Log) Close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.gone {
		return nil
	}
	l.gone = true
	if l.wake != nil {
		close(l.wake)
		l.wake = nil
	}
	return l.file.Close()
}

// scan gives each event of a file until yield says no. It returns the offset after
// the last whole line; what follows it is a torn write.
func scan(path string, yield func(entry) bool) (good int64, err error) {
	f, err := os.Open(path)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	return scanFile(f, yield)
}

func scanFile(f io.Reader, yield func(entry) bool) (good int64, err error) {
	r := bufio.NewReaderSize(f, 64<<10)
	var long []byte
	for {
		line, err := r.ReadSlice('\n')
		if errors.Is(err, bufio.ErrBufferFull) && len(long) < maxLine {
			long = append(long, line...)
			continue
		}
		if err == io.EOF {
			return good, nil
		}
		if err != nil {
			return good, err
		}
		if long != nil {
			line, long = append(long, line...), nil
		}
		good += int64(len(line))
		var e entry
		if json.Unmarshal(bytes.TrimSpace(line), &e) != nil || e.Seq == 0 {
			continue // a damaged line costs itself alone
		}
		if !yield(e) {
			return good, nil
		}
	}
}
