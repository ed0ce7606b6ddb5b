// Package policy says who may ask the engine for what. A policy is a file of the operator's
// (parse.go has its form, docs/security.md is for users): sections for clients, who are known by the
// uid and gids of their process or by their certificate, and what each may do: kinds of requests,
// single routes, things with a label, and the rights that reach beyond a container (needs.go).
//
// It knows requests as package server has decoded them, so that nothing is read in two ways. It
// keeps nothing and touches nothing; the zero of everything means no.
package policy

import (
	"crypto/x509"
	"fmt"
	"path"
	"slices"

	"lighter/api"
)

// Who is a client of the engine, as the kernel or TLS vouches for it.
type Who struct {
	Engine   bool // the engine's own dashboard, which lets in those alone who may do all
	Local    bool // a process of this machine, by the unix socket: what follows is known
	UID, PID int
	GIDs     []int // of its groups, the first its own

	Cert *x509.Certificate // verified; nil for none
}

// String names the client for people.
func (w Who) String() string {
	switch {
	case w.Engine:
		return "the dashboard"
	case w.Cert != nil:
		return fmt.Sprintf("certificate %q", w.Cert.Subject.CommonName)
	case w.Local:
		return fmt.Sprintf("uid %d", w.UID)
	}
	return "a client whom nothing is known of"
}

// Policy is a file that was read.
type Policy struct {
	open    bool // who is named by no section may do all
	clients []*Client
}

// Client is a section: what those whom it names may do.
type Client struct {
	Name string

	uids, gids []int
	certs      []string // patterns of path.Match for the common name and the alternative names

	kinds  map[string]bool
	routes map[string]bool
	labels []label
	rights map[Need]bool
	all    bool // rights: everything
}

type label struct{ key, value string }

// everybody may do all.
var everybody = &Client{Name: "everybody", kinds: all(kindNames), all: true}

// Of gives what a client may do, nil for nothing: the first section that names it counts.
func (p *Policy) Of(w Who) *Client {
	if w.Engine {
		return everybody
	}
	for _, c := range p.clients {
		if c.names(w) {
			return c
		}
	}
	if p.open {
		return everybody
	}
	return nil
}

func (c *Client) names(w Who) bool {
	if w.Local {
		return slices.Contains(c.uids, w.UID) || slices.ContainsFunc(w.GIDs, func(g int) bool { return slices.Contains(c.gids, g) })
	}
	if w.Cert == nil {
		return false
	}
	for _, pattern := range c.certs {
		if slices.ContainsFunc(certNames(w.Cert), func(name string) bool { ok, _ := path.Match(pattern, name); return ok }) {
			return true
		}
	}
	return false
}

// certNames are the names that an authority has vouched for.
func certNames(c *x509.Certificate) []string {
	names := append([]string{c.Subject.CommonName}, c.DNSNames...)
	names = append(names, c.EmailAddresses...)
	for _, u := range c.URIs {
		names = append(names, u.String())
	}
	return slices.DeleteFunc(names, func(n string) bool { return n == "" })
}

// The kinds of requests.
const (
	Look     = "look"     // what there is, what it does and prints
	Run      = "run"      // containers: made, started, entered, stopped, removed
	Files    = "files"    // of containers and images, in and out
	Pull     = "pull"     // images from registries and addresses; logging in
	Push     = "push"     // images to registries
	Images   = "images"   // saved, loaded, tagged, committed, removed
	Build    = "build"    // images, by all builders
	Networks = "networks" // made, removed, containers put on them
	Volumes  = "volumes"  // made, removed
)

var kindNames = []string{Look, Run, Files, Pull, Push, Images, Build, Networks, Volumes}

// May tells whether a client may use a route, "METHOD /path" as the engine's table has it, of a kind.
func (c *Client) May(route, kind string) bool { return c != nil && (c.kinds[kind] || c.routes[route]) }

// Whole tells that the client may do all that there is.
func (c *Client) Whole() bool { return c.all && len(c.kinds) == len(kindNames) && !c.Bound() }

// Bound tells that only things with the client's labels are there for it.
func (c *Client) Bound() bool { return len(c.labels) > 0 }

// Owns tells whether a thing with such labels is there for the client.
func (c *Client) Owns(labels map[string]string) bool {
	for _, l := range c.labels {
		if have, ok := labels[l.key]; !ok || have != l.value {
			return false
		}
	}
	return true
}

// Filters are the client's labels as values of the filter "label".
func (c *Client) Filters() []string {
	list := make([]string, len(c.labels))
	for i, l := range c.labels {
		list[i] = l.key + "=" + l.value
	}
	return list
}

// Mark puts the client's labels on what it makes. A label that says another thing is an error.
func (c *Client) Mark(labels *map[string]string) error {
	for _, l := range c.labels {
		if have, ok := (*labels)[l.key]; ok && have != l.value {
			return c.Denied("label what it makes %s=%s: its label is %s=%s", l.key, have, l.key, l.value)
		}
	}
	if *labels == nil && c.Bound() {
		*labels = map[string]string{}
	}
	for _, l := range c.labels {
		(*labels)[l.key] = l.value
	}
	return nil
}

// Grant refuses needs that the client has no right to.
func (c *Client) Grant(needs []Need) error {
	for _, n := range needs {
		if !c.has(n) {
			return c.Denied("have %s: it has no `with %s`", n, n)
		}
	}
	return nil
}

func (c *Client) has(n Need) bool {
	for _, value := range []string{n.Value, any} {
		// Who may write may read.
		if c.all || c.rights[Need{n.Word, value, n.ReadOnly}] || c.rights[Need{n.Word, value, false}] {
			return true
		}
	}
	return false
}

// Denied is the answer to who may not do something.
func (c *Client) Denied(format string, args ...interface{}) error {
	return api.Errorf(api.Forbidden, "authorization denied by the policy: %s may not "+format, append([]interface{}{c.Name}, args...)...)
}

func all(names []string) map[string]bool {
	m := map[string]bool{}
	for _, n := range names {
		m[n] = true
	}
	return m
}
