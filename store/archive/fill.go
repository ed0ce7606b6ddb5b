package archive

import "io"

// fillAhead is the size from which the next part of a file is read while one is written.
// To take bytes off a socket costs half as much as to write them.
const fillAhead = 2 * packBuffer

// fill writes the content of the tar's entry, size bytes, into a file.
func (x *extractor) fill(f io.Writer, name string, size int64) error {
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

// fillPipelined is fill by two: one reads, one writes.
func (x *extractor) fillPipelined(f io.Writer, name string, size int64) error {
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
	for b := range full {
		if err != nil {
			continue // what was read ahead
		}
		if _, err = f.Write(b); err != nil {
			err = x.failed("write", name, err)
			close(free)
			continue
		}
		free <- b[:cap(b)]
	}
	if err == nil {
		err = readErr
	}
	return err
}
