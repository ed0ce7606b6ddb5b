package main

import (
	"context"
	"encoding/json"
	"log/slog"
	"maps"
	"net/netip"
	"net/url"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"

	"lighter/api"
	"lighter/engine/container"
	"lighter/engine/network"
	"lighter/kernel"
	"lighter/linux/cgroup"
	"lighter/linux/fs"
)

// facts is what GET /info tells and what does not change while the engine runs.
func (c *config) facts(id string, l cgroup.Layout, f container.Features) api.Info {
	name, version := osRelease()
	host, _ := os.Hostname()
	info := api.Info{
		ID:     id,
		Driver: "overlay2",
		Plugins: api.Plugins{
			Volume: []string{"local"}, Network: network.Drivers(), Log: slices.DeleteFunc(container.LogDrivers(), func(d string) bool { return d == "none" }),
		},
		Debug:         c.LogLevel == "debug",
		LoggingDriver: c.LogDriver,
		CgroupDriver:  "cgroupfs", CgroupVersion: "1",
		KernelVersion:   readLine("/proc/sys/kernel/osrelease"),
		OperatingSystem: name, OSVersion: version, OSType: "linux", Architecture: machine(),
		IndexServerAddress: "https://index.docker.io/v1/",
		RegistryConfig: &api.RegistryConfig{
			InsecureRegistryCIDRs: []string{"::1/128", "127.0.0.0/8"}, Mirrors: c.Mirrors,
			IndexConfigs: map[string]api.RegistryIndex{"docker.io": {Name: "docker.io", Mirrors: append([]string{}, c.Mirrors...), Secure: true, Official: true}},
		},
		NCPU: runtime.NumCPU(), MemTotal: memTotal(),
		DockerRootDir: c.Root, Name: host, Labels: slices.Clone(c.Labels),
		ServerVersion: api.DockerVersion, DefaultRuntime: c.Runtime,
		Swarm:              api.Swarm{LocalNodeState: "inactive"},
		LiveRestoreEnabled: true,
		InitBinary:         "lighter",
		RuncCommit:         api.ProgramCommit{ID: api.Commit}, InitCommit: api.ProgramCommit{ID: api.Commit},
		SecurityOptions: []string{"name=seccomp,profile=" + c.Seccomp},
		CDISpecDirs:     []string{},
		FirewallBackend: &api.Firewall{Driver: "nftables"},
	}
	if info.Labels == nil {
		info.Labels = []string{}
	}
	info.Runtimes = c.knownRuntimes()
	for _, name := range c.Insecure {
		if _, err := netip.ParsePrefix(name); err == nil {
			info.RegistryConfig.InsecureRegistryCIDRs = append(info.RegistryConfig.InsecureRegistryCIDRs, name)
		} else {
			info.RegistryConfig.IndexConfigs[name] = api.RegistryIndex{Name: name, Mirrors: []string{}}
		}
	}
	info.HTTPProxy, info.HTTPSProxy, info.NoProxy = redacted(c.HTTPProxy), redacted(c.HTTPSProxy), c.NoProxy
	if c.remapped {
		info.SecurityOptions = append(info.SecurityOptions, "name=userns")
	}
	if l.Mode == cgroup.V2 {
		info.CgroupVersion = "2"
		info.SecurityOptions = append(info.SecurityOptions, "name=cgroupns")
	}
	if rootless() {
		info.SecurityOptions = append(info.SecurityOptions, "name=rootless")
		if c.lonely != "" {
			info.Warnings = append(info.Warnings, "WARNING: No way from containers to the outside: "+c.lonely)
		}
	}
	if l.Mode == cgroup.None {
		info.CgroupDriver = "none"
	}
	if c.NoNewPrivs {
		info.SecurityOptions = append(info.SecurityOptions, "name=no-new-privileges")
	}
	if c.Seccomp != "builtin" {
		info.Warnings = append(info.Warnings, "WARNING: daemon is not using the default seccomp profile")
	}
	info.DriverStatus = [][2]string{{"Backing Filesystem", backing(c.Root)}, {"Supports d_type", "true"},
		{"Using metacopy", "false"}, {"Native Overlay Diff", "true"}, {"userxattr", strconv.FormatBool(fs.InUserSpace())}}
	kernel.Limits(&info, f, l)
	return info
}

// redacted is a proxy's URL without its password.
func redacted(proxy string) string {
	if u, err := url.Parse(proxy); err == nil && u.User != nil {
		return strings.Replace(u.Redacted(), ":xxxxx@", "@", 1)
	}
	return proxy
}

// info answers GET /info: the facts, and what changes.
func (p *parts) info(context.Context) (api.Info, error) {
	p.mu.Lock()
	info := p.facts
	p.mu.Unlock()
	info.SecurityOptions = slices.Clone(info.SecurityOptions)
	info.Warnings = slices.Clone(info.Warnings)
	info.Runtimes = maps.Clone(info.Runtimes)
	info.Containers, info.ContainersRunning, info.ContainersPaused = p.containers.Count()
	info.ContainersStopped = info.Containers - info.ContainersRunning - info.ContainersPaused
	info.Images = p.images.Count()
	info.NFd, info.NGoroutines, info.NEventsListener = openFiles(), runtime.NumGoroutine(), p.events.Listeners()
	return info, nil
}

// reload takes from flags and file anew what can change while the engine runs: what is
// logged, and the labels.
func (p *parts) reload(args []string, level *slog.LevelVar) {
	c, _, err := parse(args)
	if err != nil {
		slog.Error("the configuration stays as it was: " + err.Error())
		return
	}
	if p.config.current.Load() != nil {
		if err := p.config.renew(&c.tlsConfig); err != nil {
			slog.Error("the certificates stay as they were: " + err.Error())
		}
	}
	if err := p.reloadWatch(c); err != nil {
		slog.Error(err.Error())
	}
	level.Set(c.level())
	p.mu.Lock()
	p.facts.Labels = append([]string{}, c.Labels...)
	p.facts.Debug = c.LogLevel == "debug"
	id, name := p.facts.ID, p.facts.Name
	p.mu.Unlock()
	labels, _ := json.Marshal(c.Labels) // texts cannot fail
	p.events.Publish("daemon", "reload", id, map[string]string{
		"name": name, "labels": string(labels), "debug": strconv.FormatBool(c.LogLevel == "debug"), "live-restore": "true",
	})
	slog.Info("the configuration was read again", "file", c.file)
}

// backing names the file system below a folder, as Docker does.
func backing(path string) string {
	s, err := fs.Statfs(path)
	if err != nil {
		return "<unknown>"
	}
	return s.Type
}
