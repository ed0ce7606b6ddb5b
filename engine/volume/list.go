package volume

import (
	"context"
	"log/slog"
	"regexp"
	"slices"

	"lighter/api"
	"lighter/store/archive"
)

// Inspect tells of a volume.
func (vs *Volumes) Inspect(name string) (*api.Volume, error) {
	v, err := vs.find(name)
	if err != nil {
		return nil, err
	}
	return v.wire(), nil
}

// List tells of the volumes that pass the filters dangling, driver, label and name.
func (vs *Volumes) List(f api.Filters) ([]*api.Volume, error) {
	if err := f.Check("dangling", "driver", "label", "name"); err != nil {
		return nil, err
	}
	dangling, err := f.Bool("dangling", false)
	if err != nil {
		return nil, invalid("invalid filter 'dangling=%s'", f["dangling"])
	}
	list := []*api.Volume{}
	for _, v := range vs.list() {
		switch {
		case !f.Exact("driver", Local), !labelled(f, v), !named(f["name"], v.Name):
		case len(f["dangling"]) > 0 && dangling != (vs.used(v) == 0):
		default:
			list = append(list, v.wire())
		}
	}
	return list, nil
}

// named reports whether a name is one of those asked for, or matches one as a regular
// expression.
func named(wanted []string, name string) bool {
	return len(wanted) == 0 || slices.ContainsFunc(wanted, func(w string) bool {
		if w == name {
			return true
		}
		re, err := regexp.Compile(w)
		return err == nil && re.MatchString(name)
	})
}

// Usage tells of the volumes without options how much they hold and how many containers
// have them. It takes a walk.
func (vs *Volumes) Usage(ctx context.Context) ([]*api.Volume, error) {
	list := []*api.Volume{}
	for _, v := range vs.list() {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		if len(v.Options) > 0 {
			continue
		}
		size, err := archive.Usage(v.data())
		if err != nil {
			slog.Warn("measure a volume", "volume", v.Name, "err", err)
			size = -1
		}
		w := v.wire()
		w.UsageData = &api.VolumeUsage{Size: size, RefCount: int64(vs.used(v))}
		list = append(list, w)
	}
	return list, nil
}
