package container

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"lighter/engine/network"
)

// linkTo is a link on the default bridge, as it was asked for: the other container goes by
// another name.
type linkTo struct{ ID, Alias string }

// link is a link to a container that runs.
type link struct {
	linkTo
	to   *snapshot
	own  netip.Prefix // the address of who links
	end  *network.Endpoint
	from string // name of who links
}

// links finds whom a container links to.
func (d *draft) links() ([]linkTo, error) {
	if network.UserDefined(d.host.NetworkMode) {
		return nil, nil // there the endpoint says it
	}
	var list []linkTo
	for _, l := range d.host.Links {
		name, alias, err := parseLink(l)
		if err != nil {
			return nil, err
		}
		c, err := d.cs.index.find(name)
		if err != nil {
			return nil, invalid("could not get container for %s: %w", name, err)
		}
		if c.now().Host.NetworkMode == "host" {
			return nil, invalid("conflicting options: host type networking can't be used with links. This would result in undefined behavior")
		}
		list = append(list, linkTo{c.id, alias})
	}
	if len(list) > 0 {
		d.cs.linked.Store(true)
	}
	return list, nil
}

// parseLink reads container[:alias].
func parseLink(l string) (ref, alias string, err error) {
	ref, alias, ok := strings.Cut(l, ":")
	if !ok {
		alias = ref
	}
	if strings.HasPrefix(alias, "/") { // /web:/app/db, as inspect shows it
		alias = alias[strings.LastIndex(alias, "/")+1:]
	}
	if ref == "" || alias == "" {
		return "", "", invalid("bad format for links: %s", l)
	}
	return ref, alias, nil
}

// linked finds the containers that one is linked to. All must run.
func (s *start) linked() ([]link, error) {
	if len(s.snap.Links) == 0 {
		return nil, nil
	}
	return linkUp(s.cs, s.snap, s.ends(), true)
}

// linksOf is the links of a running container whose other ends still run.
func linksOf(cs *Containers, s *snapshot) ([]link, error) {
	if len(s.Links) == 0 {
		return nil, nil
	}
	st, _ := cs.Networks.State(s.ID)
	return linkUp(cs, s, st.Ends, false)
}

func linkUp(cs *Containers, s *snapshot, ends []*network.Endpoint, all bool) ([]link, error) {
	onBridge := func(list []*network.Endpoint) *network.Endpoint {
		if i := slices.IndexFunc(list, func(e *network.Endpoint) bool { return e.Name == "bridge" }); i >= 0 {
			return list[i]
		}
		return nil
	}
	own := onBridge(ends)
	if own == nil {
		return nil, nil
	}
	var list []link
	for _, l := range s.Links {
		c := cs.index.get(l.ID)
		if c == nil {
			continue // removed since
		}
		n := c.now()
		st, _ := cs.Networks.State(l.ID)
		end := onBridge(st.Ends)
		switch {
		case n.phase.alive() && end != nil:
			list = append(list, link{l, n, own.Addr4, end, s.Name})
		case all && !n.phase.alive():
			return nil, fmt.Errorf("Cannot link to a non running container: /%s AS /%s/%s", n.Name, s.Name, l.Alias)
		case all:
			return nil, fmt.Errorf("container %s not attached to default bridge network", n.ID)
		}
	}
	return list, nil
}

// pass lets a container reach what those that it links to say they listen on.
func pass(cs *Containers, id string, links []link) error {
	var list []network.Pass
	for _, l := range links {
		for _, p := range exposedOnly(l.to) {
			list = append(list, network.Pass{Proto: p.proto, From: l.own.Addr(), To: netip.AddrPortFrom(l.end.Addr4.Addr(), p.number)})
		}
	}
	return network.SetPasses(cs.Networks, id, list)
}

// hosts is a link's lines in /etc/hosts.
func (l link) hosts() (text string) {
	names := l.Alias + " " + l.to.Config.Hostname
	if l.Alias != l.to.Name {
		names += " " + l.to.Name
	}
	for _, a := range []netip.Prefix{l.end.Addr4, l.end.Addr6} {
		if a.IsValid() {
			text += a.Addr().String() + "\t" + names + "\n"
		}
	}
	return text
}

// env is the variables that tell of the other container's ports and environment, as Docker
// has had them since 2013.
func (l link) env() []string {
	ip := l.end.Addr4.Addr().String()
	alias := strings.ReplaceAll(strings.ToUpper(l.Alias), "-", "_")
	list := exposedOnly(l.to)
	var env []string
	set := func(name, format string, args ...any) { env = append(env, name+"="+fmt.Sprintf(format, args...)) }
	name := func(p exposedPort) string {
		return fmt.Sprintf("%s_PORT_%d_%s", alias, p.number, strings.ToUpper(p.proto))
	}
	for i, p := range list {
		url := fmt.Sprintf("%s://%s:%d", p.proto, ip, p.number)
		if i == 0 {
			set(alias+"_PORT", "%s", url)
		}
		set(name(p), "%s", url)
		set(name(p)+"_ADDR", "%s", ip)
		set(name(p)+"_PORT", "%d", p.number)
		set(name(p)+"_PROTO", "%s", p.proto)
	}
	for i := 0; i < len(list); {
		k := i
		for k+1 < len(list) && list[k+1].proto == list[i].proto && list[k+1].number == list[k].number+1 {
			k++
		}
		if first, last := list[i], list[k]; k > i {
			set(name(first)+"_START", "%s://%s:%d", first.proto, ip, first.number)
			set(name(first)+"_PORT_START", "%d", first.number)
			set(name(first)+"_END", "%s://%s:%d", last.proto, ip, last.number)
			set(name(first)+"_PORT_END", "%d", last.number)
		}
		i = k + 1
	}
	set(alias+"_NAME", "/%s/%s", l.from, l.Alias)
	for _, e := range l.to.Config.Env {
		if key, value, ok := strings.Cut(e, "="); ok && key != "HOME" && key != "PATH" {
			set(alias+"_ENV_"+key, "%s", value)
		}
	}
	return env
}

// exposedOnly is the ports that a container says it listens on, TCP's first.
func exposedOnly(s *snapshot) []exposedPort {
	list := exposed(s)
	slices.SortStableFunc(list, func(a, b exposedPort) int {
		rank := func(p exposedPort) int {
			if p.proto == "tcp" {
				return 0
			}
			return 1
		}
		return cmp.Or(rank(a)-rank(b), strings.Compare(a.proto, b.proto), int(a.number)-int(b.number))
	})
	return list
}

// tellParents has the containers that are linked to one find it at the address that it has now.
func tellParents(cs *Containers, c *container) {
	if !cs.linked.Load() {
		return
	}
	for _, s := range cs.index.all() {
		if p := cs.index.get(s.ID); p != nil && p != c && s.phase.alive() && slices.ContainsFunc(s.Links, func(l linkTo) bool { return l.ID == c.id }) {
			complain("tell a linked container of an address", s.ID, rewriteEtc(p))
		}
	}
}

// shownLinks is a container's links as inspect shows them.
func shownLinks(cs *Containers, s *snapshot) []string {
	var list []string
	for _, l := range s.Links {
		if c := cs.index.get(l.ID); c != nil {
			list = append(list, "/"+c.now().Name+":/"+s.Name+"/"+l.Alias)
		}
	}
	return list
}

// linkEnv is the variables of all links of a container.
func (s *start) linkEnv() (env []string) {
	for _, l := range s.links {
		env = append(env, l.env()...)
	}
	return env
}
