package api

import (
	"encoding/json"
	"slices"
	"strings"
)

// Filters is a set of values by key: a thing passes when, for every key, it
// matches one of the values.
type Filters map[string][]string

// ParseFilters reads the filters parameter of a query, in the form of today
// ({"label":{"a=b":true}}) or that of API 1.21 and older ({"label":["a=b"]}).
// Values come sorted.
func ParseFilters(s string) (Filters, error) {
	f := Filters{}
	if s == "" {
		return f, nil
	}
	var today map[string]map[string]bool
	if err := json.Unmarshal([]byte(s), &today); err == nil {
		for key, values := range today {
			for v, on := range values {
				if on {
					f[key] = append(f[key], v)
				}
			}
			slices.Sort(f[key])
		}
		return f, nil
	}
	var old map[string][]string
	if err := json.Unmarshal([]byte(s), &old); err != nil {
		return nil, Errorf(Invalid, "invalid filter")
	}
	for key, values := range old {
		f[key] = append(f[key], values...)
		slices.Sort(f[key])
	}
	return f, nil
}

// Add adds a value under a key.
func (f Filters) Add(key, value string) {
	if !slices.Contains(f[key], value) {
		f[key] = append(f[key], value)
	}
}

// Encode gives the form that goes into a query, empty when there is no filter.
func (f Filters) Encode() string {
	if len(f) == 0 {
		return ""
	}
	wire := make(map[string]map[string]bool, len(f))
	for key, values := range f {
		wire[key] = make(map[string]bool, len(values))
		for _, v := range values {
			wire[key][v] = true
		}
	}
	b, _ := json.Marshal(wire) // maps of strings cannot fail
	return string(b)
}

// Check refuses a key that is not among those accepted.
func (f Filters) Check(accepted ...string) error {
	for key := range f {
		if !slices.Contains(accepted, key) {
			return Errorf(Invalid, "invalid filter '%s'", key)
		}
	}
	return nil
}

// Exact reports whether value is among those asked for under key, or none was asked for.
func (f Filters) Exact(key, value string) bool {
	return len(f[key]) == 0 || slices.Contains(f[key], value)
}

// Bool reads a key that is true or false; absent gives def.
func (f Filters) Bool(key string, def bool) (bool, error) {
	values := f[key]
	if len(values) == 0 {
		return def, nil
	}
	if len(values) == 1 {
		switch strings.ToLower(values[0]) {
		case "1", "true", "t":
			return true, nil
		case "0", "false", "f":
			return false, nil
		}
	}
	return false, Errorf(Invalid, "invalid filter '%s=%s'", key, strings.Join(values, " "))
}

// Labels reports whether labels hold every "key" and "key=value" asked for under the filter key.
func (f Filters) Labels(key string, labels map[string]string) bool {
	for _, want := range f[key] {
		k, v, exact := strings.Cut(want, "=")
		have, ok := labels[k]
		if !ok || exact && have != v {
			return false
		}
	}
	return true
}
