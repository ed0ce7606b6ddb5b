package insight

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/docker/go-units"

	"lighter/cli"
)

// column is one of the table: head and cell, and how wide they are. A column without a cell
// is a graph. Those of a lower rank come first when there is room for few.
type column struct {
	head  string
	width int
	rank  int
	left  bool
	cell  func(*usage) string
	graph func(*usage) ([]float64, float64) // values, and what is full
}

func columns() []column {
	return []column{
		{head: "NAME", width: 16, rank: 0, left: true, cell: func(u *usage) string { return u.name }},
		{head: "CPU", width: 7, rank: 0, cell: func(u *usage) string { return u.tell(fmt.Sprintf("%.1f%%", u.cpu)) }},
		{head: "", width: 12, rank: 2, left: true, graph: func(u *usage) ([]float64, float64) { return u.cpus, max(10, slices.Max(append(u.cpus, 0))) }},
		{head: "MEMORY", width: 8, rank: 1, cell: func(u *usage) string { return size(u.memory) }},
		{head: "OF", width: 7, rank: 3, cell: func(u *usage) string { return u.share() }},
		{head: "", width: 12, rank: 7, left: true, graph: func(u *usage) ([]float64, float64) { return u.memories, slices.Max(append(u.memories, 1)) }},
		{head: "NET IN", width: 8, rank: 4, cell: func(u *usage) string { return u.tell(size(u.received)) }},
		{head: "OUT", width: 8, rank: 4, cell: func(u *usage) string { return u.tell(size(u.sent)) }},
		{head: "READ", width: 8, rank: 6, cell: func(u *usage) string { return u.tell(size(u.read)) }},
		{head: "WRITE", width: 8, rank: 6, cell: func(u *usage) string { return u.tell(size(u.written)) }},
		{head: "PROCS", width: 5, rank: 5, cell: func(u *usage) string { return fmt.Sprint(u.processes) }},
		{head: "IMAGE", width: 20, rank: 8, left: true, cell: func(u *usage) string { return u.image }},
		{head: "STATUS", width: 22, rank: 9, left: true, cell: func(u *usage) string { return u.status }},
	}
}

// tell gives a rate, or what stands for one that is not known yet.
func (u *usage) tell(s string) string {
	if !u.known {
		return "–"
	}
	return s
}

func (u *usage) share() string {
	if u.limit == 0 {
		return "–"
	}
	return fmt.Sprintf("%.1f%%", u.memory/u.limit*100)
}

func size(v float64) string {
	return strings.TrimSuffix(units.CustomSize("%.3g%s", v, 1024, []string{"B", "K", "M", "G", "T", "P"}), "B")
}

// fit chooses the columns that a width has room for, and gives what is left to names and graphs.
func fit(width int) []column {
	all := columns()
	for rank := 9; rank > 0; rank-- {
		if total(all) <= width {
			break
		}
		all = slices.DeleteFunc(all, func(c column) bool { return c.rank == rank })
	}
	left := width - total(all)
	for _, grow := range []struct {
		head string
		most int
	}{{"NAME", 16}, {"", 24}, {"IMAGE", 20}, {"NAME", 30}, {"", 60}} {
		for i := range all {
			if all[i].head == grow.head && left > 0 {
				n := min(left, grow.most)
				if grow.head == "" { // both graphs alike
					n = min(n, max(1, left/2))
				}
				all[i].width += n
				left -= n
			}
		}
	}
	return all
}

func total(list []column) int {
	n := 2 * (len(list) - 1)
	for _, c := range list {
		n += c.width
	}
	return n
}

// picture is the screen: a head, the table, and a foot with the keys; height lines at most.
func (t *table) picture(width, height int, p paint) []string {
	t.mu.Lock()
	defer t.mu.Unlock()
	var cpu, memory float64
	for _, u := range t.rows {
		cpu, memory = cpu+u.cpu, memory+u.memory
	}
	head := fmt.Sprintf("%s  %d running  CPU %.1f%% of %d%%  memory %s of %s", t.host, len(t.rows), cpu, 100*t.cpus, size(memory), size(float64(t.memory)))
	lines := []string{p.bold(cut(head, width))}
	if clock := t.at.Format(time.TimeOnly); cli.Width(head)+len(clock)+2 <= width && !t.at.IsZero() {
		lines[0] += strings.Repeat(" ", width-cli.Width(head)-len(clock)) + p.faint(clock)
	}
	list := fit(width)
	var titles []string
	for _, c := range list {
		titles = append(titles, pad(c.head, c.width, c.left))
	}
	lines = append(lines, "", p.faint(strings.TrimRight(strings.Join(titles, "  "), " ")))
	rows := slices.Clone(t.rows)
	slices.SortStableFunc(rows, func(a, b *usage) int {
		d := orders[t.order].less(a, b)
		if t.reverse {
			d = -d
		}
		return d
	})
	room := max(height-len(lines)-1, 0)
	t.first = max(0, min(t.first, len(rows)-room))
	for _, u := range rows[t.first:min(len(rows), t.first+room)] {
		lines = append(lines, strings.TrimRight(t.row(u, list, p), " "))
	}
	for len(lines) < height-1 {
		lines = append(lines, "")
	}
	return append(lines[:min(len(lines), height-1)], t.foot(width, p))
}

// row is a line of the table.
func (t *table) row(u *usage, list []column, p paint) string {
	cells := make([]string, len(list))
	for i, c := range list {
		if c.graph != nil {
			values, full := c.graph(u)
			cells[i] = p.blue(sparkline(values, full, c.width))
			continue
		}
		text := pad(cut(c.cell(u), c.width), c.width, c.left)
		switch {
		case c.head == "NAME":
			text = p.bold(text)
		case c.head == "CPU" && u.cpu >= 90, c.head == "OF" && u.limit > 0 && u.memory/u.limit >= .9:
			text = p.red(text)
		case c.head == "CPU" && u.cpu >= 50, c.head == "OF" && u.limit > 0 && u.memory/u.limit >= .7:
			text = p.yellow(text)
		}
		cells[i] = text
	}
	return strings.Join(cells, "  ")
}

// foot tells the keys, and by what the list is sorted; or what went wrong.
func (t *table) foot(width int, p paint) string {
	if t.trouble != "" {
		return p.red(cut(strings.ReplaceAll(t.trouble, "\n", " "), width))
	}
	sorted := "sorted by " + orders[t.order].word
	if t.reverse {
		sorted += ", reversed"
	}
	keys := "q quit"
	for _, o := range orders {
		keys += fmt.Sprintf("  %c %s", o.key, o.word)
	}
	keys += "  r reverse"
	if n := cli.Width(keys) + 4 + cli.Width(sorted); n <= width {
		return p.faint(keys) + strings.Repeat(" ", width-n+4) + sorted
	}
	return p.faint(cut(keys, width))
}

// sparkline draws the last values that fit as bars, one column each, to the right.
func sparkline(values []float64, full float64, width int) string {
	const bars = "▁▂▃▄▅▆▇█"
	values = values[max(0, len(values)-width):]
	var b strings.Builder
	b.WriteString(strings.Repeat(" ", width-len(values)))
	for _, v := range values {
		n := 0
		if full > 0 {
			n = min(7, int(v/full*7.999))
		}
		b.WriteString(string([]rune(bars)[max(0, n)]))
	}
	return b.String()
}

func cut(s string, width int) string { return cli.Ellipsis(s, width) }

func pad(s string, width int, left bool) string {
	space := strings.Repeat(" ", max(0, width-cli.Width(s)))
	if left {
		return s + space
	}
	return space + s
}
