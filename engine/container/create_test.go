package container

import (
	"reflect"
	"slices"
	"testing"
	"time"

	"lighter/api"
)

func TestCreateRefuses(t *testing.T) {
	w := newWorld(t)
	type edit = func(c *api.ContainerConfig, h *api.HostConfig)
	tooLow, tooHigh := int64(-2), int64(101)
	for _, row := range []struct {
		name string
		kind api.Kind
		text string
		edit edit
	}{
		{"empty command", api.Invalid, "no command specified", func(c *api.ContainerConfig, h *api.HostConfig) { c.Cmd, c.Entrypoint = nil, []string{""} }},
		{"image", api.NotFound, "No such image: nosuch:latest", func(c *api.ContainerConfig, h *api.HostConfig) { c.Image = "nosuch" }},
		{"workdir", api.Invalid, "the working directory 'x' is invalid, it needs to be an absolute path", func(c *api.ContainerConfig, h *api.HostConfig) { c.WorkingDir = "x" }},
		{"signal", api.Invalid, "invalid signal: FOO", func(c *api.ContainerConfig, h *api.HostConfig) { c.StopSignal = "FOO" }},
		{"env", api.Invalid, "invalid environment variable: =x", func(c *api.ContainerConfig, h *api.HostConfig) { c.Env = []string{"=x"} }},
		{"health", api.Invalid, "Interval in Healthcheck cannot be less than 1ms", func(c *api.ContainerConfig, h *api.HostConfig) {
			c.Healthcheck = &api.Healthcheck{Interval: time.Microsecond}
		}},
		{"health retries", api.Invalid, "Retries in Healthcheck cannot be negative", func(c *api.ContainerConfig, h *api.HostConfig) { c.Healthcheck = &api.Healthcheck{Retries: -1} }},
		{"rm and restart", api.Invalid, "can't create 'AutoRemove' container with restart policy", func(c *api.ContainerConfig, h *api.HostConfig) {
			h.AutoRemove, h.RestartPolicy.Name = true, "always"
		}},
		{"bind source", api.Invalid, `invalid mount config for type "bind": bind source path does not exist: /nonexist`, func(c *api.ContainerConfig, h *api.HostConfig) {
			h.Mounts = []api.Mount{{Type: "bind", Source: "/nonexist", Target: "/x"}}
		}},
		{"mount type", api.Invalid, `invalid mount config for type "foo": mount type unknown`, func(c *api.ContainerConfig, h *api.HostConfig) {
			h.Mounts = []api.Mount{{Type: "foo", Target: "/x"}}
		}},
		{"mount root", api.Invalid, `invalid mount config for type "tmpfs": invalid specification: destination can't be '/'`, func(c *api.ContainerConfig, h *api.HostConfig) {
			h.Mounts = []api.Mount{{Type: "tmpfs", Target: "/a/.."}}
		}},
		{"extra host", api.Invalid, `invalid IP address in add-host: "y"`, func(c *api.ContainerConfig, h *api.HostConfig) { h.ExtraHosts = []string{"x:y"} }},
		{"port", api.Invalid, `invalid port specification: "http"`, func(c *api.ContainerConfig, h *api.HostConfig) {
			h.PortBindings = map[string][]api.PortBinding{"http/tcp": nil}
		}},
		{"policy", api.Invalid, "invalid restart policy: unknown policy 'foo'; use one of 'no', 'always', 'on-failure', or 'unless-stopped'", func(c *api.ContainerConfig, h *api.HostConfig) {
			h.RestartPolicy.Name = "foo"
		}},
		{"cap", api.Invalid, `invalid CapAdd: unknown capability: "CAP_FOO"`, func(c *api.ContainerConfig, h *api.HostConfig) { h.CapAdd = []string{"foo"} }},
		{"memory", api.Invalid, "Minimum memory limit allowed is 6MB", func(c *api.ContainerConfig, h *api.HostConfig) { h.Memory = 4 << 20 }},
		{"swap", api.Invalid, "Minimum memoryswap limit should be larger than memory limit, see usage", func(c *api.ContainerConfig, h *api.HostConfig) {
			h.Memory, h.MemorySwap = 64<<20, 32<<20
		}},
		{"swap alone", api.Invalid, "You should always set the Memory limit when using Memoryswap limit, see usage", func(c *api.ContainerConfig, h *api.HostConfig) {
			h.MemorySwap = 32 << 20
		}},
		{"swappiness", api.Invalid, "Invalid value: -2, valid memory swappiness range is 0-100", func(c *api.ContainerConfig, h *api.HostConfig) { h.MemorySwappiness = &tooLow }},
		{"swappiness", api.Invalid, "Invalid value: 101, valid memory swappiness range is 0-100", func(c *api.ContainerConfig, h *api.HostConfig) { h.MemorySwappiness = &tooHigh }},
		{"cpus", api.Invalid, "range of CPUs is from 0.01 to 2.00, as there are only 2 CPUs available", func(c *api.ContainerConfig, h *api.HostConfig) { h.NanoCPUs = 99e9 }},
		{"cpuset", api.Invalid, "Requested CPUs are not available - requested 7, available: 0-1", func(c *api.ContainerConfig, h *api.HostConfig) { h.CpusetCpus = "7" }},
		{"ipc", api.Invalid, "invalid IPC mode: foo", func(c *api.ContainerConfig, h *api.HostConfig) { h.IpcMode = "foo" }},
		{"pid", api.Invalid, "invalid PID mode: container:", func(c *api.ContainerConfig, h *api.HostConfig) { h.PidMode = "container:" }},
		{"pid container", api.Invalid, "No such container: nosuch", func(c *api.ContainerConfig, h *api.HostConfig) { h.PidMode = "container:nosuch" }},
		{"runtime", api.Invalid, "unknown or invalid runtime name: foo", func(c *api.ContainerConfig, h *api.HostConfig) { h.Runtime = "foo" }},
		{"security", api.Internal, `invalid --security-opt 2: "foo=bar"`, func(c *api.ContainerConfig, h *api.HostConfig) { h.SecurityOpt = []string{"foo=bar"} }},
		{"log opt", api.Invalid, "unknown log opt 'x' for json-file log driver", func(c *api.ContainerConfig, h *api.HostConfig) { h.LogConfig.Config = map[string]string{"x": "y"} }},
		{"log driver", api.Invalid, `error looking up logging plugin foo: plugin "foo" not found`, func(c *api.ContainerConfig, h *api.HostConfig) { h.LogConfig.Type = "foo" }},
		{"bind mode", api.Invalid, "invalid mode: zz", func(c *api.ContainerConfig, h *api.HostConfig) { h.Binds = []string{"a:/x:zz"} }},
		{"duplicate", api.Invalid, "Duplicate mount point: /x", func(c *api.ContainerConfig, h *api.HostConfig) { h.Binds = []string{"/a:/x", "/b:/x"} }},
		{"hostname", api.Invalid, "conflicting options: hostname and the network mode", func(c *api.ContainerConfig, h *api.HostConfig) {
			c.Hostname, h.NetworkMode = "x", "container:y"
		}},
		{"volume", api.Invalid, `create v: volume name is too short, names should be at least two alphanumeric characters`, func(c *api.ContainerConfig, h *api.HostConfig) { h.Binds = []string{"v:/x"} }},
	} {
		req := api.CreateContainer{ContainerConfig: &api.ContainerConfig{Image: "busybox"}, HostConfig: &api.HostConfig{NetworkMode: "none"}}
		row.edit(req.ContainerConfig, req.HostConfig)
		_, err := w.Create(t.Context(), "", req, nil)
		if err == nil || err.Error() != row.text || api.KindOf(err) != row.kind {
			t.Errorf("%s: %v (kind %d)\nwant %s (kind %d)", row.name, err, api.KindOf(err), row.text, row.kind)
		}
	}
	_, err := w.Create(t.Context(), "", api.CreateContainer{}, nil)
	w.refuses(err, api.Invalid, "config cannot be empty in order to create a container")
	if n, _, _ := w.Count(); n != 0 {
		t.Error(n)
	}
}

// TestVastCpuset must neither take time nor memory (CVE-2018-20699).
func TestVastCpuset(t *testing.T) {
	w := newWorld(t)
	begin := time.Now()
	for _, set := range []string{"1-9223372036854775807", "-1", "3-1", "0-,", "x", "0-8192"} {
		req := api.CreateContainer{ContainerConfig: &api.ContainerConfig{Image: "busybox"}, HostConfig: &api.HostConfig{}}
		req.HostConfig.CpusetMems = set
		if _, err := w.Create(t.Context(), "", req, nil); !api.Is(err, api.Invalid) {
			t.Errorf("%s: %v", set, err)
		}
	}
	if d := time.Since(begin); d > 100*time.Millisecond {
		t.Error(d)
	}
}

func TestImageHealthcheckRuns(t *testing.T) {
	w := newWorld(t)
	img := w.images["busybox"]
	config := *img.Config
	config.Healthcheck = &api.Healthcheck{Test: []string{"CMD", "true"}}
	img.Config = &config
	w.images["sick"] = img
	id := w.create("hh", func(r *api.CreateContainer) { r.Image = "sick" })
	c, err := w.Inspect(t.Context(), id, false)
	w.must(err)
	if c.State.Health != nil || c.Config.Healthcheck == nil {
		t.Error(c.State.Health, c.Config.Healthcheck)
	}
}

func TestMerge(t *testing.T) {
	image := &api.ContainerConfig{
		User: "u", Cmd: []string{"c"}, Entrypoint: []string{"e"}, Env: []string{"A=1", "B=2"}, WorkingDir: "/w", StopSignal: "QUIT",
		Labels: map[string]string{"a": "1", "b": "2"}, ExposedPorts: map[string]struct{}{"80/tcp": {}},
	}
	for _, row := range []struct {
		entrypoint, cmd []string
		want            []string
	}{
		{nil, nil, []string{"e", "c"}},
		{nil, []string{"x"}, []string{"e", "x"}},
		{[]string{"f"}, nil, []string{"f"}},
		{[]string{"f"}, []string{"x"}, []string{"f", "x"}},
		{[]string{""}, []string{"x"}, []string{"x"}},
	} {
		c := &api.ContainerConfig{Entrypoint: row.entrypoint, Cmd: row.cmd, Env: []string{"B=3", "C"}, Labels: map[string]string{"b": "3"}}
		if err := merge(c, image); err != nil {
			t.Fatal(err)
		}
		path, args := command(c)
		if !slices.Equal(append([]string{path}, args...), row.want) {
			t.Errorf("%v %v: %s %v", row.entrypoint, row.cmd, path, args)
		}
		if !slices.Equal(c.Env, []string{"B=3", "C", "A=1"}) || c.Labels["a"] != "1" || c.Labels["b"] != "3" || c.User != "u" || c.StopSignal != "QUIT" {
			t.Errorf("%+v", c)
		}
	}
	if len(image.Labels) != 2 || image.Labels["b"] != "2" {
		t.Error("the image was changed")
	}
	env := environ(&api.ContainerConfig{Hostname: "h", Env: []string{"PATH=/x", "HOSTNAME", "", "=y", "*", "Z=1"}}, false, nil)
	if !slices.Equal(env, []string{"PATH=/x", "Z=1"}) {
		t.Error(env)
	}
}

func TestListFilters(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	a := w.create("alpha", func(r *api.CreateContainer) { r.Labels = map[string]string{"x": "1"} })
	b := w.create("beta", func(r *api.CreateContainer) {
		r.HostConfig.NetworkMode, r.ExposedPorts = "host", map[string]struct{}{"80/tcp": {}}
	})
	c := w.create("gamma", func(r *api.CreateContainer) { r.HostConfig.Binds = []string{"/tmp:/data"} })
	w.must(w.Start(ctx, a))
	w.must(w.Start(ctx, b))
	w.must(w.Kill(ctx, b, ""))
	for _, row := range []struct {
		key, value string
		want       []string
	}{
		{"name", "a", []string{c, b, a}}, {"name", "^alp", []string{a}}, {"name", "^/beta$", []string{b}}, {"name", "[", nil},
		{"id", a[:5], []string{a}}, {"label", "x", []string{a}}, {"label", "x=2", nil}, {"label", "a=b", []string{c, b, a}},
		{"status", "running", []string{a}}, {"status", "exited", []string{b}}, {"status", "created", []string{c}},
		{"exited", "137", []string{b}}, {"exited", "0", nil}, {"before", "beta", []string{a}}, {"since", a, []string{c, b}},
		{"ancestor", "busybox", []string{c, b, a}}, {"ancestor", "other", nil}, {"network", "host", []string{b}}, {"network", "none", []string{c, a}},
		{"volume", "/data", []string{c}}, {"volume", "/tmp", []string{c}}, {"health", "none", []string{c, b, a}}, {"health", "healthy", nil},
		{"is-task", "false", []string{c, b, a}}, {"is-task", "true", nil}, {"publish", "80", nil},
	} {
		list, err := w.List(ctx, ListOptions{All: true, Filters: api.Filters{row.key: {row.value}}})
		w.must(err)
		var got []string
		for _, s := range list {
			got = append(got, s.ID)
		}
		if !slices.Equal(got, row.want) {
			t.Errorf("%s=%s: %d, want %d", row.key, row.value, len(got), len(row.want))
		}
	}
	for key, text := range map[string]string{"status": "invalid filter 'status=x': invalid value for state (x): must be one of created, running, paused, restarting, removing, exited, dead", "exited": `invalid filter 'exited=x': strconv.Atoi: parsing "x": invalid syntax`, "foo": "invalid filter 'foo'", "since": "No such container: x"} {
		_, err := w.List(ctx, ListOptions{Filters: api.Filters{key: {"x"}}})
		if err == nil || err.Error() != text {
			t.Error(err)
		}
	}
	full, _ := w.List(ctx, ListOptions{})
	brief, _ := w.List(ctx, ListOptions{Brief: true})
	if len(full) != 1 || full[0].Mounts == nil || full[0].Labels == nil || full[0].NetworkSettings == nil || full[0].HostConfig.NetworkMode == "" {
		t.Error(full)
	} else {
		full[0].Mounts, full[0].Labels, full[0].NetworkSettings, full[0].HostConfig = nil, nil, nil, api.SummaryHostConfig{}
	}
	if !reflect.DeepEqual(full, brief) {
		t.Errorf("brief: %+v\nfull: %+v", brief, full)
	}
	if list, _ := w.List(ctx, ListOptions{}); len(list) != 1 {
		t.Error(list)
	}
	if list, _ := w.List(ctx, ListOptions{Limit: 2}); len(list) != 2 || list[0].ID != c {
		t.Error(list)
	}
	w.images["busybox"] = Image{ID: "sha256:other", Config: &api.ContainerConfig{}}
	if list, _ := w.List(ctx, ListOptions{}); list[0].Image != imageID {
		t.Error(list[0].Image)
	}
}

func TestAge(t *testing.T) {
	for d, want := range map[time.Duration]string{
		0: "Less than a second", time.Second: "1 second", 59 * time.Second: "59 seconds", 60 * time.Second: "About a minute",
		119 * time.Second: "About a minute", 2 * time.Minute: "2 minutes", 59*time.Minute + 59*time.Second: "59 minutes",
		time.Hour: "About an hour", 89 * time.Minute: "About an hour", 90 * time.Minute: "2 hours", 47*time.Hour + 29*time.Minute: "47 hours",
		48 * time.Hour: "2 days", 13 * day: "13 days", 14 * day: "2 weeks", 59 * day: "8 weeks", 60 * day: "2 months", 729 * day: "24 months", 730 * day: "2 years",
	} {
		if got := age(d); got != want {
			t.Errorf("%v: %s, want %s", d, got, want)
		}
	}
}

func BenchmarkCreate(b *testing.B) {
	w := newWorld(b)
	for b.Loop() {
		w.create("")
	}
}

func BenchmarkRunRm(b *testing.B) {
	w := newWorld(b)
	for b.Loop() {
		id := w.create("", func(r *api.CreateContainer) { r.HostConfig.AutoRemove = true })
		removed := w.wait(id, api.WaitRemoved)
		w.must(w.Start(b.Context(), id))
		w.keeper.end(w.keeper.launches[len(w.keeper.launches)-1].Name, 0, 0)
		<-removed
	}
}

func BenchmarkList2000(b *testing.B) {
	w := newWorld(b)
	for range 2000 {
		w.create("")
	}
	b.Run("ps", func(b *testing.B) {
		for b.Loop() {
			if list, err := w.List(b.Context(), ListOptions{All: true}); err != nil || len(list) != 2000 {
				b.Fatal(err)
			}
		}
	})
	some := w.index.all()[1000].ID
	b.Run("inspect", func(b *testing.B) {
		for b.Loop() {
			if _, err := w.Inspect(b.Context(), some[:12], false); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("restore", func(b *testing.B) {
		for b.Loop() {
			w.crash()
			w.open()
		}
	})
}
