package client

import (
	"cmp"
	"context"
	"errors"
	"io"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"lighter/api"
)

// Containers are the containers of the engine.
type Containers struct{ c *Client }

// Create makes a container. Name may be empty for one that the engine invents,
// platform is empty or os[/arch[/variant]]. With tie, a connection is tied to it by the same
// request. Only an engine of ours does that: the stream is nil where Attach is still to be called.
func (s Containers) Create(ctx context.Context, name, platform string, req api.CreateContainer, tie *AttachOptions) (v api.Created, tied *Stream, err error) {
	query := url.Values{}
	put(query, "name", name)
	put(query, "platform", platform)
	r := &request{method: "POST", path: "/containers/create", query: query, body: shaped(func(version string) (any, error) {
		return createBody(req, platform, version)
	})}
	if tie == nil {
		err = s.c.call(ctx, r.method, r.path, r.query, r.body, &v)
		return v, nil, err
	}
	query.Set("attach", "1")
	tie.put(query)
	tied, made, err := s.c.made(ctx, r, &v)
	if tied != nil {
		err = decode([]byte(made), &v)
	}
	return v, tied, err
}

// createBody shapes a request for an API version.
func createBody(req api.CreateContainer, platform, version string) (any, error) {
	config, host := *req.ContainerConfig, *req.HostConfig
	macs := false
	for _, ep := range req.NetworkingConfig.EndpointsConfig {
		macs = macs || ep != nil && ep.MacAddress != ""
	}
	h := config.Healthcheck
	if err := errors.Join(
		needs(version, "1.25", "--stop-timeout", config.StopTimeout != nil),
		needs(version, "1.25", "--init", host.Init != nil),
		needs(version, "1.25", "--cpus", host.NanoCPUs != 0),
		needs(version, "1.29", "--health-start-period", h != nil && h.StartPeriod != 0),
		needs(version, "1.40", "--gpus", len(host.DeviceRequests) > 0),
		needs(version, "1.41", "--platform", platform != ""),
		needs(version, "1.41", "--cgroupns", host.CgroupnsMode != ""),
		needs(version, "1.43", "--annotation", len(host.Annotations) > 0),
		needs(version, "1.44", "--health-start-interval", h != nil && h.StartInterval != 0),
		needs(version, "1.44", "specify mac-address per network", macs && config.MacAddress == ""),
	); err != nil {
		return nil, err
	}
	if api.VersionLess(version, "1.25") {
		host.AutoRemove = false
	}
	if !api.VersionLess(version, "1.42") || api.VersionLess(version, "1.40") {
		host.KernelMemory = 0
	}
	if strings.HasPrefix(platform, "linux") && api.VersionLess(version, "1.42") {
		host.ConsoleSize = [2]uint{}
	}
	if !api.VersionLess(version, "1.44") {
		config.MacAddress = ""
	}
	host.CapAdd, host.CapDrop = capabilities(host.CapAdd), capabilities(host.CapDrop)
	return api.CreateContainer{ContainerConfig: &config, HostConfig: &host, NetworkingConfig: req.NetworkingConfig}, nil
}

// capabilities gives names in the form CAP_X, sorted, each once.
func capabilities(names []string) []string {
	var list []string
	for _, name := range names {
		name = strings.ToUpper(name)
		if name != "ALL" && !strings.HasPrefix(name, "CAP_") {
			name = "CAP_" + name
		}
		list = append(list, name)
	}
	slices.Sort(list)
	return slices.Compact(list)
}

// post makes one of the calls that change a container and answer nothing.
func (s Containers) post(ctx context.Context, name, verb string, query url.Values) error {
	name, err := named("container", name)
	if err != nil {
		return err
	}
	return s.c.call(ctx, "POST", route("containers", name, verb), query, nil, nil)
}

// Start starts a container; one that runs already is left alone.
func (s Containers) Start(ctx context.Context, name, checkpoint, checkpointDir string) error {
	query := url.Values{}
	put(query, "checkpoint", checkpoint)
	put(query, "checkpoint-dir", checkpointDir)
	return s.post(ctx, name, "start", query)
}

// Stop stops a container. Signal may be empty, timeout (seconds; -1 to wait for ever) nil.
func (s Containers) Stop(ctx context.Context, name, signal string, timeout *int) error {
	return s.post(ctx, name, "stop", stopping(signal, timeout))
}

// Restart stops and starts a container, with the arguments of Stop.
func (s Containers) Restart(ctx context.Context, name, signal string, timeout *int) error {
	return s.post(ctx, name, "restart", stopping(signal, timeout))
}

func stopping(signal string, timeout *int) url.Values {
	query := url.Values{}
	put(query, "signal", signal)
	if timeout != nil {
		query.Set("t", strconv.Itoa(*timeout))
	}
	return query
}

// Kill sends a signal, KILL when it is empty.
func (s Containers) Kill(ctx context.Context, name, signal string) error {
	query := url.Values{}
	put(query, "signal", signal)
	return s.post(ctx, name, "kill", query)
}

// Pause freezes all processes of a container.
func (s Containers) Pause(ctx context.Context, name string) error {
	return s.post(ctx, name, "pause", nil)
}

// Unpause lets them go on.
func (s Containers) Unpause(ctx context.Context, name string) error {
	return s.post(ctx, name, "unpause", nil)
}

// Rename gives a container another name.
func (s Containers) Rename(ctx context.Context, name, to string) error {
	return s.post(ctx, name, "rename", url.Values{"name": {to}})
}

// Resize sets the size of a container's terminal.
func (s Containers) Resize(ctx context.Context, name string, rows, columns uint) error {
	return s.post(ctx, name, "resize", size(rows, columns))
}

// RemoveOptions tells what goes with a container.
type RemoveOptions struct {
	Force   bool // also when it runs
	Volumes bool // with its anonymous volumes
	Link    bool // the name is a link to remove
}

// Remove removes a container.
func (s Containers) Remove(ctx context.Context, name string, o RemoveOptions) error {
	name, err := named("container", name)
	if err != nil {
		return err
	}
	query := url.Values{}
	set(query, "force", o.Force)
	set(query, "link", o.Link)
	set(query, "v", o.Volumes)
	return s.c.call(ctx, "DELETE", route("containers", name), query, nil, nil)
}

// ListOptions picks containers.
type ListOptions struct {
	All     bool
	Limit   int // the newest so many; 0 for no bound
	Size    bool
	Brief   bool // an engine of ours may leave out labels, networks, mounts and host config
	Filters api.Filters
}

// List lists containers, newest first.
func (s Containers) List(ctx context.Context, o ListOptions) (v []api.ContainerSummary, err error) {
	query := url.Values{}
	set(query, "all", o.All)
	set(query, "size", o.Size)
	set(query, "brief", o.Brief)
	if o.Limit > 0 {
		query.Set("limit", strconv.Itoa(o.Limit))
	}
	put(query, "filters", o.Filters.Encode())
	return v, s.c.call(ctx, "GET", "/containers/json", query, nil, &v)
}

// Inspect tells all of a container; raw is the answer as the engine gave it.
func (s Containers) Inspect(ctx context.Context, name string, size bool) (v api.Container, raw []byte, err error) {
	if name, err = named("container", name); err != nil {
		return v, nil, err
	}
	query := url.Values{}
	set(query, "size", size)
	if raw, err = s.c.System().Raw(ctx, query, "containers", name, "json"); err != nil {
		return v, nil, err
	}
	return v, raw, decode(raw, &v)
}

// LogsOptions picks what of a container's output is read.
type LogsOptions struct {
	Stdout, Stderr, Follow, Timestamps, Details bool
	Since, Until                                string // Unix times, as seconds.nanoseconds
	Tail                                        string // lines, or "all"
}

// Output is what a container printed, as a body to be read and closed.
type Output struct {
	io.ReadCloser
	// Raw tells that it is as it was printed, Framed that it comes in the frames that
	// Demux reads. Engines before API 1.42 tell neither.
	Raw, Framed bool
}

// Logs gives a container's output: raw when it has a terminal, else framed.
func (s Containers) Logs(ctx context.Context, name string, o LogsOptions) (*Output, error) {
	name, err := named("container", name)
	if err != nil {
		return nil, err
	}
	query := url.Values{"tail": {o.Tail}}
	set(query, "stdout", o.Stdout)
	set(query, "stderr", o.Stderr)
	set(query, "follow", o.Follow)
	set(query, "timestamps", o.Timestamps)
	set(query, "details", o.Details)
	put(query, "since", o.Since)
	put(query, "until", o.Until)
	resp, err := s.c.do(ctx, &request{method: "GET", path: route("containers", name, "logs"), query: query})
	if err != nil {
		return nil, err
	}
	out := &Output{ReadCloser: resp}
	if !api.VersionLess(s.c.Version(), "1.42") {
		out.Raw = resp.header["content-type"] == rawStream
		out.Framed = resp.header["content-type"] == framedStream
	}
	return out, nil
}

// AttachOptions tells what of a container is attached to.
type AttachOptions struct {
	Stdin, Stdout, Stderr, Logs bool
	DetachKeys                  string
}

func (o AttachOptions) put(query url.Values) {
	query.Set("stream", "1")
	set(query, "stdin", o.Stdin)
	set(query, "stdout", o.Stdout)
	set(query, "stderr", o.Stderr)
	set(query, "logs", o.Logs)
	put(query, "detachKeys", o.DetachKeys)
}

// Attach ties a connection to a container's first process.
func (s Containers) Attach(ctx context.Context, name string, o AttachOptions) (*Stream, error) {
	name, err := named("container", name)
	if err != nil {
		return nil, err
	}
	query := url.Values{}
	o.put(query)
	return s.c.hijack(ctx, &request{
		method: "POST", path: route("containers", name, "attach"), query: query,
		header: map[string]string{"Content-Type": "text/plain"},
	})
}

// Waiting is a wait that the engine has taken up.
type Waiting struct {
	resp *response
	late func() (*response, error) // asks an engine that answers only at the end
}

// Wait begins to wait for a container; condition is one of api.Wait* or empty for
// WaitNotRunning. When it returns, the engine watches.
func (s Containers) Wait(ctx context.Context, name, condition string) (*Waiting, error) {
	name, err := named("container", name)
	if err != nil {
		return nil, err
	}
	if err := s.c.negotiate(ctx); err != nil {
		return nil, err
	}
	r := &request{method: "POST", path: route("containers", name, "wait"), query: url.Values{}}
	if api.VersionLess(s.c.Version(), "1.30") {
		return &Waiting{late: func() (*response, error) { return s.c.do(ctx, r) }}, nil
	}
	late := func() (*response, error) {
		return s.c.do(ctx, &request{method: r.method, path: r.path, query: url.Values{}})
	}
	put(r.query, "condition", condition)
	resp, err := s.c.do(ctx, r)
	if err != nil {
		return nil, err
	}
	return &Waiting{resp: resp, late: late}, nil
}

// StartWaiting starts a container and begins to wait for it, with a condition as Wait's, by one
// request: only an engine of ours, one of which Create gave a stream, answers so.
func (s Containers) StartWaiting(ctx context.Context, name, condition string) (*Waiting, error) {
	resp, err := s.c.do(ctx, &request{method: "POST", path: route("containers", name, "start"), query: url.Values{"wait": {condition}}})
	if err != nil {
		return nil, err
	}
	return &Waiting{resp: resp, late: func() (*response, error) {
		return s.c.do(ctx, &request{method: "POST", path: route("containers", name, "wait"), query: url.Values{}})
	}}, nil
}

// Result gives how the container ended. It is called once. Should the engine have died
// meanwhile, the one that is there now is asked for the end of what it found.
func (w *Waiting) Result() (v api.Waited, err error) {
	if w.resp != nil {
		if err = w.resp.decode(&v); !errors.Is(err, io.ErrUnexpectedEOF) {
			return v, err
		}
	}
	resp, again := w.late()
	if again != nil {
		return v, cmp.Or(err, again)
	}
	return v, resp.decode(&v)
}

// Top lists the processes of a container, as ps shows them with args.
func (s Containers) Top(ctx context.Context, name string, args []string) (v api.Top, err error) {
	if name, err = named("container", name); err != nil {
		return v, err
	}
	query := url.Values{}
	put(query, "ps_args", strings.Join(args, " "))
	return v, s.c.call(ctx, "GET", route("containers", name, "top"), query, nil, &v)
}

// Prune removes stopped containers.
func (s Containers) Prune(ctx context.Context, filters api.Filters) (v api.Pruned, err error) {
	query := url.Values{}
	put(query, "filters", filters.Encode())
	return v, s.c.call(ctx, "POST", "/containers/prune", query, nil, &v)
}

// Update changes the limits or the restart policy of a container.
func (s Containers) Update(ctx context.Context, name string, u api.UpdateContainer) (v api.Updated, err error) {
	if name, err = named("container", name); err != nil {
		return v, err
	}
	return v, s.c.call(ctx, "POST", route("containers", name, "update"), nil, u, &v)
}

// Stats measures a container: once, or, with stream, each second until it is removed, ctx
// ends, or each fails.
func (s Containers) Stats(ctx context.Context, name string, stream bool, each func(api.Stats) error) error {
	name, err := named("container", name)
	if err != nil {
		return err
	}
	query := url.Values{"stream": {"0"}}
	if stream {
		query.Set("stream", "1")
	}
	resp, err := s.c.do(ctx, &request{method: "GET", path: route("containers", name, "stats"), query: query})
	if err != nil {
		return err
	}
	defer resp.Close()
	return Decode(resp, each)
}

// Sample measures a container at this moment: its CPU time is that since it started.
func (s Containers) Sample(ctx context.Context, name string) (v api.Stats, err error) {
	query := url.Values{"stream": {"0"}, "one-shot": {"1"}}
	return v, s.c.call(ctx, "GET", route("containers", name, "stats"), query, nil, &v)
}
