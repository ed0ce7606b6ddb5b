package main

import (
	"bufio"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"lighter/kernel"
	"lighter/linux/proc"
)

// remapUser is whose ranges --userns-remap=default takes, as dockerd's does.
const remapUser = "dockremap"

// A range that is claimed when there is none: as large as other systems make it, above
// what they begin with.
const (
	firstRange = 100_000
	rangeSize  = 65_536
)

// accounts are the files that say who may have which ids: /etc.
type accounts string

// remap finds the ids that --userns-remap names. None are for root, who is not remapped.
func (a accounts) remap(what string) (uids, gids []proc.IDs, err error) {
	name, group, two := strings.Cut(what, ":")
	if strings.Contains(group, ":") || name == "" || two && group == "" {
		return nil, nil, fmt.Errorf("Invalid user/group specification in --userns-remap: %q", what)
	}
	if what == "default" {
		name = remapUser
		if err := a.claim(name); err != nil {
			return nil, nil, fmt.Errorf("claim user ids for containers: %w", err)
		}
	} else {
		user, err := a.entry("passwd", name)
		if err != nil {
			return nil, nil, fmt.Errorf("--userns-remap: Error during uid lookup for %q: %w", name, err)
		}
		if !two {
			// A name stands for the group of that name, a number for that of that number.
			group = name
		}
		if _, err := a.entry("group", group); err != nil {
			return nil, nil, fmt.Errorf("--userns-remap: Error during gid lookup for %q: %w", group, err)
		}
		name = user
	}
	if name == "root" {
		slog.Warn("User namespaces: root cannot be remapped with itself; user namespaces are OFF")
		return nil, nil, nil
	}
	if uids, err = a.ranges("subuid", name); err == nil {
		gids, err = a.ranges("subgid", name)
	}
	if err != nil {
		return nil, nil, fmt.Errorf("--userns-remap: Can't create ID mappings: %w", err)
	}
	return uids, gids, nil
}

// lines calls f with the fields of each line of a file. One that is not there has none.
func (a accounts) lines(file string, f func(fields []string)) error {
	in, err := os.Open(filepath.Join(string(a), file))
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer in.Close()
	sc := bufio.NewScanner(in)
	for sc.Scan() {
		if fields := strings.Split(strings.TrimSpace(sc.Text()), ":"); len(fields) >= 3 {
			f(fields)
		}
	}
	return sc.Err()
}

// entry finds the name of a user or group by name or number.
func (a accounts) entry(file, key string) (name string, err error) {
	err = a.lines(file, func(f []string) {
		if name == "" && (f[0] == key || f[2] == key) {
			name = f[0]
		}
	})
	if err == nil && name == "" {
		err = fmt.Errorf("no entry in %s", filepath.Join(string(a), file))
	}
	return name, err
}

// ranges are all that a user may have, one behind the other from 0 on inside.
func (a accounts) ranges(file, name string) (list []proc.IDs, err error) {
	uid := ""
	if err := a.lines("passwd", func(f []string) {
		if f[0] == name {
			uid = f[2]
		}
	}); err != nil {
		return nil, err
	}
	inside := uint64(0)
	var bad error
	err = a.lines(file, func(f []string) {
		if f[0] != name && (uid == "" || f[0] != uid) {
			return
		}
		from, err1 := strconv.ParseUint(f[1], 10, 32)
		n, err2 := strconv.ParseUint(f[2], 10, 32)
		if err1 != nil || err2 != nil || from+n > 1<<32-1 || inside+n > 1<<32-1 {
			bad = fmt.Errorf("%s: bad range %s", filepath.Join(string(a), file), strings.Join(f, ":"))
		} else if n > 0 {
			list = append(list, proc.IDs{Inside: uint32(inside), Outside: uint32(from), Count: uint32(n)})
			inside += n
		}
	})
	if err = errors.Join(err, bad); err == nil && len(list) == 0 {
		err = fmt.Errorf("no %s ranges found for user %q in %s", file, name, filepath.Join(string(a), file))
	}
	return list, err
}

// claim sees that a user has a range in both files, one that nobody else has.
func (a accounts) claim(name string) error {
	from := uint64(firstRange)
	missing := []string{}
	for _, file := range []string{"subuid", "subgid"} {
		has := false
		err := a.lines(file, func(f []string) {
			begin, err1 := strconv.ParseUint(f[1], 10, 32)
			n, err2 := strconv.ParseUint(f[2], 10, 32)
			if err1 == nil && err2 == nil {
				from = max(from, begin+n)
			}
			has = has || f[0] == name
		})
		if err != nil {
			return err
		}
		if !has {
			missing = append(missing, file)
		}
	}
	if from+rangeSize > 1<<32-1 {
		return errors.New("no range is left")
	}
	for _, file := range missing {
		if err := a.add(file, fmt.Sprintf("%s:%d:%d\n", name, from, rangeSize)); err != nil {
			return err
		}
	}
	return nil
}

// add appends a line to a file, under the lock that the tools of the shadow suite take.
func (a accounts) add(file, line string) (err error) {
	path := filepath.Join(string(a), file)
	lock, err := os.OpenFile(path+".lock", os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("somebody else changes %s: %w", path, err)
	}
	defer func() { err = errors.Join(err, os.Remove(path+".lock")) }()
	fmt.Fprintf(lock, "%d", os.Getpid())
	if err := lock.Close(); err != nil {
		return err
	}
	text, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	if len(text) > 0 && text[len(text)-1] != '\n' {
		text = append(text, '\n')
	}
	if err := os.WriteFile(path+"-new", append(text, line...), 0o644); err != nil {
		return err
	}
	return os.Rename(path+"-new", path)
}

// openUsers makes the user namespaces that --userns-remap asks for.
func (p *parts) openUsers() error {
	if p.config.Remap == "" {
		return nil
	}
	uids, gids, err := accounts("/etc").remap(p.config.Remap)
	if err != nil || uids == nil {
		return err
	}
	if p.users, err = kernel.NewUsers(uids, gids, p.root.Path("layers")); err != nil {
		return fmt.Errorf("--userns-remap: %w", err)
	}
	p.layers.Users, p.config.remapped = p.users.Layers(), true
	p.later(p.users.Close)
	return nil
}
