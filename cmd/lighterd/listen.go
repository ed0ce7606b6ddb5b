package main

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"net"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// maxSocketPath is how long the path of a unix socket may be (unix(7): sun_path
// and its zero).
const maxSocketPath = 107

// checkHosts refuses addresses that cannot or should not be listened on.
func (c *config) checkHosts() error {
	for i, h := range c.Hosts {
		proto, addr, ok := strings.Cut(h, "://")
		switch {
		case !ok && strings.HasPrefix(h, "/"):
			c.Hosts[i] = "unix://" + h
		case proto == "unix":
			if len(addr) > maxSocketPath {
				return fmt.Errorf("listen on %s: the path is longer than %d bytes, and no client could connect", h, maxSocketPath)
			}
			if !filepath.IsAbs(addr) {
				return fmt.Errorf("listen on %s: the path must be absolute", h)
			}
		case proto == "tcp":
			if _, _, err := net.SplitHostPort(addr); err != nil {
				return fmt.Errorf("listen on %s: %w", h, err)
			}
			if err := c.tlsConfig.mayListen(h); err != nil {
				return err
			}
		default:
			return fmt.Errorf("listen on %s: an address is unix://PATH or tcp://HOST:PORT", h)
		}
	}
	return nil
}

// listen opens every address, or none. A socket that was passed is that of its path; one
// whose path was not asked for is listened on besides.
func (c *config) listen() (ls []net.Listener, err error) {
	open := maps.Clone(c.passed)
	defer func() {
		if err != nil {
			for _, l := range ls {
				l.Close()
			}
			for _, l := range open {
				l.Close()
			}
		}
	}()
	for _, h := range c.Hosts {
		proto, addr, _ := strings.Cut(h, "://")
		var l net.Listener
		if have, ok := open[addr]; ok && proto == "unix" {
			l = have
			delete(open, addr)
		} else if proto == "unix" {
			l, err = c.listenUnix(addr)
		} else {
			c.tlsConfig.warn(h)
			l, err = c.listenTCP(addr)
		}
		if err != nil {
			return ls, fmt.Errorf("listen on %s: %w", h, err)
		}
		ls = append(ls, l)
	}
	for _, l := range open {
		ls = append(ls, l)
	}
	return ls, nil
}

// unixListener takes its socket away when it closes, unless another took its place.
type unixListener struct {
	*net.UnixListener
	path string
	made os.FileInfo
}

// Close stops listening and removes the socket.
func (l *unixListener) Close() error {
	if now, err := os.Lstat(l.path); err == nil && os.SameFile(now, l.made) {
		_ = os.Remove(l.path) // gone is gone; the listener's own error counts
	}
	return l.UnixListener.Close()
}

// listenUnix makes a socket of mode 0660 and of the group, whatever the umask: it is
// bound in a folder that is root's alone, and moved into its place when it is right.
func (c *config) listenUnix(path string) (net.Listener, error) {
	gid, err := c.groupID()
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return nil, err
	}
	if err := freeSocket(path); err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp(filepath.Dir(path), ".l")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	d, err := os.Open(dir)
	if err != nil {
		return nil, err
	}
	defer d.Close()
	// Through the descriptor, so that the way to the folder may be of any length.
	short := fmt.Sprintf("/proc/self/fd/%d/s", d.Fd())
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: short, Net: "unix"})
	if err != nil {
		return nil, err
	}
	l.SetUnlinkOnClose(false)
	made := filepath.Join(dir, "s")
	err = os.Chown(made, 0, gid)
	if err == nil || os.Geteuid() != 0 && errors.Is(err, fs.ErrPermission) {
		err = os.Chmod(made, 0o660)
	}
	if err == nil {
		err = os.Rename(made, path)
	}
	info, e := os.Lstat(path)
	if err = errors.Join(err, e); err != nil {
		l.Close()
		return nil, err
	}
	return &unixListener{l, path, info}, nil
}

// freeSocket refuses a path where somebody listens, or that is no socket. A socket
// that nobody listens on was left behind, and is replaced.
func freeSocket(path string) error {
	st, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if st.Mode().Type() != fs.ModeSocket {
		return fmt.Errorf("%s is in the way, and no socket", path)
	}
	if conn, err := net.DialTimeout("unix", path, time.Second); err == nil {
		conn.Close()
		return errors.New("another program already listens there")
	}
	return nil
}

// groupID gives the group of the socket: the one asked for, or lighter's if there
// is one, or root's.
func (c *config) groupID() (int, error) {
	name := c.Group
	if name == "" {
		name = defaultGroup
	}
	if n, err := strconv.Atoi(name); err == nil {
		return n, nil
	}
	g, err := user.LookupGroup(name)
	if err != nil {
		if c.Group == "" {
			return 0, nil
		}
		return 0, fmt.Errorf("group %s: %w", name, err)
	}
	return strconv.Atoi(g.Gid)
}
