package build

import (
	"reflect"
	"testing"
	"time"

	"lighter/api"
)

// The rules are BuildKit's: parts of the disk where nobody said any bound.
func TestDefaultRules(t *testing.T) {
	rules := DefaultRules(100<<30, api.BuildPrune{})
	if len(rules) != 4 || rules[2].Keep != 11e9 || rules[2].MaxUsed != 81e9 || rules[2].MinFree != 21e9 || !rules[3].All || rules[0].MaxUsed != 1519933825 {
		t.Errorf("%+v", rules)
	}
	rules = DefaultRules(100<<30, api.BuildPrune{Keep: 1e9})
	if rules[0].MaxUsed != leastEasy || !reflect.DeepEqual(rules[2], api.BuildPrune{Keep: 1e9}) {
		t.Errorf("%+v", rules)
	}
	for _, r := range rules {
		if err := CheckRule(r); err != nil {
			t.Error(err)
		}
	}
}

// Room is made by the rules, of what is old, is no image's and is used by no build; a build has it made, and Close calls that off.
func TestCollect(t *testing.T) {
	b := newFileBench(t)
	b.Rules = DefaultRules(0, api.BuildPrune{MaxUsed: 1})
	b.Rules = b.Rules[:2] // what is old
	b.write(t, "a", "12345")
	b.write(t, "Dockerfile", "FROM scratch\nCOPY a /b\nCOPY a /c\n")
	if _, fail := b.build(t, api.BuildRequest{Outputs: []api.BuildOutput{{Type: "cacheonly"}}}); fail != nil {
		t.Fatal(fail.Message)
	}
	if b.room.timer == nil {
		t.Error("after a build, no room is going to be made")
	}
	left := func(want int, why string) {
		t.Helper()
		if err := b.collect(t.Context()); err != nil {
			t.Fatal(err)
		}
		if list, err := b.Usage(t.Context(), nil); err != nil || len(list) != want {
			t.Errorf("%s: %d pieces, %v, want %d", why, len(list), err, want)
		}
	}
	left(2, "they are new")
	b.Clock = func() time.Time { return clock().Add(59 * 24 * time.Hour) }
	left(2, "they are not old enough")
	b.Clock = func() time.Time { return clock().Add(61 * 24 * time.Hour) }
	used := b.cache.lookup(b.cache.all()[1].Key, clock())
	left(1, "a build uses one")
	b.cache.done(used)
	b.Rules[1].MaxUsed = 1 << 20
	left(1, "there is room for it")
	b.Rules[1].MaxUsed = 1
	left(0, "nobody uses it")
}
