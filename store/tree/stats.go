package tree

import (
	"bufio"
	"crypto/sha256"
	"encoding/binary"
	"hash"
	"io"
	"os"
	"path/filepath"
	"sync"

	linux "lighter/linux/fs"
)

// Stats remembers digests of files by device, inode, size, mtime and ctime, so that what did not change is
// not read again. Its methods may be called from many goroutines.
//
// As a file it is the line "lighter file digests 1\n", records of statSize bytes, and their sha256: device, inode,
// size, mtime and ctime (nanoseconds since 1970), each a little-endian number of 8 bytes, a byte of
// flags (1: it has extended attributes), a byte that counts how many times the file was saved
// since the record was of use, and the digest.
type Stats struct {
	mu      sync.RWMutex
	known   map[ident]stat
	changed bool
}

type ident struct{ dev, ino uint64 }

type stat struct {
	size         int64
	mtime, ctime int64
	attrs        bool
	age          uint8
	sum          [32]byte
}

const (
	statMagic = "lighter file digests 1\n"
	statSize  = 5*8 + 2 + 32
	statAge   = 20      // saves that a record survives without being of use
	maxStats  = 4 << 20 // records that are kept
)

func nanos(t linux.Time) int64 { return t.Sec*1e9 + t.Nsec }

// find gives what is known of a file that looks like st.
func (s *Stats) find(st *linux.Info) (stat, bool) {
	if s == nil {
		return stat{}, false
	}
	s.mu.RLock()
	k, ok := s.known[ident{st.Dev, st.Ino}]
	s.mu.RUnlock()
	if !ok || k.size != st.Size || k.mtime != nanos(st.Mtime) || k.ctime != nanos(st.Ctime) {
		return stat{}, false
	}
	return k, true
}

// note remembers what was found out of a file that looked like st before and after.
func (s *Stats) note(st *linux.Info, sum [32]byte, attrs bool) {
	if s == nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.known == nil {
		s.known = map[ident]stat{}
	}
	s.known[ident{st.Dev, st.Ino}] = stat{size: st.Size, mtime: nanos(st.Mtime), ctime: nanos(st.Ctime), attrs: attrs, sum: sum}
	s.changed = true
}

// used tells that what is known of files was of use.
func (s *Stats) used(files []ident) {
	if s == nil || len(files) == 0 {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, id := range files {
		if k, ok := s.known[id]; ok && k.age > 0 {
			k.age = 0
			s.known[id] = k
		}
	}
}

// LoadStats reads what was saved. A file that is not there, or is damaged, is none.
func LoadStats(path string) *Stats {
	s := &Stats{known: map[ident]stat{}}
	f, err := os.Open(path)
	if err != nil {
		return s
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return s
	}
	n := (info.Size() - int64(len(statMagic)) - sha256.Size) / statSize
	if n < 0 || n > maxStats {
		return s
	}
	h := sha256.New()
	r := io.TeeReader(bufio.NewReaderSize(io.LimitReader(f, info.Size()-sha256.Size), 1<<20), h)
	magic := make([]byte, len(statMagic))
	if _, err := io.ReadFull(r, magic); err != nil || string(magic) != statMagic {
		return s
	}
	known := make(map[ident]stat, n)
	buf := make([]byte, statSize)
	for range n {
		if _, err := io.ReadFull(r, buf); err != nil {
			return s
		}
		id, k := parseStat(buf)
		known[id] = k
	}
	want := make([]byte, sha256.Size)
	if _, err := f.ReadAt(want, info.Size()-sha256.Size); err == nil && string(want) == string(h.Sum(nil)) {
		s.known = known
	}
	return s
}

func parseStat(b []byte) (ident, stat) {
	u := func(i int) uint64 { return binary.LittleEndian.Uint64(b[8*i:]) }
	k := stat{size: int64(u(2)), mtime: int64(u(3)), ctime: int64(u(4)), attrs: b[40]&1 != 0, age: b[41], sum: [32]byte(b[42:])}
	return ident{u(0), u(1)}, k
}

// Save writes what is known, if that changed. What was of no use for long is dropped.
func (s *Stats) Save(path string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.changed {
		return nil
	}
	f, err := os.CreateTemp(filepath.Dir(path), ".stats-")
	if err != nil {
		return err
	}
	defer f.Close()
	err = s.write(f)
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		os.Remove(f.Name())
		return err
	}
	s.changed = false
	return nil
}

func (s *Stats) write(f *os.File) error {
	h := sha256.New()
	w := bufio.NewWriterSize(f, 1<<20)
	out := tee{w, h}
	out.put([]byte(statMagic))
	var b [statSize]byte
	for id, k := range s.known {
		if k.age++; k.age > statAge || len(s.known) > maxStats {
			delete(s.known, id)
			continue
		}
		s.known[id] = k
		for i, n := range []uint64{id.dev, id.ino, uint64(k.size), uint64(k.mtime), uint64(k.ctime)} {
			binary.LittleEndian.PutUint64(b[8*i:], n)
		}
		b[40], b[41] = 0, k.age
		if k.attrs {
			b[40] = 1
		}
		copy(b[42:], k.sum[:])
		out.put(b[:])
	}
	if _, err := w.Write(h.Sum(nil)); err != nil {
		return err
	}
	return w.Flush()
}

// tee writes to both; a bufio.Writer keeps its first error, a hash has none.
type tee struct {
	w *bufio.Writer
	h hash.Hash
}

func (t tee) put(b []byte) {
	t.w.Write(b)
	t.h.Write(b)
}
