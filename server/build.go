package server

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"os"
	"reflect"
	"strconv"
	"strings"
	"sync"

	"lighter/api"
)

// Builder makes images of Dockerfiles.
type Builder interface {
	// Build tells what happens, from several goroutines, the id of the build first. Its last message is the
	// result, or the error that it returns as well.
	Build(ctx context.Context, r *api.BuildRequest, tell func(api.BuildMessage)) error
	// Upload keeps a context, a tar, until a build has taken it.
	Upload(ctx context.Context, r io.Reader) (id string, err error)
	// Output writes an output of a build as a tar, once.
	Output(ctx context.Context, id string, n int, w io.Writer) error
	Prune(ctx context.Context, o api.BuildPrune) (api.BuildPruned, error)
	Usage(ctx context.Context) ([]api.BuildCache, error)
	// Step gives the image of a step's state, STAGE:N of an image that was built here.
	Step(ctx context.Context, image, step string) (id string, err error)
}

// builds answers for the builder.
type builds struct {
	s *Server

	mu      sync.Mutex
	running map[string]context.CancelFunc // classic builds, by the id that their client gave
}

func (s *Server) buildRoutes() []route {
	b := &builds{s: s, running: map[string]context.CancelFunc{}}
	return []route{
		{"POST", "/build", b.has(b.classic)},
		{"POST", "/build/prune", b.has(b.prune)},
		{"POST", "/build/cancel", b.has(b.cancel)},
		{"POST", "/builds", b.has(b.build)},           // no route of Docker's, as the rest
		{"POST", "/builds/contexts", b.has(b.upload)}, //
		{"GET", "/builds/step", b.has(b.step)},
		{"GET", "/builds/{name}", b.has(b.output)},
		{"POST", "/session", b.session},
		{"POST", "/grpc", b.control},
	}
}

// has refuses where there is no builder.
func (b *builds) has(h handler) handler {
	return func(w http.ResponseWriter, r *request) error {
		if b.engine() == nil {
			return api.Errorf(api.NotImplemented, "this engine has no builder")
		}
		return h(w, r)
	}
}

func (b *builds) engine() Builder { return b.s.config.Builds }

// build answers POST /builds with a stream of api.BuildMessage, a line each.
func (b *builds) build(w http.ResponseWriter, r *request) error {
	var req api.BuildRequest
	if err := r.mustJSON(w, &req); err != nil {
		return err
	}
	if err := r.grant.build(&req); err != nil {
		return err
	}
	for name, c := range req.Contexts {
		if err := sameFolder(name, c, req.Machine); err != nil {
			return err
		}
	}
	ctx, cancel := untilStop(r.Context())
	defer cancel()
	out := &messages{w: w}
	err := b.engine().Build(ctx, &req, out.send)
	return out.end(err)
}

// messages is the answer to POST /builds. Its 200 goes out with the first message.
type messages struct {
	w http.ResponseWriter

	mu    sync.Mutex
	out   *stream
	enc   *json.Encoder
	ended bool // by a result or an error
}

func (m *messages) send(msg api.BuildMessage) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.ended {
		return
	}
	m.ended = msg.Result != nil || msg.Error != nil
	if m.out == nil {
		m.out = startStream(m.w, "application/json")
		m.enc = json.NewEncoder(m.out)
		m.enc.SetEscapeHTML(false)
	}
	_ = m.enc.Encode(msg) // a client that is gone ends ctx
}

// end tells of an error that was not told yet: in band when the answer has begun.
func (m *messages) end(err error) error {
	m.mu.Lock()
	begun, ended := m.out != nil, m.ended
	m.mu.Unlock()
	switch {
	case err == nil || ended:
		return nil
	case !begun:
		return err
	}
	m.send(api.BuildMessage{Error: buildError(err)})
	return nil
}

func buildError(err error) *api.BuildError {
	return &api.BuildError{Message: err.Error()}
}

// errElsewhere tells a client to send its context: what it names is not here.
func errElsewhere(name, why string) error {
	return api.Errorf(api.Conflict, "the context %q is not on the engine's machine (%s): send it by POST /builds/contexts", name, why)
}

// sameFolder refuses a folder that the engine does not see as the client does.
func sameFolder(name string, c api.BuildContext, machine string) error {
	if c.Path == "" {
		return nil
	}
	if boot, err := os.ReadFile("/proc/sys/kernel/random/boot_id"); err != nil || strings.TrimSpace(string(boot)) != machine {
		return errElsewhere(name, "it is another machine")
	}
	st, err := os.Stat(c.Path)
	if err != nil {
		return errElsewhere(name, err.Error())
	}
	v := reflect.Indirect(reflect.ValueOf(st.Sys()))
	if v.Kind() != reflect.Struct || number(v, "Dev") != c.Device || number(v, "Ino") != c.Inode {
		return errElsewhere(name, c.Path+" is another folder here")
	}
	return nil
}

// number reads a field of what stat gave: this package speaks to no kernel.
func number(v reflect.Value, name string) uint64 {
	switch f := v.FieldByName(name); {
	case f.IsValid() && f.CanUint():
		return f.Uint()
	case f.IsValid() && f.CanInt():
		return uint64(f.Int())
	}
	return 0
}

// upload answers POST /builds/contexts, whose body is a tar.
func (b *builds) upload(w http.ResponseWriter, r *request) error {
	if !r.sent() {
		return api.Errorf(api.Invalid, "a context is sent as a tar, and there is none")
	}
	id, err := b.engine().Upload(r.Context(), r.Body)
	return ok(w, api.BuildSent{ID: id}, err)
}

// output answers GET /builds/{id}/output/{n} with a tar. What fails once it has begun can only
// be told by cutting it off.
func (b *builds) output(w http.ResponseWriter, r *request) error {
	id, rest, _ := strings.Cut(r.name, "/")
	n, err := strconv.Atoi(strings.TrimPrefix(rest, "output/"))
	if err != nil || n < 0 || !strings.HasPrefix(rest, "output/") {
		return api.Errorf(api.NotFound, "page not found")
	}
	out := &tarAnswer{w: w}
	err = b.engine().Output(r.Context(), id, n, out)
	switch {
	case err == nil:
		out.begin()
		return nil
	case !out.begun:
		return err
	}
	b.s.log.Error("an output of a build was cut off", "build", id, "output", n, "error", err)
	panic(http.ErrAbortHandler)
}

// tarAnswer sends the headers with the first byte.
type tarAnswer struct {
	w     http.ResponseWriter
	begun bool
}

func (t *tarAnswer) begin() {
	if !t.begun {
		t.begun = true
		t.w.Header().Set("Content-Type", "application/x-tar")
		t.w.WriteHeader(http.StatusOK)
	}
}

func (t *tarAnswer) Write(p []byte) (int, error) {
	t.begin()
	return t.w.Write(p)
}

// step answers GET /builds/step?image=&step=.
func (b *builds) step(w http.ResponseWriter, r *request) error {
	id, err := b.engine().Step(r.Context(), r.query.Get("image"), r.query.Get("step"))
	return ok(w, api.BuildStep{ID: id}, err)
}

// prune answers POST /build/prune.
func (b *builds) prune(w http.ResponseWriter, r *request) error {
	f, err := r.filters()
	if err != nil {
		return err
	}
	o := api.BuildPrune{All: r.flag("all"), Filters: f}
	sizes := []struct {
		name string
		to   *int64
		old  bool
	}{{"reserved-space", &o.Keep, false}, {"keep-storage", &o.Keep, true}, {"max-used-space", &o.MaxUsed, false}, {"min-free-space", &o.MinFree, false}}
	for _, size := range sizes {
		text := r.query.Get(size.name)
		if text == "" || !size.old && r.older("1.48") || *size.to != 0 {
			continue
		}
		n, err := strconv.ParseInt(text, 10, 64)
		if err != nil {
			return api.Errorf(api.Invalid, "%s is in bytes and expects an integer, got %v: %w", size.name, text, errors.Unwrap(err))
		}
		*size.to = n
	}
	pruned, err := b.engine().Prune(r.Context(), o)
	return ok(w, pruned, err)
}

// cancel answers POST /build/cancel?id=, which is sent by clients that gave their build an id.
func (b *builds) cancel(w http.ResponseWriter, r *request) error {
	id := r.query.Get("id")
	if id == "" {
		return api.Errorf(api.Invalid, "build ID not provided")
	}
	b.mu.Lock()
	stop := b.running[id]
	b.mu.Unlock()
	if stop != nil {
		stop()
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(http.StatusOK)
	return nil
}

// usage puts the builder's cache into what GET /system/df tells.
func (sys *system) buildUsage(r *request, du *api.DiskUsage) (err error) {
	du.BuildCache = []api.BuildCache{}
	if b := sys.s.config.Builds; b != nil && !r.grant.bound() { // steps have no labels
		list, err := b.Usage(r.Context())
		if err != nil {
			return err
		}
		du.BuildCache = append(du.BuildCache, list...)
	}
	return nil
}
