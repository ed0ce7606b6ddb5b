package build

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/moby/buildkit/solver/pb"

	"lighter/api"
	"lighter/engine/container"
	"lighter/store"
	"lighter/store/layer"
)

func TestLogStreamIsBounded(t *testing.T) {
	begun := time.Unix(100, 0)
	s := logStream{begun: begun}
	if got := s.take([]byte("no newline"), begun); string(got) != "no newline" {
		t.Errorf("%q", got)
	}
	b := make([]byte, maxLogSpeed)
	got := s.take(b, begun.Add(time.Millisecond))
	if !strings.HasSuffix(string(got), "\n[output clipped, log limit 200KiB/s reached]\n") || len(got) != maxLogSpeed-10+len("\n[output clipped, log limit 200KiB/s reached]\n") {
		t.Errorf("%d bytes, %q", len(got), got[len(got)-60:])
	}
	if got := s.take([]byte("more"), begun.Add(time.Millisecond)); len(got) != 0 {
		t.Errorf("past the bound: %q", got)
	}
	if got := s.take([]byte("later"), begun.Add(5*time.Second)); string(got) != "later" {
		t.Errorf("a second later: %q", got)
	}
	told := 0
	for n := range 100 {
		told += len(s.take(b, begun.Add(time.Duration(n)*time.Hour)))
	}
	if told > maxLogSize+100 {
		t.Errorf("%d bytes were told", told)
	}
	s.take([]byte("the very end"), begun.Add(time.Hour))
	if len(s.tail) > 2*lastOutput || !strings.HasSuffix(string(s.tail), "the very end") {
		t.Errorf("the tail has %d bytes", len(s.tail))
	}
}

// execFor makes an operation of a program with a root and these mounts.
func execFor(t *testing.T, change func(*pb.ExecOp), mounts ...*pb.Mount) (*execOp, error) {
	t.Helper()
	e := &pb.ExecOp{Meta: &pb.Meta{Args: []string{"make"}, Cwd: "/w"}, Mounts: append([]*pb.Mount{{Dest: "/", Output: 0, Input: 0}}, mounts...)}
	if change != nil {
		change(e)
	}
	o, err := newExecOp(&pb.Op{Inputs: []*pb.Input{{}, {}}, Platform: &pb.Platform{OS: "linux", Architecture: "amd64"}}, e)
	if err != nil {
		return nil, err
	}
	return o.(*execOp), nil
}

func TestExecIsChecked(t *testing.T) {
	for _, row := range []struct {
		text   string
		change func(*pb.ExecOp)
	}{
		{"no args", func(e *pb.ExecOp) { e.Meta.Args = nil }},
		{"no args", func(e *pb.ExecOp) { e.Meta = nil }},
		{"with 0 mounts", func(e *pb.ExecOp) { e.Mounts = nil }},
		{"no rootfs", func(e *pb.ExecOp) { e.Mounts[0].Dest = "/x" }},
		{"missing input 7", func(e *pb.ExecOp) { e.Mounts[0].Input = 7 }},
		{"invalid mount type", func(e *pb.ExecOp) { e.Mounts[0].MountType = pb.MountType_TMPFS }},
		{"two root", func(e *pb.ExecOp) { e.Mounts = append(e.Mounts, &pb.Mount{Dest: "//", Output: 1}) }},
		{"duplicate output 0", func(e *pb.ExecOp) { e.Mounts = append(e.Mounts, &pb.Mount{Dest: "/x"}) }},
		{"missing output index 1", func(e *pb.ExecOp) { e.Mounts = append(e.Mounts, &pb.Mount{Dest: "/x", Output: 2}) }},
		{"secret ID missing", func(e *pb.ExecOp) {
			e.Mounts = append(e.Mounts, &pb.Mount{Dest: "/x", MountType: pb.MountType_SECRET})
		}},
		{"missing cache mount options", func(e *pb.ExecOp) {
			e.Mounts = append(e.Mounts, &pb.Mount{Dest: "/x", MountType: pb.MountType_CACHE, Output: none})
		}},
		{"invalid mount type 99", func(e *pb.ExecOp) { e.Mounts = append(e.Mounts, &pb.Mount{Dest: "/x", MountType: 99, Output: none}) }},
	} {
		if _, err := execFor(t, row.change); err == nil || !strings.Contains(err.Error(), row.text) {
			t.Errorf("%v, want %q", err, row.text)
		}
	}
	if _, err := execFor(t, nil, &pb.Mount{Dest: "/run/s", MountType: pb.MountType_SECRET, SecretOpt: &pb.SecretOpt{ID: "x"}}); err != nil {
		t.Error(err) // front ends leave the output of such a mount at 0
	}
}

// A front end does not choose the control group: the client does.
func TestExecChoosesNoGroup(t *testing.T) {
	e, err := execFor(t, func(e *pb.ExecOp) { e.Meta.CgroupParent = "/x" })
	if err != nil {
		t.Fatal(err)
	}
	for parent, ok := range map[string]bool{"": false, "/y": false, "/x": true} {
		j := &job{request: &api.BuildRequest{Options: map[string]string{"cgroup-parent": parent}}, platforms: []api.Platform{{OS: "linux", Architecture: "amd64"}}}
		if err := e.allowed(j); (err == nil) != ok {
			t.Errorf("asked for %q: %v", parent, err)
		}
	}
}

func TestExecKeys(t *testing.T) {
	j := &job{request: &api.BuildRequest{Secrets: map[string][]byte{"x": []byte("hush-hush")}, Options: map[string]string{"cgroup-parent": "/x"}}, platforms: []api.Platform{{OS: "linux", Architecture: "amd64"}}}
	in := []outcome{{top: "sha256:base"}, {top: "sha256:other"}}
	keyOf := func(change func(*pb.ExecOp), mounts ...*pb.Mount) string {
		t.Helper()
		e, err := execFor(t, change, mounts...)
		if err != nil {
			t.Fatal(err)
		}
		k, err := e.key(t.Context(), j, in)
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range k.parts {
			if strings.Contains(p.Value, "hush") {
				t.Errorf("a secret is in the key: %+v", p)
			}
		}
		return k.digest()
	}
	cache := func(id string) *pb.Mount {
		return &pb.Mount{Dest: "/c", MountType: pb.MountType_CACHE, CacheOpt: &pb.CacheOpt{ID: id}, Input: int64(pb.Empty), Output: none}
	}
	secret := &pb.Mount{Dest: "/s", MountType: pb.MountType_SECRET, SecretOpt: &pb.SecretOpt{ID: "x"}}
	plain := keyOf(nil)
	for what, change := range map[string]func(*pb.ExecOp){
		"args": func(e *pb.ExecOp) { e.Meta.Args = []string{"make", "all"} }, "env": func(e *pb.ExecOp) { e.Meta.Env = []string{"A=b"} },
		"folder": func(e *pb.ExecOp) { e.Meta.Cwd = "/" }, "user": func(e *pb.ExecOp) { e.Meta.User = "7" }, "network": func(e *pb.ExecOp) { e.Network = pb.NetMode_NONE },
		"hosts": func(e *pb.ExecOp) { e.Meta.ExtraHosts = []*pb.HostIP{{Host: "a", IP: "1.2.3.4"}} }, "base": func(e *pb.ExecOp) { e.Mounts[0].Input = 1 },
		"read-only": func(e *pb.ExecOp) { e.Mounts[0].Readonly = true }, "exit codes": func(e *pb.ExecOp) { e.Meta.ValidExitCodes = []int32{3} },
	} {
		if keyOf(change) == plain {
			t.Errorf("%s is not in the key", what)
		}
	}
	for what, change := range map[string]func(*pb.ExecOp){
		"proxies": func(e *pb.ExecOp) { e.Meta.ProxyEnv = &pb.ProxyEnv{HttpProxy: "http://user:password@x"} }, "cgroup": func(e *pb.ExecOp) { e.Meta.CgroupParent = "/x" },
	} {
		if keyOf(change) != plain {
			t.Errorf("%s is in the key", what)
		}
	}
	if keyOf(nil, cache("a")) != keyOf(nil, cache("b")) || keyOf(nil, cache("a")) == plain {
		t.Error("the id of a cache is in the key, or the cache is not")
	}
	if keyOf(nil, secret) == plain {
		t.Error("a secret is not in the key")
	}
	j.request.Binds = []string{"/tmp:/x"}
	e, _ := execFor(t, nil)
	if k, err := e.key(t.Context(), j, in); k != nil || err != nil {
		t.Errorf("with a folder of the host: %v, %v", k, err)
	}
}

func TestExecIsAllowed(t *testing.T) {
	j := &job{request: &api.BuildRequest{}, platforms: []api.Platform{{OS: "linux", Architecture: "amd64"}}}
	host, _ := execFor(t, func(e *pb.ExecOp) { e.Network = pb.NetMode_HOST })
	insecure, _ := execFor(t, func(e *pb.ExecOp) { e.Security = pb.SecurityMode_INSECURE })
	device, _ := execFor(t, func(e *pb.ExecOp) { e.CdiDevices = []*pb.CDIDevice{{Name: "v.com/d=1"}} })
	for what, e := range map[string]*execOp{"network.host": host, "security.insecure": insecure, "device": device} {
		j.request.Allow = nil
		if err := e.allowed(j); err == nil || !strings.HasPrefix(err.Error(), what+" is not allowed") {
			t.Errorf("%s: %v", what, err)
		}
		j.request.Allow = []string{what}
		if err := e.allowed(j); (err == nil) != (what != "device") {
			t.Errorf("%s, allowed: %v", what, err)
		}
	}
	foreign, _ := execFor(t, nil)
	foreign.platform = &pb.Platform{OS: "linux", Architecture: "s390x"}
	if err := foreign.allowed(j); err == nil || !strings.Contains(err.Error(), "does not run programs for linux/s390x") {
		t.Error(err)
	}
}

func TestPlacesOfMounts(t *testing.T) {
	e, err := execFor(t, nil)
	if err != nil {
		t.Fatal(err)
	}
	r := &execRun{execOp: e, sources: map[string]*os.File{}}
	for _, p := range []string{"/a", "/a/b", "/ab", "/dev/shm", "/proc/x", "/etc/hosts"} {
		r.places = append(r.places, layer.Place{Path: p})
	}
	var got []string
	for _, p := range r.needed() {
		got = append(got, p.Path)
	}
	if strings.Join(got, " ") != "/a /ab" {
		t.Errorf("%q", got)
	}
	if e.place(&pb.Mount{Dest: "x/../y"}) != "/w/y" || e.place(&pb.Mount{Dest: "/../z"}) != "/z" {
		t.Error("places are not clean")
	}
}

func newCacheDirs(t *testing.T) *cacheDirs {
	t.Helper()
	root, err := store.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { root.Close() })
	c := &cacheDirs{}
	if err := os.MkdirAll(root.Path("build"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := c.open(root, func() time.Time { return time.Unix(1000, 0) }); err != nil {
		t.Fatal(err)
	}
	return c
}

func TestCacheSharing(t *testing.T) {
	c := newCacheDirs(t)
	take := func(sharing pb.CacheSharingOpt) *cacheDir {
		t.Helper()
		d, err := c.take(t.Context(), "id", "", sharing, nil)
		if err != nil {
			t.Fatal(err)
		}
		return d
	}
	shared, again := take(pb.CacheSharingOpt_SHARED), take(pb.CacheSharingOpt_SHARED)
	private := take(pb.CacheSharingOpt_PRIVATE)
	if shared.path != again.path || private.path == shared.path {
		t.Errorf("%s %s %s", shared.path, again.path, private.path)
	}
	waited := make(chan *cacheDir)
	go func() {
		d, err := c.take(context.WithoutCancel(t.Context()), "id", "", pb.CacheSharingOpt_LOCKED, nil)
		if err != nil {
			t.Error(err)
		}
		waited <- d
	}()
	gone, cancel := context.WithCancelCause(t.Context())
	why := errors.New("called off")
	cancel(why)
	if _, err := c.take(gone, "id", "", pb.CacheSharingOpt_LOCKED, nil); !errors.Is(err, why) {
		t.Errorf("waiting, called off: %v", err)
	}
	shared.release()
	select {
	case d := <-waited:
		t.Fatalf("somebody has %s, and it was given", d.path)
	default:
	}
	again.release()
	locked := <-waited
	if locked.path != shared.path {
		t.Errorf("locked %s", locked.path)
	}
	private.release()
	locked.release()
	if d := take(pb.CacheSharingOpt_PRIVATE); d.path != shared.path {
		t.Errorf("a free one is not taken again: %s", d.path)
	} else if list, err := c.list(); err != nil || len(list) != 1 || !list[0].InUse || list[0].ID != "id" || list[0].Uses != 5 {
		t.Errorf("%+v, %v", list, err)
	} else if gone, err := c.remove(list[0].Hash); gone || err != nil {
		t.Errorf("removed while it is used: %v", err)
	} else {
		d.release()
		if gone, err := c.remove(list[0].Hash); !gone || err != nil {
			t.Errorf("not removed: %v", err)
		}
	}
	if list, err := c.list(); err != nil || len(list) != 0 {
		t.Errorf("%+v, %v", list, err)
	}
}

func TestCacheIsSeededOnce(t *testing.T) {
	c := newCacheDirs(t)
	bad := errors.New("no")
	if _, err := c.take(t.Context(), "id", "top", pb.CacheSharingOpt_SHARED, func(string) error { return bad }); !errors.Is(err, bad) {
		t.Error(err)
	}
	seeds := 0
	for range 2 {
		d, err := c.take(t.Context(), "id", "top", pb.CacheSharingOpt_SHARED, func(dir string) error {
			seeds++
			return os.WriteFile(filepath.Join(dir, "f"), nil, 0o600)
		})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := os.Stat(filepath.Join(d.path, "f")); err != nil {
			t.Error(err)
		}
		d.release()
	}
	if seeds != 1 {
		t.Errorf("seeded %d times", seeds)
	}
}

func TestStepOfExec(t *testing.T) {
	e, err := execFor(t, func(e *pb.ExecOp) {
		e.Meta.ProxyEnv = &pb.ProxyEnv{HttpProxy: "http://p"}
		e.Meta.Env = []string{"A=1"}
		e.Meta.Ulimit = []*pb.Ulimit{{Name: "nofile", Soft: 1, Hard: 2}}
	})
	if err != nil {
		t.Fatal(err)
	}
	r := &execRun{execOp: e, v: &vertex{meta: &pb.OpMetadata{LinuxResources: &pb.LinuxResources{Memory: 5}}}, env: []string{"SECRET=s"}}
	var s container.Step = r.step("build-1")
	want := "A=1 HTTP_PROXY=http://p http_proxy=http://p PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin SECRET=s"
	if strings.Join(s.Env, " ") != want || s.Limits.Memory != 5 || s.Limits.Ulimits[0] != (api.Ulimit{Name: "nofile", Soft: 1, Hard: 2}) || s.Hostname != "buildkitsandbox" {
		t.Errorf("%+v", s)
	}
}
