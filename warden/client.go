package warden

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"

	"lighter/linux/fs"
	"lighter/linux/proc"
)

// Config is what a warden is started with.
type Config struct {
	Dir        string // where its socket is; it is made, and nobody else's
	Lighter    string // path of the program whose `warden` is started
	UIDs, GIDs []proc.IDs
}

// Client is an engine's connection to its warden.
type Client struct {
	mu   sync.Mutex // held from a request to its answer
	conn *net.UnixConn
}

// Find connects to the warden of a folder. The error is os.ErrNotExist when there is none.
func Find(dir string) (*Client, error) {
	var c *net.UnixConn
	err := short(dir, func(path string) (err error) {
		c, err = net.DialUnix("unixpacket", nil, &net.UnixAddr{Name: path, Net: "unixpacket"})
		return err
	})
	if errors.Is(err, proc.ECONNREFUSED) {
		err = fmt.Errorf("%w: nobody listens", os.ErrNotExist)
	}
	if err != nil {
		return nil, fmt.Errorf("find the warden of %s: %w", dir, err)
	}
	return &Client{conn: c}, nil
}

// Start connects to the warden, and starts one when there is none.
func Start(cfg Config) (*Client, error) {
	if err := os.MkdirAll(cfg.Dir, 0o700); err != nil {
		return nil, err
	}
	lock, err := os.OpenFile(filepath.Join(cfg.Dir, "lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	defer lock.Close()
	if err := fs.FlockWait(lock); err != nil { // engines that start at once have one
		return nil, err
	}
	if c, err := Find(cfg.Dir); err == nil || !errors.Is(err, os.ErrNotExist) {
		return c, err
	}
	if err := cfg.start(); err != nil {
		return nil, fmt.Errorf("start the warden: %w", err)
	}
	return Find(cfg.Dir)
}

func (cfg *Config) start() error {
	path := filepath.Join(cfg.Dir, socketName)
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	var l *net.UnixListener
	err := short(cfg.Dir, func(path string) (err error) {
		l, err = net.ListenUnix("unixpacket", &net.UnixAddr{Name: path, Net: "unixpacket"})
		return err
	})
	if err != nil {
		return err
	}
	l.SetUnlinkOnClose(false)
	defer l.Close()
	listening, err := l.File()
	if err != nil {
		return err
	}
	defer listening.Close()
	null, err := os.Open(os.DevNull)
	if err != nil {
		return err
	}
	defer null.Close()
	log, err := os.OpenFile(filepath.Join(cfg.Dir, "log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer log.Close()
	r, w, err := os.Pipe()
	if err != nil {
		return err
	}
	defer r.Close()
	args := []string{"lighter", "warden", "--dir", cfg.Dir, "--uids", formatIDs(cfg.UIDs), "--gids", formatIDs(cfg.GIDs)}
	if text, err := os.ReadFile(filepath.Join(cfg.Dir, namesFile)); err == nil {
		// One was killed. What it held may live on in what it was held for.
		if names := strings.Split(string(text), "\n"); len(names) == len(kinds) {
			if pid := within(names); pid > 0 {
				args = append(args, "--from", strconv.Itoa(pid))
			}
		}
	}
	p, err := proc.Spawn(cfg.Lighter, args, os.Environ(), []*os.File{null, log, log, listening, w})
	w.Close()
	if err != nil {
		return err
	}
	said, err := io.ReadAll(io.LimitReader(r, maxPacket))
	if string(said) != "ok" {
		p.Kill()
		p.Wait()
		os.Remove(path)
		return errors.Join(errors.New(string(said)), err)
	}
	return p.Release()
}

// Close ends the connection. The warden stays for as long as anything runs.
func (c *Client) Close() error { return c.conn.Close() }

// ask sends a request and takes the answer.
func (c *Client) ask(r request) (a answer, files []*os.File, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := send(c.conn, r, nil); err != nil {
		return a, nil, fmt.Errorf("ask the warden: %w", err)
	}
	fds, err := receive(c.conn, &a)
	if err != nil {
		return a, nil, fmt.Errorf("ask the warden: %w", err)
	}
	for _, fd := range fds {
		files = append(files, fd.Poll(r.Op))
	}
	if a.Error != "" {
		return a, nil, errors.New(a.Error)
	}
	return a, files, nil
}

// Spaces gives the namespaces: of users, mounts and networks; and why nothing connects the
// last with the host's, empty where pasta does.
func (c *Client) Spaces() (files []*os.File, lonely string, err error) {
	a, files, err := c.ask(request{Op: "spaces"})
	if err == nil && len(files) != len(kinds) {
		err = fmt.Errorf("the warden has %d namespaces", len(files))
	}
	return files, a.Lonely, err
}

// Socket gives an internet socket of the host's network namespace.
func (c *Client) Socket(_ context.Context, six, udp bool) (*os.File, error) {
	_, files, err := c.ask(request{Op: "socket", Six: six, Udp: udp})
	if err == nil && len(files) != 1 {
		err = errors.New("the warden gave no socket")
	}
	if err != nil {
		return nil, err
	}
	return files[0], nil
}
