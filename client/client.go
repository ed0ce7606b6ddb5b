// Package client is the Docker Engine API in Go: one struct a noun, one method a
// route. It speaks to any engine of API 1.24 or newer over a unix socket, TCP or TLS.
//
// It starts no engine, prints nothing and keeps no state but one idle connection.
// HTTP/1.1 is spoken by hand (http.go): a command is three or four small requests,
// and net/http costs more goroutines and start-up than they do.
package client

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/url"
	"os"
	"path"
	"strings"
	"sync"

	"lighter/api"
)

// Config says where the engine is and how it is spoken to.
type Config struct {
	Host      string            // unix:///path, tcp://host:port[/base]
	Version   string            // API version to hold to; empty to take the newest that both know
	Headers   map[string]string // sent with every request
	UserAgent string

	// Dial makes a connection; nil for one to Host.
	Dial func(ctx context.Context) (net.Conn, error)

	// Secure puts TLS on a connection to addr; nil for none.
	Secure func(ctx context.Context, raw net.Conn, addr string) (net.Conn, error)

	// SendFile sends the next n bytes of a file without copying them, or tells that it
	// cannot (errors.ErrUnsupported). May be nil.
	SendFile func(to net.Conn, from *os.File, n int64) (int64, error)

	// LendFile sends bytes, and with the first of them an open file, or tells that the connection takes
	// none (errors.ErrUnsupported). May be nil.
	LendFile func(to net.Conn, b []byte, f *os.File) error

	// Unreachable is asked when a connection cannot be made: nil makes it tried once
	// more, an error stands for it. May be nil.
	Unreachable func(context.Context, *ConnectError) error
}

// Client is one engine. Its methods may be called by several goroutines.
type Client struct {
	config        Config
	network, addr string
	base          string // path before every route

	mu      sync.Mutex
	version string // of the API; the newest until the engine tells
	known   bool   // that the engine takes the version
	idle    *conn
}

// New makes a client. It does not connect.
func New(config Config) (*Client, error) {
	network, addr, ok := strings.Cut(config.Host, "://")
	if !ok || addr == "" {
		return nil, fmt.Errorf("unable to parse docker host `%s`", config.Host)
	}
	c := &Client{config: config, network: network, addr: addr, version: api.Version}
	switch network {
	case "unix":
	case "tcp", "http", "https":
		c.network = "tcp"
		if host, base, ok := strings.Cut(addr, "/"); ok {
			c.addr, c.base = host, strings.TrimSuffix("/"+base, "/")
		}
	default:
		return nil, fmt.Errorf("protocol not available: %s", network)
	}
	if config.Version != "" {
		c.version, c.known = strings.TrimPrefix(config.Version, "v"), true
	}
	return c, nil
}

// Host gives the address that the client was made with.
func (c *Client) Host() string { return c.config.Host }

// Version gives the API version in use; before the first answer it is the newest.
func (c *Client) Version() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.version
}

// Containers gives the containers of the engine.
func (c *Client) Containers() Containers { return Containers{c} }

// Execs gives the execs of the engine.
func (c *Client) Execs() Execs { return Execs{c} }

// System gives the engine itself.
func (c *Client) System() System { return System{c} }

// Close lets the idle connection go.
func (c *Client) Close() error {
	c.mu.Lock()
	idle := c.idle
	c.idle = nil
	c.mu.Unlock()
	if idle != nil {
		return idle.Close()
	}
	return nil
}

// negotiate makes sure that the version in use is one that the engine speaks. Calls
// whose body cannot be sent twice need it first; all others find out by trying.
func (c *Client) negotiate(ctx context.Context) error {
	c.mu.Lock()
	known := c.known
	c.mu.Unlock()
	if known {
		return nil
	}
	ping, err := c.System().Ping(ctx)
	if err == nil {
		c.settle(ping.APIVersion)
	}
	return err
}

// settle takes the engine's newest version when it is older than ours; an engine
// that does not tell is as old as they come.
func (c *Client) settle(engine string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if engine == "" {
		engine = api.MinVersion
	}
	if c.known = true; api.VersionLess(engine, c.version) {
		c.version = engine
	}
}

// shaped is a body that changes with the API version. It fails when it asks for what
// the version does not know.
type shaped func(version string) (any, error)

// request is one call. Body is JSON, of a value or a shaped one. Stream is sent as it
// is, chunked unless Length is positive.
type request struct {
	method, path string
	query        url.Values
	header       map[string]string
	body         any
	stream       io.Reader
	length       int64
	contentType  string // of stream
	unversioned  bool
	upgrade      bool // take the connection over
}

// call makes a request with a JSON body (nil for none) and decodes the JSON answer
// into out (nil to ignore it).
func (c *Client) call(ctx context.Context, method, path string, query url.Values, body, out any) error {
	resp, err := c.do(ctx, &request{method: method, path: path, query: query, body: body})
	if err != nil {
		return err
	}
	return resp.decode(out)
}

// route joins the elements of a path; each is escaped except for slashes. Slashes
// around a name mean nothing: "/web" is web.
func route(elem ...string) string {
	return (&url.URL{Path: path.Join("/", path.Join(elem...))}).EscapedPath()
}

// needs refuses a feature that the API version does not know, and that an engine would
// pass over in silence.
func needs(version, wanted, feature string, used bool) error {
	if used && api.VersionLess(version, wanted) {
		return fmt.Errorf("%q requires API version %s, but the Docker daemon API version is %s", feature, wanted, version)
	}
	return nil
}

// named refuses an empty name before it becomes another route, and trims spaces.
func named(kind, name string) (string, error) {
	if name = strings.TrimSpace(name); name == "" {
		return "", api.Errorf(api.Invalid, "invalid %s name or ID: value is empty", kind)
	}
	return name, nil
}

// set puts a flag into a query as 1 when it is on.
func set(query url.Values, key string, on bool) {
	if on {
		query.Set(key, "1")
	}
}

// put puts a text into a query unless it is empty.
func put(query url.Values, key, value string) {
	if value != "" {
		query.Set(key, value)
	}
}
