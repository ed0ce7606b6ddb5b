package net

import "testing"

func TestNamesLive(t *testing.T) {
	for release, want := range map[string]bool{
		"6.1.0-56-cloud-amd64": false, "5.15.0": false, "6.2.0": true, "6.18.3-arch1": true, "7.0-rc1": true, "": false,
	} {
		if namesLive(release) != want {
			t.Errorf("namesLive(%q) = %v", release, !want)
		}
	}
}
