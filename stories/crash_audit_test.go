package stories

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"lighter/linux/net"
)

// leftovers sees that nothing is there that no container, volume or network has.
func (c *campaign) leftovers() {
	ids := strings.Fields(c.need("ps", "-aq", "--no-trunc"))
	networks := len(strings.Fields(c.need("network", "ls", "-q", "-f", "type=custom")))
	known, ends := map[string]bool{}, 0
	for _, id := range ids {
		known[id] = true
	}
	if len(ids) > 0 {
		state := c.need(append([]string{"inspect", "-f", "{{.State.Pid}}{{range $n, $e := .NetworkSettings.Networks}} {{$n}}={{$e.IPAddress}}{{end}}"}, ids...)...)
		taken := map[string]bool{}
		for line := range strings.Lines(state) {
			networks := strings.Fields(line)
			if pid, networks := networks[0], networks[1:]; pid != "0" && !strings.HasPrefix(networks[0], "none=") {
				for _, n := range networks {
					if ends++; taken[n] {
						c.t.Errorf("two containers have the address %s", n)
					}
					taken[n] = true
				}
			}
		}
	}
	for _, look := range []struct {
		what string
		find func() []string
	}{
		{"folder of no container", func() []string { return names(c.e.root, "containers/*") }},
		{"file of no container", func() []string { return names(c.e.run, "live/*") }},
		{"exit of no container", func() []string { return names(c.e.run, "exits/*") }},
		{"endpoint of no container", func() []string { return names(c.e.run, "networks/*") }},
		{"control group of no container", c.groups},
		{"process of no container", c.contained},
		{"process that nobody waited for", c.zombies},
		{"half-made thing", func() []string { return names(c.e.root, "tmp/*") }},
		{"rubbish", func() []string { return names(c.e.root, "trash/*") }},
		{"link of no container", func() []string {
			if !long() {
				return nil
			}
			return c.links(ends, ends+poolOfLinks*(1+networks))
		}},
	} {
		var left []string
		err := await(func() bool {
			left = nil
			for _, name := range look.find() {
				if !known[strings.TrimSuffix(name, ".json")] {
					left = append(left, name)
				}
			}
			return len(left) == 0
		}, "the "+look.what+" to go")
		if err != nil {
			c.t.Errorf("%v: %q", err, left)
		}
	}
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil || strings.Contains(string(mounts), c.e.root) || strings.Contains(string(mounts), c.e.run) {
		c.t.Errorf("mounts are left in the host's namespace (%v)", err)
	}
}

func names(root, pattern string) (list []string) {
	found, _ := filepath.Glob(filepath.Join(root, pattern))
	for _, path := range found {
		list = append(list, filepath.Base(path))
	}
	return list
}

// groups are the containers that have control groups.
func (c *campaign) groups() (list []string) {
	for _, top := range []string{"/sys/fs/cgroup", "/sys/fs/cgroup/*"} {
		for _, name := range names(top+c.parent, "*") {
			if len(name) == 64 && !slices.Contains(list, name) {
				list = append(list, name)
			}
		}
	}
	return list
}

// ungroup removes the control groups above the containers', which an engine leaves.
func (c *campaign) ungroup() (err error) {
	for _, top := range []string{"/sys/fs/cgroup", "/sys/fs/cgroup/*"} {
		found, _ := filepath.Glob(top + c.parent)
		for _, dir := range found {
			err = errors.Join(err, os.Remove(dir))
		}
	}
	return err
}

// contained are the containers that have processes, by the processes' control groups.
func (c *campaign) contained() (list []string) {
	procs, _ := filepath.Glob("/proc/[0-9]*/cgroup")
	for _, path := range procs {
		text, _ := os.ReadFile(path)
		for line := range strings.Lines(string(text)) {
			if _, below, ok := strings.Cut(line, c.parent+"/"); ok {
				id, _, _ := strings.Cut(strings.TrimSpace(below), "/")
				list = append(list, id)
				break
			}
		}
	}
	return list
}

// zombies are the dead children of the engine and its keepers.
func (c *campaign) zombies() (list []string) {
	ours := c.e.processes(false)
	stats, _ := filepath.Glob("/proc/[0-9]*/stat")
	for _, path := range stats {
		text, _ := os.ReadFile(path)
		var state byte
		var parent int
		if i := strings.LastIndexByte(string(text), ')'); i > 0 {
			fmt.Sscanf(string(text[i+1:]), " %c %d", &state, &parent)
		}
		if state == 'Z' && slices.Contains(ours, parent) {
			list = append(list, strings.TrimSpace(string(text)))
		}
	}
	return list
}

// poolOfLinks is how many links an engine may have ready for a network's next containers.
const poolOfLinks = 3

// poolTime is how long it has them ready.
const poolTime = time.Minute

// links are the ends of containers' links on the host that are more than there may be.
func (c *campaign) links(least, most int) (list []string) {
	var all []net.Link
	err := net.In(c.e.space, func() error {
		conn, err := net.Dial()
		if err != nil {
			return err
		}
		defer conn.Close()
		all, err = conn.Links()
		return err
	})
	if err != nil {
		return []string{err.Error()}
	}
	for _, l := range all {
		if l.Kind == "veth" {
			list = append(list, l.Name)
		}
	}
	if len(list) < least {
		return []string{fmt.Sprintf("%d links for %d containers' networks", len(list), least)}
	}
	return list[min(len(list), most):]
}

var number = regexp.MustCompile(`[0-9]+`)

// open counts what the engine and its keeper have open, by kind.
func (c *campaign) open() map[string]int {
	count := map[string]int{}
	for _, pid := range c.e.processes(false) {
		comm, _ := os.ReadFile(fmt.Sprintf("/proc/%d/comm", pid))
		fds, _ := filepath.Glob(fmt.Sprintf("/proc/%d/fd/*", pid))
		for _, fd := range fds {
			if to, err := os.Readlink(fd); err == nil {
				count[strings.TrimSpace(string(comm))+" "+number.ReplaceAllString(to, "")]++
			}
		}
	}
	return count
}

// atRest sees that the engine and its keeper have no more open than at the start, once what
// they have ready for the next containers has gone, which takes a minute.
func (c *campaign) atRest() {
	const listeners = 4 // sockets that hear of the firewall and of links, once there was a network
	var more []string
	for deadline := time.Now().Add(poolTime + patience); ; time.Sleep(100 * time.Millisecond) {
		more = nil
		for kind, n := range c.open() {
			if n > c.still[kind] && !(strings.Contains(kind, "socket:") && n <= c.still[kind]+listeners) {
				more = append(more, fmt.Sprintf("%s: %d, %d at the start", kind, n, c.still[kind]))
			}
		}
		if len(more) == 0 {
			return
		}
		if time.Now().After(deadline) {
			c.t.Errorf("more is open at rest than at the start: %q", more)
			return
		}
	}
}

// clear removes all that the workers made, and sees that nothing of it is left.
func (c *campaign) clear() {
	if list := strings.Fields(c.need("ps", "-aq")); len(list) > 0 {
		c.need(append([]string{"rm", "-f"}, list...)...)
	}
	for _, args := range [][]string{
		{"container", "prune", "-f"}, {"volume", "prune", "-a", "-f"}, {"network", "prune", "-f"}, {"image", "prune", "-a", "-f"}, {"builder", "prune", "-a", "-f"},
	} {
		c.need(args...)
	}
	c.leftovers()
	for _, pattern := range []string{"containers/*", "volumes/*", "images/*", "names/*", "layers/??????????*", "blobs/sha256/*", "build/cache/*", "build/steps/*", "build/mounts/*", "build/sent/*"} {
		if left, _ := filepath.Glob(filepath.Join(c.e.root, pattern)); len(left) > 0 {
			c.t.Errorf("%s holds %q", pattern, left)
		}
	}
	if long() {
		c.atRest()
	}
	if err := c.e.signal(os.Interrupt); err != nil {
		c.t.Error(err)
	}
	// The keeper ends with its engine when it has nothing to keep.
	if err := await(func() bool { return len(c.e.processes(false)) == 0 }, "the keeper to end"); err != nil {
		c.t.Error(err)
	}
	for _, pattern := range []string{"keepers/*.sock", "live/*", "exits/*", "networks/*", "steps/*", "shm/*", "bundles/*"} {
		if left := names(c.e.run, pattern); len(left) > 0 {
			c.t.Errorf("%s holds %q", pattern, left)
		}
	}
	if left := c.space(); long() && len(left) > 0 {
		c.t.Errorf("the host's network has %q", left)
	}
}

// long tells a campaign from the short form in `make test`, beside which others make and drop so many
// network namespaces that the kernel takes minutes to close one, and its links with it.
func long() bool { return *crashRounds >= 50 }

// space lists what is in the engine's network namespace but its loopback: links, addresses, rules.
func (c *campaign) space() (list []string) {
	err := net.In(c.e.space, func() error {
		conn, err := net.Dial()
		if err != nil {
			return err
		}
		defer conn.Close()
		links, err := conn.Links()
		if err != nil {
			return err
		}
		for _, l := range links {
			if l.Name != "lo" {
				list = append(list, l.Name)
			}
		}
		addresses, err := conn.Addresses()
		if err != nil {
			return err
		}
		for _, a := range addresses {
			if !a.Prefix.Addr().IsLoopback() {
				list = append(list, a.Prefix.String())
			}
		}
		return nil
	})
	if err == nil {
		err = net.In(c.e.space, func() error {
			conn, err := net.Connect()
			if err != nil {
				return err
			}
			defer conn.Close()
			tables, err := conn.Tables()
			for _, name := range tables {
				list = append(list, "table "+name)
			}
			return err
		})
	}
	if err != nil {
		list = append(list, err.Error())
	}
	return list
}
