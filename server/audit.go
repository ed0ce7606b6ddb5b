package server

import (
	"bufio"
	"encoding/json"
	"fmt"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"net/url"
	"os"
	"slices"
	"sync"
	"time"

	"lighter/api"
)

// Audit is a file with a line of JSON for each request that changes something, and for each that was
// refused. Lines are only ever added, each by one write: others may read along, and rename the file
// away (Reopen). It holds no bodies and no headers, and of queries what safe lists.
type Audit struct {
	path   string
	strict bool // nothing is done that was not noted before

	mu     sync.Mutex
	file   *os.File
	lost   int  // lines that could not be written
	broken bool // the latest write left a piece of a line
}

// OpenAudit opens the file, or makes it, for root's eyes alone. Of a strict one each request has a line
// before it is done, without a status, and is refused when that cannot be written.
func OpenAudit(path string, strict bool) (*Audit, error) {
	a := &Audit{path: path, strict: strict}
	return a, a.Reopen()
}

// Reopen goes on in what is called by the file's name now.
func (a *Audit) Reopen() error {
	f, err := os.OpenFile(a.path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("open the audit log: %w", err)
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	old := a.file
	a.file, a.broken = f, false
	if old != nil {
		return old.Close()
	}
	return nil
}

// Close closes the file.
func (a *Audit) Close() error {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.file.Close()
}

// entry is a line of the audit log.
type entry struct {
	Time   string            `json:"time"`           // of the request, RFC 3339
	Client string            `json:"client"`         // the policy's name for it, or what is known of it
	UID    *int              `json:"uid,omitempty"`  // of a process of this machine
	PID    int               `json:"pid,omitempty"`  //
	Cert   string            `json:"cert,omitempty"` // the common name of a certificate, and its serial number
	Serial *big.Int          `json:"serial,omitempty"`
	Addr   string            `json:"addr,omitempty"` // of who came by TCP
	Method string            `json:"method"`
	Route  string            `json:"route"`            // as docs/security.md lists it
	Object string            `json:"object,omitempty"` // as the client named it
	ID     string            `json:"id,omitempty"`     // what that was, or what was made
	Query  map[string]string `json:"query,omitempty"`
	Build  []string          `json:"build,omitempty"` // by BuildKit's protocol, a line each: build and its names, or prune
	Status int               `json:"status,omitempty"`
	Denied string            `json:"denied,omitempty"` // why the policy refused it
	Millis float64           `json:"ms,omitempty"`
	Lost   int               `json:"lost,omitempty"` // lines before this that could not be written

	begun  time.Time
	failed error // of a connection that was taken over
}

// safe are the parameters that say what was done and hold no secrets.
var safe = []string{"name", "force", "v", "signal", "t", "tag", "repo", "fromImage", "path", "container", "all", "filters", "checkpoint", "platform", "detachKeys"}

// newEntry is what is known of a request before it is done.
func newEntry(r *request, to route) *entry {
	e := &entry{begun: time.Now(), Client: r.who.String(), Method: r.Method, Route: to.path, Object: r.name}
	if r.grant != nil && !r.who.Engine {
		e.Client = r.grant.who.Name
	}
	e.Time = e.begun.UTC().Format(time.RFC3339Nano)
	if r.who.Local {
		e.UID, e.PID = &r.who.UID, r.who.PID
	} else if !r.who.Engine {
		e.Addr = r.RemoteAddr
	}
	if c := r.who.Cert; c != nil {
		e.Cert, e.Serial = c.Subject.CommonName, c.SerialNumber
	}
	q, _ := url.ParseQuery(r.URL.RawQuery) // what cannot be read is refused by who handles it
	for key := range q {
		if slices.Contains(safe, key) {
			if e.Query == nil {
				e.Query = map[string]string{}
			}
			e.Query[key] = q.Get(key)
		}
	}
	return e
}

// note says what a request made, or what a name in its body was.
func (r *request) note(id string) {
	if r.entry != nil {
		r.entry.ID = id
	}
}

// noteFailure says how a request failed on a connection that was taken over.
func (r *request) noteFailure(err error) {
	if r.entry != nil {
		r.entry.failed = err
	}
}

// begin notes a request that is to be done, where that is a condition.
func (a *Audit) begin(e *entry) error {
	if a == nil || !a.strict {
		return nil
	}
	if err := a.write(e); err != nil {
		return api.Errorf(api.Unavailable, "nothing is changed that cannot be noted in the audit log: %w", err)
	}
	return nil
}

// end notes how it ended.
func (a *Audit) end(e *entry, status int, err error) {
	if a == nil {
		return
	}
	if err == nil {
		err = e.failed
	}
	if e.Status = status; err != nil {
		e.Status = api.KindOf(err).Status()
	}
	if api.Is(err, api.Forbidden) {
		e.Denied = err.Error()
	}
	e.Millis = float64(time.Since(e.begun).Microseconds()) / 1000
	_ = a.write(e) // it is counted, and was told
}

// write adds a line. What cannot be written is counted, told once, and told of in the next line.
func (a *Audit) write(e *entry) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	e.Lost = a.lost
	line, err := json.Marshal(e)
	if err != nil {
		return err
	}
	if a.broken {
		line = append([]byte{'\n'}, line...)
	}
	n, err := a.file.Write(append(line, '\n'))
	if err == nil {
		a.lost, a.broken = 0, false
		return nil
	}
	a.broken = a.broken && n <= 1 || n > 0
	if a.lost++; a.lost == 1 {
		slog.Error("the audit log cannot be written", "file", a.path, "error", err)
	}
	return err
}

// recorder sees an answer's status.
type recorder struct {
	http.ResponseWriter
	status int
}

// WriteHeader notes the status.
func (w *recorder) WriteHeader(status int) {
	if w.status == 0 && status >= 200 {
		w.status = status
	}
	w.ResponseWriter.WriteHeader(status)
}

// Hijack takes the connection over, after which nothing goes through here.
func (w *recorder) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	conn, buf, err := http.NewResponseController(w.ResponseWriter).Hijack()
	if err == nil {
		w.status = http.StatusSwitchingProtocols
	}
	return conn, buf, err
}

// Unwrap is for http.ResponseController.
func (w *recorder) Unwrap() http.ResponseWriter { return w.ResponseWriter }
