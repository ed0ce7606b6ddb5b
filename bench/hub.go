package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"time"

	"lighter/registry"
)

// The hub's rows need no engine: `lighterhub serve` on loopback, beside Debian's nginx, which
// serves the very file that the hub keeps, and beside Debian's docker-registry, which knows
// no users. The hub knows who asks in all of them: each request shows a token.

const (
	hubAddr    = "127.0.0.1:28600"
	nginxAddr  = "127.0.0.1:28601"
	peerAddr   = "127.0.0.1:28602"
	hubUser    = "bench"
	hubWord    = "correct horse battery"
	blobBytes  = 1 << 30
	uploads    = 200 // at once
	uploadSize = 100 << 20
)

// hubSide is a server that a row asks.
type hubSide struct {
	name, url, addr string
	creds           registry.Credentials
	cmd             *exec.Cmd
	path            string // of the large blob
	header          string // what each request for it shows
}

func (s *hubSide) stop() {
	_ = s.cmd.Process.Signal(os.Interrupt)
	_ = s.cmd.Wait() // it was told to end
}

// hubRow is one thing that the hub does. What a peer does, too, is timed; else it gives a
// value of a unit.
type hubRow struct {
	row
	peer string // nginx or docker-registry
	once func(context.Context, *hubSide) error
	does func(context.Context, *hubSide) (float64, error)
}

var hubRows = []hubRow{
	{row{name: "GET a blob of 1 GB", asked: 0.8, runs: 5}, "nginx", fetchBlobs(1), nil},
	{row{name: "GET a blob of 1 GB by 8 clients", asked: 0.8, runs: 3}, "nginx", fetchBlobs(8), nil},
	{row{name: "50 pushes of 10 small layers at once", asked: 3, runs: 5}, "docker-registry", pushMany, nil},
	{row{name: "manifests by tag, 32 clients", alone: true, unit: "/s", least: 5000, runs: 3}, "", nil, manifestRate("latest")},
	{row{name: "manifests by digest, 32 clients", alone: true, unit: "/s", least: 5000, runs: 3}, "", nil, manifestRate("")},
	{row{name: "memory that 200 uploads of 100 MB at once add", alone: true, unit: "MB", most: 100, runs: 1}, "", nil, uploadMany},
}

// hubFigures measures the hub.
func hubFigures(ctx context.Context, o *options, add func(figure)) (err error) {
	rows := slices.DeleteFunc(slices.Clone(hubRows), func(r hubRow) bool { return !o.takes(r.row) })
	if len(rows) == 0 {
		return nil
	}
	dir, err := os.MkdirTemp(o.cache, "bench-hub-")
	if err != nil {
		return err
	}
	end, err := guard(dir, nil, "")
	if err != nil {
		return errors.Join(err, os.RemoveAll(dir))
	}
	defer func() { err = errors.Join(err, end()) }()
	hub, err := startHub(ctx, o.bin, dir)
	if err != nil {
		return err
	}
	defer hub.stop()
	sides := map[string]*hubSide{}
	defer func() {
		for _, s := range sides {
			s.stop()
		}
	}()
	var failed []error
	for _, r := range rows {
		all := []*hubSide{hub}
		if r.peer != "" {
			if sides[r.peer] == nil {
				s, err := startHubPeer(ctx, r.peer, dir, hub)
				if err != nil {
					return err
				}
				sides[r.peer] = s
			}
			all = append(all, sides[r.peer])
		}
		f, err := r.measure(ctx, all, o)
		if err != nil {
			failed = append(failed, fmt.Errorf("%s: %w", r.name, err))
			continue
		}
		add(f)
	}
	return errors.Join(failed...)
}

// hubArea is the chapter of the hub's rows.
const hubArea = "The hub"

func (r hubRow) measure(ctx context.Context, sides []*hubSide, o *options) (figure, error) {
	f := r.figure()
	f.Area = hubArea
	runs := r.runs
	if runs > 1 {
		runs = max(3, int(float64(runs)*o.scale)) + 1 // the first fills caches
	}
	values := make([][]float64, len(sides))
	for run := range runs {
		for i, s := range sides {
			v, err := r.run(ctx, s)
			if err != nil {
				return f, fmt.Errorf("%s: %w", s.name, err)
			}
			if run > 0 || runs == 1 {
				values[i] = append(values[i], v)
			}
		}
	}
	for i, s := range sides {
		f.Sides[s.name] = spreadOf(values[i])
	}
	return f, nil
}

func (r hubRow) run(ctx context.Context, s *hubSide) (float64, error) {
	if err := ctx.Err(); err != nil {
		return 0, err
	}
	if r.does != nil {
		return r.does(ctx, s)
	}
	began := time.Now()
	err := r.once(ctx, s)
	return time.Since(began).Seconds(), err
}
