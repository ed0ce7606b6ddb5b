package warden

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"

	"lighter/linux/proc"
)

// kinds are the namespaces, as /proc/PID/ns calls them, in the order in which they are entered.
var kinds = []string{"user", "mnt", "net"}

// spaces are the namespaces.
type spaces []*os.File

func (s spaces) close() {
	for _, f := range s {
		f.Close()
	}
}

// spacesOf opens those that a process is in.
func spacesOf(pid int) (s spaces, err error) {
	for _, kind := range kinds {
		f, err := os.Open(fmt.Sprintf("/proc/%d/ns/%s", pid, kind))
		if err != nil {
			s.close()
			return nil, err
		}
		s = append(s, f)
	}
	return s, nil
}

// names are those that /proc shows, by which a process in the namespaces is told.
func (s spaces) names() (list []string, err error) {
	for _, f := range s {
		name, err := os.Readlink(fmt.Sprintf("/proc/self/fd/%d", f.Fd()))
		if err != nil {
			return nil, err
		}
		list = append(list, name)
	}
	return list, nil
}

// inhabited reports whether a process but one is in the namespace of users, which those of
// mounts and networks belong to that containers have of their own.
func inhabited(names []string, but int) bool {
	dirs, _ := filepath.Glob("/proc/[0-9]*") // the pattern is well formed
	for _, dir := range dirs {
		if at, err := os.Readlink(dir + "/ns/user"); err == nil && at == names[0] && dir != "/proc/"+strconv.Itoa(but) {
			return true
		}
	}
	return false
}

// within finds a process in all of the namespaces, which can stand for them.
func within(names []string) int {
	dirs, _ := filepath.Glob("/proc/[0-9]*")
next:
	for _, dir := range dirs {
		for i, kind := range kinds {
			if at, err := os.Readlink(dir + "/ns/" + kind); err != nil || at != names[i] {
				continue next
			}
		}
		pid, _ := strconv.Atoi(filepath.Base(dir)) // of digits
		return pid
	}
	return 0
}

// makeSpaces makes new ones, and has hold take them from a process in them, which then ends.
func makeSpaces(uids, gids []proc.IDs, hold func(pid int) error) error {
	plan := proc.NewPlan()
	socket := plan.Add("open a socket", proc.Socket())
	plan.Add("take lo up", proc.LinkUp(socket.Fd(), "lo"))
	err := proc.VisitWith(plan, proc.Options{New: proc.NewUser | proc.NewMount | proc.NewNet}, func(pid int) error {
		for _, m := range []struct {
			program string
			ids     []proc.IDs
		}{{"newgidmap", gids}, {"newuidmap", uids}} {
			if err := writeMap(m.program, pid, m.ids); err != nil {
				return err
			}
		}
		return hold(pid)
	})
	if err != nil {
		return fmt.Errorf("make namespaces: %w%s", err, advice(err))
	}
	return nil
}

// writeMap has the kernel told by a program of root's, which looks whether the user may have these ids.
func writeMap(program string, pid int, ids []proc.IDs) error {
	args := []string{strconv.Itoa(pid)}
	for _, r := range ids {
		for _, n := range []uint32{r.Inside, r.Outside, r.Count} {
			args = append(args, strconv.FormatUint(uint64(n), 10))
		}
	}
	out, err := exec.Command(program, args...).CombinedOutput()
	switch {
	case errors.Is(err, exec.ErrNotFound):
		return fmt.Errorf("%s is not in PATH: install the package uidmap (shadow-utils)", program)
	case err != nil:
		return fmt.Errorf("%s: %w: %s", strings.Join(append([]string{program}, args...), " "), err, strings.TrimSpace(string(out)))
	}
	return nil
}

// switches are the host's ways of keeping user namespaces from ordinary users.
var switches = []struct{ path, bad, name string }{
	{"/proc/sys/kernel/unprivileged_userns_clone", "0", "kernel.unprivileged_userns_clone=1"},
	{"/proc/sys/user/max_user_namespaces", "0", "user.max_user_namespaces=15000"},
	{"/proc/sys/kernel/apparmor_restrict_unprivileged_userns", "1", "kernel.apparmor_restrict_unprivileged_userns=0"},
}

// advice names the first setting that stands in the way.
func advice(err error) string {
	if !errors.Is(err, os.ErrPermission) && !errors.Is(err, proc.ENOSPC) {
		return ""
	}
	if list := Forbidden(); len(list) > 0 {
		return ": root has to allow it: sysctl -w " + list[0]
	}
	return ""
}

// Forbidden lists the settings that root has to make before an ordinary user gets a user namespace.
func Forbidden() (settings []string) {
	for _, s := range switches {
		if text, err := os.ReadFile(s.path); err == nil && strings.TrimSpace(string(text)) == s.bad {
			settings = append(settings, s.name)
		}
	}
	return settings
}
