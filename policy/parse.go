package policy

import (
	"bufio"
	"bytes"
	"fmt"
	"os/user"
	"path"
	"slices"
	"strconv"
	"strings"
)

// maxFile bounds a policy, in bytes.
const maxFile = 1 << 20

// Parse reads a policy: a directive a line, words with blanks between them, what follows # is a comment.
//
//	default deny|allow       for those whom no client names; deny when it is absent
//	client NAME              begins a section
//	uid|gid NAME|NUMBER…     whom it is for: any of these
//	cert PATTERN…            … common or alternative names of a certificate, * and ? as in a shell
//	allow KIND…              look run files pull push images build networks volumes, or everything
//	route METHOD PATH        … one more route, as the API's table writes it: POST /containers/{name}/stop
//	label KEY=VALUE          only things with it are there, and what is made gets it
//	with RIGHT…              needs.go has the words, or everything
//
// Routes are those that there are. The error of a wrong line begins with its number.
func Parse(text []byte, routes []string) (*Policy, error) {
	if len(text) > maxFile {
		return nil, fmt.Errorf("it is larger than %d MB", maxFile>>20)
	}
	r := &reader{policy: &Policy{}, routes: routes}
	lines := bufio.NewScanner(bytes.NewReader(text))
	lines.Buffer(nil, maxFile)
	for n := 1; lines.Scan(); n++ {
		line, _, _ := strings.Cut(lines.Text(), "#")
		words := strings.Fields(line)
		if len(words) == 0 {
			continue
		}
		if err := r.directive(words[0], words[1:]); err != nil {
			return nil, fmt.Errorf("line %d: %w", n, err)
		}
		r.line = n
	}
	if err := r.ended(); err != nil {
		return nil, fmt.Errorf("line %d: %w", r.line, err)
	}
	return r.policy, nil
}

// reader is a policy as far as it was read.
type reader struct {
	policy  *Policy
	routes  []string
	client  *Client // whose section it is
	decided bool    // default was given
	line    int     // the latest that said something
}

func (r *reader) directive(name string, args []string) error {
	switch name {
	case "default":
		return r.fallback(args)
	case "client":
		return r.section(args)
	}
	read := directives[name]
	switch {
	case read == nil:
		return fmt.Errorf("%q is no directive: there are default, client, uid, gid, cert, allow, route, label and with", name)
	case r.client == nil:
		return fmt.Errorf("%s stands before the first client", name)
	case len(args) == 0:
		return fmt.Errorf("%s needs a value", name)
	case name == "route":
		return r.route(args)
	}
	for _, arg := range args {
		if err := read(r.client, arg); err != nil {
			return fmt.Errorf("%s %s: %w", name, arg, err)
		}
	}
	return nil
}

// directives are those that take one value or several, of which each counts.
var directives = map[string]func(*Client, string) error{
	"uid": (*Client).uid, "gid": (*Client).gid, "cert": (*Client).cert, "allow": (*Client).allow, "label": (*Client).label, "with": (*Client).with,
	"route": func(*Client, string) error { return nil },
}

func (r *reader) fallback(args []string) error {
	switch {
	case r.decided:
		return fmt.Errorf("default was given before")
	case r.client != nil:
		return fmt.Errorf("default stands before the clients, and holds for those whom none names")
	case len(args) != 1 || args[0] != "deny" && args[0] != "allow":
		return fmt.Errorf("default is deny or allow, not %q", strings.Join(args, " "))
	}
	r.decided, r.policy.open = true, args[0] == "allow"
	return nil
}

func (r *reader) section(args []string) error {
	if err := r.ended(); err != nil {
		return err
	}
	if len(args) != 1 {
		return fmt.Errorf("client needs one name")
	}
	if slices.ContainsFunc(r.policy.clients, func(c *Client) bool { return c.Name == args[0] }) {
		return fmt.Errorf("there is a client %s already", args[0])
	}
	r.client = &Client{Name: args[0], kinds: map[string]bool{}, routes: map[string]bool{}, rights: map[Need]bool{}}
	r.policy.clients = append(r.policy.clients, r.client)
	return nil
}

// ended refuses a section that is for nobody.
func (r *reader) ended() error {
	if c := r.client; c != nil && len(c.uids)+len(c.gids)+len(c.certs) == 0 {
		return fmt.Errorf("the section of client %s ends, and says by no uid, gid or cert whom it is for", c.Name)
	}
	return nil
}

func (r *reader) route(args []string) error {
	if route := strings.Join(args, " "); slices.Contains(r.routes, route) {
		r.client.routes[route] = true
		return nil
	}
	return fmt.Errorf("there is no route %q in the table of the API (METHOD /path with {name}; server/rules.go)", strings.Join(args, " "))
}

func (c *Client) uid(s string) error {
	id, err := strconv.ParseUint(s, 10, 32)
	if err != nil {
		u, e := user.Lookup(s)
		if e != nil {
			return fmt.Errorf("there is no such user")
		}
		if id, err = strconv.ParseUint(u.Uid, 10, 32); err != nil {
			return err
		}
	}
	c.uids = append(c.uids, int(id))
	return nil
}

func (c *Client) gid(s string) error {
	id, err := strconv.ParseUint(s, 10, 32)
	if err != nil {
		g, e := user.LookupGroup(s)
		if e != nil {
			return fmt.Errorf("there is no such group")
		}
		if id, err = strconv.ParseUint(g.Gid, 10, 32); err != nil {
			return err
		}
	}
	c.gids = append(c.gids, int(id))
	return nil
}

func (c *Client) cert(s string) error {
	if _, err := path.Match(s, ""); err != nil {
		return fmt.Errorf("it is no pattern")
	}
	c.certs = append(c.certs, s)
	return nil
}

func (c *Client) allow(s string) error {
	if s == "everything" {
		c.kinds = all(kindNames)
		return nil
	}
	if !slices.Contains(kindNames, s) {
		return fmt.Errorf("it is everything or one of %s", strings.Join(kindNames, ", "))
	}
	c.kinds[s] = true
	return nil
}

func (c *Client) label(s string) error {
	key, value, ok := strings.Cut(s, "=")
	if !ok || key == "" {
		return fmt.Errorf("it is KEY=VALUE")
	}
	if slices.ContainsFunc(c.labels, func(l label) bool { return l.key == key }) {
		return fmt.Errorf("the key was given before")
	}
	c.labels = append(c.labels, label{key, value})
	return nil
}

func (c *Client) with(s string) error {
	if s == "everything" {
		c.all = true
		return nil
	}
	word, value, given := strings.Cut(s, "=")
	wants, known := words[word]
	switch {
	case !known:
		return fmt.Errorf("it is no right: docs/security.md lists them")
	case wants != (given && value != ""):
		return fmt.Errorf("it is written %s", map[bool]string{true: word + "=…", false: word}[wants])
	}
	n := Need{Word: word, Value: value}
	switch word {
	case "cap":
		n.Value = strings.TrimPrefix(strings.ToUpper(value), "CAP_")
	case "bind", "device":
		if word == "bind" {
			n.Value, n.ReadOnly = strings.CutSuffix(value, readOnly)
		}
		if n.Value != any && (!path.IsAbs(n.Value) || path.Clean(n.Value) != n.Value) {
			return fmt.Errorf("it is no clean absolute path")
		}
	}
	c.rights[n] = true
	return nil
}
