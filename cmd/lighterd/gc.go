package main

import (
	"fmt"
	"strings"

	"github.com/docker/go-units"

	"lighter/api"
	"lighter/engine/build"
)

// builderConfig is the key "builder" of the file, as in dockerd's.
type builderConfig struct {
	GC gcConfig `json:"gc"`
}

// gcConfig says how large the build cache may grow. Sizes are as in "20GB".
type gcConfig struct {
	Enabled  *bool    `json:"enabled"` // nil: yes
	Policy   []gcRule `json:"policy"`  // nil: BuildKit's
	Reserved string   `json:"defaultReservedSpace"`
	Keep     string   `json:"defaultKeepStorage"` // the old name
	MaxUsed  string   `json:"defaultMaxUsedSpace"`
	MinFree  string   `json:"defaultMinFreeSpace"`
}

// gcRule is one rule; they are applied one after the other.
type gcRule struct {
	All      bool     `json:"all"`
	Filter   []string `json:"filter"`
	Reserved string   `json:"reservedSpace"`
	Keep     string   `json:"keepStorage"` // the old name
	MaxUsed  string   `json:"maxUsedSpace"`
	MinFree  string   `json:"minFreeSpace"`
}

// rules gives the rules for a disk of a size in bytes.
func (c *gcConfig) rules(disk int64) ([]api.BuildPrune, error) {
	if c.Enabled != nil && !*c.Enabled {
		return nil, nil
	}
	bounds, err := gcBounds("builder.gc: default", c.Reserved, c.Keep, c.MaxUsed, c.MinFree)
	if err != nil || c.Policy == nil {
		return build.DefaultRules(disk, bounds), err
	}
	var list []api.BuildPrune
	for n, r := range c.Policy {
		rule, err := gcBounds(fmt.Sprintf("builder.gc.policy[%d]: ", n), r.Reserved, r.Keep, r.MaxUsed, r.MinFree)
		if err != nil {
			return nil, err
		}
		rule.All = r.All
		for _, f := range r.Filter {
			name, value, ok := strings.Cut(f, "=")
			if name = strings.ToLower(strings.TrimSpace(name)); !ok || name == "" {
				return nil, fmt.Errorf("builder.gc.policy[%d]: the filter %q is not name=value", n, f)
			}
			if rule.Filters == nil {
				rule.Filters = api.Filters{}
			}
			rule.Filters.Add(name, strings.TrimSpace(value))
		}
		if err := build.CheckRule(rule); err != nil {
			return nil, fmt.Errorf("builder.gc.policy[%d]: %w", n, err)
		}
		list = append(list, rule)
	}
	return list, nil
}

// gcBounds reads sizes; keep is the old name of reserved.
func gcBounds(where, reserved, keep, maxUsed, minFree string) (b api.BuildPrune, err error) {
	if reserved == "" {
		reserved = keep
	}
	for _, row := range []struct {
		name, text string
		to         *int64
	}{{"ReservedSpace", reserved, &b.Keep}, {"MaxUsedSpace", maxUsed, &b.MaxUsed}, {"MinFreeSpace", minFree, &b.MinFree}} {
		if row.text == "" {
			continue
		}
		if *row.to, err = units.RAMInBytes(row.text); err != nil {
			return b, fmt.Errorf("%s%s: %w", where, row.name, err)
		}
	}
	return b, nil
}
