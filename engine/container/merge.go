package container

import (
	"maps"
	"slices"
	"strings"

	"lighter/api"
)

// merge fills what the client left open with what the image says, and refuses a
// container that would have nothing to run. The image's config is not changed.
func merge(c, image *api.ContainerConfig) error {
	inherit(&c.User, image.User)
	inherit(&c.WorkingDir, image.WorkingDir)
	inherit(&c.StopSignal, image.StopSignal)
	c.ExposedPorts = union(c.ExposedPorts, image.ExposedPorts)
	c.Volumes = union(c.Volumes, image.Volumes)
	mergeEnv(c, image)

	labels := make(map[string]string, len(c.Labels)+len(image.Labels))
	maps.Copy(labels, image.Labels)
	maps.Copy(labels, c.Labels)
	c.Labels = labels

	if len(c.Entrypoint) == 0 {
		if len(c.Cmd) == 0 {
			c.Cmd = image.Cmd
		}
		if c.Entrypoint == nil {
			c.Entrypoint = image.Entrypoint
		}
	}
	if c.StopTimeout == nil {
		c.StopTimeout = image.StopTimeout
	}
	mergeHealth(c, image.Healthcheck)

	// [""] is how a client asks for no entrypoint at all.
	if len(c.Entrypoint) == 1 && c.Entrypoint[0] == "" {
		c.Entrypoint = nil
	}
	if len(c.Entrypoint) == 0 && len(c.Cmd) == 0 {
		return api.Errorf(api.Invalid, "no command specified")
	}
	return nil
}

func inherit(s *string, from string) {
	if *s == "" {
		*s = from
	}
}

func union(a, b map[string]struct{}) map[string]struct{} {
	if len(a) == 0 {
		return b
	}
	a = maps.Clone(a)
	maps.Copy(a, b)
	return a
}

func mergeEnv(c, image *api.ContainerConfig) {
	if len(c.Env) == 0 {
		c.Env = slices.Clone(image.Env)
		return
	}
	c.Env = slices.Clone(c.Env)
	set := make(map[string]bool, len(c.Env))
	for _, e := range c.Env {
		key, _, _ := strings.Cut(e, "=")
		set[key] = true
	}
	for _, e := range image.Env {
		if key, _, _ := strings.Cut(e, "="); !set[key] {
			c.Env = append(c.Env, e)
		}
	}
}

func mergeHealth(c *api.ContainerConfig, image *api.Healthcheck) {
	if image == nil {
		return
	}
	if c.Healthcheck == nil {
		c.Healthcheck = image
		return
	}
	h := *c.Healthcheck
	if len(h.Test) == 0 {
		h.Test = image.Test
	}
	if h.Interval == 0 {
		h.Interval = image.Interval
	}
	if h.Timeout == 0 {
		h.Timeout = image.Timeout
	}
	if h.StartPeriod == 0 {
		h.StartPeriod = image.StartPeriod
	}
	if h.StartInterval == 0 {
		h.StartInterval = image.StartInterval
	}
	if h.Retries == 0 {
		h.Retries = image.Retries
	}
	c.Healthcheck = &h
}

// command is what a container runs: the entrypoint, then the command.
func command(c *api.ContainerConfig) (path string, args []string) {
	all := append(slices.Clone(c.Entrypoint), c.Cmd...)
	return all[0], all[1:]
}

// environ is the environment of a process: the engine's few variables first, each
// replaced in its place by the config's; a config's KEY without "=" takes KEY away.
func environ(config *api.ContainerConfig, tty bool, more []string) []string {
	env := make([]string, 0, 3+len(config.Env)+len(more))
	env = append(env, "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOSTNAME="+config.Hostname)
	if tty {
		env = append(env, "TERM=xterm")
	}
	return override(override(env, config.Env), more)
}

func override(env, with []string) []string {
	at := make(map[string]int, len(env))
	for i, e := range env {
		key, _, _ := strings.Cut(e, "=")
		at[key] = i
	}
	for _, e := range with {
		key, _, set := strings.Cut(e, "=")
		i, known := at[key]
		switch {
		case key == "": // "=x" and "" name nothing
		case set && known:
			env[i] = e
		case set:
			env = append(env, e)
		case known:
			env[i] = ""
		}
	}
	return slices.DeleteFunc(env, func(e string) bool { return e == "" })
}
