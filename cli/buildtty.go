package cli

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"lighter/api"
)

// ttyBuild shows a build on a terminal: a line for each step, with the last lines that those print which
// are under way.
type ttyBuild struct {
	block
	trace buildTrace
	label string // at the right of the first line
	plain bool   // without colours
	drawn time.Time
	ended bool
}

const (
	frameTime  = 50 * time.Millisecond // between two frames
	windowRows = 6                     // of what a step printed
)

// The colours of steps, as BuildKit's: BUILDKIT_COLORS is not read, NO_COLOR is.
const (
	styleDone     = "\x1b[34m"
	styleFailed   = "\x1b[31m"
	styleCanceled = "\x1b[33m"
	styleFaint    = "\x1b[2m"
)

func newTTYBuild(f *os.File, label string) *ttyBuild {
	return &ttyBuild{block: *newBlock(f), label: label, plain: os.Getenv("NO_COLOR") != ""}
}

func (t *ttyBuild) update(s *api.BuildStatus) error {
	t.trace.update(s)
	if time.Since(t.drawn) < frameTime {
		return nil // the next tick draws it
	}
	return t.tick()
}

func (t *ttyBuild) tick() error {
	t.drawn = time.Now()
	columns, rows := t.size()
	return t.draw(t.frame(columns, rows-1, false))
}

// end draws every step for the last time, and prints what those printed that failed.
func (t *ttyBuild) end() error {
	for _, v := range t.trace.list {
		if len(v.partial) > 0 {
			v.endLine(v.seconds(t.now()))
		}
	}
	t.ended = true
	var err error
	if len(t.trace.list) > 0 {
		columns, rows := t.size()
		err = t.draw(t.frame(columns, rows, true))
	}
	err = t.block.end(err)
	t.trace.failures(t.out, keptLines)
	return err
}

// now is the time by the engine's clock.
func (t *ttyBuild) now() time.Time { return time.Now().Add(-t.trace.skew) }

// frame is what the terminal is to show, in at most so many rows unless all is.
func (t *ttyBuild) frame(columns, rows int, all bool) []textLine {
	done := 0
	for _, v := range t.trace.byDigest {
		if v.number > 0 && !v.working() {
			done++
		}
	}
	head := fmt.Sprintf("[+] Building %.1fs (%d/%d)", time.Since(t.trace.began).Seconds(), done, len(t.trace.byDigest))
	if t.ended && done == len(t.trace.byDigest) {
		head += " FINISHED"
	}
	lines := []textLine{{text: aligned(head, t.label, columns-1)}}
	steps := make([][]textLine, len(t.trace.list))
	total := 0
	for n, v := range t.trace.list {
		steps[n] = t.step(v, columns-1)
		total += len(steps[n])
	}
	windows := t.windows(columns-1, rows-1-total)
	if !all {
		for _, w := range windows {
			rows -= len(w)
		}
		t.fit(steps, rows-1)
	}
	for n, s := range steps {
		lines = append(lines, s...)
		lines = append(lines, windows[t.trace.list[n]]...)
	}
	return lines
}

// fit takes lines away until there are no more than most: first of those that ended long ago.
func (t *ttyBuild) fit(steps [][]textLine, most int) {
	total := 0
	for _, s := range steps {
		total += len(s)
	}
	for _, keepWorking := range []bool{true, false} {
		for n := range steps {
			if total <= max(most, 1) {
				return
			}
			if keepWorking && t.trace.list[n].working() {
				continue
			}
			total -= len(steps[n])
			steps[n] = nil
		}
	}
}

// step is the lines of a step: its name, what it is made of, warnings.
func (t *ttyBuild) step(v *buildStep, columns int) []textLine {
	now := t.now()
	name, style := printable(v.Name), ""
	switch {
	case v.working():
	case v.cancelled():
		name, style = "CANCELED "+name, styleCanceled
	case v.Error != "":
		name, style = "ERROR "+name, styleFailed
	case v.Cached:
		name, style = "CACHED "+name, styleDone
	default:
		style = styleDone
	}
	lines := []textLine{t.line(name, "", v.seconds(now), columns, style)}
	for _, s := range v.statuses {
		end, style := now, ""
		if s.Completed != nil {
			end, style = *s.Completed, styleDone
		}
		if s.Started != nil {
			lines = append(lines, t.line("=> "+printable(s.ID), amount(s), end.Sub(*s.Started).Seconds(), columns, style))
		}
	}
	for _, w := range v.warnings {
		lines = append(lines, t.line("WARN: "+printable(string(w.Short)), "", v.seconds(now), columns, styleCanceled))
	}
	if v.Missed != "" {
		lines = append(lines, t.line("missed the cache: "+printable(v.Missed), "", 0, columns, styleCanceled))
	}
	return lines
}

// line is one line of a step, in exactly so many columns.
func (t *ttyBuild) line(name, extra string, seconds float64, columns int, style string) textLine {
	if seconds < 0.05 {
		seconds = 0
	}
	timer := fmt.Sprintf("%.1fs", seconds)
	if t.plain {
		style = ""
	}
	const prefix, least = " => ", 20
	room := columns - len(prefix) - len(timer) - 2
	if room-len(extra) < least {
		extra = ""
	}
	return textLine{aligned(prefix+cutTo(name, room-len(extra))+extra, timer, columns), style}
}

// aligned puts one text at the left and one at the right of so many columns.
func aligned(left, right string, columns int) string {
	gap := columns - utf8.RuneCountInString(left) - utf8.RuneCountInString(right)
	if gap < 1 {
		return cutTo(left, columns)
	}
	return left + strings.Repeat(" ", gap) + right
}

// windows are the last lines that steps print which are under way, of as many as there are rows for.
func (t *ttyBuild) windows(columns, rows int) map[*buildStep][]textLine {
	if t.ended {
		return nil
	}
	var list []*buildStep
	for _, v := range t.trace.list {
		if v.working() && v.printed > 0 {
			list = append(list, v)
		}
	}
	slices.SortStableFunc(list, func(a, b *buildStep) int { return int(b.printed - a.printed) })
	style := styleFaint
	if t.plain {
		style = ""
	}
	windows := map[*buildStep][]textLine{}
	for _, v := range list {
		if rows < windowRows {
			break
		}
		for _, text := range v.tail(windowRows, columns-10) {
			windows[v] = append(windows[v], textLine{" => => # " + text, style})
		}
		rows -= len(windows[v])
	}
	return windows
}

// tail is the last lines that a step printed, folded at so many columns.
func (v *buildStep) tail(most, columns int) (rows []string) {
	columns = max(columns, 10)
	lines := v.logs[max(0, len(v.logs)-most):]
	if len(v.partial) > 0 {
		lines = append(slices.Clone(lines), "- "+string(v.partial))
	}
	for _, l := range lines {
		_, text, _ := strings.Cut(l, " ")
		for runes := []rune(printable(text)); ; runes = runes[columns:] {
			if len(runes) <= columns {
				rows = append(rows, string(runes))
				break
			}
			rows = append(rows, string(runes[:columns]))
		}
	}
	return rows[max(0, len(rows)-most):]
}
