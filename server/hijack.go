package server

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"sync"

	"lighter/api"
	"lighter/task"
)

// hijacked is a client's connection taken out of HTTP's hands, on its way to the
// keeper.
type hijacked struct {
	conn net.Conn
	pipe net.Conn // our end of the pair, when the connection cannot be handed over
	file *os.File // what the keeper gets
	got  []byte   // what the client sent before
}

// hijack takes the connection, unanswered. What can be handed over as a descriptor
// is (unix sockets, plain TCP: the kernel alone stands between client and keeper);
// the bytes of the rest are pumped through a socket pair.
func (s *Server) hijack(w http.ResponseWriter) (*hijacked, error) {
	conn, buf, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return nil, api.Errorf(api.Invalid, "take over the connection: %w", err)
	}
	h := &hijacked{conn: conn}
	if n := buf.Reader.Buffered(); n > 0 {
		h.got = make([]byte, n)
		if _, err := io.ReadFull(buf.Reader, h.got); err != nil {
			h.close()
			return nil, fmt.Errorf("take over the connection: %w", err)
		}
	}
	if f, ok := conn.(interface{ File() (*os.File, error) }); ok {
		h.file, err = f.File()
	} else {
		h.file, h.pipe, err = s.config.Pair()
	}
	if err != nil {
		h.close()
		return nil, fmt.Errorf("take over the connection: %w", err)
	}
	return h, nil
}

// accept answers: 101 when the client asked for an upgrade, else 200.
func (h *hijacked) accept(r *request, mediaType string, extra http.Header) error {
	var answer bytes.Buffer
	if _, upgrade := r.Header["Upgrade"]; upgrade {
		fmt.Fprintf(&answer, "HTTP/1.1 101 UPGRADED\r\nContent-Type: %s\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n", mediaType)
	} else {
		fmt.Fprintf(&answer, "HTTP/1.1 200 OK\r\nContent-Type: %s\r\n", rawStream)
	}
	if err := extra.Write(&answer); err != nil {
		return err
	}
	answer.WriteString("\r\n")
	_, err := h.conn.Write(answer.Bytes())
	return err
}

// refuse answers with an error in plain text, as the Engine API does on a
// connection that it took, and lets go.
func (h *hijacked) refuse(err error) {
	status := api.KindOf(err).Status()
	fmt.Fprintf(h.conn, "HTTP/1.1 %d %s\r\nContent-Type: %s\r\n\r\n%s\r\n", status, http.StatusText(status), rawStream, err)
	h.close()
}

// client is the connection as the engine takes it. It is the engine's when the call
// that it is given to succeeds.
func (h *hijacked) client() task.Client {
	return task.Client{Conn: h.file, Received: h.got}
}

// fail tells of an error in a stream that has begun, on stdout as Docker does, and
// lets go.
func (h *hijacked) fail(err error, framed bool) {
	msg := []byte(err.Error() + "\r\n")
	if framed {
		msg = append(frame(nil, stdout, len(msg)), msg...)
	}
	_, _ = h.conn.Write(msg)
	// What the client has sent and nobody read would turn the end that it reads into an error.
	if both, ok := h.conn.(interface {
		CloseWrite() error
		CloseRead() error
	}); ok {
		both.CloseWrite()
		both.CloseRead()
		_, _ = io.Copy(io.Discard, h.conn)
	}
	h.close()
}

// handOver lets go of a connection that the engine took: at once when it has the
// connection itself, else when both directions have ended or the server stops.
func (h *hijacked) handOver(s *Server, r *request) {
	h.file = nil
	if h.pipe == nil {
		h.close()
		return
	}
	s.pumps.Add(1)
	defer s.pumps.Done()
	defer onStop(r.Context(), h.close)()
	var input sync.WaitGroup
	input.Go(func() { pump(h.pipe, h.conn) }) // ends with the client's input, or when closed
	pump(h.conn, h.pipe)                      // ends with the output
	h.close()
	input.Wait()
}

// pump copies until the end, and passes the end on.
func pump(to, from net.Conn) {
	_, _ = io.Copy(to, from) // either end may leave at any time
	if half, ok := to.(interface{ CloseWrite() error }); ok {
		_ = half.CloseWrite()
	}
}

func (h *hijacked) close() {
	if h.file != nil {
		h.file.Close()
	}
	if h.pipe != nil {
		h.pipe.Close()
	}
	h.conn.Close()
}
