package dashboard

import (
	"cmp"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"lighter/api"
	"lighter/client"
	"lighter/page"
)

// containerPages are the pages about containers.
type containerPages struct{ *Site }

// box is a container in the list.
type box struct {
	ID, Name, Image, Project string
	State, Status, Reason    string
	Ports                    []string
	Spark                    string // a path
	CPU, Memory              string
	Actions                  []action
}

// action is a button of a container.
type action struct {
	Verb, Word string
	Class      string
	Form       bool // a form that asks first
}

var (
	startIt   = action{Verb: "start", Word: "Start"}
	stopIt    = action{Verb: "stop", Word: "Stop"}
	restartIt = action{Verb: "restart", Word: "Restart"}
	pauseIt   = action{Verb: "pause", Word: "Pause"}
	unpauseIt = action{Verb: "unpause", Word: "Go on"}
	killIt    = action{Verb: "kill", Word: "Kill", Class: "danger"}
	removeIt  = action{Verb: "remove", Word: "Remove", Class: "danger", Form: true}
)

// actions are what can be done with a container in a state; the list shows those of few.
func actions(state string, few bool) []action {
	switch state {
	case "running":
		if few {
			return []action{stopIt, restartIt, removeIt}
		}
		return []action{stopIt, restartIt, pauseIt, killIt, removeIt}
	case "paused":
		return []action{unpauseIt, stopIt, removeIt}
	case "restarting":
		return []action{stopIt, removeIt}
	case "removing":
		return nil
	}
	return []action{startIt, removeIt}
}

// buttons is what a template needs to show actions; Back is where they lead.
type buttons struct {
	Top      view
	ID, Name string
	Actions  []action
	Back     string
}

// containers is the first page: all of them, those that run before the others.
func (s containerPages) containers(c *call) error {
	list, err := s.engine.Containers().List(c.ctx(), client.ListOptions{All: true})
	if err != nil {
		return err
	}
	info, err := s.engine.System().Info(c.ctx())
	if err != nil {
		return err
	}
	find, state := strings.TrimSpace(page.Clip(c.field("q"), 200)), c.field("state")
	counts := map[string]int{"": len(list)}
	type data struct {
		Find, State string
		Chips       []chip
		List        []box
		All         int
		CPU, Memory string
		Graphs      []graph
		Engine      string
	}
	d := data{Find: find, State: state, All: len(list), Engine: info.Name}
	for i := range list {
		sum := &list[i]
		kind := "stopped"
		if sum.State == "running" || sum.State == "paused" || sum.State == "restarting" {
			kind = "running"
		}
		counts[kind]++
		b := s.box(sum)
		if (state == "" || state == kind) && has(find, b.Name, b.Image, b.ID, b.Project, b.Status) {
			d.List = append(d.List, b)
		}
	}
	slices.SortStableFunc(d.List, func(a, b box) int { return cmp.Compare(rank(a.State), rank(b.State)) })
	for _, name := range []string{"", "running", "stopped"} {
		word := cmp.Or(name, "all")
		d.Chips = append(d.Chips, chip{word, counts[name], c.with("state", name), name == state})
	}
	points := s.history.points("")
	d.Graphs = graphs(points, float64(info.NCPU))[:2]
	if p, ok := s.history.latest(""); ok {
		d.CPU, d.Memory = percent(p.cpu), bytes2(p.memory)
	}
	return c.show("containers", view{Title: "Containers", Nav: "containers", Data: d})
}

// chip is a link that narrows a list.
type chip struct {
	Word    string
	Count   int
	Link    string
	Current bool
}

func rank(state string) int {
	return slices.Index([]string{"restarting", "running", "paused"}, state) & 3 // the others, at -1, come last
}

func (s *Site) box(sum *api.ContainerSummary) box {
	b := box{
		ID: sum.ID, Name: nameOf(sum.Names), Image: sum.Image, Project: sum.Labels["com.docker.compose.project"],
		State: sum.State, Status: sum.Status, Reason: sum.Reason, Actions: actions(sum.State, true),
	}
	for _, p := range sum.Ports {
		if text := fmt.Sprintf("%d → %d/%s", p.PublicPort, p.PrivatePort, p.Type); p.PublicPort != 0 && !slices.Contains(b.Ports, text) {
			b.Ports = append(b.Ports, text)
		}
	}
	if sum.State == "running" || sum.State == "paused" {
		b.Spark = spark(s.history.points(sum.ID))
		if p, ok := s.history.latest(sum.ID); ok {
			b.CPU, b.Memory = percent(p.cpu), bytes2(p.memory)
		}
	}
	return b
}

// nameOf is a container's own name, without those that links give it.
func nameOf(names []string) string {
	for _, n := range names {
		if n = strings.TrimPrefix(n, "/"); !strings.Contains(n, "/") {
			return n
		}
	}
	return ""
}

// has reports whether a text is in one of others, whatever the case of its letters.
func has(find string, in ...string) bool {
	find = strings.ToLower(find)
	return slices.ContainsFunc(in, func(s string) bool { return strings.Contains(strings.ToLower(s), find) })
}

// with is this page's address with a parameter changed.
func (c *call) with(name, value string) string {
	q := c.r.URL.Query()
	q.Del("done")
	q.Del("page")
	if q.Set(name, value); value == "" {
		q.Del(name)
	}
	if len(q) == 0 {
		return c.r.URL.EscapedPath()
	}
	return c.r.URL.EscapedPath() + "?" + q.Encode()
}

// act does what a form asks for: start, stop, restart, pause, unpause, kill, remove.
func (s containerPages) act(c *call) error {
	id, verb, cs := c.r.PathValue("id"), c.r.PathValue("verb"), s.engine.Containers()
	do := map[string]func() error{
		"start":   func() error { return cs.Start(c.ctx(), id, "", "") },
		"stop":    func() error { return cs.Stop(c.ctx(), id, "", nil) },
		"restart": func() error { return cs.Restart(c.ctx(), id, "", nil) },
		"pause":   func() error { return cs.Pause(c.ctx(), id) },
		"unpause": func() error { return cs.Unpause(c.ctx(), id) },
		"kill":    func() error { return cs.Kill(c.ctx(), id, "KILL") },
		"remove": func() error {
			form := c.r.PostForm
			return cs.Remove(c.ctx(), id, client.RemoveOptions{Force: form.Get("force") == "1", Volumes: form.Get("volumes") == "1"})
		},
	}[verb]
	if do == nil {
		return errNothing
	}
	if err := do(); err != nil {
		return err
	}
	return c.done(page.Local(cmp.Or(c.r.PostForm.Get("back"), "/")), verb)
}

// removeForm asks before a container is removed.
func (s containerPages) removeForm(c *call) error {
	ctr, err := s.find(c)
	if err != nil {
		return err
	}
	return c.show("remove", view{Title: "Remove " + ctr.Name, Nav: "containers", Data: ctr})
}

// found is a container as its pages show it.
type found struct {
	*api.Container
	Name, Reason, Tab string
	Actions           []action
	Alive             bool
	Began, Ended      time.Time // zero for never
	raw               []byte
}

// find gives the container that a page is about.
func (s containerPages) find(c *call) (*found, error) {
	ctr, raw, err := s.engine.Containers().Inspect(c.ctx(), c.r.PathValue("id"), false)
	if err != nil {
		return nil, err
	}
	if ctr.State == nil || ctr.Config == nil || ctr.HostConfig == nil {
		return nil, &refusal{http.StatusBadGateway, "The engine told of a container without its state."}
	}
	f := &found{Container: &ctr, Name: strings.TrimPrefix(ctr.Name, "/"), Reason: reasonOf(raw), Actions: actions(ctr.State.Status, false), raw: raw}
	f.Alive = ctr.State.Running
	f.Began, f.Ended = moment(ctr.State.StartedAt), moment(ctr.State.FinishedAt)
	return f, nil
}

// moment reads a time of the engine's, zero for never.
func moment(s string) time.Time {
	t, err := time.Parse(time.RFC3339Nano, s)
	if err != nil || t.Year() < 1970 {
		return time.Time{}
	}
	return t
}

// escaped is a text as a part of an address.
func escaped(s string) string { return url.PathEscape(s) }
