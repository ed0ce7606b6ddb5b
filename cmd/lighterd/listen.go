package main

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/pflag"
)

// maxSocketPath is how long the path of a unix socket may be (unix(7): sun_path
// and its zero).
const maxSocketPath = 107

// checkHosts refuses addresses that cannot or should not be listened on.
func (c *config) checkHosts(f *pflag.FlagSet) error {
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
			// Whoever reaches the port is root on this machine.
			if !c.TLSVerify && !f.Changed("tls") && !f.Changed("tlsverify") {
				return fmt.Errorf("listen on %s: anybody who can connect would be root here; give --tlsverify with --tlscacert, --tlscert and --tlskey, or --tls=false if that is really meant", h)
			}
		default:
			return fmt.Errorf("listen on %s: an address is unix://PATH or tcp://HOST:PORT", h)
		}
	}
	if c.TLS {
		if c.TLSCert == "" || c.TLSKey == "" || c.TLSVerify && c.TLSCA == "" {
			return errors.New("TLS needs --tlscert and --tlskey, and --tlsverify needs --tlscacert besides")
		}
	}
	return nil
}

// listen opens every address, or none.
func (c *config) listen() (ls []net.Listener, err error) {
	defer func() {
		if err != nil {
			for _, l := range ls {
				l.Close()
			}
		}
	}()
	for _, h := range c.Hosts {
		proto, addr, _ := strings.Cut(h, "://")
		var l net.Listener
		if proto == "unix" {
			l, err = c.listenUnix(addr)
		} else {
			l, err = c.listenTCP(addr)
		}
		if err != nil {
			return ls, fmt.Errorf("listen on %s: %w", h, err)
		}
		ls = append(ls, l)
	}
	return ls, nil
}

func (c *config) listenTCP(addr string) (net.Listener, error) {
	var conf *tls.Config
	if c.TLS {
		cert, err := tls.LoadX509KeyPair(c.TLSCert, c.TLSKey)
		if err != nil {
			return nil, err
		}
		conf = &tls.Config{Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS12}
	}
	if c.TLSVerify {
		pem, err := os.ReadFile(c.TLSCA)
		if err != nil {
			return nil, err
		}
		conf.ClientCAs, conf.ClientAuth = x509.NewCertPool(), tls.RequireAndVerifyClientCert
		if !conf.ClientCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("%s holds no certificate", c.TLSCA)
		}
	}
	l, err := net.Listen("tcp", addr)
	if err == nil && conf != nil {
		l = tls.NewListener(l, conf)
	}
	return l, err
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
