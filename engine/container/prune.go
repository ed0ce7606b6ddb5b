package container

import (
	"context"
	"slices"
	"strconv"
	"strings"
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
		if err := cs.Remove(ctx, s.ID, RemoveOptions{}); err != nil {
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
	if d, err := time.ParseDuration(v); err == nil && v != "0" {
		return time.Now().Add(-d), nil
	}
	layout := timeLayout(v)
	t, err := time.ParseInLocation(layout, v, time.Local)
	if err == nil {
		return t, nil
	}
	if strings.Contains(v, "-") {
		return time.Time{}, invalid("%w", err)
	}
	n, err := strconv.ParseFloat(v, 64)
	if err != nil {
		return time.Time{}, invalid("failed to parse value as time or duration: %q", v)
	}
	return time.Unix(0, int64(n*1e9)), nil
}

// timeLayout is the form that a time is written in, as far as Docker tells them apart:
// it decides what the error says.
func timeLayout(v string) string {
	zone := ""
	if strings.ContainsAny(v, "zZ+") || strings.Count(v, "-") == 3 {
		zone = "Z07:00"
	}
	colons := strings.Count(v, ":")
	if zone != "" && !strings.ContainsAny(v, "zZ") && colons > 0 {
		colons-- // the zone's
	}
	switch {
	case strings.Contains(v, "."):
		return "2006-01-02T15:04:05.999999999" + zone
	case !strings.Contains(v, "T"):
		return "2006-01-02" + zone
	case colons < 2:
		return []string{"2006-01-02T15", "2006-01-02T15:04"}[colons] + zone
	}
	return "2006-01-02T15:04:05" + zone
}
