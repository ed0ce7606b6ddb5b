package logship

import (
	"bytes"
	"compress/flate"
	"compress/gzip"
	"compress/zlib"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/url"
	"os"
	"slices"
	"strconv"

	"lighter/store/logfile"
)

// gelf writes GELF 1.1: JSON objects, over TCP with a zero byte behind each, over UDP
// compressed and cut into chunks. The one library there is has had no hand on it since
// 2019; it knows no deadlines and miscounts chunks.
type gelf struct {
	stream stream
	level  int
	pack   func(w io.Writer, level int) (io.WriteCloser, error) // nil for none
	host   string
	extra  []byte // the members that each message has, without the braces
	buf    bytes.Buffer
}

func gelfAddress(address string) (*url.URL, error) {
	if address == "" {
		return nil, errors.New("gelf-address is a required parameter")
	}
	u, err := url.Parse(address)
	if err != nil {
		return nil, err
	}
	if u.Scheme != "udp" && u.Scheme != "tcp" {
		return nil, errors.New("gelf: endpoint needs to be TCP or UDP")
	}
	if _, _, err := net.SplitHostPort(u.Host); err != nil {
		return nil, errors.New("gelf: please provide gelf-address as proto://host:port")
	}
	return u, nil
}

var gelfCompression = map[string]func(io.Writer, int) (io.WriteCloser, error){
	"gzip": func(w io.Writer, level int) (io.WriteCloser, error) { return gzip.NewWriterLevel(w, level) },
	"zlib": func(w io.Writer, level int) (io.WriteCloser, error) { return zlib.NewWriterLevel(w, level) },
	"none": nil,
}

func checkGelf(config map[string]string) error {
	u, err := gelfAddress(config["gelf-address"])
	if err != nil {
		return err
	}
	for _, key := range slices.Sorted(maps.Keys(config)) {
		v := config[key]
		n, err := strconv.Atoi(v)
		switch key {
		case "gelf-compression-level", "gelf-compression-type":
			if u.Scheme != "udp" {
				return errors.New("compression is only supported on UDP")
			}
			_, known := gelfCompression[v]
			if key == "gelf-compression-level" {
				known = err == nil && n >= flate.DefaultCompression && n <= flate.BestCompression
			}
			if !known {
				return fmt.Errorf("unknown value %q for log opt %q for gelf log driver", v, key)
			}
		case "gelf-tcp-max-reconnect", "gelf-tcp-reconnect-delay":
			if u.Scheme != "tcp" {
				return fmt.Errorf("%q is only valid for TCP", key)
			}
			if err != nil || n < 0 {
				return fmt.Errorf("%q must be a positive integer", key)
			}
		}
	}
	return nil
}

func openGelf(ctx context.Context, i *Info) (sender, error) {
	u, err := gelfAddress(i.Config["gelf-address"])
	if err != nil {
		return nil, err
	}
	g := &gelf{stream: stream{network: u.Scheme, address: u.Host}, level: flate.BestSpeed}
	if g.host, err = os.Hostname(); err != nil {
		return nil, err
	}
	if g.extra, err = gelfExtra(i); err != nil {
		return nil, err
	}
	if u.Scheme == "udp" {
		name, set := i.Config["gelf-compression-type"]
		if !set {
			name = "gzip"
		}
		g.pack = gelfCompression[name]
		if level, set := i.Config["gelf-compression-level"]; set {
			if g.level, err = strconv.Atoi(level); err != nil {
				return nil, err
			}
		}
	}
	if err := g.stream.dial(ctx); err != nil {
		return nil, fmt.Errorf("gelf: cannot connect to GELF endpoint: %s %w", u.Host, err)
	}
	return g, nil
}

// gelfExtra is what each message says of the container.
func gelfExtra(i *Info) ([]byte, error) {
	tag, err := i.Tag(idTag)
	if err != nil {
		return nil, err
	}
	extra := map[string]any{
		"_container_id": i.ContainerID, "_container_name": i.Name(), "_image_id": i.ContainerImageID,
		"_image_name": i.ContainerImageName, "_command": i.Command(), "_tag": tag, "_created": i.ContainerCreated,
	}
	attrs, err := i.ExtraAttributes(func(k string) string {
		if k == "" || k[0] != '_' {
			return "_" + k
		}
		return k
	})
	if err != nil {
		return nil, err
	}
	for k, v := range attrs {
		extra[k] = v
	}
	b, err := json.Marshal(extra)
	return bytes.TrimPrefix(b, []byte("{")), err
}

func (g *gelf) send(ctx context.Context, m *message) error {
	if len(m.line) == 0 {
		return nil
	}
	level := severityInfo
	if m.stream == logfile.Stderr {
		level = severityErr
	}
	head, err := json.Marshal(struct {
		Version string  `json:"version"`
		Host    string  `json:"host"`
		Short   string  `json:"short_message"`
		Time    float64 `json:"timestamp"`
		Level   int     `json:"level"`
	}{"1.1", g.host, string(m.line), float64(m.at.UnixMilli()) / 1000, level})
	if err != nil {
		return fmt.Errorf("%w: %w", errLost, err)
	}
	g.buf.Reset()
	if g.stream.network == "tcp" {
		g.buf.Write(append(head[:len(head)-1], ','))
		g.buf.Write(append(g.extra, 0))
		return g.stream.write(ctx, g.buf.Bytes())
	}
	var w io.WriteCloser = plain{&g.buf}
	if g.pack != nil {
		if w, err = g.pack(&g.buf, g.level); err != nil {
			return fmt.Errorf("%w: %w", errLost, err)
		}
	}
	w.Write(append(head[:len(head)-1], ',')) // into memory: these never fail
	w.Write(g.extra)
	w.Close()
	if err := g.datagrams(ctx, g.buf.Bytes()); err != nil {
		return fmt.Errorf("%w: %w", errLost, err)
	}
	return nil
}

// plain is a writer that nothing is to be done to at the end.
type plain struct{ io.Writer }

func (plain) Close() error { return nil }

// What GELF says of chunks: how long one is with its header, and how many there may be.
const (
	gelfChunk, gelfHead = 1420, 12
	gelfChunks          = 128
)

// datagrams sends b whole, or in chunks: magic, message id, number, count, data.
func (g *gelf) datagrams(ctx context.Context, b []byte) error {
	if len(b) <= gelfChunk {
		return g.stream.write(ctx, b)
	}
	const room = gelfChunk - gelfHead
	count := (len(b) + room - 1) / room
	if count > gelfChunks {
		return fmt.Errorf("the message needs %d chunks, there are %d at most", count, gelfChunks)
	}
	chunk := make([]byte, gelfHead, gelfChunk)
	chunk[0], chunk[1] = 0x1e, 0x0f
	rand.Read(chunk[2:10]) // never fails
	for n := range count {
		chunk[10], chunk[11] = byte(n), byte(count)
		end := min(room*(n+1), len(b))
		if err := g.stream.write(ctx, append(chunk[:gelfHead], b[room*n:end]...)); err != nil {
			return err
		}
	}
	return nil
}

func (g *gelf) close() error { return g.stream.close() }
