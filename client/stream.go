package client

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"

	"lighter/api"
)

// Stream is a connection that was taken over: what a process prints comes out of it
// (raw with a terminal, else in the frames that Demux reads), what is written goes to
// its stdin.
type Stream struct {
	conn *conn
	stop func() bool
}

// The media types of output.
const (
	rawStream    = "application/vnd.docker.raw-stream"
	framedStream = "application/vnd.docker.multiplexed-stream"
)

// hijack makes a request that takes the connection over.
func (c *Client) hijack(ctx context.Context, r *request) (*Stream, error) {
	r.upgrade = true
	resp, err := c.do(ctx, r)
	if err != nil {
		return nil, err
	}
	if resp.status != 101 && resp.status != 200 {
		resp.Close()
		return nil, fmt.Errorf("unable to upgrade to tcp, received %d", resp.status)
	}
	return &Stream{conn: resp.conn, stop: resp.stop}, nil
}

// made makes a request that makes something. An engine of ours takes the connection over and
// tells in its header what it made; another one's answer is decoded into out, and there is no
// stream.
func (c *Client) made(ctx context.Context, r *request, out any) (_ *Stream, told string, err error) {
	r.upgrade = true
	resp, err := c.do(ctx, r)
	if err != nil {
		return nil, "", err
	}
	told = resp.header[strings.ToLower(api.CreatedHeader)]
	if resp.status != 101 || told == "" {
		return nil, "", resp.decode(out)
	}
	return &Stream{conn: resp.conn, stop: resp.stop}, told, nil
}

// Read reads what the process printed.
func (s *Stream) Read(p []byte) (int, error) { return s.conn.Read(p) }

// Write writes to the process's stdin.
func (s *Stream) Write(p []byte) (int, error) { return s.conn.Write(p) }

// CloseWrite ends the process's stdin; its output goes on.
func (s *Stream) CloseWrite() error {
	if half, ok := s.conn.Conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return nil
}

// Close lets the connection go; the process goes on.
func (s *Stream) Close() error {
	s.stop()
	return s.conn.Close()
}

// The streams that a frame can belong to.
const (
	frameStdin = iota
	frameStdout
	frameStderr
	frameSystem
)

// Demux reads frames — a byte of stream, three of padding, four of big-endian length,
// the data — until EOF, and writes their data to stdout and stderr. What came in one
// read for one of them goes out in one write.
func Demux(stdout, stderr io.Writer, r io.Reader) error {
	const size = 256 << 10
	buf, end := make([]byte, size), 0
	out := make([]byte, 0, size)
	var to io.Writer
	flush := func() error {
		if len(out) == 0 || to == nil {
			return nil
		}
		_, err := to.Write(out)
		out = out[:0]
		return err
	}
	var left int // of the frame at hand
	var system []byte
	var broken bool // the frame at hand is an error of the engine
	for {
		n, err := r.Read(buf[end:])
		end += n
		at := 0
		for at < end {
			if left == 0 {
				if end-at < 8 {
					break
				}
				next, system2, err := frameHead(buf[at:], stdout, stderr)
				if err != nil {
					return errors.Join(flush(), err)
				}
				if next != to {
					if err := flush(); err != nil {
						return err
					}
					to = next
				}
				broken = system2
				left = int(binary.BigEndian.Uint32(buf[at+4:]))
				at += 8
				if left == 0 {
					continue
				}
			}
			part := buf[at:min(end, at+left)]
			at += len(part)
			left -= len(part)
			if !broken {
				out = append(out, part...)
				continue
			}
			system = append(system, part[:min(len(part), maxError-len(system))]...)
			if left == 0 {
				return fmt.Errorf("error from daemon in stream: %s", system)
			}
		}
		end = copy(buf, buf[at:end])
		if e := flush(); e != nil {
			return e
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// frameHead reads a frame's first byte: where its data goes, or that it is an error.
func frameHead(b []byte, stdout, stderr io.Writer) (to io.Writer, system bool, err error) {
	switch b[0] {
	case frameStdin, frameStdout:
		return stdout, false, nil
	case frameStderr:
		return stderr, false, nil
	case frameSystem:
		return stderr, true, nil
	}
	return nil, false, fmt.Errorf("unrecognized stream: %d", b[0])
}

// Decode reads JSON values, one after the other, until EOF.
func Decode[T any](r io.Reader, each func(T) error) error {
	for dec := json.NewDecoder(r); ; {
		var v T
		switch err := dec.Decode(&v); {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return err
		}
		if err := each(v); err != nil {
			return err
		}
	}
}
