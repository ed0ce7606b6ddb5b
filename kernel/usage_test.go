package kernel

import (
	"maps"
	"slices"
	"testing"

	"lighter/api"
)

func TestParseTraffic(t *testing.T) {
	got := parseTraffic(`Inter-|   Receive                                                |  Transmit
 face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo colls carrier compressed
    lo:  562266    2799    0    0    0     0          0         0   562266    2799    0    0    0     0       0          0
  eth0: 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16
  bad: 1 2
 tunl0: 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16
`)
	want := map[string]api.Traffic{"eth0": {RxBytes: 1, RxPackets: 2, RxErrors: 3, RxDropped: 4, TxBytes: 9, TxPackets: 10, TxErrors: 11, TxDropped: 12}}
	if !maps.Equal(got, want) {
		t.Errorf("%+v", got)
	}
	if parseTraffic("lo: 1 2 3 4 5 6 7 8 9 10 11 12\n") != nil {
		t.Error("lo alone is no network")
	}
}

func TestUsageShowsWhatDockerShows(t *testing.T) {
	for _, list := range [][]string{memory1, memory2} {
		if sorted := slices.Sorted(slices.Values(list)); len(slices.Compact(sorted)) != len(list) {
			t.Errorf("twice in %v", list)
		}
	}
	if onlineCPUs() < 1 || memTotal() == 0 {
		t.Errorf("%d CPUs, %d bytes", onlineCPUs(), memTotal())
	}
}
