package archive

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"slices"
	"strconv"
	"strings"

	"lighter/linux/fs"
)

// job is one thing to be made in a folder.
type job struct {
	e      *Entry
	dir    *folder // held; nil when there is nothing to make
	name   string
	pieces []piece
	more   chan piece // the rest of a payload that did not fit pieces; nil for none
	batch  *batch
}

// inline is how many pieces a job holds; a longer payload comes through its channel.
const inline = 2

// payload reads e's payload off the stream and starts the job, if there is one.
func (u *unpacker) payload(e *Entry, j *job) error {
	if j.dir == nil {
		return u.keep(e)
	}
	started := false
	start := func() {
		started = true
		j.batch = u.batch
		j.batch.waits.Add(1)
		u.begun.Add(1)
		u.jobs <- j
	}
	err := u.stream.pieces(e.stored, func(p piece) {
		switch {
		case started:
			j.more <- p
		case len(j.pieces) < inline:
			j.pieces = append(j.pieces, p)
		default:
			j.more = make(chan piece, slabCount)
			start()
			j.more <- p
		}
	})
	if err != nil {
		err = readError(e, err)
		u.fail(err) // before the job can be taken for a whole one
	}
	if !started {
		start()
	}
	if j.more != nil {
		close(j.more)
	}
	return err
}

func readError(e *Entry, err error) error {
	if err == io.ErrUnexpectedEOF {
		return invalidf("it ends in the middle of %.200q: %w", e.name, err)
	}
	return err
}

// keep puts aside a payload that belongs to nothing in the tree.
func (u *unpacker) keep(e *Entry) error {
	if e.stored == 0 {
		return nil
	}
	digest, err := u.keepStream(&io.LimitedReader{R: u.stream, N: e.stored}, e.stored)
	if err != nil {
		return readError(e, err)
	}
	e.Digest = digest
	return nil
}

// keepStream writes what r holds into the folder aside, under its digest. It must be n
// bytes, unless n is negative.
func (u *unpacker) keepStream(r io.Reader, n int64) (digest [32]byte, err error) {
	aside, err := u.aside()
	if err != nil {
		return digest, err
	}
	defer aside.Close()
	const temp = "coming" // only the goroutine that scans makes it
	f, err := aside.Create(temp, 0o600)
	if err != nil {
		return digest, err
	}
	h := sha256.New()
	got, err := io.Copy(io.MultiWriter(f, h), r)
	if err == nil && n >= 0 && got < n {
		err = io.ErrUnexpectedEOF
	}
	if err := errors.Join(err, f.Close()); err != nil {
		return digest, unwrapOne(err)
	}
	h.Sum(digest[:0])
	if err := aside.Rename(temp, aside, hexName(digest)); fs.IsExist(err) {
		return digest, aside.Unlink(temp)
	} else {
		return digest, err
	}
}

// unwrapOne gives the error of a join of one.
func unwrapOne(err error) error {
	if joined, ok := err.(interface{ Unwrap() []error }); ok && len(joined.Unwrap()) == 1 {
		return joined.Unwrap()[0]
	}
	return err
}

// trailing takes what stands behind the end of the tar: zeros are counted, other
// things kept.
func (u *unpacker) trailing() error {
	zeros := int64(0)
	for {
		err := u.stream.more()
		if err == io.EOF {
			break
		}
		if err != nil {
			return err
		}
		rest := u.stream.rest
		n := len(rest) - len(bytes.TrimLeft(rest, "\x00"))
		zeros += int64(n)
		u.stream.rest = rest[n:]
		if n < len(rest) {
			break
		}
		if err := u.failed(); err != nil {
			return err
		}
	}
	if zeros > 0 {
		u.record(&Entry{Type: typeZeros, Size: zeros})
	}
	if u.stream.more() == io.EOF {
		return nil
	}
	before := u.stream.taken
	digest, err := u.keepStream(u.stream, -1)
	if err != nil {
		return err
	}
	u.record(&Entry{Type: typeKept, Size: u.stream.taken - before, Digest: digest})
	return nil
}

// work makes what comes, until there is no more. After an error it only lets go.
func (u *unpacker) work() {
	w := worker{u: u, hash: sha256.New()}
	for j := range u.jobs {
		if u.failed() == nil {
			if err := w.make(j); err != nil {
				u.fail(errAt("unpack", j.e.Path, err))
			}
		}
		for p, ok := j.next(); ok; p, ok = j.next() {
			p.of.release()
		}
		j.dir.release()
		j.batch.waits.Done()
		u.begun.Done()
	}
}

// next gives the next piece of the payload, to be released.
func (j *job) next() (piece, bool) {
	if len(j.pieces) > 0 {
		p := j.pieces[0]
		j.pieces = j.pieces[1:]
		return p, true
	}
	if j.more != nil {
		p, ok := <-j.more
		return p, ok
	}
	return piece{}, false
}

type worker struct {
	u    *unpacker
	hash hash.Hash
}

func (w *worker) make(j *job) error {
	e := j.e
	switch e.Type {
	case TypeFile:
		return w.file(j)
	case TypeLink:
		if e.Link == "" {
			return invalidf("it is a link to nothing")
		}
		if err := j.dir.Symlink(e.Link, j.name); err != nil {
			return err
		}
		w.u.size.Add(int64(len(e.Link)))
	default:
		kind := map[Type]uint32{TypeChar: fs.ModeChar, TypeBlock: fs.ModeBlock, TypeFifo: fs.ModeFifo}[e.Type]
		err := j.dir.Mknod(j.name, kind|e.Mode&0o777, e.Major, e.Minor)
		if errors.Is(err, fs.ErrPermission) && e.Type != TypeFifo && fs.InUserSpace() {
			return nil // a device is nothing to who may not make one; Docker passes it over, too
		}
		if err != nil {
			return err
		}
	}
	if e.UID != 0 || e.GID != 0 {
		if err := j.dir.Chown(j.name, e.UID, e.GID); err != nil {
			return err
		}
	}
	if e.Type != TypeLink && (e.Mode&w.u.umask != 0 || e.Mode > 0o777) {
		if err := j.dir.Chmod(j.name, e.Mode); err != nil {
			return err
		}
	}
	if err := setXattrs(e, func(attr string, value []byte) error { return j.dir.SetXattr(j.name, attr, value) }); err != nil {
		return err
	}
	return j.dir.Times(j.name, e.Atime, e.Mtime)
}

// file makes a regular file. Owner first, as changing it clears setuid bits and
// capabilities; times last, as all else changes them.
func (w *worker) file(j *job) (err error) {
	e := j.e
	f, err := j.dir.Create(j.name, e.Mode&0o777)
	if err != nil {
		return err
	}
	defer func() {
		if closeErr := f.Close(); err == nil {
			err = closeErr
		}
	}()
	if err := w.content(f, j); err != nil {
		return err
	}
	if e.UID != 0 || e.GID != 0 {
		if err := f.Chown(e.UID, e.GID); err != nil {
			return err
		}
	}
	if e.Mode&w.u.umask != 0 || e.Mode > 0o777 {
		if err := f.Chmod(e.Mode); err != nil {
			return err
		}
	}
	if err := setXattrs(e, f.SetXattr); err != nil {
		return err
	}
	w.u.size.Add(e.Size)
	return f.Times(e.Atime, e.Mtime)
}

// setXattrs sets the attributes that a layer may bear. overlayfs's own are set escaped,
// so that they mean nothing to it and show inside a container as they were (Linux 6.7).
func setXattrs(e *Entry, set func(attr string, value []byte) error) error {
	for attr, value := range e.Xattrs {
		name := attr
		if rest, ok := strings.CutPrefix(attr, fs.OverlayAttr()); ok {
			name = fs.OverlayAttr() + "overlay." + rest
		}
		err := set(name, []byte(value))
		user := strings.HasPrefix(attr, "user.")
		switch {
		case err == nil:
		case errors.Is(err, fs.ErrNotSupported) && attr != "security.capability":
		case user && errors.Is(err, fs.ErrPermission): // on links and devices there are none
		case fs.InUserSpace() && strings.HasPrefix(attr, "trusted."): // nobody there can have or see one
		default:
			return fmt.Errorf("attribute %.100s of %d bytes: %w", attr, len(value), err)
		}
	}
	return nil
}

// content writes the payload, leaves holes where there are long runs of zeros, and
// notes the digest.
func (w *worker) content(f fs.File, j *job) error {
	e := j.e
	if e.stored == 0 {
		if e.Size > 0 {
			return f.Truncate(e.Size)
		}
		return nil
	}
	w.hash.Reset()
	out := holeWriter{f: f}
	fragments := slices.Clone(e.Fragments) // they are used up
	if !e.Sparse {
		fragments = []Fragment{{0, e.Size}}
	}
	for p, ok := j.next(); ok; p, ok = j.next() {
		w.hash.Write(p.b)
		err := error(nil)
		for b := p.b; len(b) > 0 && err == nil; {
			for fragments[0].Length == 0 {
				fragments = fragments[1:]
			}
			at := &fragments[0]
			part := b[:min(int64(len(b)), at.Length)]
			err = out.write(part, at.Offset)
			b = b[len(part):]
			fragments[0] = Fragment{at.Offset + int64(len(part)), at.Length - int64(len(part))}
		}
		p.of.release()
		if err != nil {
			return err
		}
	}
	w.hash.Sum(e.Digest[:0])
	if e.Sparse {
		st, err := f.Stat()
		if err != nil {
			return err
		}
		w.u.sparseMu.Lock()
		w.u.sparseIno[st.Ino] = e.Digest
		w.u.sparseMu.Unlock()
	}
	if out.end < e.Size {
		return f.Truncate(e.Size)
	}
	return nil
}

// holeWriter writes pieces of a file, but not long runs of zeros.
type holeWriter struct {
	f   fs.File
	end int64 // of what was written
}

// A run of zeros is left out when it is at least this long. Shorter ones would cost
// more in extents than they spare.
const holeMin = 32 << 10

var zeroes [holeMin]byte

func (w *holeWriter) write(b []byte, at int64) error {
	for len(b) > 0 {
		n := len(b)
		if n >= holeMin {
			zero := bytes.Equal(b[:holeMin], zeroes[:])
			n = holeMin
			for len(b)-n >= holeMin && bytes.Equal(b[n:n+holeMin], zeroes[:]) == zero {
				n += holeMin
			}
			if zero {
				b, at = b[n:], at+int64(n)
				continue
			}
			if len(b)-n < holeMin {
				n = len(b)
			}
		}
		if _, err := w.f.WriteAt(b[:n], at); err != nil {
			return err
		}
		b, at = b[n:], at+int64(n)
		w.end = max(w.end, at)
	}
	return nil
}

func hashFile(f fs.File) (digest [32]byte, err error) {
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return digest, err
	}
	h.Sum(digest[:0])
	return digest, nil
}

// copyAside copies a file's data, not its holes.
func copyAside(f fs.File, to fs.Dir, name string, size int64) error {
	out, err := to.Create(name, 0o600)
	if err != nil {
		return err
	}
	err = out.Truncate(size)
	buf := make([]byte, 64<<10)
	for off := int64(0); err == nil && off < size; {
		var end int64
		off, end, err = f.Data(off, size)
		for err == nil && off < end {
			var n int
			n, err = f.ReadAt(buf[:min(int64(len(buf)), end-off)], off)
			if err == nil {
				_, err = out.WriteAt(buf[:n], off)
			}
			off += int64(n)
		}
	}
	return errors.Join(err, out.Close())
}

func hexName(digest [32]byte) string { return hex.EncodeToString(digest[:]) }

// dress gives each folder its owner, mode, attributes and times, from the index: now
// that nothing is made in them any more, they stay so.
func (u *unpacker) dress() error {
	u.tree.maker = nil
	_, err := ReadEntries(u.dir+"/"+FileIndex, func(e *Entry) error {
		if e.Type != TypeDir || e.Path == "" || e.Whiteout || e.Opaque {
			return nil
		}
		if err := u.ctx.Err(); err != nil {
			return err
		}
		f, err := u.tree.get(e.Path)
		if err != nil {
			if noFolder(errors.Unwrap(err)) {
				return nil // something else took its place later
			}
			return err
		}
		return errAt("set up folder", e.Path, Dress(f.Dir, e))
	})
	return err
}

// Dress gives an open folder the owner, mode, attributes and times of e. An implied
// one keeps its times.
func Dress(d fs.Dir, e *Entry) error {
	if e.UID != 0 || e.GID != 0 {
		if err := d.Chown("", e.UID, e.GID); err != nil {
			return err
		}
	}
	if err := d.Chmod("", e.Mode); err != nil {
		return err
	}
	if err := setXattrs(e, func(attr string, value []byte) error { return d.SetXattr("", attr, value) }); err != nil {
		return err
	}
	if e.Implied {
		return nil
	}
	return d.Times("", e.Atime, e.Mtime)
}

func (t Type) String() string { return strconv.QuoteRune(rune(t)) }
