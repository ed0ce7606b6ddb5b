package server

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"sync"

	"lighter/api"
	"lighter/engine/image"
	"lighter/oci"
)

// classic answers POST /build: Docker's own way to ask for a build, whose body is the context as a tar. The
// builder behind it is the one that there is; what it tells is worded as the classic builder's (classicsteps.go).
func (b *builds) classic(w http.ResponseWriter, r *request) error {
	req, names, err := b.classicRequest(r)
	if err != nil {
		return err
	}
	if err := r.grant.build(req); err != nil {
		return err
	}
	ctx, cancel := untilStop(r.Context())
	defer cancel()
	if id := r.query.Get("buildid"); id != "" {
		b.mu.Lock()
		b.running[id] = cancel
		b.mu.Unlock()
		defer func() {
			b.mu.Lock()
			delete(b.running, id)
			b.mu.Unlock()
		}()
	}
	if err := b.classicContext(ctx, r, req); err != nil {
		return err
	}
	out := newProgress(w)
	view := &classicSteps{out: out, quiet: r.flag("q"), ctx: ctx, images: b.s.config.Images, target: req.Options["target"], request: req, names: names}
	if view.before, err = b.imageIDs(ctx); err != nil {
		return err
	}
	last := &lastWord{tell: view.tell}
	err = b.engine().Build(ctx, req, last.send)
	if failed := last.failure(err); failed != nil {
		return view.fail(failed, err)
	}
	if last.result == nil {
		return fmt.Errorf("the build ended without a result")
	}
	return view.end(last.result)
}

// lastWord keeps how a build ended, and passes the rest on, one at a time.
type lastWord struct {
	tell func(api.BuildMessage)

	mu     sync.Mutex
	result *api.BuildResult
	failed *api.BuildError
}

func (l *lastWord) send(m api.BuildMessage) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if m.Result != nil {
		l.result = m.Result
	}
	if m.Error != nil {
		l.failed = m.Error
	}
	l.tell(m)
}

func (l *lastWord) failure(err error) *api.BuildError {
	if l.failed == nil && err != nil {
		l.failed = buildError(err)
	}
	return l.failed
}

// imageIDs are the images that there are: one that a build makes and that was there is from the cache.
func (b *builds) imageIDs(ctx context.Context) (map[string]bool, error) {
	ids := map[string]bool{}
	if b.s.config.Images == nil {
		return ids, nil
	}
	list, err := b.s.config.Images.List(ctx, image.ListOptions{All: true})
	for _, i := range list {
		ids[i.ID] = true
	}
	return ids, err
}

// classicContext takes the context from the body, or has the builder fetch it.
func (b *builds) classicContext(ctx context.Context, r *request, req *api.BuildRequest) error {
	if remote := r.query.Get("remote"); remote != "" && remote != "client-session" {
		req.Options["context"] = remote
		return nil
	}
	if r.query.Get("remote") == "client-session" {
		return api.Errorf(api.NotImplemented, "a context from a session is for BuildKit's clients, which ask at POST /grpc")
	}
	if !r.sent() {
		return api.Errorf(api.Invalid, "unexpected EOF: a build needs a context, and there is neither a body nor remote=")
	}
	id, err := b.engine().Upload(ctx, r.Body)
	if err != nil {
		return err
	}
	req.Contexts = map[string]api.BuildContext{"context": {Upload: id}, "dockerfile": {Upload: id}}
	return nil
}

// classicRequest reads the query of POST /build. Names are those that are told at the end.
func (b *builds) classicRequest(r *request) (*api.BuildRequest, []string, error) {
	q := r.query
	if len(q["securityopt"]) > 0 {
		return nil, nil, api.Errorf(api.Invalid, "security options are not supported on linux")
	}
	if v := q.Get("version"); v == "2" {
		return nil, nil, api.Errorf(api.NotImplemented, "BuildKit by this route is for Docker's clients before 23: take one that comes with buildx, or set DOCKER_BUILDKIT=0")
	} else if v != "" && v != "1" {
		return nil, nil, api.Errorf(api.Invalid, "invalid version %q", v)
	}
	if i := q.Get("isolation"); i != "" && i != "default" {
		return nil, nil, api.Errorf(api.Invalid, "unsupported isolation: %q", i)
	}
	if out := q.Get("outputs"); out != "" && out != "[]" && out != "null" {
		return nil, nil, api.Errorf(api.Invalid, "outputs are BuildKit's; the classic builder makes images alone")
	}
	req := &api.BuildRequest{Options: map[string]string{}, Classic: true, Squash: r.flag("squash")}
	var names []string
	for _, t := range q["t"] {
		if t == "" {
			continue
		}
		ref, err := oci.ParseReference(t)
		if err == nil && ref.Digest != "" {
			err = errors.New("build tag cannot contain a digest")
		}
		if err != nil {
			return nil, nil, api.Errorf(api.Invalid, "%w", err)
		}
		ref = ref.OrLatest()
		req.Names = append(req.Names, ref.String())
		names = append(names, ref.Familiar())
	}
	for _, read := range []func(*request, *api.BuildRequest) error{b.classicPlain, b.classicJSON, b.classicNetwork} {
		if err := read(r, req); err != nil {
			return nil, nil, err
		}
	}
	req.Auth = r.registryConfig()
	return req, names, nil
}

// classicPlain reads what is one word.
func (b *builds) classicPlain(r *request, req *api.BuildRequest) error {
	o := req.Options
	for name, option := range map[string]string{
		"dockerfile": "filename", "target": "target", "cgroupparent": "cgroup-parent", "cpusetcpus": "cpusetcpus", "cpusetmems": "cpusetmems",
	} {
		if v := r.query.Get(name); v != "" {
			o[option] = v
		}
	}
	if p := r.query.Get("platform"); p != "" && !r.older("1.32") {
		if _, err := oci.ParsePlatform(p); err != nil {
			return api.Errorf(api.Invalid, "%w", err)
		}
		o["platform"] = p
	}
	for name, option := range map[string]string{
		"memory": "memory", "memswap": "memswap", "cpushares": "cpushares", "cpuperiod": "cpuperiod", "cpuquota": "cpuquota", "shmsize": "shm-size",
	} {
		// What is no number counts as none, as with Docker.
		if n, err := strconv.ParseInt(r.query.Get(name), 10, 64); err == nil && n != 0 {
			o[option] = strconv.FormatInt(n, 10)
		} else if err != nil && name == "shmsize" && r.query.Get(name) != "" {
			return err
		}
	}
	if r.flag("nocache") {
		o["no-cache"] = ""
	}
	if r.flag("pull") {
		o["image-resolve-mode"] = "pull"
	}
	return nil
}

// classicJSON reads what is JSON.
func (b *builds) classicJSON(r *request, req *api.BuildRequest) error {
	var ulimits []struct {
		Name       string
		Soft, Hard int64
	}
	args, labels, from := map[string]*string{}, map[string]string{}, []string{}
	for _, v := range []struct {
		name, what string
		to         any
	}{
		{"ulimits", "error reading ulimit settings", &ulimits}, {"buildargs", "error reading build args", &args},
		{"labels", "error reading labels", &labels}, {"cachefrom", "error reading cache-from", &from},
	} {
		if text := r.query.Get(v.name); text != "" {
			if err := json.Unmarshal([]byte(text), v.to); err != nil {
				return api.Errorf(api.Invalid, "%s: %w", v.what, err)
			}
		}
	}
	var list []string
	for _, u := range ulimits {
		list = append(list, fmt.Sprintf("%s=%d:%d", u.Name, u.Soft, u.Hard))
	}
	if len(list) > 0 {
		req.Options["ulimit"] = strings.Join(list, ",")
	}
	for k, v := range args {
		if v != nil {
			req.Options["build-arg:"+k] = *v
		}
	}
	for k, v := range labels {
		req.Options["label:"+k] = v
	}
	for _, ref := range from {
		req.From = append(req.From, api.BuildCacheOption{Type: "registry", Attrs: map[string]string{"ref": ref}})
	}
	return nil
}

// classicNetwork reads how steps reach others.
func (b *builds) classicNetwork(r *request, req *api.BuildRequest) error {
	switch mode := r.query.Get("networkmode"); mode {
	case "", "default", "bridge":
	case "none":
		req.Options["force-network-mode"] = mode
	case "host":
		req.Options["force-network-mode"] = mode
		req.Allow = append(req.Allow, "network.host")
	default:
		if strings.HasPrefix(mode, "container:") {
			return api.Errorf(api.NotImplemented, "steps of a build run on a network, on host or on none, not in that of a container: %q", mode)
		}
		req.Network = mode
	}
	var hosts []string
	for _, h := range r.query["extrahosts"] {
		host, addr, ok := strings.Cut(h, ":")
		if !ok {
			return api.Errorf(api.Invalid, "bad format for add-host: %q", h)
		}
		hosts = append(hosts, host+"="+strings.Trim(addr, "[]"))
	}
	if len(hosts) > 0 {
		req.Options["add-hosts"] = strings.Join(hosts, ",")
	}
	return nil
}

// registryConfig reads the X-Registry-Config header: logins by registry, JSON in base64url. One that
// cannot be read counts as none, as with Docker.
func (r *request) registryConfig() map[string]api.Auth {
	var auths map[string]api.Auth
	raw, err := base64.URLEncoding.DecodeString(r.Header.Get("X-Registry-Config"))
	if err != nil || json.Unmarshal(raw, &auths) != nil {
		return nil
	}
	return auths
}

// notThere finds the path in what the builder says of a source that is not in the context.
var notThere = regexp.MustCompile(`"/?([^"]*)": not found$`)

// classicFailure words an error as the classic builder does, with the code of the command that failed.
func classicFailure(e *api.BuildError, step string) (text string, code int) {
	text = strings.TrimPrefix(e.Message, "failed to solve: ")
	verb, _, _ := strings.Cut(step, " ")
	switch found := notThere.FindStringSubmatch(text); {
	case e.Code != 0:
		return fmt.Sprintf("The command '%s' returned a non-zero code: %d", strings.Join(e.Shell, " "), e.Code), e.Code
	case found != nil && (verb == "COPY" || verb == "ADD"):
		return verb + " failed: file not found in build context or excluded by .dockerignore: stat " + found[1] + ": file does not exist", 0
	case strings.HasPrefix(text, "failed to read dockerfile: open "):
		name, _, _ := strings.Cut(strings.TrimPrefix(text, "failed to read dockerfile: open "), ":")
		return "Cannot locate specified Dockerfile: " + name, 0
	}
	if target, _, ok := strings.Cut(text, " could not be found (did you mean "); ok {
		return target + " could not be found", 0
	}
	return text, 0
}

// classicKind is the kind of an error that ends a build before its first step.
func classicKind(text string, err error) api.Kind {
	if kind := api.KindOf(err); kind != api.Internal {
		return kind
	}
	for _, wrong := range []string{"dockerfile parse error", "target stage ", "failed to parse", "invalid ", "file with no instructions", "the Dockerfile "} {
		if strings.HasPrefix(text, wrong) {
			return api.Invalid
		}
	}
	return api.Internal
}
