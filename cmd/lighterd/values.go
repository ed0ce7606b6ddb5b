package main

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"lighter/api"
)

// bytesSize is a size in bytes that is written as "64m" or as a number.
type bytesSize int64

func (b *bytesSize) String() string { return strconv.FormatInt(int64(*b), 10) }

// Type is the word for the value in the help.
func (b *bytesSize) Type() string { return "bytes" }

// Set reads "64m", "1GiB", "1024".
func (b *bytesSize) Set(s string) error {
	num := strings.TrimRight(strings.ToLower(strings.TrimSpace(s)), "bi")
	unit := int64(1)
	if num != "" {
		if i := strings.IndexByte("kmgtp", num[len(num)-1]); i >= 0 {
			unit, num = 1<<(10*(i+1)), num[:len(num)-1]
		}
	}
	n, err := strconv.ParseFloat(strings.TrimSpace(num), 64)
	if err != nil || n < 0 || n*float64(unit) > 1<<62 {
		return fmt.Errorf("invalid size: '%s'", s)
	}
	*b = bytesSize(n * float64(unit))
	return nil
}

// UnmarshalJSON takes a text or a number.
func (b *bytesSize) UnmarshalJSON(raw []byte) error {
	var s string
	if json.Unmarshal(raw, &s) != nil {
		s = string(raw)
	}
	return b.Set(s)
}

// mapFlag collects key=value.
type mapFlag map[string]string

func (m mapFlag) String() string { return fmt.Sprint(map[string]string(m)) }

// Type is the word for the value in the help.
func (m mapFlag) Type() string { return "map" }

// Set adds one key=value.
func (m mapFlag) Set(s string) error {
	k, v, _ := strings.Cut(s, "=")
	if k == "" {
		return fmt.Errorf("%q is not key=value", s)
	}
	m[k] = v
	return nil
}

// ulimitFlag collects NAME=SOFT[:HARD] by name.
type ulimitFlag map[string]api.Ulimit

func (u ulimitFlag) String() string {
	var list []string
	for _, name := range slices.Sorted(maps.Keys(u)) {
		list = append(list, fmt.Sprintf("%s=%d:%d", name, u[name].Soft, u[name].Hard))
	}
	return fmt.Sprint(list)
}

// Type is the word for the value in the help.
func (u ulimitFlag) Type() string { return "ulimit" }

// ulimits are the limits that setrlimit(2) knows.
var ulimits = []string{"as", "core", "cpu", "data", "fsize", "locks", "memlock", "msgqueue", "nice", "nofile",
	"nproc", "rss", "rtprio", "rttime", "sigpending", "stack"}

// Set adds one limit; -1 is none.
func (u ulimitFlag) Set(s string) error {
	name, val, ok := strings.Cut(s, "=")
	if !ok {
		return fmt.Errorf("invalid ulimit argument: %s", s)
	}
	if !slices.Contains(ulimits, name) {
		return fmt.Errorf("invalid ulimit type: %s", name)
	}
	soft, hard, two := strings.Cut(val, ":")
	l := api.Ulimit{Name: name}
	var err error
	if l.Soft, err = strconv.ParseInt(soft, 10, 64); err != nil {
		return fmt.Errorf("invalid ulimit argument: %s: %w", s, err)
	}
	l.Hard = l.Soft
	if two {
		if l.Hard, err = strconv.ParseInt(hard, 10, 64); err != nil {
			return fmt.Errorf("invalid ulimit argument: %s: %w", s, err)
		}
	}
	if l.Hard != -1 && (l.Soft > l.Hard || l.Soft == -1) {
		return fmt.Errorf("ulimit soft limit must be less than or equal to hard limit: %d > %d", l.Soft, l.Hard)
	}
	u[name] = l
	return nil
}
