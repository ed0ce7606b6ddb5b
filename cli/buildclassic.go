package cli

import (
	"archive/tar"
	"bytes"
	"cmp"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"

	"github.com/docker/go-units"

	"lighter/api"
	"lighter/client"
)

// classicBuild asks for a build as Docker's client does without BuildKit (DOCKER_BUILDKIT=0): the context is
// packed and sent, whichever engine is at the other end.
func classicBuild(ctx context.Context, a *App, o *buildFlags) error {
	if a.docker() {
		a.warn("DEPRECATED: The legacy builder is deprecated and will be removed in a future release.\n" +
			"            BuildKit is currently disabled; enable it by removing the DOCKER_BUILDKIT=0\n            environment-variable.\n")
	}
	query, err := o.classicQuery(a)
	if err != nil {
		return err
	}
	r := &api.BuildRequest{Options: map[string]string{}, Contexts: map[string]api.BuildContext{}}
	files, err := o.readContexts(ctx, a, r)
	if err != nil {
		return err
	}
	body, err := files.classicBody(ctx)
	if err != nil {
		return err
	}
	if files.remote != "" {
		query.Set("remote", files.remote)
	}
	query.Set("dockerfile", cmp.Or(files.filename, "Dockerfile"))
	if o.iidfile != "" {
		if err := os.Remove(o.iidfile); err != nil && !errors.Is(err, os.ErrNotExist) {
			return fmt.Errorf("Removing image ID file: %w", err)
		}
	}
	c, err := a.Client()
	if err != nil {
		return err
	}
	config, err := json.Marshal(logins{a}.all())
	if err != nil {
		return err
	}
	auth := base64.URLEncoding.EncodeToString(config)
	if write, ok := body.(client.Writer); ok {
		var sent atomic.Int64
		body = client.Writer(func(w io.Writer) error {
			err := write(&countingWriter{w, &sent})
			if err == nil && !o.quiet {
				fmt.Fprintf(a.Out, "Sending build context to Docker daemon  %s\n", units.HumanSizeWithPrecision(float64(sent.Load()), 4))
			}
			return err
		})
	}
	answer, err := c.Builds().Classic(ctx, query, body, auth)
	if err != nil {
		return err
	}
	defer answer.Close()
	return showClassic(a, o, answer)
}

// showClassic prints what the classic builder tells.
func showClassic(a *App, o *buildFlags, answer io.Reader) error {
	var id string
	var quiet strings.Builder
	lines := &progressLines{out: a.Out}
	if o.quiet {
		lines.out = &quiet
	}
	err := client.Decode(answer, func(p api.Progress) error {
		if aux, ok := p.Aux.(map[string]any); ok {
			id, _ = aux["ID"].(string)
			return nil
		}
		return lines.show(p)
	})
	if err != nil {
		if o.quiet {
			fmt.Fprint(a.Err, quiet.String())
		}
		var e *exitError
		if errors.As(err, &e) && e.code == 0 {
			e.code = 1
		}
		return err
	}
	if o.quiet {
		id = strings.TrimSpace(quiet.String())
		fmt.Fprintln(a.Out, id)
	}
	if o.iidfile != "" {
		if id == "" {
			return fmt.Errorf("Server did not provide an image ID. Cannot write %s", o.iidfile)
		}
		return os.WriteFile(o.iidfile, []byte(id), 0o644)
	}
	return nil
}

// classicQuery is the query of POST /build. What the classic builder has no word for is refused.
func (o *buildFlags) classicQuery(a *App) (url.Values, error) {
	for flag, given := range map[string]bool{
		"secret": len(o.secrets) > 0, "ssh": len(o.ssh) > 0, "output": len(o.outputs) > 0, "push": o.push, "cache-to": len(o.cacheTo) > 0,
		"build-context": len(o.contexts) > 0, "volume": len(o.volumes) > 0, "no-cache-filter": len(o.noCacheFilter) > 0, "verify": o.verify,
		"explain-cache": o.explain, "on-fail": o.onFail != "", "metadata-file": o.metadata != "", "annotation": len(o.annotations) > 0,
		"allow": len(o.allow) > 0, "check": o.check || o.call != "build",
	} {
		if given {
			return nil, fmt.Errorf("--%s is not known to the classic builder: remove DOCKER_BUILDKIT=0 from the environment", flag)
		}
	}
	if err := o.validate(); err != nil {
		return nil, err
	}
	m, err := o.options(a)
	if err != nil {
		return nil, err
	}
	q := url.Values{"version": {"1"}, "t": o.tags, "extrahosts": o.hosts}
	for _, v := range []struct{ name, option string }{
		{"target", "target"}, {"cgroupparent", "cgroup-parent"}, {"cpusetcpus", "cpusetcpus"}, {"cpusetmems", "cpusetmems"},
		{"memory", "memory"}, {"memswap", "memswap"}, {"cpushares", "cpushares"}, {"cpuperiod", "cpuperiod"}, {"cpuquota", "cpuquota"},
		{"shmsize", "shm-size"}, {"platform", "platform"},
	} {
		if m[v.option] != "" {
			q.Set(v.name, m[v.option])
		}
	}
	if o.network != "default" {
		q.Set("networkmode", o.network)
	}
	for name, on := range map[string]bool{"q": o.quiet, "nocache": o.noCache, "pull": o.pull, "squash": o.squash, "forcerm": o.forceRm} {
		if on {
			q.Set(name, "1")
		}
	}
	if !o.rm {
		q.Set("rm", "0")
	}
	args, labels := map[string]*string{}, map[string]string{}
	for k, v := range m {
		if name, ok := strings.CutPrefix(k, "build-arg:"); ok {
			args[name] = &v
		}
		if name, ok := strings.CutPrefix(k, "label:"); ok {
			labels[name] = v
		}
	}
	var from []string
	caches, err := cacheOptions(o.cacheFrom, "src")
	if err != nil {
		return nil, err
	}
	for _, c := range caches {
		from = append(from, c.Attrs["ref"])
	}
	for name, v := range map[string]any{"buildargs": args, "labels": labels, "cachefrom": from, "ulimits": o.ulimits.list()} {
		b, err := json.Marshal(v)
		if err != nil {
			return nil, err
		}
		if s := string(b); s != "{}" && s != "[]" && s != "null" {
			q.Set(name, s)
		}
	}
	return q, nil
}

// classicBody is the one tar that the classic builder takes, with the Dockerfile in it.
func (c *buildContexts) classicBody(ctx context.Context) (io.Reader, error) {
	if c.remote != "" {
		return nil, nil
	}
	main, folder := c.folders["context"]
	if !folder {
		if c.streams["dockerfile"] != nil {
			return c.streams["dockerfile"], nil // alone
		}
		return c.streams["context"], nil
	}
	var outside []byte
	if s := c.streams["dockerfile"]; s != nil {
		tarred, err := io.ReadAll(s)
		if err != nil {
			return nil, err
		}
		one := tar.NewReader(bytes.NewReader(tarred))
		if _, err := one.Next(); err != nil {
			return nil, err
		}
		if outside, err = io.ReadAll(one); err != nil {
			return nil, err
		}
	} else {
		file := filepath.Join(c.folders["dockerfile"].path, cmp.Or(c.filename, "Dockerfile"))
		if _, err := os.Lstat(file); err != nil {
			return nil, fmt.Errorf("unable to prepare context: unable to evaluate symlinks in Dockerfile path: %w", err)
		}
		rel, err := filepath.Rel(main.path, file)
		if err != nil {
			return nil, err
		}
		if c.filename = rel; rel == ".." || strings.HasPrefix(rel, "../") {
			if outside, err = os.ReadFile(file); err != nil {
				return nil, fmt.Errorf("unable to open Dockerfile: %w", err)
			}
		}
	}
	pack, err := main.packer(c.filename)
	if err != nil {
		return nil, err
	}
	if outside != nil {
		c.filename = ".dockerfile.sent"
		pack.extra = tarEntry{c.filename, outside}
	}
	return client.Writer(func(w io.Writer) error { return pack.run(ctx, w) }), nil
}
