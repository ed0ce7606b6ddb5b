package archive

import (
	"errors"
	"io"
)

// fillAhead is the size from which the next part of a file is read while one is written.
// To take bytes off a socket costs half as much as to write them.
const fillAhead = 2 * packBuffer

// fillRoom is how far ahead room is made for a large file: what a tar only says it holds takes none.
const fillRoom = 64 << 20

// filled is a file that is written to (fs.File).
type filled interface {
	io.Writer
	Reserve(off, n int64) error
	Truncate(size int64) error
}

// fill writes the content of the tar's entry, size bytes, into a file.
func (x *extractor) fill(f filled, name string, size int64) error {
	if size >= fillAhead {
		return x.fillPipelined(f, name, size)
	}
	for left := size; left > 0; {
		n, err := x.read(x.buf, left)
		if err != nil {
			return err
		}
		if _, err := f.Write(x.buf[:n]); err != nil {
			return x.failed("write", name, err)
		}
		left -= int64(n)
	}
	return nil
}

// read reads as much of left bytes as there is room for.
func (x *extractor) read(b []byte, left int64) (int, error) {
	n, err := io.ReadFull(x.tar, b[:min(left, int64(len(b)))])
	if err == nil {
		err = x.ctx.Err()
	}
	return n, cutShort(err)
}

// fillPipelined is fill by two: one reads, one writes, to where room was made before, which
// costs half of finding it piece by piece.
func (x *extractor) fillPipelined(f filled, name string, size int64) error {
	const buffers = 2
	free, full := make(chan []byte, buffers), make(chan []byte, buffers)
	free <- x.buf
	if x.other == nil {
		x.other = make([]byte, packBuffer)
	}
	free <- x.other
	var readErr error
	go func() { // ends before full does; when nobody writes any more, free ends
		defer close(full)
		for left := size; left > 0; {
			b, more := <-free
			if !more {
				return
			}
			n, err := x.read(b, left)
			if err != nil {
				readErr = err
				return
			}
			full <- b[:n]
			left -= int64(n)
		}
	}()
	var err error
	written, room := int64(0), int64(0)
	for b := range full {
		if err != nil {
			continue // what was read ahead
		}
		if end := written + int64(len(b)); end > room {
			more := min(fillRoom, size-room)
			err = f.Reserve(room, more)
			room += more
		}
		if err == nil {
			_, err = f.Write(b)
		}
		if err != nil {
			err = x.failed("write", name, err)
			close(free)
			continue
		}
		written += int64(len(b))
		free <- b[:cap(b)]
	}
	if err == nil {
		err = readErr
	}
	if err != nil {
		err = errors.Join(err, f.Truncate(written)) // gives the room back
	}
	return err
}
