package insight

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/docker/go-units"

	"lighter/api"
	"lighter/cli"
	"lighter/client"
)

// story is what is known of a container: all of it was recorded by the engine or counted
// by the kernel.
type story struct {
	api.Container
	name   string
	reason string
	events []api.Event
	log    []string
	usage  *api.Stats // of one that runs
	others []api.ContainerSummary
	holder func(port string) string // which process of this machine has a port, empty when that is not known
	now    time.Time
}

// explain tells why a container ended, what it waits for, and which limits it reached.
func explain(ctx context.Context, a *cli.App, args []string) error {
	c, err := a.Client()
	if err != nil {
		return err
	}
	s := &story{now: time.Now()}
	var raw []byte
	if s.Container, raw, err = c.Containers().Inspect(ctx, args[0], false); err != nil {
		return err
	}
	var more struct{ State struct{ Reason string } }
	if err := json.Unmarshal(raw, &more); err != nil {
		return err
	}
	if s.State == nil || s.HostConfig == nil || s.Config == nil {
		return fmt.Errorf("the engine told of %s without its state", args[0])
	}
	s.name, s.reason = strings.TrimPrefix(s.Name, "/"), more.State.Reason
	err = c.System().Events(ctx, client.EventsOptions{Since: "1", Until: fmt.Sprintf("%d.%09d", s.now.Unix(), s.now.Nanosecond()), Filters: api.Filters{"container": {s.ID}}}, func(e api.Event) error {
		if !strings.HasPrefix(e.Action, "exec_") && e.Action != "top" && e.Action != "resize" {
			s.events = append(s.events, e)
		}
		return nil
	})
	if err != nil {
		return err
	}
	if s.State.Running {
		if usage, err := c.Containers().Sample(ctx, s.ID); err == nil {
			s.usage = &usage
		}
	} else {
		s.log = lastLines(ctx, c, s.ID, 5)
	}
	if s.others, err = c.Containers().List(ctx, client.ListOptions{All: true}); err != nil {
		return err
	}
	if strings.HasPrefix(c.Host(), "unix://") { // the engine is on this machine
		s.holder = holderOf
	}
	var text bytes.Buffer
	s.tell(&text, width(a.Out), painter(a.Out))
	_, err = a.Out.Write(text.Bytes())
	return err
}

// lastLines gives the end of a container's log, as far as it can be read.
func lastLines(ctx context.Context, c *client.Client, id string, n int) []string {
	out, err := c.Containers().Logs(ctx, id, client.LogsOptions{Stdout: true, Stderr: true, Tail: strconv.Itoa(n)})
	if err != nil {
		return nil
	}
	defer out.Close()
	var text bytes.Buffer
	if out.Raw {
		_, err = io.Copy(&text, io.LimitReader(out, 256<<10))
	} else {
		err = client.Demux(&text, &text, io.LimitReader(out, 256<<10))
	}
	if err != nil && text.Len() == 0 {
		return nil
	}
	lines := strings.Split(strings.TrimRight(text.String(), "\n"), "\n")
	return slices.DeleteFunc(lines[max(0, len(lines)-n):], func(s string) bool { return s == "" })
}

// tell writes the story.
func (s *story) tell(w io.Writer, width int, p paint) {
	fmt.Fprintf(w, "%s  %s\n", p.bold(s.name), s.state(p))
	var hints []string
	section := func(title string, lines []string) {
		if len(lines) == 0 {
			return
		}
		fmt.Fprintf(w, "\n%s\n", p.bold(title))
		for _, l := range lines {
			fold(w, "  ", 2, width, l)
		}
	}
	why, more := s.why()
	hints = append(hints, more...)
	section("Why", why)
	section("It waits for", s.waits())
	limits, more := s.limits()
	hints = append(hints, more...)
	section("Limits", limits)
	section("Health", s.health())
	if lines := s.happened(); len(lines) > 0 {
		fmt.Fprintf(w, "\n%s\n", p.bold("What happened"))
		for _, l := range lines {
			fmt.Fprintln(w, "  "+cli.Ellipsis(l, width-2))
		}
	}
	if len(s.log) > 0 {
		fmt.Fprintf(w, "\n%s\n", p.bold("Its last words"))
		for _, l := range s.log {
			fmt.Fprintln(w, "  "+cli.Ellipsis(printable(l), width-2))
		}
	}
	if len(hints) > 0 {
		fmt.Fprintln(w)
	}
	for _, h := range hints {
		fold(w, p.yellow("hint: "), 6, width, h)
	}
}

// printable spells nothing out: what is no text is left out, so that a container's output
// cannot move the cursor.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if r == '\t' {
			return ' '
		}
		if r < ' ' || r == 0x7f || r >= 0x80 && r < 0xa0 || r == '\ufffd' || r >= 0x202a && r <= 0x202e || r >= 0x2066 && r <= 0x2069 {
			return -1
		}
		return r
	}, s)
}

// state is one line on how it is.
func (s *story) state(p paint) string {
	began, ended := moment(s.State.StartedAt), moment(s.State.FinishedAt)
	switch {
	case s.State.Paused:
		return p.yellow("paused") + ", began " + ago(s.now, began)
	case s.State.Restarting:
		return p.yellow("restarting") + ", last ended " + ago(s.now, ended) + fmt.Sprintf(" with exit code %d", s.State.ExitCode)
	case s.State.Running:
		return p.green("running") + " for " + strings.ToLower(units.HumanDuration(s.now.Sub(began)))
	case began.IsZero():
		return s.State.Status + ", never ran"
	}
	word := fmt.Sprintf("ended %s with exit code %d", ago(s.now, ended), s.State.ExitCode)
	if s.State.ExitCode != 0 {
		word = p.red(word)
	}
	if !ended.Before(began) {
		word += ", after " + strings.ToLower(units.HumanDuration(ended.Sub(began)))
	}
	return word
}

var portInUse = regexp.MustCompile(`(?:0\.0\.0\.0|\[?::\]?|[0-9.]+):(\d+)[^\n]*(?:already in use|already allocated)|[pP]ort (\d+)[^\n]*already`)

// why tells why it does not run, and what may help.
func (s *story) why() (lines, hints []string) {
	if s.State.Running && !s.State.Paused && !s.State.Restarting {
		return nil, nil
	}
	for _, text := range []string{s.reason, s.State.Error} {
		if text = strings.TrimSpace(text); text != "" && !slices.ContainsFunc(lines, func(l string) bool { return strings.Contains(l, text) }) {
			lines = append(lines, printable(text))
		}
	}
	began := moment(s.State.StartedAt)
	switch {
	case s.State.OOMKilled:
		size := "64m"
		if m := s.HostConfig.Memory; m > 0 {
			size = units.CustomSize("%.0f%s", float64(2*m), 1024, []string{"b", "k", "m", "g"})
			hints = append(hints, fmt.Sprintf("let it have more memory: lighter update --memory %s --memory-swap %s %s", size, size, s.name))
		}
	case s.State.Status == "created" && s.State.Error == "":
		lines = append(lines, "it was made, and nobody has started it")
		hints = append(hints, "lighter start "+s.name)
	case s.State.ExitCode == 0 && !began.IsZero() && !s.State.Restarting && len(lines) == 0:
		lines = append(lines, "its program, "+s.program()+", came to its end and reported success")
	case len(lines) == 0 && !s.State.Paused && !s.State.Restarting:
		lines = append(lines, fmt.Sprintf("its program, %s, ended by itself with exit code %d: only the program knows more, see its last words", s.program(), s.State.ExitCode))
	}
	if s.State.Paused {
		lines = append(lines, "a client paused it: its processes are there and stand still")
		hints = append(hints, "lighter unpause "+s.name)
	}
	for _, text := range lines {
		if m := portInUse.FindStringSubmatch(text); m != nil {
			port := cmp.Or(m[1], m[2])
			lines = append(lines, s.holds(port))
			hints = append(hints, "another port of the host does as well: -p OTHER:"+strings.Join(s.inside(port), ","))
			break
		}
	}
	return lines, hints
}

func (s *story) program() string {
	return printable(cli.Ellipsis(strings.Join(append([]string{s.Path}, s.Args...), " "), 60))
}

// inside gives the container's ports that a port of the host leads to.
func (s *story) inside(port string) []string {
	var list []string
	for _, p := range slices.Sorted(maps.Keys(s.HostConfig.PortBindings)) {
		for _, b := range s.HostConfig.PortBindings[p] {
			if b.HostPort == port {
				list = append(list, strings.TrimSuffix(string(p), "/tcp"))
			}
		}
	}
	return list
}

// holds tells who has a port now.
func (s *story) holds(port string) string {
	for _, o := range s.others {
		for _, p := range o.Ports {
			if strconv.Itoa(int(p.PublicPort)) == port && o.ID != s.ID && len(o.Names) > 0 {
				return fmt.Sprintf("port %s of the host is published by the container %s now", port, strings.TrimPrefix(o.Names[0], "/"))
			}
		}
	}
	if s.holder != nil {
		if who := s.holder(port); who != "" {
			return fmt.Sprintf("port %s of the host is in use by %s now", port, who)
		}
	}
	return fmt.Sprintf("who had port %s of the host is not recorded, and no container publishes it now", port)
}

// holderOf finds the process that listens at a TCP port of this machine, by what /proc tells
// to whom it may.
func holderOf(port string) string {
	n, err := strconv.ParseUint(port, 10, 16)
	if err != nil {
		return ""
	}
	inodes := map[string]bool{}
	for _, table := range []string{"/proc/net/tcp", "/proc/net/tcp6"} {
		b, _ := os.ReadFile(table) // a kernel without IPv6 has only the first
		for line := range strings.Lines(string(b)) {
			f := strings.Fields(line)
			if len(f) > 9 && strings.HasSuffix(f[1], fmt.Sprintf(":%04X", n)) && f[3] == "0A" {
				inodes["socket:["+f[9]+"]"] = true
			}
		}
	}
	if len(inodes) == 0 {
		return ""
	}
	fds, _ := filepath.Glob("/proc/[0-9]*/fd/*")
	for _, fd := range fds {
		if to, err := os.Readlink(fd); err == nil && inodes[to] {
			pid := strings.Split(fd, "/")[2]
			name, _ := os.ReadFile("/proc/" + pid + "/comm")
			return fmt.Sprintf("%s (process %s)", cmp.Or(strings.TrimSpace(printable(string(name))), "a process"), pid)
		}
	}
	return "a process that this user may not look at"
}

// waits tells what has to come before it goes on.
func (s *story) waits() (lines []string) {
	policy := s.HostConfig.RestartPolicy
	if s.State.Restarting {
		text := fmt.Sprintf("its next start, by its restart policy %s: it was started %s so far, each pause twice as long as the last, a minute at most", policy.Name, times(s.RestartCount))
		if policy.MaximumRetryCount > 0 {
			text = fmt.Sprintf("its next start, by its restart policy %s: %d of %d are used up", policy.Name, s.RestartCount, policy.MaximumRetryCount)
		}
		lines = append(lines, text)
	}
	if h := s.State.Health; h != nil && h.Status == "starting" && s.State.Running {
		lines = append(lines, "its first health check to succeed")
	}
	if !s.State.Running && policy.Name == "on-failure" && policy.MaximumRetryCount > 0 && s.RestartCount >= policy.MaximumRetryCount {
		lines = append(lines, fmt.Sprintf("nothing: its restart policy allows %s, and they are used up", times(policy.MaximumRetryCount)))
	}
	if id, ok := strings.CutPrefix(string(s.HostConfig.NetworkMode), "container:"); ok {
		for _, o := range s.others {
			if o.ID == id && o.State != "running" && len(o.Names) > 0 {
				lines = append(lines, fmt.Sprintf("the container %s, whose network it shares, which does not run (%s)", strings.TrimPrefix(o.Names[0], "/"), o.Status))
			}
		}
	}
	return lines
}

func times(n int) string {
	if n == 1 {
		return "once"
	}
	return fmt.Sprintf("%d times", n)
}

// limits tells how near it is to what it may have, as the kernel counts.
func (s *story) limits() (lines, hints []string) {
	h, u := s.HostConfig, s.usage
	if h.Memory > 0 {
		text := "memory: at most " + units.BytesSize(float64(h.Memory))
		if s.State.OOMKilled {
			text += ", which it reached: the kernel killed for it"
		} else if u != nil {
			text += fmt.Sprintf(", of which it uses %s", units.BytesSize(float64(u.Memory.Used())))
			if u.Memory.Failures > 0 {
				text += fmt.Sprintf("; it came to the limit %s", times(int(u.Memory.Failures)))
			}
		}
		lines = append(lines, text)
	}
	if h.PidsLimit != nil && *h.PidsLimit > 0 {
		text := fmt.Sprintf("processes: at most %d", *h.PidsLimit)
		if u != nil {
			if text += fmt.Sprintf(", of which it has %d", u.Pids.Current); int64(u.Pids.Current) >= *h.PidsLimit {
				hints = append(hints, fmt.Sprintf("it can start no more processes: lighter update --pids-limit %d %s", 2**h.PidsLimit, s.name))
			}
		}
		lines = append(lines, text)
	}
	if h.NanoCPUs > 0 || h.CPUQuota > 0 {
		text := "CPU: "
		if h.NanoCPUs > 0 {
			text += fmt.Sprintf("at most %.3g", float64(h.NanoCPUs)/1e9)
		} else {
			text += fmt.Sprintf("at most %d µs of %d", h.CPUQuota, h.CPUPeriod)
		}
		if u != nil {
			t := u.CPU.Throttling
			if text += ", and it was never held back"; t.ThrottledPeriods > 0 && t.Periods > 0 {
				text = strings.TrimSuffix(text, ", and it was never held back") + fmt.Sprintf("; it was held back in %.0f%% of the periods, %s together",
					100*float64(t.ThrottledPeriods)/float64(t.Periods), time.Duration(t.ThrottledTime).Round(time.Millisecond))
			}
		}
		lines = append(lines, text)
	}
	return lines, hints
}

// health tells what the last probes found.
func (s *story) health() (lines []string) {
	h := s.State.Health
	if h == nil || h.Status == "none" {
		return nil
	}
	text := h.Status
	if h.FailingStreak > 0 {
		text += fmt.Sprintf(", %s in a row", cmp.Or(map[bool]string{true: "1 probe failed"}[h.FailingStreak == 1], fmt.Sprintf("%d probes failed", h.FailingStreak)))
	}
	lines = append(lines, text)
	if n := len(h.Log); n > 0 {
		last := h.Log[n-1]
		lines = append(lines, strings.TrimSpace(fmt.Sprintf("the last probe ended %s with exit code %d: %s", ago(s.now, last.End), last.ExitCode, printable(cli.Ellipsis(last.Output, 200)))))
	}
	return lines
}

const eventsTold = 8

// happened lists the last events, which the engine wrote down.
func (s *story) happened() (lines []string) {
	list := s.events[max(0, len(s.events)-eventsTold):]
	for _, e := range list {
		at := time.Unix(0, e.TimeNano).Local()
		text := at.Format("2006-01-02 15:04:05") + "  " + e.Action
		for _, k := range []string{"exitCode", "signal", "reason"} {
			if v := e.Actor.Attributes[k]; v != "" {
				text += "  " + k + "=" + printable(v)
			}
		}
		lines = append(lines, text)
	}
	return lines
}

// moment reads a time of the engine's, zero for never.
func moment(s string) time.Time {
	t, err := time.Parse(time.RFC3339Nano, s)
	if err != nil || t.Year() < 1970 {
		return time.Time{}
	}
	return t
}

func ago(now, at time.Time) string {
	return strings.ToLower(units.HumanDuration(now.Sub(at))) + " ago"
}
