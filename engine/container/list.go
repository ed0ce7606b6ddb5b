package container

import (
	"cmp"
	"context"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"lighter/api"
	"lighter/engine/network"
)

// ListOptions is which containers are wanted.
type ListOptions struct {
	All     bool // those that do not run, too
	Size    bool // with their sizes, which takes a walk
	Brief   bool // without labels, networks, mounts and host config, which are most of an answer
	Limit   int  // so many of the newest; 0 for no limit
	Filters api.Filters
}

var listFilters = []string{"ancestor", "before", "exited", "expose", "health", "id", "is-task", "isolation", "label", "name", "network", "publish", "since", "status", "volume"}

// List tells of containers, the newest first. It waits for no verb.
func (cs *Containers) List(_ context.Context, o ListOptions) ([]api.ContainerSummary, error) {
	f, err := readFilter(cs, &o)
	if err != nil {
		return nil, err
	}
	states := func(s *snapshot) network.State { st, _ := cs.Networks.State(s.ID); return st }
	now := time.Now()
	seen := seen{cs.Images, map[string]string{}}
	list := []api.ContainerSummary{}
	for _, s := range cs.index.all() {
		if f.before != "" {
			if s.ID == f.before {
				f.before = ""
			}
			continue
		}
		if s.ID == f.since || o.Limit > 0 && len(list) == o.Limit {
			break
		}
		if !s.phase.up() && !o.All && o.Limit <= 0 || !f.passes(s, states) {
			continue
		}
		sum := s.summary(now, seen, states(s), o.Brief)
		if o.Size {
			if sum.SizeRw, sum.SizeRootFs, err = cs.Layers.Usage(s.ID); err != nil {
				return nil, fmt.Errorf("size of container %s: %w", short(s.ID), err)
			}
		}
		list = append(list, sum)
	}
	return list, nil
}

// Count is how many containers there are, run and are paused; those that are paused
// are among neither of the others.
func (cs *Containers) Count() (all, runs, pauses int) {
	for _, s := range cs.index.all() {
		all++
		switch s.phase {
		case running:
			runs++
		case paused:
			pauses++
		}
	}
	return all, runs, pauses
}

// summary makes an entry of the list.
func (s *snapshot) summary(now time.Time, seen seen, st network.State, brief bool) api.ContainerSummary {
	sum := api.ContainerSummary{
		ID: s.ID, Names: []string{"/" + s.Name}, Image: seen.name(s), ImageID: s.Image,
		Command: commandText(s.Config), Created: s.Created.Unix(), Ports: ports(s, st),
		State: s.phase.String(), Status: s.status(now), Reason: s.Reason,
	}
	if brief {
		return sum
	}
	sum.Labels, sum.Mounts = labels(s.Config), s.mountPoints()
	sum.HostConfig = api.SummaryHostConfig{NetworkMode: s.Host.NetworkMode, Annotations: s.Host.Annotations}
	sum.NetworkSettings = &api.SummaryNetworks{Networks: s.endpoints(st)}
	return sum
}

// seen is the images that were looked up for a list already: name → id.
type seen struct {
	images Images
	ids    map[string]string
}

// name is the name that the container was created by, unless another image has it by now.
func (seen seen) name(s *snapshot) string {
	name := s.Config.Image
	if name == s.Image {
		return name
	}
	id, known := seen.ids[name]
	if !known {
		if image, err := seen.images.Resolve(name, nil); err == nil {
			id = image.ID
		}
		seen.ids[name] = id
	}
	if id != s.Image {
		return s.Image
	}
	return name
}

// commandText is the command as one line; words with blanks are quoted.
func commandText(c *api.ContainerConfig) string {
	path, args := command(c)
	if len(args) == 0 {
		return path
	}
	words := make([]string, len(args))
	for i, a := range args {
		if strings.Contains(a, " ") {
			a = "'" + a + "'"
		}
		words[i] = a
	}
	return path + " " + strings.Join(words, " ")
}

func labels(c *api.ContainerConfig) map[string]string {
	if c.Labels == nil {
		return map[string]string{}
	}
	return c.Labels
}

// ports are those of a container that runs: published ones, and those that it only names.
func ports(s *snapshot, st network.State) []api.Port {
	list := []api.Port{}
	if !st.Outlet {
		return list
	}
	for _, p := range st.Ports {
		list = append(list, api.Port{IP: p.Host.Addr().String(), PrivatePort: p.To.Port(), PublicPort: p.Host.Port(), Type: p.Proto})
	}
	for _, p := range exposed(s) {
		if !slices.ContainsFunc(list, func(l api.Port) bool { return l.PrivatePort == p.number && l.Type == p.proto }) {
			list = append(list, api.Port{PrivatePort: p.number, Type: p.proto})
		}
	}
	slices.SortStableFunc(list, func(a, b api.Port) int {
		return cmp.Or(int(a.PrivatePort)-int(b.PrivatePort), strings.Compare(a.Type, b.Type), int(a.PublicPort)-int(b.PublicPort), strings.Compare(a.IP, b.IP))
	})
	return list
}

// filter is the filters of a list, read once.
type filter struct {
	api.Filters
	names         []*regexp.Regexp
	before, since string // ids
	exited        []int
	images        map[string]bool // nil for any
	ports         map[string]bool // nil for any
	published     map[string]bool
}

func readFilter(cs *Containers, o *ListOptions) (*filter, error) {
	f := &filter{Filters: o.Filters}
	if err := f.Check(listFilters...); err != nil {
		return nil, err
	}
	for _, v := range f.Filters["exited"] {
		code, err := strconv.Atoi(v)
		if err != nil {
			return nil, invalid("invalid filter 'exited=%s': %w", v, err)
		}
		f.exited = append(f.exited, code)
	}
	states := []string{"created", "running", "paused", "restarting", "removing", "exited", "dead"}
	for _, v := range f.Filters["status"] {
		if !slices.Contains(states, v) {
			return nil, invalid("invalid filter 'status=%s': invalid value for state (%s): must be one of %s", v, v, strings.Join(states, ", "))
		}
		o.All = true
	}
	healths := []string{"none", "starting", "healthy", "unhealthy"}
	for _, v := range f.Filters["health"] {
		if !slices.Contains(healths, v) {
			return nil, invalid("invalid filter 'health=%s': invalid value for health (%s): must be one of %s", v, v, strings.Join(healths, ", "))
		}
	}
	if _, err := f.Bool("is-task", false); err != nil {
		return nil, invalid("invalid filter 'is-task=[%s]'", strings.Join(f.Filters["is-task"], " "))
	}
	for _, v := range f.Filters["name"] {
		re, err := regexp.Compile(v)
		if err != nil {
			re = regexp.MustCompile(regexp.QuoteMeta(v))
		}
		f.names = append(f.names, re)
	}
	for key, to := range map[string]*string{"before": &f.before, "since": &f.since} {
		for _, v := range f.Filters[key] {
			c, err := cs.index.find(v)
			if err != nil {
				return nil, err
			}
			*to = c.id
		}
	}
	if len(f.Filters["ancestor"]) > 0 {
		f.images = map[string]bool{}
		for _, v := range f.Filters["ancestor"] {
			if image, err := cs.Images.Resolve(v, nil); err == nil {
				f.images[image.ID] = true
			}
		}
	}
	var err error
	if f.ports, err = portSet("expose", f.Filters["expose"]); err != nil {
		return nil, err
	}
	f.published, err = portSet("publish", f.Filters["publish"])
	return f, err
}

// portSet reads 80, 80/tcp and 80-90/udp.
func portSet(key string, values []string) (map[string]bool, error) {
	if len(values) == 0 {
		return nil, nil
	}
	set := map[string]bool{}
	for _, v := range values {
		if strings.Contains(v, ":") {
			return nil, fmt.Errorf("filter for '%s' should not contain ':': %s", key, v)
		}
		first, last, proto, err := portRange(v)
		if err != nil {
			return nil, fmt.Errorf("error while looking up for %s %s: %w", key, v, err)
		}
		for n := first; n <= last; n++ {
			set[fmt.Sprintf("%d/%s", n, proto)] = true
		}
	}
	return set, nil
}

// portRange reads 80, 80/tcp and 80-90/udp.
func portRange(text string) (first, last int, proto string, err error) {
	numbers, proto, _ := strings.Cut(text, "/")
	from, to, ranged := strings.Cut(numbers, "-")
	if !ranged {
		to = from
	}
	a, err := strconv.ParseUint(from, 10, 16)
	z, err2 := strconv.ParseUint(to, 10, 16)
	if err = cmp.Or(err, err2); err == nil && z < a {
		err = fmt.Errorf("Invalid range specified for the Port: %s", numbers)
	}
	return int(a), int(z), cmp.Or(proto, "tcp"), err
}

func (f *filter) passes(s *snapshot, states func(*snapshot) network.State) bool {
	set := func(key string) bool { return len(f.Filters[key]) > 0 }
	switch {
	case set("id") && !slices.ContainsFunc(f.Filters["id"], func(id string) bool { return strings.HasPrefix(s.ID, id) }):
	case set("name") && !slices.ContainsFunc(f.names, func(re *regexp.Regexp) bool { return re.MatchString(s.Name) || re.MatchString("/"+s.Name) }):
	case set("is-task") && !f.noTask():
	case !f.Labels("label", s.Config.Labels):
	case set("exited") && (s.phase.up() || s.StartedAt.IsZero() || !slices.Contains(f.exited, s.ExitCode)):
	case set("status") && !slices.Contains(f.Filters["status"], s.phase.String()):
	case set("health") && !slices.Contains(f.Filters["health"], healthOf(s)):
	case set("volume") && !slices.ContainsFunc(s.Mounts, f.mounted):
	case f.images != nil && !f.images[s.Image]:
	case set("network") && !f.connected(s):
	case f.ports != nil && !slices.ContainsFunc(ports(s, states(s)), func(p api.Port) bool { return f.ports[fmt.Sprintf("%d/%s", p.PrivatePort, p.Type)] }):
	case f.published != nil && !slices.ContainsFunc(states(s).Ports, func(p network.Published) bool { return f.published[fmt.Sprintf("%d/%s", p.Host.Port(), p.Proto)] }):
	default:
		return true
	}
	return false
}

// noTask reports whether the filter asks for containers that no swarm manages: all here.
func (f *filter) noTask() bool {
	task, _ := f.Bool("is-task", false)
	return !task
}

func (f *filter) mounted(m mount) bool {
	return slices.ContainsFunc(f.Filters["volume"], func(v string) bool {
		return m.Destination == v || m.Name == v || m.Name == "" && m.Source == v
	})
}

func (f *filter) connected(s *snapshot) bool {
	return slices.ContainsFunc(f.Filters["network"], func(v string) bool {
		for name := range s.Networks {
			if id := s.NetworkIDs[name]; name == v || id != "" && strings.HasPrefix(id, v) {
				return true
			}
		}
		return false
	})
}
