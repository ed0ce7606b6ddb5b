package event

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strconv"
	"testing"
	"time"

	"lighter/api"
)

func open(t testing.TB, dir string) *Log {
	t.Helper()
	l, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l
}

func collect(t *testing.T, l *Log, q Query) []api.Event {
	t.Helper()
	if q.Until.IsZero() {
		q.Until = time.Now()
	}
	seq, err := l.Subscribe(t.Context(), q)
	if err != nil {
		t.Fatal(err)
	}
	return slices.Collect(seq)
}

func actions(events []api.Event) (list []string) {
	for _, e := range events {
		list = append(list, e.Action)
	}
	return list
}

func TestReplay(t *testing.T) {
	dir := t.TempDir()
	l := open(t, dir)
	for i := range 3 * ringSize {
		l.Publish("container", strconv.Itoa(i), "id", map[string]string{"name": "n"})
	}
	for _, when := range []string{"live", "reopened"} {
		got := collect(t, l, Query{})
		if len(got) != 3*ringSize {
			t.Fatalf("%s: %d events, want %d", when, len(got), 3*ringSize)
		}
		for i, e := range got {
			if e.Action != strconv.Itoa(i) || e.ID != "id" || e.Actor.Attributes["name"] != "n" {
				t.Fatalf("%s: event %d is %+v", when, i, e)
			}
		}
		l.Close()
		l = open(t, dir)
	}
	if l.next != 3*ringSize+1 {
		t.Fatalf("next is %d", l.next)
	}
}

func TestTornLine(t *testing.T) {
	dir := t.TempDir()
	l := open(t, dir)
	l.Publish("container", "create", "a", nil)
	l.Close()
	f, _ := os.OpenFile(l.current(), os.O_APPEND|os.O_WRONLY, 0)
	fmt.Fprint(f, `{"seq":2,"Type":"cont`)
	f.Close()
	l = open(t, dir)
	l.Publish("container", "start", "a", nil)
	l.Close()
	l = open(t, dir)
	if got := actions(collect(t, l, Query{})); !slices.Equal(got, []string{"create", "start"}) {
		t.Fatal(got)
	}
}

func TestRotationLosesNothingWhileRead(t *testing.T) {
	l := open(t, t.TempDir())
	big := make([]byte, 64<<10)
	for i := range big {
		big[i] = 'x'
	}
	const n = 200 // 12.8 MB: one rotation
	for i := range n {
		l.Publish("container", strconv.Itoa(i), "id", map[string]string{"big": string(big)})
	}
	if got := collect(t, l, Query{}); len(got) != n || got[0].Action != "0" {
		t.Fatalf("%d events", len(got))
	}
}

func TestLiveSlowListener(t *testing.T) {
	l := open(t, t.TempDir())
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	l.Publish("container", "before", "id", nil)
	seq, err := l.Subscribe(ctx, Query{})
	if err != nil {
		t.Fatal(err)
	}
	const n = 4 * ringSize // far more than the ring: the rest comes from disk
	for i := range n {
		l.Publish("container", strconv.Itoa(i), "id", nil)
	}
	i := 0
	for e := range seq {
		if e.Action != strconv.Itoa(i) {
			t.Fatalf("event %d is %s", i, e.Action)
		}
		if i++; i == n {
			go l.Publish("container", strconv.Itoa(n), "id", nil)
		}
		if i == n+1 {
			break
		}
	}
	if l.Listeners() != 0 {
		t.Fatal("listener left")
	}
	seq, _ = l.Subscribe(ctx, Query{})
	go cancel()
	for range seq {
		t.Fatal("an event out of nowhere")
	}
}

func TestUntil(t *testing.T) {
	l := open(t, t.TempDir())
	seq, err := l.Subscribe(t.Context(), Query{Until: time.Now().Add(30 * time.Millisecond)})
	if err != nil {
		t.Fatal(err)
	}
	l.Publish("image", "tag", "x", nil)
	if got := actions(slices.Collect(seq)); !slices.Equal(got, []string{"tag"}) {
		t.Fatal(got)
	}
	if _, err := l.Subscribe(t.Context(), Query{Since: time.Now(), Until: time.Unix(1, 0)}); !api.Is(err, api.Invalid) {
		t.Fatal(err)
	}
}

func TestMatches(t *testing.T) {
	container := api.Event{Type: "container", Action: "exec_create: sh -c x", Scope: "local", Actor: api.Actor{
		ID: "abcdef", Attributes: map[string]string{"name": "web", "image": "docker.io/library/busybox:1", "k": "v"}}}
	for _, row := range []struct {
		key, value string
		want       bool
	}{
		{"container", "abc", true}, {"container", "web", true}, {"container", "x", false},
		{"event", "exec_create", true}, {"event", "exec_create: sh -c x", true}, {"event", "exec", false},
		{"type", "container", true}, {"type", "image", false},
		{"image", "busybox", true}, {"image", "docker.io/library/busybox:1", true}, {"image", "busy", false},
		{"label", "k", true}, {"label", "k=v", true}, {"label", "k=w", false},
		{"scope", "local", true}, {"scope", "swarm", false}, {"network", "n", false},
	} {
		if got := Matches(api.Filters{row.key: {row.value}}, container); got != row.want {
			t.Errorf("%s=%s: %v", row.key, row.value, got)
		}
	}
	if withoutTag("localhost:5000/a/b:1") != "localhost:5000/a/b" || withoutTag("localhost:5000/a") != "localhost:5000/a" {
		t.Error("withoutTag")
	}
}

func BenchmarkPublish(b *testing.B) {
	l := open(b, b.TempDir())
	attrs := map[string]string{"image": "busybox", "name": "web"}
	for b.Loop() {
		l.Publish("container", "start", "0123456789012345678901234567890123456789012345678901234567890123", attrs)
	}
}
