package tree

import (
	"fmt"
	"path"
	"slices"
	"strings"

	linux "lighter/linux/fs"
)

// maxFollowed bounds what paths that are followed lead to, so that links to patterns of links end.
const maxFollowed = 100_000

// followed gives the patterns that paths stand for: they themselves, the links on their way, and
// what those point to. Paths may be patterns. Nil means all.
func (s *Source) followed(paths []string) ([]string, error) {
	root, err := s.dir()
	if err != nil {
		return nil, err
	}
	defer root.Close()
	f := follower{root: root, found: map[string]bool{}}
	for _, p := range paths {
		if err := f.add(clean(p)); err != nil {
			return nil, err
		}
	}
	var list []string
	for p := range f.found {
		list = append(list, p)
	}
	slices.Sort(list)
	out := list[:0]
	for _, p := range list {
		if p == "" {
			return nil, nil
		}
		if len(out) == 0 || !strings.HasPrefix(p, out[len(out)-1]+"/") {
			out = append(out, p)
		}
	}
	return out, nil
}

type follower struct {
	root  linux.Dir
	found map[string]bool
	steps int
}

func (f *follower) add(p string) error {
	if f.steps++; f.steps > maxFollowed {
		return errLinks
	}
	at := ""
	for {
		var name string
		name, p, _ = strings.Cut(p, "/")
		at = join(at, name)
		targets, err := f.targets(at)
		if err != nil {
			return err
		}
		if (p == "" || targets != nil) && f.found[at] {
			return nil
		}
		if targets != nil {
			f.found[at] = true
			for _, t := range targets {
				if err := f.add(clean(t + "/" + p)); err != nil {
					return err
				}
			}
			return nil
		}
		if p == "" {
			f.found[at] = true
			return nil
		}
	}
}

// targets tells where the links at a path point, whose last name may be a pattern.
func (f *follower) targets(at string) (out []string, err error) {
	dir, name := split(at)
	if name == "" {
		return nil, nil
	}
	d := f.root
	if dir != "" {
		d, err = f.root.Beneath(dir)
		if linux.IsNothing(err) {
			return nil, nil // or a pattern was in the way
		}
		if err != nil {
			return nil, fmt.Errorf("open /%.200s: %w", dir, err)
		}
		defer d.Close()
	}
	names := []string{name}
	if wild(name) {
		names = nil
		if err := d.Names(func(n string, _ uint32) error {
			if ok, _ := path.Match(name, n); ok {
				names = append(names, n)
			}
			return nil
		}); err != nil {
			return nil, fmt.Errorf("read folder /%.200s: %w", dir, err)
		}
	}
	for _, n := range names {
		st, err := d.Stat(n)
		link := ""
		if err == nil && st.Mode&linux.ModeType == linux.ModeLink {
			link, err = d.Readlink(n)
		}
		if err != nil && !linux.IsNothing(err) {
			return nil, fmt.Errorf("look at /%.200s: %w", join(dir, n), err)
		}
		if link == "" {
			continue
		}
		if !strings.HasPrefix(link, "/") {
			link = dir + "/" + link
		}
		out = append(out, clean(link))
	}
	return out, nil
}

// clean gives a path beneath the root, without a slash at its ends; "" is the root.
func clean(p string) string { return strings.TrimPrefix(path.Join("/", p), "/") }

// wild tells whether a path is a pattern.
func wild(p string) bool {
	for i := 0; i < len(p); i++ {
		switch p[i] {
		case '*', '?', '[':
			return true
		case '\\':
			i++
		}
	}
	return false
}
