package client

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strconv"
	"strings"
	"time"

	"lighter/api"
)

// Bounds on what an engine may make us hold.
const (
	maxHeader = 64 << 10 // bytes of an answer's header
	maxError  = 1 << 20  // bytes of an answer that is an error
	readSize  = 32 << 10 // bytes of a connection's read buffer
)

// conn is a connection and what was read ahead from it.
type conn struct {
	net.Conn
	r    *bufio.Reader
	used bool // a request was answered on it before
}

func (c *conn) Read(p []byte) (int, error) { return c.r.Read(p) }

// dial connects, or takes the idle connection.
func (c *Client) dial(ctx context.Context, fresh bool) (*conn, error) {
	c.mu.Lock()
	idle := c.idle
	c.idle = nil
	c.mu.Unlock()
	if idle != nil {
		if !fresh {
			return idle, nil
		}
		idle.Close()
	}
	raw, err := c.connect(ctx)
	if err != nil && c.config.Unreachable != nil && ctx.Err() == nil {
		var e *ConnectError
		if !errors.As(err, &e) || e.Late {
			return nil, err
		}
		if err = c.config.Unreachable(ctx, e); err == nil {
			raw, err = c.connect(ctx)
		}
	}
	if err != nil {
		return nil, err
	}
	return &conn{Conn: raw, r: bufio.NewReaderSize(raw, readSize)}, nil
}

// connect makes a connection.
func (c *Client) connect(ctx context.Context) (net.Conn, error) {
	dial := c.config.Dial
	if dial == nil {
		dial = func(ctx context.Context) (net.Conn, error) {
			var d net.Dialer
			return d.DialContext(ctx, c.network, c.addr)
		}
	}
	raw, err := dial(ctx)
	reached := err == nil
	if reached && c.config.Secure != nil {
		raw, err = c.config.Secure(ctx, raw, c.addr)
	}
	if err != nil {
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		return nil, &ConnectError{Host: c.config.Host, Err: err, Late: reached}
	}
	return raw, nil
}

// release keeps a connection for the next request.
func (c *Client) release(nc *conn) {
	nc.used = true
	c.mu.Lock()
	idle := c.idle
	c.idle = nc
	c.mu.Unlock()
	if idle != nil {
		idle.Close()
	}
}

// do makes a request and gives the answer, whose body the caller closes. An answer
// of 400 and above is an *api.Error. An engine that is too old for the version tried
// is asked again in its own.
func (c *Client) do(ctx context.Context, r *request) (*response, error) {
	if r.stream != nil {
		if err := c.negotiate(ctx); err != nil {
			return nil, err
		}
	}
	for {
		c.mu.Lock()
		version, known := c.version, c.known
		c.mu.Unlock()
		resp, err := c.try(ctx, r, version)
		if err != nil {
			return nil, err
		}
		if resp.status < 400 {
			if !r.unversioned && !known {
				c.settle(version)
			}
			return resp, nil
		}
		newest := resp.header["api-version"]
		err = resp.fault()
		if known || r.unversioned || resp.status != 400 || !strings.Contains(err.Error(), "is too new") {
			return nil, err
		}
		if newest == "" {
			if err := c.negotiate(ctx); err != nil {
				return nil, err
			}
		} else {
			c.settle(newest)
		}
	}
}

// try makes a request once, or twice when the idle connection turned out to be dead.
func (c *Client) try(ctx context.Context, r *request, version string) (*response, error) {
	var body []byte
	if r.body != nil {
		v, err := r.body, error(nil)
		if shape, ok := v.(shaped); ok {
			if v, err = shape(version); err != nil {
				return nil, err
			}
		}
		if body, err = encode(v); err != nil {
			return nil, fmt.Errorf("encode %s %s: %w", r.method, r.path, err)
		}
		body = append(body, '\n')
	}
	head := c.head(r, version, body)
	nc, err := c.dial(ctx, r.stream != nil)
	if err != nil {
		return nil, err
	}
	resp, sent, err := c.send(ctx, nc, r, head)
	if err != nil && nc.used && ctx.Err() == nil && (!sent || r.method == "GET" || r.method == "HEAD") {
		if nc, err = c.dial(ctx, true); err == nil {
			resp, _, err = c.send(ctx, nc, r, head)
		}
	}
	return resp, err
}

// head gives the bytes of a request up to its stream.
func (c *Client) head(r *request, version string, body []byte) []byte {
	b := make([]byte, 0, 512+len(body))
	b = append(b, r.method...)
	b = append(b, ' ')
	b = append(b, c.base...)
	if !r.unversioned {
		b = append(append(b, "/v"...), version...)
	}
	b = append(b, r.path...)
	if len(r.query) > 0 {
		b = append(append(b, '?'), r.query.Encode()...)
	}
	host := "api.moby.localhost"
	if c.network != "unix" {
		host = c.addr
	}
	b = append(b, " HTTP/1.1\r\n"...)
	field := func(name, value string) {
		b = append(append(append(append(b, name...), ": "...), value...), "\r\n"...)
	}
	field("Host", host)
	if c.config.UserAgent != "" {
		field("User-Agent", c.config.UserAgent)
	}
	for name, value := range c.config.Headers {
		field(name, value)
	}
	for name, value := range r.header {
		field(name, value)
	}
	if r.upgrade {
		field("Connection", "Upgrade")
		field("Upgrade", "tcp")
	}
	switch {
	case r.stream != nil:
		if r.contentType != "" {
			field("Content-Type", r.contentType)
		}
		if r.length > 0 {
			field("Content-Length", strconv.FormatInt(r.length, 10))
		} else {
			field("Transfer-Encoding", "chunked")
		}
	case body != nil:
		field("Content-Type", "application/json")
		field("Content-Length", strconv.Itoa(len(body)))
	case r.method == "POST" || r.method == "PUT":
		field("Content-Length", "0")
	}
	return append(append(b, "\r\n"...), body...)
}

// send writes a request and reads the header of its answer. Sent tells that the
// engine may have got it.
func (c *Client) send(ctx context.Context, nc *conn, r *request, head []byte) (_ *response, sent bool, err error) {
	stop := context.AfterFunc(ctx, func() { nc.SetDeadline(time.Unix(1, 0)) })
	defer func() {
		if err != nil {
			stop()
			nc.Close()
			if ctx.Err() != nil {
				err = ctx.Err()
			}
		}
	}()
	if _, err := nc.Write(head); err != nil {
		return nil, false, &ConnectError{Host: c.config.Host, Err: err, Late: true}
	}
	resp := &response{client: c, conn: nc, ctx: ctx, stop: stop, method: r.method}
	if r.stream != nil {
		resp.sent = make(chan error, 1)
		go func() {
			err := c.upload(nc.Conn, r.stream, r.length)
			resp.sent <- err // first: who finds the connection closed asks why
			if errors.As(err, new(*bodyError)) {
				nc.Close() // the engine must not take what it has for the whole
			}
		}()
	}
	if err := resp.readHeader(); err != nil {
		if r.stream != nil {
			select {
			case cause := <-resp.sent:
				if broken := (*bodyError)(nil); errors.As(cause, &broken) {
					return nil, true, broken.err
				}
			default:
			}
		}
		return nil, true, &ConnectError{Host: c.config.Host, Err: err, Late: true}
	}
	return resp, true, nil
}

// bodyError tells that a request's body could not be read on our side.
type bodyError struct{ err error }

func (e *bodyError) Error() string { return e.err.Error() }

// upload sends a body of length bytes, or in chunks when the length is not known. A body
// that writes itself (Writer) does so, in chunks.
func (c *Client) upload(w net.Conn, body io.Reader, length int64) error {
	if write, ok := body.(Writer); ok {
		out := &chunks{w: w, sendFile: c.config.SendFile}
		if err := write(out); err != nil {
			if out.err != nil {
				return out.err
			}
			return &bodyError{err}
		}
		_, err := io.WriteString(w, "0\r\n\r\n")
		return err
	}
	const room = 18 // hex digits and CRLF before the data
	buf := make([]byte, room+(64<<10)+2)
	for sent := int64(0); ; {
		n, err := body.Read(buf[room : len(buf)-2])
		sent += int64(n)
		part := buf[room : room+n]
		if n > 0 && length <= 0 {
			size := append(strconv.AppendInt(nil, int64(n), 16), "\r\n"...)
			copy(buf[room-len(size):], size)
			copy(buf[room+n:], "\r\n")
			part = buf[room-len(size) : room+n+2]
		}
		if len(part) > 0 {
			if _, err := w.Write(part); err != nil {
				return err
			}
		}
		switch {
		case errors.Is(err, io.EOF) && length > sent:
			return &bodyError{io.ErrUnexpectedEOF}
		case errors.Is(err, io.EOF) && length > 0:
			return nil
		case errors.Is(err, io.EOF):
			_, err = io.WriteString(w, "0\r\n\r\n")
			return err
		case err != nil:
			return &bodyError{err}
		}
	}
}

// Writer is a request's body that writes itself, in pieces as large as it likes.
type Writer func(io.Writer) error

// Read is there so that a Writer is a body; nobody calls it.
func (Writer) Read([]byte) (int, error) {
	return 0, errors.New("a body that writes itself cannot be read")
}

// chunks sends each piece that is written to it as a chunk, without copying it.
type chunks struct {
	w        net.Conn
	sendFile func(to net.Conn, from *os.File, n int64) (int64, error) // may be nil
	err      error                                                    // of w
}

func (c *chunks) Write(p []byte) (int, error) {
	if len(p) == 0 || c.err != nil {
		return 0, c.err
	}
	all := net.Buffers{append(strconv.AppendInt(nil, int64(len(p)), 16), "\r\n"...), p, []byte("\r\n")}
	if _, c.err = all.WriteTo(c.w); c.err != nil {
		return 0, c.err
	}
	return len(p), nil
}

// ReadFrom sends what a reader has. So many bytes of a file (io.CopyN) are one chunk, which
// the kernel takes from the file where it can.
func (c *chunks) ReadFrom(r io.Reader) (int64, error) {
	part, ok := r.(*io.LimitedReader)
	if !ok || part.N <= 0 || c.sendFile == nil || c.err != nil {
		return io.Copy(struct{ io.Writer }{c}, r)
	}
	f, ok := part.R.(*os.File)
	if !ok {
		return io.Copy(struct{ io.Writer }{c}, r)
	}
	if _, c.err = c.w.Write(append(strconv.AppendInt(nil, part.N, 16), "\r\n"...)); c.err != nil {
		return 0, c.err
	}
	n, err := c.sendFile(c.w, f, part.N)
	switch {
	case errors.Is(err, errors.ErrUnsupported):
		if n, err = c.copyFile(f, part.N); err != nil {
			return n, err
		}
	case errors.Is(err, io.ErrUnexpectedEOF):
		return n, err
	case err != nil:
		c.err = err
		return n, err
	}
	part.N -= n
	_, c.err = io.WriteString(c.w, "\r\n")
	return n, c.err
}

// copyFile sends the next size bytes of a file.
func (c *chunks) copyFile(f *os.File, size int64) (n int64, err error) {
	buf := make([]byte, min(size, 64<<10))
	for n < size {
		k, err := io.ReadFull(f, buf[:min(size-n, int64(len(buf)))])
		if errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF
		}
		if err != nil {
			return n, err
		}
		if _, c.err = c.w.Write(buf[:k]); c.err != nil {
			return n, c.err
		}
		n += int64(k)
	}
	return n, nil
}

// ConnectError tells that the engine could not be reached or, Late, that it was, and there was no
// TLS with it or no answer of it.
type ConnectError struct {
	Host string
	Err  error
	Late bool
	Text string // what Error says; may be empty
}

func (e *ConnectError) Error() string {
	if e.Text != "" {
		return e.Text
	}
	if e.Late {
		return fmt.Sprintf("error during connect: %s: %v", e.Host, e.Err)
	}
	return fmt.Sprintf("connect to %s: %v", e.Host, e.Err)
}

// Unwrap gives the cause.
func (e *ConnectError) Unwrap() error { return e.Err }

// fault reads an answer that is an error.
func (r *response) fault() error {
	defer r.Close()
	body, err := io.ReadAll(io.LimitReader(r, maxError))
	kind := api.KindOfStatus(r.status)
	switch {
	case err != nil:
		return fmt.Errorf("read the engine's error: %w", err)
	case len(bytes.TrimSpace(body)) == 0:
		return &api.Error{Kind: kind, Msg: fmt.Sprintf("request returned %s for API route and version %s, check if the server supports the requested API version", r.reason, r.client.config.Host)}
	}
	text := string(bytes.TrimSpace(body))
	if strings.HasPrefix(r.header["content-type"], "application/json") {
		var e api.ErrorBody
		if err := json.Unmarshal(body, &e); err != nil {
			return &api.Error{Kind: kind, Msg: "Error reading JSON: " + err.Error(), Err: err}
		}
		if text = strings.TrimSpace(e.Message); text == "" {
			text = fmt.Sprintf("API returned a %d (%s) but provided no error-message", r.status, strings.TrimPrefix(r.reason, strconv.Itoa(r.status)+" "))
		}
	}
	return &api.Error{Kind: kind, Msg: "Error response from daemon: " + text}
}
