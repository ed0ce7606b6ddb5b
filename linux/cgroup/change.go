package cgroup

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// written is a control file as it was before a change.
type written struct{ path, before string }

// Change sets the limits that are set on a group with processes in it: all of them, or,
// when it fails, none. Version 1 hierarchies that the group had no need of before are
// joined now. No limits at all change nothing.
func (g *Group) Change(ctx context.Context, r *specs.LinuxResources) (err error) {
	if r == nil {
		return nil
	}
	if g.layout.Mode == None {
		return ErrNone
	}
	was := g.dirs
	joined, err := g.joinLate(r)
	undo := []written{}
	g.journal = &undo
	defer func() {
		g.journal = nil
		if err == nil {
			return
		}
		for _, w := range slices.Backward(undo) {
			writeFile(w.path, w.before)
		}
		for _, d := range joined {
			move(ctx, g, d.Mount)
			unix.Rmdir(d.Path)
		}
		g.dirs = was
	}()
	if err == nil {
		err = g.Set(r)
	}
	for _, d := range joined {
		if err == nil {
			err = move(ctx, g, d.Path)
		}
	}
	return err
}

// joinLate makes the folders that the limits need and that the group has not.
func (g *Group) joinLate(r *specs.LinuxResources) (joined []Dir, err error) {
	if g.layout.Mode == V2 {
		return nil, nil
	}
	g.dirs = slices.Clone(g.dirs)
	for _, h := range g.layout.Hierarchies {
		has := slices.ContainsFunc(g.dirs, func(d Dir) bool { return d.Mount == h.Mount })
		if has || !wanted(h, r) {
			continue
		}
		d := Dir{h, h.Mount + g.path}
		if _, err := mkdir(h.Mount, g.path); err != nil {
			return joined, fmt.Errorf("make cgroup %s: %w", d.Path, err)
		}
		joined = append(joined, d)
		g.dirs = append(g.dirs, d)
		if d.has("cpuset") {
			if err := fillCpuset(h.Mount, g.path); err != nil {
				return joined, err
			}
		}
	}
	return joined, nil
}

// move brings every process of the group into a folder of one hierarchy: again and
// again, until no fork has slipped by.
func move(ctx context.Context, g *Group, dir string) error {
	moved := map[int]bool{}
	for {
		pids, err := g.Procs()
		if err != nil {
			return err
		}
		fresh := false
		for _, pid := range pids {
			if moved[pid] {
				continue
			}
			moved[pid], fresh = true, true
			err := writeFile(dir+"/cgroup.procs", strconv.Itoa(pid))
			if err != nil && !errors.Is(err, unix.ESRCH) {
				return err
			}
		}
		if !fresh {
			return nil
		}
		if err := ctx.Err(); err != nil {
			return fmt.Errorf("move the processes of cgroup %s: %w", g.path, err)
		}
	}
}

// put writes a setting; within a Change it remembers what was there.
func (g *Group) put(path, value string) error {
	if g.journal == nil {
		return writeFile(path, value)
	}
	before, readErr := readFile(path)
	if err := writeFile(path, value); err != nil {
		return err
	}
	if readErr == nil { // the first line: of io.weight it is the default
		first, _, _ := strings.Cut(before, "\n")
		*g.journal = append(*g.journal, written{path, first + "\n"})
	}
	return nil
}
