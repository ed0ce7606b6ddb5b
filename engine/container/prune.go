package container

import (
	"context"
	"slices"
	"strconv"
	"time"

	"lighter/api"
)

// Prune removes all containers that do not run and pass the filters until, label and label!.
func (cs *Containers) Prune(ctx context.Context, f api.Filters) (*api.Pruned, error) {
	if err := f.Check("label", "label!", "until"); err != nil {
		return nil, err
	}
	until, err := untilTime(f["until"])
	if err != nil {
		return nil, err
	}
	out := &api.Pruned{}
	for _, s := range cs.index.all() {
		if err := ctx.Err(); err != nil {
			return out, err
		}
		if s.phase.up() || !until.IsZero() && s.Created.After(until) || !f.Labels("label", s.Config.Labels) || unwanted(f, s) {
			continue
		}
		rw, _, err := cs.Layers.Usage(s.ID)
		complain("measure for prune", s.ID, err)
		if err := cs.Remove(ctx, s.ID, RemoveOptions{Volumes: true}); err != nil {
			complain("prune", s.ID, err)
			continue
		}
		out.SpaceReclaimed += uint64(max(rw, 0))
		out.ContainersDeleted = append(out.ContainersDeleted, s.ID)
	}
	cs.Events.Publish("container", "prune", "", map[string]string{"reclaimed": strconv.FormatUint(out.SpaceReclaimed, 10)})
	return out, nil
}

// unwanted reports whether a label says that the container is to stay.
func unwanted(f api.Filters, s *snapshot) bool {
	return slices.ContainsFunc(f["label!"], func(l string) bool {
		return api.Filters{"label": {l}}.Labels("label", s.Config.Labels)
	})
}

// untilTime reads the one until of a prune: a time, seconds since 1970, or how long ago.
func untilTime(values []string) (time.Time, error) {
	if len(values) == 0 {
		return time.Time{}, nil
	}
	if len(values) > 1 {
		return time.Time{}, invalid("more than one until filter specified")
	}
	v := values[0]
	if d, err := time.ParseDuration(v); err == nil {
		return time.Now().Add(-d), nil
	}
	if n, err := strconv.ParseFloat(v, 64); err == nil {
		return time.Unix(0, int64(n*1e9)), nil
	}
	for _, layout := range []string{time.RFC3339Nano, "2006-01-02T15:04:05", "2006-01-02T15:04", "2006-01-02T15Z07:00", "2006-01-02T15", "2006-01-02Z07:00", "2006-01-02"} {
		if t, err := time.Parse(layout, v); err == nil {
			return t, nil
		}
	}
	return time.Time{}, invalid("invalid value for until: %q", v)
}
