package client

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
)

// response is an answer whose body is still to be read. It must be closed; when it
// was read to its end, the connection serves the next request.
type response struct {
	client *Client
	conn   *conn
	ctx    context.Context // of the call: an answer lives no longer
	stop   func() bool     // ends the watch on ctx
	sent   chan error      // the upload's end; nil without one

	method string
	status int
	reason string            // "404 Not Found"
	header map[string]string // by lower-case name
	close  bool              // the connection ends with this answer

	left    int64 // bytes left of the body, or of the chunk; -1 until the connection ends
	chunked bool
	first   bool // no chunk was seen yet
	done    bool // the body was read to its end
}

var errHeader = errors.New("malformed HTTP response")

func (r *response) readHeader() error {
	for {
		line, err := r.line()
		if err != nil {
			return err
		}
		proto, reason, ok := strings.Cut(line, " ")
		if !ok || !strings.HasPrefix(proto, "HTTP/1.") || len(reason) < 3 {
			return fmt.Errorf("%w %q", errHeader, line)
		}
		if r.status, err = strconv.Atoi(reason[:3]); err != nil {
			return fmt.Errorf("%w %q", errHeader, line)
		}
		r.reason, r.close = reason, proto == "HTTP/1.0"
		if err := r.readFields(); err != nil {
			return err
		}
		if r.status >= 200 || r.status == 101 {
			return r.frame()
		}
	}
}

func (r *response) readFields() error {
	r.header = make(map[string]string, 12)
	for total := 0; ; {
		line, err := r.line()
		if err != nil || line == "" {
			return err
		}
		if total += len(line); total > maxHeader {
			return fmt.Errorf("%w: header too long", errHeader)
		}
		name, value, ok := strings.Cut(line, ":")
		if !ok {
			return fmt.Errorf("%w %q", errHeader, line)
		}
		r.header[strings.ToLower(name)] = strings.TrimSpace(value)
	}
}

// line reads up to a line's end and gives it without.
func (r *response) line() (string, error) {
	b, err := r.conn.r.ReadSlice('\n')
	if err != nil {
		if errors.Is(err, io.EOF) && len(b) > 0 {
			err = io.ErrUnexpectedEOF
		}
		return "", err
	}
	return string(bytes.TrimRight(b, "\r\n")), nil
}

// frame finds out where the body ends.
func (r *response) frame() error {
	if strings.EqualFold(r.header["connection"], "close") {
		r.close = true
	}
	length, told := r.header["content-length"]
	switch {
	case r.status == 101:
		r.left = -1
	case r.method == "HEAD" || r.status == 204 || r.status == 304:
		r.finish()
	case strings.EqualFold(r.header["transfer-encoding"], "chunked"):
		r.chunked, r.first = true, true
	case told:
		n, err := strconv.ParseInt(length, 10, 64)
		if err != nil || n < 0 {
			return fmt.Errorf("%w: content length %q", errHeader, length)
		}
		if r.left = n; n == 0 {
			r.finish()
		}
	default:
		r.left, r.close = -1, true
	}
	return nil
}

// Read reads the body. It gives what is there, over the ends of chunks, and waits
// only when nothing is.
func (r *response) Read(p []byte) (n int, err error) {
	for n < len(p) && err == nil {
		if n > 0 && !r.ready() {
			return n, nil
		}
		if r.done {
			err = io.EOF
			break
		}
		if r.chunked && r.left == 0 {
			if err = r.chunk(); err != nil || r.done {
				continue
			}
		}
		room := p[n:]
		if r.left >= 0 && int64(len(room)) > r.left {
			room = room[:r.left]
		}
		var m int
		m, err = r.conn.r.Read(room)
		n += m
		if r.left > 0 {
			if r.left -= int64(m); r.left == 0 && !r.chunked {
				r.finish()
			}
			if errors.Is(err, io.EOF) {
				err = io.ErrUnexpectedEOF
			}
		}
	}
	if n > 0 {
		return n, nil
	}
	if err != nil && r.ctx.Err() != nil {
		err = r.ctx.Err()
	}
	return 0, err
}

// ready says whether more of the body is here already. Between two chunks that takes
// a whole head of the next one: the line end of the last is no body.
func (r *response) ready() bool {
	here := r.conn.r.Buffered()
	if here == 0 || !r.chunked || r.left > 0 {
		return here > 0
	}
	b, _ := r.conn.r.Peek(here) // no error: it is here
	_, head, _ := bytes.Cut(b, []byte("\n"))
	return bytes.IndexByte(head, '\n') >= 0
}

// chunk reads the head of the next chunk, or the body's end.
func (r *response) chunk() error {
	unexpected := func(err error) error {
		if errors.Is(err, io.EOF) {
			return io.ErrUnexpectedEOF
		}
		return err
	}
	if !r.first {
		if _, err := r.line(); err != nil {
			return unexpected(err)
		}
	}
	r.first = false
	line, err := r.line()
	if err != nil {
		return unexpected(err)
	}
	size, _, _ := strings.Cut(line, ";")
	n, err := strconv.ParseUint(strings.TrimSpace(size), 16, 62)
	if err != nil {
		return fmt.Errorf("%w: chunk of size %q", errHeader, line)
	}
	if r.left = int64(n); n > 0 {
		return nil
	}
	for { // trailers
		if line, err = r.line(); err != nil {
			return unexpected(err)
		}
		if line == "" {
			r.finish()
			return nil
		}
	}
}

// finish notes that the body is at its end.
func (r *response) finish() { r.done = true }

// Close ends the answer; what was not read of it is lost.
func (r *response) Close() error {
	if r.conn == nil {
		return nil
	}
	nc := r.conn
	r.conn = nil
	quiet := r.stop()
	if r.done && !r.close && quiet && r.sent == nil {
		r.client.release(nc)
		return nil
	}
	// An upload that still goes on ends by itself: its next write finds the
	// connection closed. It is not waited for, as it may be blocked in a read from a
	// terminal that nobody types into.
	return nc.Close()
}

// decode reads the body as JSON into out, and closes it.
func (r *response) decode(out any) error {
	defer r.Close()
	if out == nil {
		// What little there may be is read, so that the connection can be kept.
		_, err := io.CopyN(io.Discard, r, 4096)
		if errors.Is(err, io.EOF) {
			err = nil
		}
		return err
	}
	body, err := r.all()
	if err != nil {
		return fmt.Errorf("read the engine's answer: %w", err)
	}
	if err := decode(body, out); err != nil {
		return fmt.Errorf("read the engine's answer: %w", err)
	}
	return nil
}

// all reads the body to its end.
func (r *response) all() ([]byte, error) {
	if r.left > 0 && !r.chunked && r.left < 1<<30 {
		body := make([]byte, r.left)
		_, err := io.ReadFull(r, body)
		return body, err
	}
	return io.ReadAll(r)
}
