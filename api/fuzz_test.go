package api

import "testing"

// FuzzFilters reads the filters of a query: what is taken is the same when it is written.
func FuzzFilters(f *testing.F) {
	for _, s := range []string{`{"label":{"a=b":true,"c":false}}`, `{"label":["a=b","a=b"]}`, `{"x":null}`, `{"":{"":true}}`, `[]`, `{"a":{"b":1}}`} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		filters, err := ParseFilters(s)
		if err != nil {
			return
		}
		again, err := ParseFilters(filters.Encode())
		if err != nil {
			t.Fatalf("%q became %q: %v", s, filters.Encode(), err)
		}
		for key, values := range filters {
			got := map[string]bool{}
			for _, v := range again[key] {
				got[v] = true
			}
			for _, v := range values {
				if !got[v] {
					t.Errorf("%q: %q of %q is lost in %q", s, v, key, filters.Encode())
				}
			}
		}
		if len(again) > len(filters) {
			t.Errorf("%q: %v became %v", s, filters, again)
		}
	})
}
