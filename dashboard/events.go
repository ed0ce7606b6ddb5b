package dashboard

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"lighter/api"
	"lighter/client"
	"lighter/page"
)

// happening is an event as a page shows it.
type happening struct {
	At    string `json:"at"`
	Stamp string `json:"time"`
	Kind  string `json:"kind"`
	Act   string `json:"act"`
	Name  string `json:"name"`
	Link  string `json:"link"`
	More  string `json:"more"`
}

const eventsShown = 200

var eventKinds = []string{"container", "image", "network", "volume", "builder", "daemon"}

func happeningOf(e api.Event) happening {
	at := time.Unix(0, e.TimeNano)
	h := happening{At: at.Local().Format("15:04:05"), Stamp: at.UTC().Format(time.RFC3339Nano), Kind: e.Type, Act: page.Shown(page.Clip(e.Action, 200))}
	h.Name = page.Shown(page.Clip(cmp.Or(e.Actor.Attributes["name"], page.Short(e.Actor.ID)), 200))
	switch e.Type {
	case "container":
		h.Link = "/containers/" + escaped(e.Actor.ID)
	case "image":
		if strings.HasPrefix(e.Actor.ID, "sha256:") {
			h.Link = "/images/" + escaped(bare(e.Actor.ID))
		}
	case "network", "volume":
		h.Link = "/" + e.Type + "s"
	}
	for _, k := range slices.Sorted(maps.Keys(e.Actor.Attributes)) {
		if slices.Contains([]string{"image", "exitCode", "signal", "reason", "container", "driver", "execDuration"}, k) {
			h.More += fmt.Sprintf("%s=%s  ", k, page.Shown(page.Clip(e.Actor.Attributes[k], 120)))
		}
	}
	h.More = strings.TrimSpace(h.More)
	return h
}

// chatter reports whether an event is one of the many that health checks make: they are
// shown to who asks for those of containers.
func chatter(kind string, e api.Event) bool {
	return kind == "" && strings.HasPrefix(e.Action, "exec_")
}

func (c *call) eventFilter() (kind string, f api.Filters) {
	if kind = c.field("kind"); slices.Contains(eventKinds, kind) {
		return kind, api.Filters{"type": {kind}}
	}
	return "", nil
}

// events shows the events of the last hour, the newest first.
func (s *Site) events(c *call) error {
	kind, filter := c.eventFilter()
	now := time.Now()
	type data struct {
		List  []happening
		Chips []chip
		Kind  string
		Since string
	}
	d := data{Kind: kind, Since: unix(now)}
	err := s.engine.System().Events(c.ctx(), client.EventsOptions{Since: unix(now.Add(-time.Hour)), Until: unix(now), Filters: filter}, func(e api.Event) error {
		if chatter(kind, e) {
			return nil
		}
		d.List = append(d.List, happeningOf(e))
		if len(d.List) > 2*eventsShown {
			d.List = append(d.List[:0], d.List[eventsShown:]...)
		}
		return nil
	})
	if err != nil {
		return err
	}
	slices.Reverse(d.List)
	d.List = d.List[:min(len(d.List), eventsShown)]
	for _, k := range append([]string{""}, eventKinds...) {
		d.Chips = append(d.Chips, chip{Word: cmp.Or(k, "all"), Link: c.with("kind", k), Current: k == kind})
	}
	return c.show("events", view{Title: "Events", Nav: "events", Data: d})
}

// followEvents sends events as they happen.
func (s *Site) followEvents(c *call) error {
	kind, filter := c.eventFilter()
	since := c.field("since")
	return c.stream(func(ctx context.Context, send func(any) error) error {
		return s.engine.System().Events(ctx, client.EventsOptions{Since: since, Filters: filter}, func(e api.Event) error {
			if chatter(kind, e) {
				return nil
			}
			return send(happeningOf(e))
		})
	})
}

func unix(t time.Time) string { return fmt.Sprintf("%d.%09d", t.Unix(), t.Nanosecond()) }
