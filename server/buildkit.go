package server

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"

	"lighter/api"
	"lighter/engine/buildkit"
)

// BuildKit speaks BuildKit's protocol on connections that are taken out of HTTP's hands.
type BuildKit interface {
	// ServeControl has the client call us; the connection is BuildKit's from then on.
	ServeControl(conn net.Conn, begin buildkit.Begin)
	// ServeSession has us call the client, until the connection ends. The header says what it offers.
	ServeSession(conn net.Conn, header http.Header) error
}

// h2c is HTTP/2 without TLS, the one protocol that these routes change to.
const h2c = "h2c"

// changed takes the connection for HTTP/2 and answers.
func (b *builds) changed(w http.ResponseWriter, r *request) (net.Conn, error) {
	if b.s.config.BuildKit == nil {
		return nil, api.Errorf(api.NotImplemented, "this engine has no builder")
	}
	switch proto := r.Header.Get("Upgrade"); proto {
	case h2c:
	case "":
		return nil, api.Errorf(api.Internal, "no upgrade proto in request")
	default:
		return nil, api.Errorf(api.Internal, "protocol %s not supported", proto)
	}
	conn, buf, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return nil, api.Errorf(api.Invalid, "take over the connection: %w", err)
	}
	early := make([]byte, buf.Reader.Buffered())
	if _, err = io.ReadFull(buf.Reader, early); err == nil {
		_, err = fmt.Fprintf(conn, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: %s\r\n\r\n", h2c)
	}
	if err != nil {
		conn.Close()
		return nil, fmt.Errorf("take over the connection: %w", err)
	}
	if len(early) == 0 {
		return conn, nil
	}
	return &readAhead{conn, io.MultiReader(bytes.NewReader(early), conn)}, nil
}

// readAhead is a connection of which some bytes were read already.
type readAhead struct {
	net.Conn
	r io.Reader
}

func (c *readAhead) Read(p []byte) (int, error) { return c.r.Read(p) }

// control is POST /grpc.
func (b *builds) control(w http.ResponseWriter, r *request) error {
	conn, err := b.changed(w, r)
	if err != nil {
		return err
	}
	var begin buildkit.Begin
	if b.s.watch != nil {
		begin = b.s.watch.builds(b.s, r)
	}
	b.s.config.BuildKit.ServeControl(conn, begin)
	return nil
}

// session is POST /session.
func (b *builds) session(w http.ResponseWriter, r *request) error {
	conn, err := b.changed(w, r)
	if err != nil {
		return err
	}
	defer conn.Close()
	defer onStop(r.Context(), func() { conn.Close() })()
	if err := b.s.config.BuildKit.ServeSession(conn, r.Header); err != nil {
		b.s.log.Warn("a session of a builder's client", "error", err) // the client has its answer already
	}
	return nil
}
