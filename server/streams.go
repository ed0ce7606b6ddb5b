package server

import (
	"encoding/binary"
	"encoding/json"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"sync"
	"time"

	"lighter/api"
	"lighter/engine/container"
)

// The streams of a frame's header.
const (
	stdout      = 1
	systemError = 3
)

// frame appends the header of a frame (stdcopy): stream, three zeros, length.
func frame(b []byte, stream byte, length int) []byte {
	return binary.BigEndian.AppendUint32(append(b, stream, 0, 0, 0), uint32(length))
}

// attach ties the client's connection to a container. The engine keeps it until the
// container starts, if it has not yet.
func (c *containers) attach(w http.ResponseWriter, r *request) error {
	tty, err := c.engine().CheckAttach(r.name, r.query.Get("detachKeys"))
	h, e := c.s.hijack(w)
	if e != nil {
		return e
	}
	if err != nil {
		r.noteFailure(err)
		h.refuse(err)
		return nil
	}
	return c.tie(r, h, r.name, tty, nil)
}

// attachNew answers a creation by attaching the client to what was made, of which a field of the
// header tells.
func (c *containers) attachNew(w http.ResponseWriter, r *request, made api.Created, tty bool) error {
	text, err := json.Marshal(made)
	if err != nil {
		return err
	}
	h, err := c.s.hijack(w)
	if err != nil {
		return err
	}
	return c.tie(r, h, made.ID, tty, http.Header{api.CreatedHeader: {string(text)}})
}

// tie attaches a connection that was taken over; extra comes with the answer.
func (c *containers) tie(r *request, h *hijacked, name string, tty bool, extra http.Header) error {
	client := h.client()
	client.Stdin, client.Stdout, client.Stderr = r.flag("stdin"), r.flag("stdout"), r.flag("stderr")
	client.Framed = !tty
	accepted := false
	err := c.engine().Attach(r.Context(), name, container.AttachOptions{
		Logs: r.flag("logs"), Stream: r.flag("stream"), DetachKeys: r.query.Get("detachKeys"), Client: client,
		Accept: func() error { accepted = true; return h.accept(r, r.streamType(tty), extra) },
	})
	r.noteFailure(err)
	switch {
	case err != nil && !accepted:
		h.refuse(err)
		return nil
	case err != nil:
		h.fail(err, !tty)
		return nil
	}
	h.handOver(c.s, r)
	return nil
}

// logs sends a container's log: whole buffers while there is much, single lines soon
// after they come.
func (c *containers) logs(w http.ResponseWriter, r *request) error {
	o := container.LogOptions{
		Stdout: r.flag("stdout"), Stderr: r.flag("stderr"), Follow: r.flag("follow"), Tail: -1,
	}
	if !o.Stdout && !o.Stderr {
		return api.Errorf(api.Invalid, "Bad parameters: you must choose at least one stream")
	}
	tty, err := c.engine().CheckLogs(r.name, o)
	if err != nil {
		return err
	}
	if o.Since, err = eventTime(r.query.Get("since")); err != nil {
		return err
	}
	if o.Until, err = eventTime(r.query.Get("until")); err != nil {
		return err
	}
	if n, err := strconv.Atoi(r.query.Get("tail")); err == nil {
		o.Tail = n // "all", as any other text, is all
	}
	ctx, cancel := untilStop(r.Context())
	defer cancel()
	out := &logStream{out: startStream(w, r.streamType(tty)), follow: o.Follow}
	details, times := r.flag("details"), r.flag("timestamps")
	err = c.engine().Logs(ctx, r.name, o, func(stream byte, at time.Time, line []byte, attrs map[string]string) error {
		var prefix []byte
		if times {
			prefix = at.UTC().AppendFormat(prefix, "2006-01-02T15:04:05.000000000Z ")
		}
		if details {
			prefix = append(appendAttrs(prefix, attrs), ' ')
		}
		return out.line(stream, !tty, prefix, line)
	})
	if err != nil && ctx.Err() == nil {
		msg := []byte("Error grabbing logs: " + err.Error() + "\n")
		_ = out.line(systemError, !tty, nil, msg) // the client may be what failed
	}
	out.end()
	return nil
}

// appendAttrs writes k=v,k2=v2, sorted and escaped.
func appendAttrs(b []byte, attrs map[string]string) []byte {
	keys := make([]string, 0, len(attrs))
	for k := range attrs {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	for i, k := range keys {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(append(append(b, url.QueryEscape(k)...), '='), url.QueryEscape(attrs[k])...)
	}
	return b
}

const (
	logBuffer = 64 << 10             // bytes that go out at once
	logDelay  = 2 * time.Millisecond // that a line waits for more of its kind
)

// logStream gathers lines and sends them together.
type logStream struct {
	out    *stream
	follow bool // lines must not stay until the buffer is full

	mu    sync.Mutex
	buf   []byte
	timer *time.Timer // runs while there are unsent lines
	err   error
}

// line appends a line, in a frame of its own when framed says so.
func (l *logStream) line(stream byte, framed bool, prefix, line []byte) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.err != nil {
		return l.err
	}
	if framed {
		l.buf = frame(l.buf, stream, len(prefix)+len(line))
	}
	l.buf = append(append(l.buf, prefix...), line...)
	if len(l.buf) >= logBuffer {
		l.send()
	} else if l.follow && l.timer == nil {
		l.timer = time.AfterFunc(logDelay, func() {
			l.mu.Lock()
			defer l.mu.Unlock()
			l.timer = nil
			l.send()
		})
	}
	return l.err
}

func (l *logStream) send() {
	if l.err == nil && len(l.buf) > 0 {
		_, l.err = l.out.Write(l.buf)
	}
	l.buf = l.buf[:0]
}

// end sends what is left.
func (l *logStream) end() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.timer != nil {
		l.timer.Stop()
	}
	l.send()
	l.follow = false
}
