package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
)

// wire is a connection that speaks as little HTTP as a measurement needs: what a whole
// client costs would be measured, too.
type wire struct {
	c   net.Conn
	r   *bufio.Reader
	buf []byte
}

func dialWire(ctx context.Context, addr string) (*wire, error) {
	c, err := new(net.Dialer).DialContext(ctx, "tcp", addr)
	if err != nil {
		return nil, err
	}
	return &wire{c: c, r: bufio.NewReaderSize(c, 4<<10), buf: make([]byte, 256<<10)}, nil
}

// fetch sends a request and throws its answer away, which has to be a good one of so many
// bytes; of as many as it says with -1.
func (w *wire) fetch(request string, size int64) error {
	if _, err := io.WriteString(w.c, request); err != nil {
		return err
	}
	length := int64(-1)
	for first := true; ; first = false {
		line, err := w.r.ReadSlice('\n')
		if err != nil {
			return err
		}
		text := strings.TrimSpace(string(line))
		name, value, _ := strings.Cut(text, ":")
		switch {
		case first && text != "HTTP/1.1 200 OK":
			return fmt.Errorf("answered %q", text)
		case strings.EqualFold(name, "Content-Length"):
			if length, err = strconv.ParseInt(strings.TrimSpace(value), 10, 64); err != nil {
				return err
			}
		}
		if text == "" {
			break
		}
	}
	if length < 0 || size >= 0 && length != size {
		return fmt.Errorf("answered with %d bytes, not %d", length, size)
	}
	for length > 0 {
		n, err := w.r.Discard(int(min(length, int64(w.r.Buffered()))))
		if length -= int64(n); err != nil || length == 0 {
			return err
		}
		if n, err = w.c.Read(w.buf[:min(length, int64(len(w.buf)))]); err != nil {
			return err
		}
		length -= int64(n)
	}
	return nil
}
