package container

import (
	"context"
	"fmt"
	"time"

	"lighter/api"
)

// Inspect tells all of a container; with size also how large it is.
func (cs *Containers) Inspect(_ context.Context, ref string, size bool) (*api.Container, error) {
	c, err := cs.index.find(ref)
	if err != nil {
		return nil, err
	}
	s := c.now()
	path, args := command(s.Config)
	if args == nil {
		args = []string{}
	}
	out := &api.Container{
		ID: s.ID, Created: s.Created.Format(time.RFC3339Nano), Path: path, Args: args, State: s.wireState(),
		Reason: s.Reason, Image: s.Image, Name: "/" + s.Name, RestartCount: s.Restarts, Platform: platformOS(s.Platform),
		ExecIDs: c.execs.list(), HostConfig: s.Host, GraphDriver: cs.Layers.Data(s.ID), Mounts: s.mountPoints(), Config: s.Config,
		NetworkSettings: networkSettings(cs, s),
	}
	out.Driver = out.GraphDriver.Name
	if len(s.Links) > 0 {
		h := *s.Host
		h.Links, out.HostConfig = shownLinks(cs, s), &h
	}
	if !s.StartedAt.IsZero() {
		c.etcPaths(out, s)
	}
	if sec, err := parseSecurity(s.Host); err == nil {
		out.AppArmorProfile = sec.apparmor
	}
	if size {
		rw, all, err := cs.Layers.Usage(s.ID)
		if err != nil {
			return nil, fmt.Errorf("size of container %s: %w", short(s.ID), err)
		}
		out.SizeRw, out.SizeRootFs = &rw, &all
	}
	return out, nil
}

func platformOS(p api.Platform) string {
	if p.OS == "" {
		return "linux"
	}
	return p.OS
}

func stamp(t time.Time) string { return t.UTC().Format(time.RFC3339Nano) }

func (s *snapshot) wireState() *api.State {
	var health *api.Health
	if s.Health != nil {
		h := *s.Health
		h.Log = append([]api.HealthResult{}, h.Log...)
		health = &h
	}
	return &api.State{
		Health: health,
		Status: s.phase.String(), Running: s.phase.up(), Paused: s.phase == paused, Restarting: s.phase == restarting, Dead: s.phase == dead,
		OOMKilled: s.OOMKilled, Pid: s.Pid, ExitCode: s.ExitCode, Error: s.Error,
		StartedAt: stamp(s.StartedAt), FinishedAt: stamp(s.FinishedAt),
	}
}

// etcPaths tells where the files are that every start writes.
func (c *container) etcPaths(out *api.Container, s *snapshot) {
	from := c
	if ref, joins := shared(s.Host.NetworkMode); joins {
		if other, err := c.cs.index.find(ref); err == nil {
			from = other
		}
	}
	out.ResolvConfPath, out.HostnamePath, out.HostsPath = from.path(resolvFile), from.path(hostnameFile), from.path(hostsFile)
	if s.Host.LogConfig.Type == "json-file" {
		out.LogPath = c.logPath()
	}
}
