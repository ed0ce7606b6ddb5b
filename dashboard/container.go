package dashboard

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"lighter/api"
)

// reasonOf reads why a container ended out of what the engine told of it.
func reasonOf(raw []byte) string {
	var v struct{ State struct{ Reason string } }
	if json.Unmarshal(raw, &v) != nil {
		return ""
	}
	return v.State.Reason
}

// fact is a line of what is known.
type fact struct {
	Name  string
	Lines []string
	Code  bool
	Link  string
}

// container is one container: what it is, and what it uses.
func (s containerPages) container(c *call) error {
	f, err := s.find(c)
	if err != nil {
		return err
	}
	info, err := s.engine.System().Info(c.ctx())
	if err != nil {
		return err
	}
	f.Tab = "overview"
	type data struct {
		*found
		Graphs []graph
		Facts  []fact
		Probe  *api.HealthResult
		Health string
	}
	d := data{found: f, Facts: facts(f.Container)}
	points := s.history.points(f.ID)
	if f.Alive || len(points) > 0 {
		cpus := float64(info.NCPU)
		if n := f.HostConfig.NanoCPUs; n > 0 {
			cpus = float64(n) / 1e9
		}
		d.Graphs = graphs(points, cpus)
	}
	if h := f.State.Health; h != nil && h.Status != "none" {
		d.Health = h.Status
		if n := len(h.Log); n > 0 {
			d.Probe = &h.Log[n-1]
		}
	}
	return c.show("container", view{Title: f.Name, Nav: "containers", Data: d})
}

// facts are what somebody wants to know of a container before they read its JSON.
func facts(c *api.Container) []fact {
	var list []fact
	add := func(name string, code bool, lines ...string) {
		if lines = slices.DeleteFunc(lines, func(s string) bool { return s == "" }); len(lines) > 0 {
			list = append(list, fact{Name: name, Lines: lines, Code: code})
		}
	}
	add("Image", true, c.Config.Image)
	list[len(list)-1].Link = "/images/" + escaped(strings.TrimPrefix(c.Image, "sha256:"))
	add("Command", true, strings.Join(append([]string{c.Path}, c.Args...), " "))
	add("Id", true, c.ID[:min(12, len(c.ID))])
	add("User", true, c.Config.User)
	add("Folder", true, c.Config.WorkingDir)
	if n := c.NetworkSettings; n != nil {
		var ports, nets []string
		for _, p := range slices.Sorted(maps.Keys(n.Ports)) {
			for _, b := range n.Ports[p] {
				ports = append(ports, fmt.Sprintf("%s:%s → %s", b.HostIP, b.HostPort, p))
			}
		}
		add("Ports", true, ports...)
		for _, name := range slices.Sorted(maps.Keys(n.Networks)) {
			nets = append(nets, strings.TrimSpace(name+" "+n.Networks[name].IPAddress))
		}
		add("Networks", true, nets...)
	}
	var mounts []string
	for _, m := range c.Mounts {
		from := m.Source
		if m.Name != "" {
			from = m.Name
		}
		mounts = append(mounts, strings.TrimSpace(from+" → "+m.Destination))
	}
	add("Mounts", true, mounts...)
	var limits []string
	if h := c.HostConfig; h != nil {
		if h.Memory > 0 {
			limits = append(limits, "memory "+bytes2(float64(h.Memory)))
		}
		if h.NanoCPUs > 0 {
			limits = append(limits, fmt.Sprintf("%.3g CPUs", float64(h.NanoCPUs)/1e9))
		}
		if h.PidsLimit != nil && *h.PidsLimit > 0 {
			limits = append(limits, fmt.Sprintf("%d processes", *h.PidsLimit))
		}
		if p := h.RestartPolicy; p.Name != "" && p.Name != "no" {
			text := p.Name
			if p.MaximumRetryCount > 0 {
				text += fmt.Sprintf(", %d times", p.MaximumRetryCount)
			}
			add("Restarts", false, text, fmt.Sprintf("so far %d", c.RestartCount))
		}
	}
	add("Limits", false, limits...)
	return list
}

// processes lists what runs in a container.
func (s containerPages) processes(c *call) error {
	f, err := s.find(c)
	if err != nil {
		return err
	}
	f.Tab = "processes"
	type data struct {
		*found
		Top api.Top
	}
	d := data{found: f}
	if f.Alive {
		if d.Top, err = s.engine.Containers().Top(c.ctx(), f.ID, nil); err != nil {
			return err
		}
	}
	return c.show("processes", view{Title: "Processes of " + f.Name, Nav: "containers", Data: d})
}

// changes lists the files that a container changed.
func (s containerPages) changes(c *call) error {
	f, err := s.find(c)
	if err != nil {
		return err
	}
	list, err := s.engine.Containers().Changes(c.ctx(), f.ID)
	if err != nil {
		return err
	}
	f.Tab = "changes"
	type data struct {
		*found
		Files files
	}
	return c.show("changes", view{Title: "Files of " + f.Name, Nav: "containers", Data: data{f, c.files(list)}})
}

// containerJSON shows all that the engine tells.
func (s containerPages) containerJSON(c *call) error {
	f, err := s.find(c)
	if err != nil {
		return err
	}
	f.Tab = "json"
	var b bytes.Buffer
	if err := json.Indent(&b, f.raw, "", "  "); err != nil {
		return err
	}
	type data struct {
		*found
		JSON string
	}
	return c.show("json", view{Title: "JSON of " + f.Name, Nav: "containers", Data: data{f, b.String()}})
}
