package warden

import (
	"slices"
	"testing"

	"lighter/linux/proc"
)

func TestIDs(t *testing.T) {
	ids := []proc.IDs{{Inside: 0, Outside: 1000, Count: 1}, {Inside: 1, Outside: 100000, Count: 65536}}
	got, err := parseIDs(formatIDs(ids))
	if err != nil || !slices.Equal(got, ids) {
		t.Errorf("%v, %v; want %v", got, err, ids)
	}
	for _, bad := range []string{"", "0:1", "0:1:x", "0:1:1,"} {
		if got, err := parseIDs(bad); err == nil {
			t.Errorf("%q is taken as %v", bad, got)
		}
	}
}
