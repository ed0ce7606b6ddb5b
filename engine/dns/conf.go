package dns

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
)

// Conf is what a resolv.conf says.
type Conf struct {
	Servers []netip.Addr
	Search  []string
	Options []string
	Other   []string // lines that we do not know, as they are

	own    bool // Servers are the user's (--dns), not the host's
	notes  []string
	source string
}

// The servers of a host that has none that a container could reach.
var fallback4 = []netip.Addr{netip.MustParseAddr("8.8.8.8"), netip.MustParseAddr("8.8.4.4")}
var fallback6 = []netip.Addr{netip.MustParseAddr("2001:4860:4860::8888"), netip.MustParseAddr("2001:4860:4860::8844")}

// ParseConf reads a resolv.conf. Servers that are no addresses are left out.
func ParseConf(text string) Conf {
	var c Conf
	for line := range strings.Lines(text) {
		f := strings.Fields(line)
		if len(f) == 0 || f[0][0] == '#' || f[0][0] == ';' {
			continue
		}
		switch words := f[1:]; {
		case f[0] == "nameserver":
			if len(words) > 0 {
				if a, err := netip.ParseAddr(words[0]); err == nil {
					c.Servers = append(c.Servers, a)
				}
			}
		case f[0] == "search" || f[0] == "domain": // the last one counts
			if len(words) > 0 {
				c.Search = words
			}
		case f[0] == "options":
			c.Options = append(c.Options, words...)
		default:
			c.Other = append(c.Other, strings.TrimSpace(line))
		}
	}
	return c
}

// With gives a container's configuration: what its user says in the place of the
// host's servers, search domains and options. Servers must be addresses.
func (c Conf) With(servers, search, options []string) (Conf, error) {
	if len(servers) > 0 {
		c.Servers, c.own = nil, true
		for _, s := range servers {
			a, err := netip.ParseAddr(s)
			if err != nil {
				return c, fmt.Errorf("bad nameserver address %s: %w", s, err)
			}
			c.Servers = append(c.Servers, a)
		}
	}
	if len(search) > 0 {
		c.Search = slices.DeleteFunc(slices.Clone(search), func(s string) bool { return s == "." })
	}
	if len(options) > 0 {
		c.Options = slices.Clone(options)
	}
	return c, nil
}

// Bridge is the configuration of a container that asks servers itself: without the
// host's servers on loopback addresses, and those of a family that the container has not.
func (c Conf) Bridge(ipv6 bool) Conf {
	if c.own {
		return c
	}
	c.Servers = slices.DeleteFunc(slices.Clone(c.Servers), func(a netip.Addr) bool { return a.IsLoopback() || a.Is6() && !ipv6 })
	if len(c.Servers) == 0 {
		c.Servers = slices.Clone(fallback4)
		if ipv6 {
			c.Servers = append(c.Servers, fallback6...)
		}
		c.notes = append(c.notes, "The host has no server that a container could reach: these are Google's.")
	}
	return c
}

// Internal is the configuration of a container that asks us; what c names are the
// servers that we ask, see Upstream.
func (c Conf) Internal() Conf {
	var names []string
	for _, s := range c.upstream() {
		name := s.Addr.Addr().String()
		if s.Host {
			name = "host(" + name + ")"
		}
		names = append(names, name)
	}
	if len(names) == 0 {
		c.notes = append(c.notes, "NO EXTERNAL NAMESERVERS DEFINED")
	} else {
		c.notes = append(c.notes, fmt.Sprintf("ExtServers: %v", names))
	}
	c.Servers = []netip.Addr{Address}
	c.Options = slices.DeleteFunc(slices.Clone(c.Options), func(o string) bool {
		v, ok := strings.CutPrefix(o, "ndots:")
		n, err := strconv.Atoi(v)
		return ok && (err != nil || n < 0) || o == "ndots"
	})
	if !c.ndots() {
		c.Options = append(c.Options, "ndots:0")
	}
	return c
}

func (c Conf) ndots() bool {
	return slices.ContainsFunc(c.Options, func(o string) bool { return o == "ndots" || strings.HasPrefix(o, "ndots:") })
}

func (c Conf) upstream() []Server {
	servers := make([]Server, 0, len(c.Servers))
	for _, a := range c.Servers {
		servers = append(servers, Server{Addr: netip.AddrPortFrom(a, 53), Host: !c.own})
	}
	return servers
}

// Upstream is how names that are not ours are asked for, by a container that c, before
// Internal, is of. The host's servers are asked from the host's namespace, those of --dns
// from the container's.
func (c Conf) Upstream(forward bool) Upstream {
	return Upstream{Servers: c.upstream(), Forward: forward, Ndots: c.ndots()}
}

// Text is the file.
func (c Conf) Text() string {
	var t strings.Builder
	t.WriteString("# Made by lighter from the host's " + c.source + ", anew at each start.\n")
	for _, s := range c.Servers {
		t.WriteString("nameserver " + s.String() + "\n")
	}
	if len(c.Search) > 0 {
		t.WriteString("search " + strings.Join(c.Search, " ") + "\n")
	}
	if len(c.Options) > 0 {
		t.WriteString("options " + strings.Join(c.Options, " ") + "\n")
	}
	for _, line := range c.Other {
		t.WriteString(line + "\n")
	}
	for _, note := range c.notes {
		t.WriteString("# " + note + "\n")
	}
	return t.String()
}

// Host is the host's resolv.conf, read again whenever it has changed.
type Host struct {
	path, resolved string

	mu   sync.Mutex
	conf Conf
	seen [2]os.FileInfo // of the files that conf is made of
}

// maxConf bounds how much of a resolv.conf is read.
const maxConf = 1 << 20

// NewHost gives the configuration in /etc/resolv.conf or, where that is systemd's
// stub, in the file that systemd keeps of the servers behind it.
func NewHost() *Host {
	return &Host{path: "/etc/resolv.conf", resolved: "/run/systemd/resolve/resolv.conf"}
}

// stub is where systemd-resolved listens, on the host's loopback alone.
var stub = netip.AddrFrom4([4]byte{127, 0, 0, 53})

// Conf gives what the host's file says now. A host without one has an empty one.
func (h *Host) Conf() (Conf, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	own, _ := os.Stat(h.path)
	behind, _ := os.Stat(h.resolved)
	if h.conf.source != "" && same(own, h.seen[0]) && same(behind, h.seen[1]) {
		return h.conf, nil
	}
	c, err := readConf(h.path)
	if err == nil && len(c.Servers) == 1 && c.Servers[0] == stub && behind != nil {
		c, err = readConf(h.resolved)
	}
	if err != nil {
		return Conf{}, err
	}
	h.conf, h.seen = c, [2]os.FileInfo{own, behind}
	return c, nil
}

func same(a, b os.FileInfo) bool {
	if a == nil || b == nil {
		return a == nil && b == nil
	}
	return os.SameFile(a, b) && a.ModTime().Equal(b.ModTime()) && a.Size() == b.Size()
}

func readConf(path string) (Conf, error) {
	c := Conf{source: path}
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return c, nil
	}
	if err != nil {
		return c, fmt.Errorf("read the host's name servers: %w", err)
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxConf))
	if err != nil {
		return c, fmt.Errorf("read the host's name servers: %w", err)
	}
	c = ParseConf(string(b))
	c.source = path
	return c, nil
}
