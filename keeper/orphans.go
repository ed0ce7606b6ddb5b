package keeper

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"lighter/linux/proc"
	"lighter/task"
)

// orphans tells the exits that lie in files, and takes care of processes of which
// nobody holds anything any more: both the keeper and its second were killed at once.
func (c *Client) orphans(ctx context.Context) error {
	paths, err := filepath.Glob(filepath.Join(c.dirs.exits(), "*.json"))
	if err != nil {
		return err
	}
	halves, err := filepath.Glob(filepath.Join(c.dirs.exits(), "*"+half))
	if err != nil {
		return err
	}
	c.mu.Lock()
	runs := map[task.Name]int64{}
	writing := map[string]bool{} // by who holds them
	for _, h := range c.held {
		runs[h.Name] = h.Run
		writing[c.dirs.exitPath(h.Name, h.Run)+half] = true
	}
	c.mu.Unlock()
	for _, path := range halves {
		if !writing[path] {
			os.Remove(path) // the keeper that wrote it is dead
		}
	}
	var notes []noted
	for _, path := range paths {
		var n noted
		b, err := os.ReadFile(path)
		if err == nil {
			err = json.Unmarshal(b, &n)
		}
		switch {
		case errors.Is(err, fs.ErrNotExist):
		case err != nil:
			c.warn(fmt.Errorf("exit %s: %w", filepath.Base(path), err))
			os.Remove(path)
		case runs[n.Exit.Name] == n.Run: // its keeper tells
		case runs[n.Exit.Name] > n.Run: // it runs again: that exit was noted
			os.Remove(path)
		default:
			notes = append(notes, n)
		}
	}
	slices.SortFunc(notes, func(a, b noted) int { return a.Exit.At.Compare(b.Exit.At) })
	ended := map[string]int64{}
	for _, n := range notes {
		if n.Exit.Name.Exec == "" {
			ended[n.Exit.Name.Container] = max(n.Run, ended[n.Exit.Name.Container])
		}
		c.exited(nil, n.Exit, n.Run)
	}
	return c.strays(ctx, ended)
}

// strays goes through the containers that were alive and that no keeper holds. One
// whose process still runs is kept from here on, though its output is lost.
func (c *Client) strays(ctx context.Context, ended map[string]int64) error {
	entries, err := os.ReadDir(c.dirs.live())
	if err != nil {
		return err
	}
	for _, e := range entries {
		id := e.Name()
		name := task.Name{Container: id}
		l, err := c.dirs.readLife(id)
		c.mu.Lock()
		_, known := c.held[name]
		c.mu.Unlock()
		if err != nil || known || strings.HasPrefix(id, ".") {
			continue
		}
		if l.Pid == 0 && l.Cgroup != "" {
			if l, err = c.dirs.born(id, l); err != nil && !errors.Is(err, fs.ErrNotExist) {
				c.warn(fmt.Errorf("look for what was started of %s: %w", id, err))
			}
		}
		if l.Pid == 0 || ended[id] >= l.Run {
			continue
		}
		if l.Ended >= l.Run { // and the engine died before it had this taken away
			if err := c.Destroy(ctx, id); err != nil {
				return err
			}
			continue
		}
		r := record{Name: name, Run: l.Run, Pid: l.Pid, At: l.At, Cgroup: l.Cgroup}
		pidfd, err := l.open()
		if err != nil {
			c.exited(nil, task.Exit{Name: name, Code: 255, Unknown: true, At: time.Now()}, l.Run)
			continue
		}
		h := &held{record: r, pidfd: pidfd, fds: map[string]proc.FD{}}
		p, err := c.keeper(ctx)
		if err != nil {
			h.close()
			return err
		}
		c.mu.Lock()
		c.held[name] = h
		c.mu.Unlock()
		if err := c.adopt(h, p); err != nil {
			return err
		}
	}
	return nil
}
