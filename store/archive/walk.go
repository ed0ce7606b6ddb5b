package archive

import (
	"errors"
	"fmt"
	"slices"

	"lighter/linux/fs"
)

// maxWalk is how deep a walk goes; no tar of ours makes folders any deeper.
const maxWalk = 2 * maxDepth

// walk calls f with each name beneath dir, sorted, a folder before what is in it, and
// goes into those that f says. path is the clean path, in the folder in. What vanishes
// meanwhile is passed over.
func walk(dir fs.Dir, prefix string, f func(in fs.Dir, path, name string, st fs.Info) (enter bool, err error)) error {
	return walkDown(dir, prefix, f, 0)
}

func walkDown(dir fs.Dir, prefix string, f func(in fs.Dir, path, name string, st fs.Info) (bool, error), depth int) error {
	if depth > maxWalk {
		return errors.New("folders lie too deep")
	}
	var names []string
	if err := dir.Names(func(name string, _ uint32) error {
		names = append(names, name)
		return nil
	}); err != nil {
		return fmt.Errorf("list %.200q: %w", prefix, err)
	}
	slices.Sort(names)
	for _, name := range names {
		path := name
		if prefix != "" {
			path = prefix + "/" + name
		}
		st, err := dir.Stat(name)
		if fs.IsNoEntry(err) {
			continue
		}
		if err != nil {
			return fmt.Errorf("look at %.200q: %w", path, err)
		}
		enter, err := f(dir, path, name, st)
		if err != nil || !enter {
			if err != nil {
				return err
			}
			continue
		}
		sub, err := dir.Sub(name)
		if fs.IsNoEntry(err) {
			continue
		}
		if err == nil {
			err = walkDown(sub, path, f, depth+1)
			sub.Close()
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// Walk calls f with the clean path of each thing beneath dir, in order.
func Walk(dir fs.Dir, f func(path string, isDir bool)) error {
	return walk(dir, "", func(_ fs.Dir, path, _ string, st fs.Info) (bool, error) {
		isDir := st.Mode&fs.ModeType == fs.ModeDir
		f(path, isDir)
		return isDir, nil
	})
}

// WalkInfo calls f with each thing beneath dir, in order, with its clean path, its name
// in the folder in, and what it is; it goes into those that f says.
func WalkInfo(dir fs.Dir, f func(in fs.Dir, path, name string, st fs.Info) (enter bool, err error)) error {
	return walk(dir, "", f)
}
