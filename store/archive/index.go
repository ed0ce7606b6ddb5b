package archive

import (
	"bufio"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"

	"github.com/klauspost/compress/zstd"

	"lighter/linux/fs"
)

const (
	indexMagic = "lighter layer index 1\n"
	blockAim   = 512 << 10                // bytes of records after which a block ends
	blockMax   = blockAim + 4*maxExtended // no block is larger: the last record may overshoot
)

// The kinds of record, see the package's doc.
const (
	recordEntry   = 1
	recordImplied = 2
	recordRaw     = 3
	recordZeros   = 4
	recordKept    = 5
)

// The flags of an entry's record.
const (
	flagDigest = 1 << iota
	flagPadding
	flagSparse
	flagWhiteout
	flagOpaque
	flagAtime
)

// Totals is what an index's foot says of the layer.
type Totals struct {
	DiffID  string `json:"diffID"`  // sha256:… of the tar
	TarSize int64  `json:"tarSize"` // bytes of the tar
	Size    int64  `json:"size"`    // bytes of files and links in the folder, each file once
	Entries int64  `json:"entries"`

	Whiteouts  int64 `json:"whiteouts,omitempty"`
	Implied    int64 `json:"implied,omitempty"`    // folders that no entry names
	RootOpaque bool  `json:"rootOpaque,omitempty"` // the layer hides all below it
}

// ErrIndex says that an index is damaged.
var ErrIndex = errors.New("damaged layer index")

// indexWriter writes an index.
type indexWriter struct {
	w       *bufio.Writer
	encoder *zstd.Encoder
	block   []byte
	packed  []byte
}

func newIndexWriter(w io.Writer) (*indexWriter, error) {
	encoder, err := zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1), zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithLowerEncoderMem(true))
	if err != nil {
		return nil, err
	}
	x := &indexWriter{w: bufio.NewWriterSize(w, 64<<10), encoder: encoder}
	_, err = x.w.WriteString(indexMagic)
	return x, err
}

func (x *indexWriter) uint(n uint64)  { x.block = binary.AppendUvarint(x.block, n) }
func (x *indexWriter) int(n int64)    { x.block = binary.AppendVarint(x.block, n) }
func (x *indexWriter) str(s string)   { x.uint(uint64(len(s))); x.block = append(x.block, s...) }
func (x *indexWriter) bytes(b []byte) { x.uint(uint64(len(b))); x.block = append(x.block, b...) }

// entry adds an entry or an implied folder.
func (x *indexWriter) entry(e *Entry) error {
	if e.Implied {
		x.block = append(x.block, recordImplied)
		x.str(e.Path)
		return x.flush(blockAim)
	}
	x.block = append(x.block, recordEntry)
	flags := uint64(0)
	for _, f := range []struct {
		set  bool
		flag uint64
	}{
		{e.Digest != [32]byte{}, flagDigest}, {e.padding != nil, flagPadding}, {e.Sparse, flagSparse},
		{e.Whiteout, flagWhiteout}, {e.Opaque, flagOpaque}, {e.Atime != e.Mtime, flagAtime},
	} {
		if f.set {
			flags |= f.flag
		}
	}
	x.uint(flags)
	x.bytes(e.header)
	x.str(e.Path)
	x.str(e.Link)
	x.block = append(x.block, byte(e.Type))
	for _, n := range []uint64{uint64(e.Mode), uint64(e.UID), uint64(e.GID), uint64(e.Size), uint64(e.stored)} {
		x.uint(n)
	}
	x.int(e.Mtime.Sec)
	x.uint(uint64(e.Mtime.Nsec))
	if flags&flagAtime != 0 {
		x.int(e.Atime.Sec)
		x.uint(uint64(e.Atime.Nsec))
	}
	x.uint(uint64(e.Major))
	x.uint(uint64(e.Minor))
	x.uint(uint64(len(e.Xattrs)))
	for _, name := range slices.Sorted(maps.Keys(e.Xattrs)) {
		x.str(name)
		x.str(e.Xattrs[name])
	}
	if e.Sparse {
		x.uint(uint64(len(e.Fragments)))
		for _, f := range e.Fragments {
			x.uint(uint64(f.Offset))
			x.uint(uint64(f.Length))
		}
	}
	if flags&flagDigest != 0 {
		x.block = append(x.block, e.Digest[:]...)
	}
	if flags&flagPadding != 0 {
		x.bytes(e.padding)
	}
	return x.flush(blockAim)
}

func (x *indexWriter) raw(b []byte) error {
	x.block = append(x.block, recordRaw)
	x.bytes(b)
	return x.flush(blockAim)
}

func (x *indexWriter) zeros(n int64) error {
	x.block = append(x.block, recordZeros)
	x.uint(uint64(n))
	return x.flush(blockAim)
}

func (x *indexWriter) kept(size int64, digest [32]byte) error {
	x.block = append(x.block, recordKept)
	x.uint(uint64(size))
	x.block = append(x.block, digest[:]...)
	return x.flush(blockAim)
}

// flush writes the block if it holds more than aim bytes.
func (x *indexWriter) flush(aim int) error {
	if len(x.block) <= aim {
		return nil
	}
	x.packed = x.encoder.EncodeAll(x.block, x.packed[:0])
	err := x.sizes(len(x.packed), len(x.block))
	if err == nil {
		_, err = x.w.Write(x.packed)
	}
	x.block = x.block[:0]
	return err
}

func (x *indexWriter) sizes(packed, plain int) error {
	var b [8]byte
	binary.LittleEndian.PutUint32(b[:], uint32(packed))
	binary.LittleEndian.PutUint32(b[4:], uint32(plain))
	_, err := x.w.Write(b[:])
	return err
}

// finish writes what is left, and the foot.
func (x *indexWriter) finish(t Totals) error {
	if err := x.flush(0); err != nil {
		return err
	}
	if err := x.sizes(0, 0); err != nil {
		return err
	}
	foot, err := json.Marshal(t)
	if err != nil {
		return err
	}
	x.block = foot
	if err := x.flush(0); err != nil {
		return err
	}
	return x.w.Flush()
}

// close gives the encoder's memory back.
func (x *indexWriter) close() error { return x.encoder.Close() }

// record is one record of an index: an entry, or bytes that belong to none.
type record struct {
	kind   byte
	entry  *Entry
	raw    []byte
	size   int64 // of zeros and kept bytes
	digest [32]byte
}

// readIndex calls f with each record of the index at path, in order, and gives the
// foot. With f nil it skips to the foot. A record's bytes are only valid in the call.
func readIndex(path string, f func(*record) error) (Totals, error) {
	file, err := os.Open(path)
	if err != nil {
		return Totals{}, err
	}
	defer file.Close()
	totals, err := readBlocks(file, f)
	if err != nil && errors.Is(err, ErrIndex) {
		err = fmt.Errorf("%s: %w", path, err)
	}
	return totals, err
}

func readBlocks(file *os.File, f func(*record) error) (totals Totals, err error) {
	decoder, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxMemory(blockMax), zstd.WithDecoderLowmem(true))
	if err != nil {
		return Totals{}, err
	}
	defer decoder.Close()
	r := bufio.NewReaderSize(file, 64<<10)
	magic := make([]byte, len(indexMagic))
	if _, err := io.ReadFull(r, magic); err != nil || string(magic) != indexMagic {
		return Totals{}, fmt.Errorf("%w: it does not begin as one", ErrIndex)
	}
	var packed, plain []byte
	for last := false; ; {
		var sizes [8]byte
		if _, err := io.ReadFull(r, sizes[:]); err != nil {
			return Totals{}, fmt.Errorf("%w: %w", ErrIndex, cutShort(err))
		}
		n, m := binary.LittleEndian.Uint32(sizes[:]), binary.LittleEndian.Uint32(sizes[4:])
		if n == 0 && m == 0 && !last {
			last = true
			continue
		}
		if n > blockMax || m > blockMax {
			return Totals{}, fmt.Errorf("%w: a block of %d bytes", ErrIndex, max(n, m))
		}
		if f == nil && !last {
			if _, err := r.Discard(int(n)); err != nil {
				return Totals{}, fmt.Errorf("%w: %w", ErrIndex, cutShort(err))
			}
			continue
		}
		packed = slices.Grow(packed[:0], int(n))[:n]
		if _, err := io.ReadFull(r, packed); err != nil {
			return Totals{}, fmt.Errorf("%w: %w", ErrIndex, cutShort(err))
		}
		plain, err = decoder.DecodeAll(packed, plain[:0])
		if err != nil || len(plain) != int(m) {
			return Totals{}, fmt.Errorf("%w: block: %w", ErrIndex, errors.Join(err))
		}
		if last {
			if err := json.Unmarshal(plain, &totals); err != nil {
				return Totals{}, fmt.Errorf("%w: foot: %w", ErrIndex, err)
			}
			return totals, nil
		}
		if err := readRecords(plain, f); err != nil {
			return Totals{}, err
		}
	}
}

func readRecords(block []byte, f func(*record) error) error {
	d := &fields{b: block}
	for len(d.b) > 0 && !d.bad {
		rec := &record{kind: d.byte()}
		switch rec.kind {
		case recordEntry:
			rec.entry = d.entry()
		case recordImplied:
			rec.entry = &Entry{Path: string(d.bytes()), Type: TypeDir, Implied: true, Mode: 0o755}
		case recordRaw:
			rec.raw = d.bytes()
		case recordZeros:
			rec.size = int64(d.uint())
		case recordKept:
			rec.size = int64(d.uint())
			copy(rec.digest[:], d.take(32))
		default:
			d.bad = true
		}
		if d.bad {
			break
		}
		if err := f(rec); err != nil {
			return err
		}
	}
	if d.bad {
		return fmt.Errorf("%w: a record that is none", ErrIndex)
	}
	return nil
}

// fields takes fields off a block.
type fields struct {
	b   []byte
	bad bool
}

func (d *fields) take(n uint64) []byte {
	if d.bad || n > uint64(len(d.b)) {
		d.bad = true
		return nil
	}
	b := d.b[:n:n]
	d.b = d.b[n:]
	return b
}

func (d *fields) byte() byte {
	if b := d.take(1); b != nil {
		return b[0]
	}
	return 0
}

func (d *fields) uint() uint64 {
	n, size := binary.Uvarint(d.b)
	if size <= 0 {
		d.bad = true
		return 0
	}
	d.b = d.b[size:]
	return n
}

func (d *fields) int() int64 {
	n, size := binary.Varint(d.b)
	if size <= 0 {
		d.bad = true
		return 0
	}
	d.b = d.b[size:]
	return n
}

func (d *fields) bytes() []byte { return d.take(d.uint()) }

func (d *fields) entry() *Entry {
	flags := d.uint()
	e := &Entry{header: d.bytes(), Path: string(d.bytes()), Link: string(d.bytes()), Type: Type(d.byte())}
	e.Mode, e.UID, e.GID = uint32(d.uint()), uint32(d.uint()), uint32(d.uint())
	e.Size, e.stored = int64(d.uint()), int64(d.uint())
	e.Mtime = fs.Time{Sec: d.int(), Nsec: int64(d.uint())}
	e.Atime = e.Mtime
	if flags&flagAtime != 0 {
		e.Atime = fs.Time{Sec: d.int(), Nsec: int64(d.uint())}
	}
	e.Major, e.Minor = uint32(d.uint()), uint32(d.uint())
	if n := d.uint(); n > 0 && n <= uint64(len(d.b)) {
		e.Xattrs = make(map[string]string, n)
		for range n {
			name := string(d.bytes())
			e.Xattrs[name] = string(d.bytes())
		}
	}
	e.Whiteout, e.Opaque = flags&flagWhiteout != 0, flags&flagOpaque != 0
	if flags&flagSparse != 0 {
		e.Sparse = true
		for n := d.uint(); n > 0 && !d.bad; n-- {
			e.Fragments = append(e.Fragments, Fragment{int64(d.uint()), int64(d.uint())})
		}
	}
	if flags&flagDigest != 0 {
		copy(e.Digest[:], d.take(32))
	}
	if flags&flagPadding != 0 {
		e.padding = d.bytes()
	}
	return e
}

// ReadEntries calls f with each entry of the index at path, in the order of the tar; where
// two have one path, the later one is what the folder holds.
func ReadEntries(path string, f func(*Entry) error) (Totals, error) {
	return readIndex(path, func(rec *record) error {
		if rec.entry == nil {
			return nil
		}
		return f(rec.entry)
	})
}

// ReadTotals gives what the foot of the index at path says.
func ReadTotals(path string) (Totals, error) { return readIndex(path, nil) }
